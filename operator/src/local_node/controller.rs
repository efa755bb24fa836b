//! Wires the steps together: what starts a reconcile, and what one reconcile is.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fateh_crds::{
    CHILD_NAME, DatabaseServer, DatabaseStatus, LocalNode, LocalNodeStatus, NODE_FINALIZER, NodeContent, NodeReport,
    Phase,
};
use futures::{
    FutureExt, Stream, StreamExt,
    future::{self, BoxFuture},
    stream,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, Secret, Service, ServiceAccount},
    networking::v1::{Ingress, NetworkPolicy},
    policy::v1::PodDisruptionBudget,
    rbac::v1::RoleBinding,
};
use kube::{
    Api, Resource, ResourceExt,
    api::ApiResource,
    runtime::{
        WatchStreamExt,
        events::EventType,
        watcher::{self, Event},
    },
};
use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{
    apply, build,
    build::{DATABASE_SECRET, INVITATION_SECRET, SIGNING_KEY_SECRET, TLS_READER},
    content,
    delete::{self, Step},
    observe,
    report::{self, Admin, Pass},
    reporting::{self, Report},
    validate::{ValidNode, validate},
};
use crate::{
    cache::Keyed,
    conditions,
    context::Context,
    database_server::hold_server,
    failure::{Disposition, Failure},
    gateway::{self, Gateway, HttpRoute},
    kubernetes::{apply_part, apply_status, find, has_finalizer, remove_finalizer},
    news::hash,
    node_summary::NodeSummary,
    watch::{self, Child, Heed},
    work_queue::{Again, Terms, work},
};

const KIND: &str = "LocalNode";
/// What events say was being done.
const ACTION: &str = "Reconcile";
/// Longer than any pass that goes well; the client alone would retry for minutes.
const DEADLINE: Duration = Duration::from_secs(60);
/// How soon an object that a person must mend is looked at again without a watched change.
const STALLED_RECHECK: Duration = Duration::from_secs(10);

/// The watches behind the caches that reconciles read from.
pub struct Watches<N, R> {
    /// Events of LocalNodes, which fill the cache.
    pub nodes: N,
    /// Changes of NodeReports.
    pub reports: R,
    /// Names of nodes that are to be looked at, from the context's `wake`.
    pub woken: UnboundedReceiver<String>,
}

/// Runs the controller until `stop`, when it finishes what it has begun.
pub async fn run<N, R>(context: Arc<Context>, watches: Watches<N, R>, stop: CancellationToken)
where
    N: Stream<Item = Result<NodeSummary, watcher::Error>> + Send + 'static,
    R: Stream<Item = Result<Report, watcher::Error>> + Send + 'static,
{
    let Watches { nodes, reports, woken } = watches;
    let resync = context.settings.resync_interval;
    let servers = watch::events(Api::<DatabaseServer>::all(context.client.clone()), watcher::Config::default(), resync);
    let changed_servers =
        watch::changes("DatabaseServer", servers.applied_objects(), |server| Some(server.key()), server_state);
    let all_nodes = context.nodes.clone();
    let asked = stream::select_all([
        watch::changes(KIND, nodes, |node| Some(&node.name), asked).boxed(),
        watch::changes("NodeReport", reports, Report::node, figures).boxed(),
        changed_servers.flat_map(move |_| stream::iter(all_nodes.keys())).boxed(),
        changed_children(&context).boxed(),
        gateway_changes(&context).boxed(),
        stream::unfold(woken, async |mut woken| Some((woken.recv().await?, woken))).boxed(),
        alarms(&context).boxed(),
        reporting::changes(Arc::clone(&context)).boxed(),
    ]);
    let terms =
        Terms { concurrency: context.settings.concurrency.into(), begin: context.nodes_filled.clone(), end: stop };
    work(asked, terms, |name| {
        let context = Arc::clone(&context);
        let span = tracing::info_span!("reconcile", node = &*name);
        async move { reconcile(&context, &name).await }.instrument(span)
    })
    .await;
}

