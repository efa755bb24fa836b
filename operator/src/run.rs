//! Starts the operator: clients, caches, controllers and the management port; and ends it.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use fateh_common::{
    clock::Clock,
    lifecycle,
    management::{self, Readiness},
};
use fateh_crds::{CHILD_NAME, ContentDistribution, DatabaseServer, NodeReport};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Config, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    alarms::Alarms,
    applied::Applied,
    backoff::Backoff,
    cache::Cache,
    client,
    context::Context,
    database::{Schema, Servers},
    database_server,
    leadership::{Candidate, Fence},
    local_node::{self, Placements, Watches},
    metrics::{Metrics, fleet},
    node_summary::{NodeSummary, WatchedNode},
    rollout::Rollouts,
    settings::Settings,
    throttle::Throttle,
    watch,
};

/// The size of a database in status moves at most this often.
const SIZE_INTERVAL: Duration = Duration::from_secs(600);

/// How long an API server that is away is waited for before it is asked again.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why the operator could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No usable configuration or no answer from Kubernetes.
    #[error("reach the Kubernetes API server")]
    Kubernetes(#[from] kube::Error),
    /// The management port could not be opened, or signals not be heard.
    #[error("open the management port {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// Signals could not be heard.
    #[error("listen for signals")]
    Signals(#[source] std::io::Error),
    /// The lease was lost, and with it the right to act: the process ends, and stands by when it is started again.
    #[error("the leader's lease was lost")]
    LeaseLost,
    /// A metric is named twice.
    #[error("register the metrics")]
    Metrics(#[from] prometheus::Error),
    /// The way to the hub cannot be prepared.
    #[error("prepare the way to the hub")]
    Hub(#[source] reqwest::Error),
}

/// Ready while standing by, and as the leader once both caches are filled.
struct Caches {
    leading: CancellationToken,
    /// Cancelled when the first listing is in the cache. Not kube's `wait_until_ready`, which wakes only the
    /// last of several who wait: a probe could take the wake-up from a controller.
    servers_filled: CancellationToken,
    nodes_filled: CancellationToken,
    reports_filled: CancellationToken,
}

impl Readiness for Caches {
    async fn missing(&self) -> Vec<String> {
        let wanted = [
            (&self.servers_filled, "DatabaseServers"),
            (&self.nodes_filled, "LocalNodes"),
            (&self.reports_filled, "NodeReports"),
        ];
        let waiting = wanted.into_iter().filter(|(filled, _)| self.leading.is_cancelled() && !filled.is_cancelled());
        waiting.map(|(_, what)| format!("waiting for the watch of {what}")).collect()
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|error| RunError::Listen(address, error))
}

/// The operator's metrics, the fleet's figures among them.
fn metrics(
    nodes: Cache<NodeSummary>,
    servers: Cache<DatabaseServer>,
    distributions: Cache<ContentDistribution>,
) -> Result<Metrics, prometheus::Error> {
    let metrics = Metrics::new()?;
    fleet::show(&metrics.registry, fleet::Caches { nodes, servers, distributions })?;
    Ok(metrics)
}

/// UID of the cluster, as soon as the API server tells it; none when `stop` comes first.
///
/// An operator that ended because the API server is away would be started later and later.
async fn cluster(client: &Client, stop: &CancellationToken) -> Option<String> {
    let namespaces = Api::<Namespace>::all(client.clone());
    loop {
        let asked = tokio::time::timeout(PATIENCE, namespaces.get("kube-system")).await;
        match asked.map(|answer| answer.map(|namespace| namespace.uid())) {
            Ok(Ok(Some(uid))) => return Some(uid),
            Ok(Ok(None)) => tracing::warn!("the namespace kube-system has no UID"),
            Ok(Err(error)) => tracing::warn!(%error, "waiting for the API server"),
            Err(_) => tracing::warn!("waiting for the API server, which does not answer"),
        }
        tokio::select! {
            () = tokio::time::sleep(PATIENCE) => {}
            () = stop.cancelled() => return None,
        }
    }
}

/// Runs the operator until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start.
pub async fn run(settings: Settings) -> Result<(), RunError> {
    let stop = lifecycle::cancelled_by_signals().map_err(RunError::Signals)?;
    let config = Config::infer().await.map_err(kube::Error::InferConfig)?;
    // The election has a client of its own: the fence does not stand in its way.
    let client = Client::try_from(config.clone())?;
    let fence = if settings.leader_election { Fence::default() } else { Fence::open() };
    let fenced = client::fenced(config, fence.clone())?;
    let listener = listen(settings.management_address).await?;

    let servers = Cache::default();
    let caches = Caches {
        leading: CancellationToken::new(),
        servers_filled: CancellationToken::new(),
        nodes_filled: CancellationToken::new(),
        reports_filled: CancellationToken::new(),
    };
    let leading = caches.leading.clone();
    let (servers_filled, nodes_filled) = (caches.servers_filled.clone(), caches.nodes_filled.clone());
    let (resync, everything) = (settings.resync_interval, watcher::Config::default);
    let all_servers = watch::events(Api::<DatabaseServer>::all(client.clone()), everything(), resync);
    let watched_servers = watch::note_filled(servers.fill(all_servers), &caches.servers_filled).applied_objects();
    let nodes = Cache::default();
    let all_nodes = watch::reduced(watch::events(Api::<WatchedNode>::all(client.clone()), everything(), resync));
    let (wake, woken) = tokio::sync::mpsc::unbounded_channel();
    let rollouts = Rollouts::new(&client, &settings).map_err(RunError::Hub)?;
    let of_nodes = rollouts.signals.clone();
    let watched_nodes = watch::note_filled(nodes.fill(all_nodes), &caches.nodes_filled)
        .inspect_ok(move |event| of_nodes.nodes(event))
        .applied_objects();
    let reports = Cache::default();
    let named = everything().fields(&format!("metadata.name={CHILD_NAME}"));
    let all_reports = watch::reduced(watch::events(Api::<NodeReport>::all(client.clone()), named, resync));
    let reports_since = Arc::new(OnceLock::new());
    let since = Arc::clone(&reports_since);
    let watched_reports = watch::note_filled(reports.fill(all_reports), &caches.reports_filled)
        .inspect_ok(move |event| {
            if matches!(event, Event::InitDone) {
                since.get_or_init(Instant::now);
            }
        })
        .touched_objects();
    let metrics = metrics(nodes.clone(), servers.clone(), rollouts.distributions())?;
    let clock = Clock::system();
    let mut candidate = settings
        .leader_election
        .then(|| Candidate::new(client.clone(), &settings.namespace, clock.clone(), fence.clone()));
    let router = management::router(metrics.registry.clone(), caches, stop.clone());
    // The management port is open before the API server answers, and while work drains.
    let serving = tokio::spawn(management::serve(listener, router, CancellationToken::new()));
    let Some(cluster) = cluster(&client, &stop).await else { return Ok(()) };
    let context = Arc::new(Context {
        client: fenced,
        cluster,
        clock: clock.clone(),
        servers: Servers::new(Schema::of_nodes(), fence),
        database_servers: servers,
        nodes,
        nodes_filled,
        placements: Placements::default(),
        applied: Applied::default(),
        wake,
        reports,
        contents: rollouts.contents(),
        reports_since,
        alarms: Alarms::default(),
        backoff: Backoff::default(),
        sizes: Throttle::new(SIZE_INTERVAL),
        metrics,
        settings,
    });
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "the operator starts");

    if let Some(candidate) = &mut candidate {
        tokio::select! {
            () = candidate.win() => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
    leading.cancel();
    let tasks = TaskTracker::new();
    tasks.spawn(database_server::run(Arc::clone(&context), watched_servers, servers_filled.clone(), stop.clone()));
    // Without the servers every node would look as if it had none.
    tokio::select! {
        () = servers_filled.cancelled() => {}
        () = stop.cancelled() => {}
    }
    let watches = Watches { nodes: watched_nodes, reports: watched_reports, woken };
    tasks.spawn(local_node::run(Arc::clone(&context), watches, stop.clone()));
    tasks.spawn(rollouts.run(context, stop.clone()));
    tasks.close();
    if let Some(candidate) = &mut candidate
        && candidate.hold(&stop).await
    {
        return Err(RunError::LeaseLost);
    }
    // The fence holds for the length of a lease; what is not done by then is the next leader's.
    lifecycle::drain(&stop, tasks.wait()).await;
    if let Some(candidate) = &candidate {
        candidate.release().await;
    }
    serving.abort();
    tracing::info!("the operator has stopped");
    Ok(())
}
