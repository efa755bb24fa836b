//! Starts the operator: clients, caches, controllers and the management port; and ends it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fateh_common::{
    clock::Clock,
    lifecycle,
    management::{self, Readiness},
};
use fateh_crds::{CHILD_NAME, DatabaseServer, NodeReport};
use futures::{Stream, StreamExt};
use http::{Method, Request};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Config, ResourceExt,
    client::{Body, ClientBuilder},
    runtime::{
        WatchStreamExt,
        events::{Recorder, Reporter},
        reflector,
        watcher::{self, Event, watcher},
    },
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{BoxError, filter::FilterLayer};

use crate::{
    backoff::Backoff,
    context::Context,
    database::Servers,
    database_server,
    kubernetes::FIELD_MANAGER,
    leadership::{Candidate, Fence},
    local_node,
    metrics::Metrics,
    settings::Settings,
    throttle::Throttle,
};

/// The size of a database in status moves at most this often.
const SIZE_INTERVAL: Duration = Duration::from_secs(600);

/// Why the operator could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No usable configuration or no answer from Kubernetes.
    #[error("reach the Kubernetes API server")]
    Kubernetes(#[from] kube::Error),
    /// The management port could not be opened, or signals not be heard.
    #[error("open the management port {0}")]
    Listen(std::net::SocketAddr, #[source] std::io::Error),
    /// Signals could not be heard.
    #[error("listen for signals")]
    Signals(#[source] std::io::Error),
    /// The lease was lost, and with it the right to act: the process ends, and stands by when it is started again.
    #[error("the leader's lease was lost")]
    LeaseLost,
    /// A metric is named twice.
    #[error("register the metrics")]
    Metrics(#[from] prometheus::Error),
    /// Another part of the program has chosen a TLS provider first.
    #[error("a TLS provider was installed before ours")]
    TlsProvider,
}

/// Ready while standing by, and as the leader once both caches are filled.
struct Caches {
    leading: CancellationToken,
    /// Cancelled when the first listing is in the cache. Not kube's `wait_until_ready`, which wakes only the
    /// last of several who wait: a probe could take the wake-up from a controller.
    servers_filled: CancellationToken,
    reports_filled: CancellationToken,
}

impl Readiness for Caches {
    async fn missing(&self) -> Vec<String> {
        let wanted = [(&self.servers_filled, "DatabaseServers"), (&self.reports_filled, "NodeReports")];
        let waiting = wanted.into_iter().filter(|(filled, _)| self.leading.is_cancelled() && !filled.is_cancelled());
        waiting.map(|(_, what)| format!("waiting for the watch of {what}")).collect()
    }
}

/// Passes events through, and cancels the token after the first listing.
fn note_filled<K, S>(
    events: S,
    filled: &CancellationToken,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + use<K, S>
where
    S: Stream<Item = Result<Event<K>, watcher::Error>>,
{
    let filled = filled.clone();
    events.inspect(move |event| {
        if matches!(event, Ok(Event::InitDone)) {
            filled.cancel();
        }
    })
}

/// A client whose writes are refused while the fence is shut, whatever a reconcile believes.
fn fenced_client(config: Config, fence: Fence) -> Result<Client, kube::Error> {
    let check = FilterLayer::new(move |request: Request<Body>| {
        let reads = request.method() == Method::GET;
        if reads || fence.is_open() { Ok(request) } else { Err(BoxError::from("this operator's lease may have ended")) }
    });
    Ok(ClientBuilder::try_from(config)?.with_layer(&check).build())
}

/// Runs the operator until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start.
pub async fn run(settings: Settings) -> Result<(), RunError> {
    rustls::crypto::ring::default_provider().install_default().map_err(|_| RunError::TlsProvider)?;
    let stop = lifecycle::cancelled_by_signals().map_err(RunError::Signals)?;
    let config = Config::infer().await.map_err(kube::Error::InferConfig)?;
    // The election has a client of its own: the fence does not stand in its way.
    let client = Client::try_from(config.clone())?;
    let fence = Fence::default();
    let fenced = fenced_client(config, fence.clone())?;
    let kube_system = Api::<Namespace>::all(client.clone()).get("kube-system").await?;
    let address = settings.management_address;
    let listener = TcpListener::bind(address).await.map_err(|error| RunError::Listen(address, error))?;

    let (servers, servers_writer) = reflector::store();
    let caches = Caches {
        leading: CancellationToken::new(),
        servers_filled: CancellationToken::new(),
        reports_filled: CancellationToken::new(),
    };
    let (leading, servers_filled) = (caches.leading.clone(), caches.servers_filled.clone());
    let all_servers = watcher(Api::<DatabaseServer>::all(client.clone()), watcher::Config::default());
    let watched_servers =
        note_filled(all_servers.default_backoff().reflect(servers_writer), &caches.servers_filled).applied_objects();
    let (reports, reports_writer) = reflector::store();
    let named = watcher::Config::default().fields(&format!("metadata.name={CHILD_NAME}"));
    let all_reports = watcher(Api::<NodeReport>::all(client.clone()), named)
        .default_backoff()
        .modify(|report| report.managed_fields_mut().clear());
    let watched_reports = note_filled(all_reports.reflect(reports_writer), &caches.reports_filled).touched_objects();

    let metrics = Metrics::new()?;
    let clock = Clock::system();
    let mut candidate = Candidate::new(client, &settings.namespace, clock.clone(), fence.clone());
    let context = Arc::new(Context {
        recorder: Recorder::new(fenced.clone(), Reporter { controller: FIELD_MANAGER.to_owned(), instance: None }),
        client: fenced,
        cluster: kube_system.uid().unwrap_or_default(),
        clock: clock.clone(),
        servers: Servers::new(fence),
        database_servers: servers.clone(),
        reports: reports.clone(),
        reports_since: Instant::now(),
        backoff: Backoff::default(),
        sizes: Throttle::new(SIZE_INTERVAL),
        metrics: metrics.clone(),
        settings,
    });
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "the operator starts");

    let router = management::router(metrics.registry, caches, stop.clone());
    // The management port stays open while work drains, and says that the operator is not ready.
    let serving = tokio::spawn(management::serve(listener, router, CancellationToken::new()));

    tokio::select! {
        () = candidate.win() => {}
        () = stop.cancelled() => return Ok(()),
    }
    leading.cancel();
    let tasks = TaskTracker::new();
    tasks.spawn(database_server::run(Arc::clone(&context), watched_servers, servers, stop.clone()));
    // Without the servers every node would look as if it had none.
    tokio::select! {
        () = servers_filled.cancelled() => {}
        () = stop.cancelled() => {}
    }
    tasks.spawn(local_node::run(context, watched_reports, stop.clone()));
    tasks.close();
    if candidate.hold(&stop).await {
        return Err(RunError::LeaseLost);
    }
    // The fence holds for the length of a lease; what is not done by then is the next leader's.
    lifecycle::drain(&stop, tasks.wait()).await;
    candidate.release().await;
    serving.abort();
    tracing::info!("the operator has stopped");
    Ok(())
}