/// The nodes whose children changed or went, all kinds together.
fn changed_children(context: &Arc<Context>) -> impl Stream<Item = String> + Send + 'static {
    let children = |resource: ApiResource, name: Option<&'static str>, heed: Heed| {
        watch::children(context, resource, Child { name, heed }).boxed()
    };
    let node = Some(CHILD_NAME);
    // Not watched where nodes have Ingresses: the type may not be there.
    let at_gateway = context.settings.routing.gateway.as_ref();
    let http_routes = at_gateway.map(|_| children(ApiResource::erase::<HttpRoute>(&()), node, Heed::Changes));
    stream::select_all(http_routes.into_iter().chain([
        children(ApiResource::erase::<Namespace>(&()), None, Heed::ChangesAndAbsence),
        children(ApiResource::erase::<Deployment>(&()), node, Heed::ChangesAndAbsence),
        children(ApiResource::erase::<Service>(&()), node, Heed::ChangesAndAbsence),
        children(ApiResource::erase::<Ingress>(&()), node, Heed::Changes),
        children(ApiResource::erase::<ConfigMap>(&()), node, Heed::ChangesAndAbsence),
        children(ApiResource::erase::<ServiceAccount>(&()), node, Heed::ChangesAndAbsence),
        children(ApiResource::erase::<RoleBinding>(&()), node, Heed::ChangesAndAbsence),
        children(ApiResource::erase::<RoleBinding>(&()), Some(TLS_READER), Heed::Changes),
        children(ApiResource::erase::<NetworkPolicy>(&()), node, Heed::ChangesAndAbsence),
        children(ApiResource::erase::<PodDisruptionBudget>(&()), node, Heed::Changes),
        children(ApiResource::erase::<Secret>(&()), Some(DATABASE_SECRET), Heed::ChangesAndAbsence),
        children(ApiResource::erase::<Secret>(&()), Some(SIGNING_KEY_SECRET), Heed::ChangesAndAbsence),
        children(ApiResource::erase::<Secret>(&()), Some(INVITATION_SECRET), Heed::Changes),
        children(ApiResource::erase::<NodeReport>(&()), node, Heed::Absence),
        children(ApiResource::erase::<NodeContent>(&()), node, Heed::Absence),
    ]))
}

/// All nodes, each time that the Gateway at which they are routed begins or ceases to serve, or serves other hosts. How
/// many routes are bound to it stands in its status too, and is no news.
fn gateway_changes(context: &Arc<Context>) -> impl Stream<Item = String> + Send + 'static {
    let events = context.settings.routing.gateway.as_ref().map(|gateway| {
        let api = Api::<Gateway>::namespaced(context.client.clone(), &gateway.namespace);
        let named = watcher::Config::default().fields(&format!("metadata.name={}", gateway.name));
        watch::events(api, named, context.settings.resync_interval).boxed()
    });
    let nodes = context.nodes.clone();
    let serving = |gateway: &Gateway| gateway::serving(gateway).map(<[_]>::to_vec);
    let (mut known, mut listed) = (None, None);
    stream::iter(events).flatten().flat_map(move |event| {
        let serves = match event {
            Ok(Event::Init) => {
                listed = None;
                None
            }
            Ok(Event::InitApply(gateway)) => {
                listed = serving(&gateway);
                None
            }
            Ok(Event::InitDone) => Some(listed.take()),
            Ok(Event::Apply(gateway)) => Some(serving(&gateway)),
            Ok(Event::Delete(_)) => Some(None),
            Err(error) => {
                tracing::warn!(%error, "the watch of the Gateway failed");
                None
            }
        };
        // At the first listing every node is reconciled anyway.
        let news = serves.is_some_and(|serves| known.replace(serves.clone()).is_some_and(|before| before != serves));
        stream::iter(if news { nodes.keys() } else { Vec::new() })
    })
}

/// What makes a node worth a pass: what is asked for, by spec or annotation, and that its finalizer is gone.
fn asked(node: &NodeSummary) -> u64 {
    hash(&(&node.uid, node.generation, node.annotations, node.held))
}

/// What of a report makes a difference: all but its time.
fn figures(report: &Report) -> u64 {
    hash(&report.status.as_ref().map(|status| (&status.version, status.admin_state, &status.statistics)))
}

/// What of a server makes a difference to its nodes: its spec, and whether it can be reached.
fn server_state(server: &DatabaseServer) -> u64 {
    let reachable = server.status.as_ref().and_then(|status| conditions::find(&status.conditions, "Reachable"));
    hash(&(&server.metadata.uid, server.metadata.generation, reachable.map(|condition| &condition.status)))
}

/// Looks at a node; one that is not known is none, or was let go.
async fn reconcile(context: &Context, name: &str) -> Again {
    context.nodes.get(name)?;
    let started = Instant::now();
    // As it is now, and not as a watch may lag behind: a status that was taken for the one that is there would be left,
    // and a fee that was in force a moment ago come into force anew.
    let read = find(&Api::<LocalNode>::all(context.client.clone()), "read the LocalNode", name).await;
    let result = match read {
        Ok(Some(node)) => {
            context.applied.begin(&node);
            pass(context, &node).await
        }
        Ok(None) => Ok(None),
        Err(failure) => Err(failure),
    };
    let failure = result.as_ref().err().map(Failure::reason);
    context.metrics.reconciled(KIND, started.elapsed().as_secs_f64(), failure);
    match result {
        Ok(again) => {
            context.backoff.succeeded(name);
            again
        }
        Err(failure) => {
            let wait = context.backoff.failed(name);
            tracing::warn!(node = name, reason = failure.reason(), error = %failure, "a reconcile did not reach its goal");
            Some(wait)
        }
    }
}

