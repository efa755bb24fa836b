//! The connections to a service's database, under a password that may be changed while it serves.

use std::{path::PathBuf, sync::Arc, time::Duration};

use sqlx::{ConnectOptions, Connection, PgPool, Postgres, pool::PoolConnection, postgres::PgPoolOptions};

use tokio::sync::Mutex;

use super::files::{self, FileError};

/// SQLSTATE of a wrong password, and of a role that may not sign in.
const REFUSED: [&str; 2] = ["28P01", "28000"];

/// How long a request waits for a connection: longer than a server with much to do may pause, and short enough that those
/// who must come again later are told while they still wait.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long a connection that was used is believed to be good still.
const TRUSTED: Duration = Duration::from_secs(1);

/// A pool of connections, and the files that its password comes from.
#[derive(Clone)]
pub struct Database {
    pool: PgPool,
    mounts: PathBuf,
    /// What the server shows of a connection.
    application: &'static str,
    /// One search for a password at a time: a role has few connections.
    searching: Arc<Mutex<()>>,
}

impl Database {
    /// Connections as the files under `mounts` say, `size` at most; none is opened yet.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn new(mounts: PathBuf, size: u32, application: &'static str) -> Result<Self, FileError> {
        let options = files::read_database(&mounts, application)?.swap_remove(0);
        let pool = PgPoolOptions::new()
            .max_connections(size)
            .acquire_timeout(PATIENCE)
            .idle_timeout(Duration::from_secs(60))
            // A question before each use would be a round trip of every request. It was asked when it came back to the
            // pool; if the server went away since, the request is told to come again.
            .test_before_acquire(false)
            .before_acquire(|connection, metadata| {
                Box::pin(async move {
                    if metadata.idle_for > TRUSTED {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(options);
        Ok(Self { pool, mounts, application, searching: Arc::default() })
    }

    /// A connection. When the password is refused, those in the files are tried: it was changed.
    ///
    /// # Errors
    /// When none comes free in time, or the server refuses.
    pub async fn acquire(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        match self.pool.acquire().await {
            Err(refused) if is_refused(&refused) => {
                let _turn = self.searching.lock().await;
                // Another may have found it meanwhile.
                match self.pool.acquire().await {
                    Err(refused) if is_refused(&refused) => {}
                    other => return other,
                }
                if self.find_password().await { self.pool.acquire().await } else { Err(refused) }
            }
            other => other,
        }
    }

    /// Connections that wait for a request, and those that serve one.
    #[must_use]
    pub fn connections(&self) -> (i64, i64) {
        let all = i64::from(self.pool.size());
        let idle = i64::try_from(self.pool.num_idle()).unwrap_or(all).min(all);
        (idle, all - idle)
    }

    /// Connections that this process may have at most.
    #[must_use]
    pub fn connections_limit(&self) -> u32 {
        self.pool.options().get_max_connections()
    }

    /// Looks for a password that is accepted, and connects with it from now on.
    async fn find_password(&self) -> bool {
        let candidates = match files::read_database(&self.mounts, self.application) {
            Ok(candidates) => candidates,
            Err(error) => {
                tracing::warn!(%error, "the database's password cannot be read");
                return false;
            }
        };
        for options in candidates {
            if let Ok(Ok(connection)) = tokio::time::timeout(PATIENCE, options.connect()).await {
                let _ = connection.close().await;
                self.pool.set_connect_options(options);
                tracing::info!("the database's password was changed; the new one is in use");
                return true;
            }
        }
        false
    }
}

fn is_refused(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| REFUSED.contains(&&*code))
}
