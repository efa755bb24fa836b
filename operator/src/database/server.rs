//! Connections to database servers: one small pool each, and single sessions into nodes' databases.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fateh_crds::{DatabaseServerSpec, TlsMode};
use sqlx::{
    ConnectOptions, Connection, PgConnection, PgPool, Row,
    postgres::{PgConnectOptions, PgPoolOptions, PgSslMode},
};
use tokio::sync::Semaphore;

use super::schema::Schema;
use crate::{failure::Failure, leadership::Fence};

/// CREATE DATABASE is bound by the server's disk: more than two at a time gain nothing.
const CREATES_AT_ONCE: usize = 2;
/// Schemas that are upgraded at once.
const UPGRADES_AT_ONCE: usize = 2;
/// Sessions inside nodes' databases at once, beside the pool.
const SESSIONS_AT_ONCE: usize = 8;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What the operator signs in with.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminCredentials {
    /// The operator's role.
    pub username: String,
    /// Its password.
    pub password: String,
    /// The server's authority, PEM; needed for `VerifyFull`.
    pub ca: Option<String>,
}

/// What a server says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// For example `15.18`.
    pub version: String,
    /// Nodes' databases on it.
    pub databases: i64,
    /// `max_connections`.
    pub connections: i64,
    /// Whether CREATEROLE is a real border there: from PostgreSQL 16.
    pub hardened: bool,
    /// Databases that PUBLIC may connect to.
    pub open_databases: Vec<String>,
}

/// A database server that the operator can sign in to.
pub struct Server {
    /// Name of the DatabaseServer.
    pub name: String,
    options: PgConnectOptions,
    pub(super) pool: PgPool,
    pub(super) creates: Semaphore,
    pub(super) upgrades: Semaphore,
    pub(super) sessions: Semaphore,
    pub(super) schema: Schema,
    hub_schema: Schema,
    fence: Fence,
}

impl Server {
    fn new(
        name: &str,
        spec: &DatabaseServerSpec,
        credentials: &AdminCredentials,
        schema: Schema,
        fence: Fence,
    ) -> Self {
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(&spec.host)
            .port(u16::try_from(spec.port).unwrap_or(5432))
            .database(&spec.database)
            .username(&credentials.username)
            .password(&credentials.password)
            .ssl_mode(match spec.tls.mode {
                TlsMode::Require => PgSslMode::Require,
                TlsMode::VerifyFull => PgSslMode::VerifyFull,
                TlsMode::Disable => PgSslMode::Disable,
            })
            .application_name("fateh-operator")
            // Nothing that a node could put into a schema is ever found by name.
            .options([("search_path", "pg_catalog"), ("statement_timeout", "30s"), ("lock_timeout", "10s")])
            .log_statements(tracing::log::LevelFilter::Off);
        if let Some(ca) = &credentials.ca {
            options = options.ssl_root_cert_from_pem(ca.clone().into_bytes());
        }
        let pool = PgPoolOptions::new()
            .max_connections(8)
            .min_connections(0)
            .acquire_timeout(CONNECT_TIMEOUT)
            .idle_timeout(Duration::from_secs(60))
            .connect_lazy_with(options.clone());
        Self {
            name: name.to_owned(),
            options,
            pool,
            creates: Semaphore::new(CREATES_AT_ONCE),
            upgrades: Semaphore::new(UPGRADES_AT_ONCE),
            sessions: Semaphore::new(SESSIONS_AT_ONCE),
            schema,
            hub_schema: Schema::of_the_hub(),
            fence,
        }
    }

    /// The schema that nodes on this server are brought to.
    #[must_use]
    pub const fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The schema that the hub's database is brought to.
    #[must_use]
    pub const fn hub_schema(&self) -> &Schema {
        &self.hub_schema
    }

    /// A session of the operator in `database`.
    ///
    /// # Errors
    /// When the server cannot be reached in time.
    pub async fn session(&self, database: &str) -> Result<PgConnection, Failure> {
        let options = self.options.clone().database(database);
        match tokio::time::timeout(CONNECT_TIMEOUT, options.connect()).await {
            Ok(connected) => connected.map_err(self.failed("connect")),
            Err(_) => Err(self.failed("connect")(sqlx::Error::PoolTimedOut)),
        }
    }

