//! Starts the runtime: configuration, database, both ports and the reporter; and ends it.

use std::time::Duration;

use fateh_common::{
    clock::Clock,
    lifecycle,
    management::{self, Readiness},
    tokens::{KeyError, SigningKey},
};
use kube::Client;
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::{self, Arguments, ConfigError},
    error::ApiError,
    metrics::Metrics,
    passwords::Passwords,
    report, routes,
    state::AppState,
    storage,
};

/// After the signal, requests are still taken for as long as routers need to learn of it.
const LAST_REQUESTS: Duration = Duration::from_secs(3);

/// Why the runtime could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A mounted file cannot be used.
    #[error("read the configuration")]
    Config(#[from] ConfigError),
    /// The signing key cannot be used.
    #[error("read the signing key")]
    SigningKey(#[from] KeyError),
    /// A port could not be opened, or signals not be heard.
    #[error("listen")]
    Listen(#[from] std::io::Error),
    /// A metric is named twice.
    #[error("register the metrics")]
    Metrics(#[from] prometheus::Error),
    /// Passwords cannot be hashed.
    #[error("prepare password hashing")]
    Passwords(#[from] ApiError),
    /// Another part of the program has chosen a TLS provider first.
    #[error("a TLS provider was installed before ours")]
    TlsProvider,
}

/// Ready while the database answers with a schema that this runtime knows.
struct DatabaseAnswers(PgPool);

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
    rustls::crypto::ring::default_provider().install_default().map_err(|_| RunError::TlsProvider)?;
    let stop = lifecycle::cancelled_by_signals()?;
    let node = config::read_node(&arguments.mounts)?;
    let signing_key = SigningKey::from_pem(&config::read_signing_key(&arguments.mounts)?)?;
    let pool = PgPoolOptions::new()
        .max_connections(node.pool_size)
        .acquire_timeout(Duration::from_secs(2))
        .idle_timeout(Duration::from_secs(60))
        .connect_lazy_with(config::read_database(&arguments.mounts)?);
    let metrics = Metrics::new()?;
    let state = AppState::new(node, pool.clone(), Clock::system(), Passwords::new()?, signing_key);

    let management_listener = TcpListener::bind(arguments.management_address).await?;
    let listener = TcpListener::bind(arguments.http_address).await?;
    tracing::info!(node = state.node.slug, version = env!("CARGO_PKG_VERSION"), "the node serves");
    let readiness = management::router(metrics.registry.clone(), DatabaseAnswers(pool), stop.clone());
    let management = tokio::spawn(management::serve(management_listener, readiness, CancellationToken::new()));

    let tasks = TaskTracker::new();
    tasks.spawn(keep_reporting(state.clone(), metrics.clone(), stop.clone()));
    let last_request = delayed(&stop, LAST_REQUESTS);
    tasks.spawn(async move {
        if let Err(error) = management::serve(listener, routes::router(state, metrics), last_request).await {
            tracing::error!(%error, "the node can accept no more connections");
        }
    });
    tasks.close();
    lifecycle::drain(&stop, tasks.wait()).await;
    management.abort();
    tracing::info!("the node has stopped");
    Ok(())
}

/// Reports when there is an API server to report to; without one the node serves all the same.
async fn keep_reporting(state: AppState, metrics: Metrics, stop: CancellationToken) {
    match Client::try_default().await {
        Ok(client) => report::run(state, client, metrics, stop).await,
        Err(error) => tracing::warn!(%error, "the node cannot report: it runs outside Kubernetes"),
    }
}

/// A token that is cancelled a while after `stop`.
fn delayed(stop: &CancellationToken, delay: Duration) -> CancellationToken {
    let (stop, later) = (stop.clone(), CancellationToken::new());
    let delayed = later.clone();
    tokio::spawn(async move {
        stop.cancelled().await;
        tokio::time::sleep(delay).await;
        delayed.cancel();
    });
    later
}