/// One pass. Every exit writes status: done, waiting, invalid, failed.
async fn pass(context: &Context, node: &LocalNode) -> Result<Again, Failure> {
    let report = context.reports.get(&fateh_crds::namespace_of(&node.name_any()));
    let reporting = reporting::judged(context, report.as_deref());
    let status = report.and_then(|report| report.status.clone());
    let mut pass = Pass::begin(node.metadata.generation, status, reporting);
    pass.size_may_move = context.sizes.allows(&node.name_any(), Instant::now());
    let outcome = if node.metadata.deletion_timestamp.is_some() {
        match in_time(take_down(context, node, &mut pass).boxed()).await {
            Ok(true) => return Ok(None),
            Ok(false) => Ok(()),
            Err(failure) => {
                pass.deletion = Some((failure.reason(), failure.to_string()));
                Err(failure)
            }
        }
    } else {
        in_time(converge(context, node, &mut pass).boxed()).await
    };
    pass.failure = outcome.err();
    // As late as it can be: others count it meanwhile.
    pass.items = content::items(context, &fateh_crds::namespace_of(&node.name_any()));
    write_status(context, node, &pass).await?;
    match pass.failure.take() {
        Some(failure) if failure.disposition() == Disposition::Recovers => Err(failure),
        Some(failure) => {
            context.metrics.failed(KIND, failure.reason());
            Ok(Some(STALLED_RECHECK))
        }
        None => Ok(next(context, &node.name_any(), &pass)),
    }
}

/// Ends what takes too long; what it did so far is found by the next pass. Boxed: unboxed it would have room for it twice.
async fn in_time<T>(work: BoxFuture<'_, Result<T, Failure>>) -> Result<T, Failure> {
    let timed = tokio::time::timeout(DEADLINE, work).await;
    timed.unwrap_or(Err(Failure::Deadline(DEADLINE.as_secs())))
}

/// What comes after a pass without failure: a watched change, unless a time is awaited.
fn next(context: &Context, node: &str, pass: &Pass) -> Again {
    if pass.deletion.is_some() {
        return Some(Duration::from_secs(5));
    }
    let expiry = match pass.admin {
        Admin::Invited { expires_at } => Some(expires_at),
        _ => None,
    };
    // By the clock on the wall, and whatever else the node is looked at for until then.
    if let Some(time) = expiry.into_iter().chain(pass.wake_at).min() {
        context.alarms.set(node, time);
    }
    None
}

/// The nodes whose time has come.
fn alarms(context: &Arc<Context>) -> impl Stream<Item = String> + Send + 'static {
    let (context, tick) = (Arc::clone(context), tokio::time::interval(Duration::from_secs(1)));
    let due = stream::unfold((context, tick), |(context, mut tick)| async move {
        tick.tick().await;
        Some((context.alarms.due(context.clock.now()), (context, tick)))
    });
    due.flat_map(stream::iter).map(String::from)
}

async fn converge(context: &Context, resource: &LocalNode, pass: &mut Pass) -> Result<(), Failure> {
    let node = validate(resource, &context.settings.routing.base_domain)?;
    pass.state = node.state;
    pass.url = Some(build::url(&node, &context.settings));
    pass.namespace = Some(node.slug.namespace());
    pass.image = Some(build::image(&node, &context.settings).to_owned());
    hold(context, resource, &node).await?;
    let servers = context.database_servers.all();
    let server = context.placements.choose(resource, &servers, || context.nodes.all())?;
    hold_server(context, &server).await?;
    let placement = observe::connect(context, server).await?;
    pass.placed = Some(record_placement(context, resource, &node, &placement.server.name).await?);
    apply::carry_out(context, resource, &node, &placement, pass).await
}

/// Deletes the next thing; true when nothing was left and the finalizer is gone.
async fn take_down(context: &Context, node: &LocalNode, pass: &mut Pass) -> Result<bool, Failure> {
    if !has_finalizer(node, NODE_FINALIZER) {
        return Ok(true);
    }
    match delete::step(context, node).await? {
        Step::Waiting(reason, message) => {
            pass.deletion = Some((reason, message));
            Ok(false)
        }
        Step::Done(note) => {
            let api = Api::<LocalNode>::all(context.client.clone());
            remove_finalizer(&api, "let the LocalNode go", node, NODE_FINALIZER).await?;
            context.publish(node, EventType::Normal, "Deleted", ACTION, &note).await;
            context.backoff.succeeded(&node.name_any());
            context.applied.forget(&node.name_any());
            Ok(true)
        }
    }
}