    /// A session in the maintenance database, beside the pool: whether the server answers must not depend on how
    /// busy the pool is.
    pub(super) async fn maintenance_session(&self) -> Result<PgConnection, Failure> {
        self.session(self.options.get_database().unwrap_or("postgres")).await
    }

    /// Asks the server about itself.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn facts(&self) -> Result<ServerFacts, Failure> {
        let act = "read the server's settings";
        let mut session = self.maintenance_session().await?;
        let row = sqlx::query(
            "SELECT current_setting('server_version') AS version,
                    current_setting('server_version_num')::int >= 160000 AS hardened,
                    current_setting('max_connections')::bigint AS connections,
                    (SELECT count(*) FROM pg_database WHERE datname LIKE 'node\\_%') AS databases,
                    ARRAY(SELECT datname::text FROM pg_database d
                          WHERE datallowconn AND (datacl IS NULL OR EXISTS (
                                SELECT FROM aclexplode(datacl) a WHERE a.grantee = 0 AND a.privilege_type = 'CONNECT'))
                          ORDER BY 1) AS open_databases",
        )
        .fetch_one(&mut session)
        .await
        .map_err(self.failed(act))?;
        let _ = session.close().await;
        let read = || -> Result<ServerFacts, sqlx::Error> {
            Ok(ServerFacts {
                version: row.try_get::<String, _>("version")?.split(' ').next().unwrap_or_default().to_owned(),
                databases: row.try_get("databases")?,
                connections: row.try_get("connections")?,
                hardened: row.try_get("hardened")?,
                open_databases: row.try_get("open_databases")?,
            })
        };
        read().map_err(self.failed(act))
    }

    /// Refuses to act when another operator may be leading: asked right before each change, because a process
    /// that was paused in the middle of a pass still believes what it read before.
    pub(super) fn may_act(&self, act: &'static str) -> Result<(), Failure> {
        if self.fence.is_open() { Ok(()) } else { Err(Failure::NotLeading(act)) }
    }

    /// Sorts an error: the server cannot be used at all, or one statement failed on it.
    pub(super) fn failed(&self, act: &'static str) -> impl Fn(sqlx::Error) -> Failure + use<> {
        let server = self.name.clone();
        move |source| {
            let server = server.clone();
            match &source {
                sqlx::Error::Database(error) if !is_unusable(error.code().as_deref()) => {
                    Failure::Database { act, server, source }
                }
                sqlx::Error::RowNotFound | sqlx::Error::ColumnNotFound(_) | sqlx::Error::ColumnDecode { .. } => {
                    Failure::Database { act, server, source }
                }
                _ => Failure::DatabaseUnreachable { server, source },
            }
        }
    }
}

/// SQLSTATE classes in which the server itself is the trouble: connection (08), authorisation (28),
/// resources (53), intervention such as a shutdown (57).
fn is_unusable(code: Option<&str>) -> bool {
    code.is_some_and(|code| ["08", "28", "53", "57"].iter().any(|class| code.starts_with(class)))
}

/// A server, and what its connections were made from.
struct Known {
    spec: DatabaseServerSpec,
    credentials: AdminCredentials,
    server: Arc<Server>,
}

/// The servers in use, each kept as long as neither its spec nor its credentials change.
pub struct Servers {
    known: Mutex<HashMap<String, Known>>,
    schema: Schema,
    fence: Fence,
}

impl Servers {
    /// No servers yet; what changes them is done only while `fence` is open.
    #[must_use]
    pub fn new(schema: Schema, fence: Fence) -> Self {
        Self { known: Mutex::default(), schema, fence }
    }

    /// The server of this name, with the connections it has already.
    pub fn get(&self, name: &str, spec: &DatabaseServerSpec, credentials: &AdminCredentials) -> Arc<Server> {
        let mut servers = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = servers.get(name)
            && known.spec == *spec
            && known.credentials == *credentials
        {
            return Arc::clone(&known.server);
        }
        let server = Arc::new(Server::new(name, spec, credentials, self.schema.clone(), self.fence.clone()));
        let known = Known { spec: spec.clone(), credentials: credentials.clone(), server: Arc::clone(&server) };
        servers.insert(name.to_owned(), known);
        server
    }
}
