//! Wires the steps together: what starts a reconcile, and what one reconcile is.

use std::{
    collections::hash_map::DefaultHasher,
    fmt::Debug,
    hash::{Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use fateh_crds::{
    CHILD_NAME, DatabaseServer, DatabaseStatus, LocalNode, LocalNodeStatus, NODE_FINALIZER, NODE_LABEL, NodeContent,
    NodeReport, Phase,
};
use futures::{Stream, StreamExt, future};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, Secret, Service, ServiceAccount},
    networking::v1::{Ingress, NetworkPolicy},
    policy::v1::PodDisruptionBudget,
    rbac::v1::RoleBinding,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    core::PartialObjectMeta,
    runtime::{
        Controller, Predicate, WatchStreamExt,
        controller::{Action, Config},
        events::{Event, EventType},
        predicates,
        reflector::ObjectRef,
        watcher,
    },
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    apply, build,
    build::{DATABASE_SECRET, INVITATION_SECRET, SIGNING_KEY_SECRET},
    delete::{self, Step},
    observe,
    place::place,
    report::{self, Admin, Pass},
    reporting,
    validate::{ValidNode, validate},
};
use crate::{
    conditions,
    context::Context,
    failure::{Disposition, Failure, kubernetes},
    kubernetes::{apply_part, apply_status},
};

const KIND: &str = "LocalNode";
/// Longer than any pass that goes well; the client alone would retry for minutes.
const DEADLINE: Duration = Duration::from_secs(60);
/// How soon an object that a person must mend is looked at again without a watched change.
const STALLED_RECHECK: Duration = Duration::from_secs(10);

/// Runs the controller until `stop`, when it finishes what it has begun.
///
/// `reports` is the watch behind the context's cache of NodeReports.
pub async fn run(
    context: Arc<Context>,
    reports: impl Stream<Item = Result<NodeReport, watcher::Error>> + Send + 'static,
    stop: CancellationToken,
) {
    let client = context.client.clone();
    let nodes = Api::<LocalNode>::all(client.clone());
    let (reader, writer) = kube::runtime::reflector::store();
    let changed_nodes = watcher(nodes, watcher::Config::default())
        .default_backoff()
        .modify(|node| node.managed_fields_mut().clear())
        .reflect(writer)
        .applied_objects()
        .predicate_filter(
            predicates::generation.combine(predicates::finalizers).combine(predicates::annotations),
            kube::runtime::PredicateConfig::default(),
        );
    let changed_reports = reports.predicate_filter(figures, kube::runtime::PredicateConfig::default());
    let all_nodes = reader.clone();
    let changed_servers = watcher(Api::<DatabaseServer>::all(client.clone()), watcher::Config::default())
        .default_backoff()
        .applied_objects()
        .predicate_filter(server_state, kube::runtime::PredicateConfig::default());
    let on_server = move |_: DatabaseServer| {
        all_nodes.state().iter().map(|node| ObjectRef::from_obj(node.as_ref())).collect::<Vec<_>>()
    };
    let named = |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}"));
    let api = &client;
    let controller = Controller::for_stream(changed_nodes, reader)
        .with_config(Config::default().concurrency(context.settings.concurrency))
        .watches_stream(changed_reports, by_label)
        .watches_stream(changed_servers, on_server)
        .watches_stream(children::<Namespace>(api, watcher::Config::default().labels(NODE_LABEL)), by_label)
        .watches_stream(children::<Deployment>(api, named(CHILD_NAME)), by_label)
        .watches_stream(children::<Service>(api, named(CHILD_NAME)), by_label)
        .watches_stream(children::<Ingress>(api, named(CHILD_NAME)), by_label)
        .watches_stream(children::<ConfigMap>(api, named(CHILD_NAME)), by_label)
        .watches_stream(children::<ServiceAccount>(api, named(CHILD_NAME)), by_label)
        .watches_stream(children::<RoleBinding>(api, named(CHILD_NAME)), by_label)
        .watches_stream(children::<NetworkPolicy>(api, named(CHILD_NAME)), by_label)
        .watches_stream(children::<PodDisruptionBudget>(api, named(CHILD_NAME)), by_label)
        .watches_stream(children::<Secret>(api, named(DATABASE_SECRET)), by_label)
        .watches_stream(children::<Secret>(api, named(SIGNING_KEY_SECRET)), by_label)
        .watches_stream(children::<Secret>(api, named(INVITATION_SECRET)), by_label)
        .watches_stream(deletions::<NodeReport>(api, named(CHILD_NAME)), by_label)
        .watches_stream(deletions::<NodeContent>(api, named(CHILD_NAME)), by_label)
        .reconcile_on(reporting::changes(Arc::clone(&context)))
        .graceful_shutdown_on(stop.cancelled_owned());
    controller.run(reconcile, error_policy, context).for_each(|_| future::ready(())).await;
}

