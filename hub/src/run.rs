//! Starts the hub: configuration, database, the watch of the nodes and both ports; and ends it.

use std::time::Duration;

use fateh_common::{
    lifecycle,
    management::{self, Readiness},
    service::{
        database::Database,
        files::FileError,
        keys::{KeyRing, KeysError},
        serve::{listen, serve},
        words,
    },
};
use kube::Client;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    WORDS, config::Arguments, fleet::Fleet, metrics::Metrics, reconciliation, routes, state::AppState, storage,
};

/// How often the database is kept in order.
const ORDER_INTERVAL: Duration = Duration::from_secs(600);

/// Why the hub could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A mounted file cannot be used.
    #[error("read the configuration")]
    Config(#[from] FileError),
    /// The signing keys cannot be used.
    #[error("prepare the signing keys")]
    Keys(#[from] KeysError),
    /// A port could not be opened, or signals not be heard.
    #[error("listen")]
    Listen(#[from] std::io::Error),
    /// A metric is named twice.
    #[error("register the metrics")]
    Metrics(#[from] prometheus::Error),
    /// There is no way to the API server.
    #[error("find the API server")]
    Kubernetes(#[source] Box<kube::Error>),
}

/// Ready while the database answers with a schema that this hub knows, and once the nodes are listed.
struct Serves {
    database: Database,
    fleet: Fleet,
}

impl Readiness for Serves {
    async fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        let version = async { storage::schema_version(&mut *self.database.acquire().await?).await };
        match version.await {
            Ok(Some(version)) if version >= storage::SCHEMA_VERSION => {}
            Ok(version) => missing.push(format!(
                "the database has schema version {}, this hub needs {}",
                version.unwrap_or(0),
                storage::SCHEMA_VERSION
            )),
            Err(error) => missing.push(format!("the database does not answer: {error}")),
        }
        if !self.fleet.is_listed() {
            missing.push("the nodes are not listed yet".to_owned());
        }
        missing
    }
}

/// Runs the hub until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start.
pub async fn run(arguments: Arguments) -> Result<(), RunError> {
    words::install(&WORDS);
    let stop = lifecycle::cancelled_by_signals()?;
    let keys = KeyRing::read(arguments.mounts.clone(), &arguments.issuer())?;
    let database = Database::new(arguments.mounts.clone(), arguments.pool_size, "fateh-hub")?;
    let metrics = Metrics::new(database.clone())?;
    let client = Client::try_default().await.map_err(|error| RunError::Kubernetes(Box::new(error)))?;
    let (fleet, writer) = Fleet::new();
    let state = AppState::new(&arguments, database.clone(), keys, client.clone(), fleet.clone(), metrics.clone());

    let management_listener = TcpListener::bind(arguments.management_address).await?;
    let listener = listen(arguments.http_address)?;
    tracing::info!(issuer = state.issuer, version = env!("CARGO_PKG_VERSION"), "the hub serves");
    let serves = Serves { database, fleet: fleet.clone() };
    let readiness = management::router(metrics.registry.clone(), serves, stop.clone());
    let management = tokio::spawn(management::serve(management_listener, readiness, CancellationToken::new()));

    let tasks = TaskTracker::new();
    tasks.spawn(fleet.follow(writer, client, stop.clone()));
    tasks.spawn(keep_order(state.clone(), stop.clone()));
    tasks.spawn(reconciliation::show_gaps(state.clone(), stop.clone()));
    let (following, until) = (state.clone(), stop.clone());
    tasks.spawn(async move { following.keys.follow(until).await });
    tasks.spawn(serve(listener, routes::router(state), metrics.requests, stop.clone()));
    tasks.close();
    lifecycle::drain(&stop, tasks.wait()).await;
    management.abort();
    tracing::info!("the hub has stopped");
    Ok(())
}

/// Deletes what no longer holds, now and then, until `stop`.
async fn keep_order(state: AppState, stop: CancellationToken) {
    loop {
        let kept = async { state.identity.clean_up(&mut *state.database.acquire().await?).await };
        if let Err(error) = kept.await {
            tracing::warn!(%error, "the database could not be kept in order");
        }
        tokio::select! {
            () = tokio::time::sleep(ORDER_INTERVAL) => {}
            () = stop.cancelled() => return,
        }
    }
}
