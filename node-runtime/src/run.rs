//! Starts the runtime: configuration, database, both ports and the reporter; and ends it.

use std::time::Duration;

use fateh_common::{
    clock::Clock,
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
    WORDS,
    config::{self, Arguments},
    distribution,
    hub_client::{Hub, HubError},
    metrics::Metrics,
    report, routes,
    state::AppState,
    storage, sync,
};

/// How often the database is kept in order.
const ORDER_INTERVAL: Duration = Duration::from_secs(600);

/// Why the runtime could not start, or stopped.
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
    /// The way to the hub cannot be prepared.
    #[error("prepare the way to the hub")]
    Hub(#[from] HubError),
}

/// Ready while the database answers with a schema that this runtime knows.
struct DatabaseAnswers(Database);

impl Readiness for DatabaseAnswers {
    async fn missing(&self) -> Vec<String> {
        let version = async { storage::schema_version(&mut *self.0.acquire().await?).await };
        match version.await {
            Ok(Some(version)) if version >= storage::SCHEMA_VERSION => Vec::new(),
            Ok(version) => vec![format!(
                "the database has schema version {}, this runtime needs {}",
                version.unwrap_or(0),
                storage::SCHEMA_VERSION
            )],
            Err(error) => vec![format!("the database does not answer: {error}")],
        }
    }
}

/// Runs the runtime until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start.
pub async fn run(arguments: Arguments) -> Result<(), RunError> {
    words::install(&WORDS);
    let stop = lifecycle::cancelled_by_signals()?;
    let node = config::read_node(&arguments.mounts)?;
    let keys = KeyRing::read(arguments.mounts.clone(), &node.url)?;
    let hub = Hub::new(node.hub_url.clone(), arguments.mounts.join("hub-token/token"))?;
    let database = Database::new(arguments.mounts, node.pool_size, "node-runtime")?;
    let metrics = Metrics::new()?;
    metrics.show_connections(database.clone())?;
    let state = AppState::new(node, database.clone(), Clock::system(), keys, hub);

    let management_listener = TcpListener::bind(arguments.management_address).await?;
    let listener = listen(arguments.http_address)?;
    tracing::info!(node = state.node.slug, version = env!("CARGO_PKG_VERSION"), "the node serves");
    let readiness = management::router(metrics.registry.clone(), DatabaseAnswers(database), stop.clone());
    let management = tokio::spawn(management::serve(management_listener, readiness, CancellationToken::new()));

    let tasks = TaskTracker::new();
    tasks.spawn(keep_in_touch(state.clone(), metrics.clone(), stop.clone()));
    tasks.spawn(sync::run(state.clone(), metrics.clone(), stop.clone()));
    tasks.spawn(keep_order(state.clone(), stop.clone()));
    let (following, until) = (state.clone(), stop.clone());
    tasks.spawn(async move { following.keys.follow(until).await });
    let router = routes::router(state, &metrics);
    tasks.spawn(serve(listener, router, metrics.requests, stop.clone()));
    tasks.close();
    lifecycle::drain(&stop, tasks.wait()).await;
    management.abort();
    tracing::info!("the node has stopped");
    Ok(())
}

/// Reports, and does what the node is told, when there is an API server; without one the node serves all the same.
async fn keep_in_touch(state: AppState, metrics: Metrics, stop: CancellationToken) {
    match Client::try_default().await {
        Ok(client) => {
            let told = distribution::run(state.clone(), client.clone(), stop.clone());
            tokio::join!(report::run(state, client, metrics, stop), told);
        }
        Err(error) => tracing::warn!(%error, "the node is on its own: it runs outside Kubernetes"),
    }
}

/// Deletes what no longer holds and sums up the hours that have ended, now and then, until `stop`. Whichever replica is
/// first finds the most.
async fn keep_order(state: AppState, stop: CancellationToken) {
    loop {
        let kept = async {
            let mut connection = state.database.acquire().await?;
            state.identity.clean_up(&mut connection).await?;
            storage::reports::close_hours(&mut connection, state.clock.now()).await
        };
        if let Err(error) = kept.await {
            tracing::warn!(%error, "the database could not be kept in order");
        }
        tokio::select! {
            () = tokio::time::sleep(ORDER_INTERVAL) => {}
            () = stop.cancelled() => return,
        }
    }
}