/// Changes to one kind of child, as metadata only.
fn children<K>(
    client: &kube::Client,
    config: watcher::Config,
) -> impl Stream<Item = Result<PartialObjectMeta<K>, watcher::Error>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    watcher(Api::<PartialObjectMeta<K>>::all(client.clone()), config).default_backoff().touched_objects()
}

/// Deletions of one kind of child, where other changes are the nodes' own and start no reconcile.
fn deletions<K>(
    client: &kube::Client,
    config: watcher::Config,
) -> impl Stream<Item = Result<PartialObjectMeta<K>, watcher::Error>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let events = watcher(Api::<PartialObjectMeta<K>>::all(client.clone()), config).default_backoff();
    events.filter_map(|event| {
        future::ready(match event {
            Ok(watcher::Event::Delete(object)) => Some(Ok(object)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
    })
}

/// The node that an object belongs to, by its label: owner references of a cluster-scoped owner
/// would be looked for in the child's namespace.
fn by_label<K: ResourceExt>(object: K) -> Option<ObjectRef<LocalNode>> {
    object.labels().get(NODE_LABEL).map(|slug| ObjectRef::new(slug))
}

/// What of a report makes a difference: all but its time.
#[expect(clippy::unnecessary_wraps, reason = "the signature of a predicate")]
fn figures(report: &NodeReport) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    if let Some(status) = &report.status {
        (&status.version, status.admin_state, &status.statistics).hash(&mut hasher);
    }
    Some(hasher.finish())
}

/// What of a server makes a difference to its nodes: its spec, and whether it can be reached.
#[expect(clippy::unnecessary_wraps, reason = "the signature of a predicate")]
fn server_state(server: &DatabaseServer) -> Option<u64> {
    let reachable = server.status.as_ref().and_then(|status| conditions::find(&status.conditions, "Reachable"));
    let mut hasher = DefaultHasher::new();
    (server.metadata.generation, reachable.map(|condition| &condition.status)).hash(&mut hasher);
    Some(hasher.finish())
}

async fn reconcile(node: Arc<LocalNode>, context: Arc<Context>) -> Result<Action, Failure> {
    let started = Instant::now();
    let result = pass(&context, &node).await;
    let failure = result.as_ref().err().map(Failure::reason);
    context.metrics.reconciled(KIND, started.elapsed().as_secs_f64(), failure);
    if result.is_ok() {
        context.backoff.succeeded(&node.name_any());
    }
    result
}

fn error_policy(node: Arc<LocalNode>, failure: &Failure, context: Arc<Context>) -> Action {
    let wait = context.backoff.failed(&node.name_any());
    tracing::warn!(node = node.name_any(), reason = failure.reason(), error = %failure, "a reconcile did not reach its goal");
    Action::requeue(wait)
}

/// One pass. Every exit writes status: done, waiting, invalid, failed.
async fn pass(context: &Context, node: &LocalNode) -> Result<Action, Failure> {
    let report = reporting::report_of(&context.reports, &fateh_crds::namespace_of(&node.name_any()));
    let reporting = reporting::judged(context, report.as_deref());
    let status = report.and_then(|report| report.status.clone());
    let mut pass = Pass::begin(node.metadata.generation, status, reporting);
    pass.size_may_move = context.sizes.allows(&node.name_any(), Instant::now());
    let outcome = if node.metadata.deletion_timestamp.is_some() {
        match in_time(take_down(context, node, &mut pass)).await {
            Ok(true) => return Ok(Action::await_change()),
            Ok(false) => Ok(()),
            Err(failure) => {
                pass.deletion = Some((failure.reason(), failure.to_string()));
                Err(failure)
            }
        }
    } else {
        in_time(converge(context, node, &mut pass)).await
    };
    pass.failure = outcome.err();
    write_status(context, node, &pass).await?;
    match pass.failure.take() {
        Some(failure) if failure.disposition() == Disposition::Recovers => Err(failure),
        Some(failure) => {
            context.metrics.failed(KIND, failure.reason());
            Ok(Action::requeue(STALLED_RECHECK))
        }
        None => Ok(next(&pass, context.clock.now())),
    }
}

/// Ends what takes too long; what it did so far is found by the next pass.
async fn in_time<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let timed = tokio::time::timeout(DEADLINE, work).await;
    timed.unwrap_or(Err(Failure::Deadline(DEADLINE.as_secs())))
}