/// Puts our finalizer and the labels for selectors on the LocalNode, where they are not yet.
async fn hold(context: &Context, resource: &LocalNode, node: &ValidNode) -> Result<(), Failure> {
    let mut labels = vec![(format!("{}/region", fateh_crds::GROUP), node.region.clone())];
    labels.extend(node.country.clone().map(|country| (format!("{}/country", fateh_crds::GROUP), country)));
    let labels: std::collections::BTreeMap<_, _> = labels.into_iter().collect();
    let held = has_finalizer(resource, NODE_FINALIZER);
    // A label for a field that was emptied is to go.
    let ours = |key: &str| ["region", "country"].iter().any(|field| key == format!("{}/{field}", fateh_crds::GROUP));
    let labelled = resource.labels().iter().filter(|(key, _)| ours(key)).eq(labels.iter());
    if held && labelled {
        return Ok(());
    }
    let part = json!({
        "apiVersion": LocalNode::api_version(&()), "kind": KIND,
        "metadata": {"uid": node.uid, "labels": labels, "finalizers": [NODE_FINALIZER]},
    });
    apply_part(&Api::<LocalNode>::all(context.client.clone()), "hold the LocalNode", node.slug.as_str(), &part).await
}

/// Records the server in status before anything is made on it, so that a deletion knows where to look, and
/// returns what is recorded.
async fn record_placement(
    context: &Context,
    resource: &LocalNode,
    node: &ValidNode,
    server: &str,
) -> Result<DatabaseStatus, Failure> {
    let status = resource.status.clone().unwrap_or_default();
    if let Some(recorded) = status.database {
        return Ok(recorded);
    }
    let name = node.slug.database();
    let database = DatabaseStatus {
        server: server.to_owned(),
        role: name.clone(),
        name,
        secret: DATABASE_SECRET.to_owned(),
        ..DatabaseStatus::default()
    };
    send_status(context, resource, &LocalNodeStatus { database: Some(database.clone()), ..status }).await?;
    Ok(database)
}

async fn write_status(context: &Context, node: &LocalNode, pass: &Pass) -> Result<(), Failure> {
    let previous = node.status.clone().unwrap_or_default();
    for reason in &pass.rotated {
        let note = "as asked by annotation; no pod was left without it";
        context.publish(node, EventType::Normal, reason, ACTION, note).await;
    }
    let status = report::status(&previous, pass, context.clock.now());
    if status == previous {
        return Ok(());
    }
    send_status(context, node, &status).await?;
    let size = |status: &LocalNodeStatus| status.database.as_ref().and_then(|database| database.size_bytes);
    if size(&status) != size(&previous) {
        context.sizes.took(&node.name_any(), Instant::now());
    }
    let told = transitions(&previous, &status);
    let published = told.iter().map(|(kind, reason, note)| context.publish(node, *kind, reason, ACTION, note));
    future::join_all(published).await;
    Ok(())
}

async fn send_status(context: &Context, node: &LocalNode, status: &LocalNodeStatus) -> Result<(), Failure> {
    let part = json!({
        "apiVersion": LocalNode::api_version(&()), "kind": KIND,
        "metadata": {"uid": node.uid()}, "status": status,
    });
    let api = Api::<LocalNode>::all(context.client.clone());
    apply_status(&api, "write the status", &node.name_any(), &part).await
}

/// The events that tell what changed: a condition's status or its reason.
fn transitions(previous: &LocalNodeStatus, now: &LocalNodeStatus) -> Vec<(EventType, String, String)> {
    let told = [
        "DatabaseReady",
        "WorkloadAvailable",
        "RouteReady",
        "AdminBootstrapped",
        "Reporting",
        "Ready",
        "DeletionBlocked",
    ];
    let changed =
        now.conditions.iter().filter(|condition| told.contains(&condition.type_.as_str())).filter(|condition| {
            let before = conditions::find(&previous.conditions, &condition.type_);
            before.is_none_or(|before| (&before.status, &before.reason) != (&condition.status, &condition.reason))
        });
    changed
        // A deletion is told by DeletionBlocked alone.
        .filter(|condition| {
            condition.status != "Unknown" && !(now.phase == Phase::Deleting && condition.type_ == "Ready")
        })
        .map(|condition| {
            let as_asked = matches!(condition.reason.as_str(), "Deploying" | "Suspended" | "Inactive");
            let normal = condition.status == "True" || as_asked;
            let kind = if normal { EventType::Normal } else { EventType::Warning };
            (kind, condition.reason.clone(), condition.message.clone())
        })
        .collect()
}