/// What comes after a pass without failure: a watched change, unless a time is awaited.
fn next(pass: &Pass, now: Timestamp) -> Action {
    if pass.deletion.is_some() {
        return Action::requeue(Duration::from_secs(5));
    }
    match pass.admin {
        Admin::Invited { expires_at } => {
            let left = Duration::try_from(expires_at.duration_since(now)).unwrap_or(Duration::ZERO);
            Action::requeue(left + Duration::from_secs(1))
        }
        _ => Action::await_change(),
    }
}

async fn converge(context: &Context, resource: &LocalNode, pass: &mut Pass) -> Result<(), Failure> {
    let node = validate(resource, &context.settings.routing.base_domain)?;
    pass.state = node.state;
    pass.url = Some(build::url(&node, &context.settings));
    pass.namespace = Some(node.slug.namespace());
    pass.image = Some(build::image(&node, &context.settings).to_owned());
    hold(context, resource, &node).await?;
    let server = place(resource, &context.database_servers.state())?;
    let placement = observe::connect(context, server).await?;
    pass.placed = Some(record_placement(context, resource, &node, &placement.server.name).await?);
    apply::carry_out(context, resource, &node, &placement, pass).await
}

/// Deletes the next thing; true when nothing was left and the finalizer is gone.
async fn take_down(context: &Context, node: &LocalNode, pass: &mut Pass) -> Result<bool, Failure> {
    if !node.finalizers().iter().any(|finalizer| finalizer == NODE_FINALIZER) {
        return Ok(true);
    }
    match delete::step(context, node).await? {
        Step::Waiting(reason, message) => {
            pass.deletion = Some((reason, message));
            Ok(false)
        }
        Step::Done(note) => {
            release(context, node).await?;
            publish(context, node, EventType::Normal, "Deleted", &note).await;
            context.backoff.succeeded(&node.name_any());
            Ok(true)
        }
    }
}

/// Takes our finalizer off. Not by server-side apply, which would leave it if anyone else had applied it too.
async fn release(context: &Context, node: &LocalNode) -> Result<(), Failure> {
    let act = "remove the finalizer";
    let api = Api::<LocalNode>::all(context.client.clone());
    // Read anew, so that no one's finalizer is lost and the status written a moment ago is no conflict.
    let Some(current) = api.get_opt(&node.name_any()).await.map_err(kubernetes(act))? else { return Ok(()) };
    let kept: Vec<_> = current.finalizers().iter().filter(|finalizer| *finalizer != NODE_FINALIZER).collect();
    let part =
        json!({"metadata": {"uid": node.uid(), "resourceVersion": current.resource_version(), "finalizers": kept}});
    match api.patch(&node.name_any(), &PatchParams::default(), &Patch::Merge(&part)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop).map_err(kubernetes(act)),
    }
}

/// Puts our finalizer and the labels for selectors on the LocalNode, where they are not yet.
async fn hold(context: &Context, resource: &LocalNode, node: &ValidNode) -> Result<(), Failure> {
    let mut labels = vec![(format!("{}/region", fateh_crds::GROUP), node.region.clone())];
    labels.extend(node.country.clone().map(|country| (format!("{}/country", fateh_crds::GROUP), country)));
    let labels: std::collections::BTreeMap<_, _> = labels.into_iter().collect();
    let held = resource.finalizers().iter().any(|name| name == NODE_FINALIZER);
    let labelled = labels.iter().all(|(key, value)| resource.labels().get(key) == Some(value));
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
    let status = report::status(&previous, pass, context.clock.now());
    if status == previous {
        return Ok(());
    }
    send_status(context, node, &status).await?;
    let size = |status: &LocalNodeStatus| status.database.as_ref().and_then(|database| database.size_bytes);
    if size(&status) != size(&previous) {
        context.sizes.took(&node.name_any(), Instant::now());
    }
    for event in transitions(&previous, &status) {
        publish(context, node, event.0, &event.1, &event.2).await;
    }
    Ok(())
}

async fn send_status(context: &Context, node: &LocalNode, status: &LocalNodeStatus) -> Result<(), Failure> {
    let part = json!({
        "apiVersion": LocalNode::api_version(&()), "kind": KIND,
        "metadata": {"uid": node.uid()}, "status": status,
    });
    apply_status(&Api::<LocalNode>::all(context.client.clone()), "write the status", &node.name_any(), &part).await
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

async fn publish(context: &Context, node: &LocalNode, kind: EventType, reason: &str, note: &str) {
    let note = note.chars().take(1000).collect();
    let event = Event {
        type_: kind,
        reason: reason.to_owned(),
        note: Some(note),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    if let Err(error) = context.recorder.publish(&event, &node.object_ref(&())).await {
        tracing::warn!(node = node.name_any(), %error, "an event could not be published");
    }
}
