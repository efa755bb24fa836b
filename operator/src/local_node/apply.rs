//! Carries a valid node out, in one order. Needs a client and the node's database server.

use std::{fmt::Debug, time::Duration};

use fateh_crds::{ADOPT_ANNOTATION, CHILD_NAME, DatabaseStatus, LocalNode, NodeState, RECREATE_ANNOTATION};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Namespace};
use kube::{Api, Resource, ResourceExt, api::PostParams, core::NamespaceResourceScope};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use super::{
    bootstrap,
    build::{self, Children, DATABASE_SECRET, Identity, TLS_READER, build_namespace, build_tls_reader},
    credentials::{advance, ensure_credentials},
    hosts::{self, Taken},
    observe::{self, Placement, Secrets},
    report::{Pass, Workload},
    requests, route,
    validate::ValidNode,
};
use crate::{
    applied::ChildKind,
    conditions,
    context::Context,
    database::{Mark, NodeDatabase, Provisioned, Server},
    failure::{Failure, kubernetes},
    kubernetes::{apply, apply_part, delete, ensure, ensure_and_read, ensure_shared, find},
    secrets::Credentials,
};

/// How soon a right that was given a moment ago is tried again.
const SOON: Duration = Duration::from_secs(2);

/// Carries `node` out and notes in `pass` how far it came.
///
/// Order: namespace first, because all else lies in it; Secrets before the role that relies on them; the database, and
/// beside it who the pods are, before what leads them there and the pods themselves; the route last.
///
/// # Errors
/// The first step that failed; the next pass finds the earlier ones done.
pub async fn carry_out(
    context: &Context,
    resource: &LocalNode,
    node: &ValidNode,
    placement: &Placement,
    pass: &mut Pass,
) -> Result<(), Failure> {
    let secrets = match ensure_namespace(context, resource, node).await? {
        Found::MadeNow => Secrets::default(),
        Found::Before => observe::secrets(context, node).await?,
    };
    let credentials = ensure_credentials(context, resource, node, placement, &secrets, pass).await?;
    // Each to its end: neither is of use to the other, and what is begun in the database is not to be broken off.
    let (database, identity) = futures::join!(
        ensure_database(context, resource, node, placement, &secrets, &credentials, pass),
        ensure_identity(context, node)
    );
    let database = match database {
        Ok(database) => database,
        Err(failed) => {
            if let Err(failure) = identity {
                tracing::warn!(error = %failure, "what the pods report by is not as it should be either");
            }
            if node.state != NodeState::Active {
                // What is to stop stops, whatever has become of its database.
                stop(context, node, placement, &credentials, pass).await?;
            }
            return Err(failed);
        }
    };
    identity?;
    let reader_acts = ["apply the RoleBinding for certificates", "remove the RoleBinding for certificates"];
    apply_or_remove(context, node, reader_acts, TLS_READER, build_tls_reader(node, &context.settings)).await?;
    let (node, problem) = &routable(context, resource, node, pass).await?;
    let Children { config_map, network_policy, deployment, service, entrance, pod_disruption_budget } =
        build::build(node, &context.settings, &placement.resource.spec, &credentials.fingerprint());
    // Not before the database is there: pods that still use it where it was are not to lose it.
    ensure(context, "apply the ConfigMap", &config_map).await?;
    ensure(context, "apply the NetworkPolicy", &network_policy).await?;
    let deployment = ensure_and_read(context, "apply the Deployment", &deployment).await?;
    let workload = Workload::of(&deployment);
    let settled_at = workload.settled_at();
    pass.workload = Some(workload);
    ensure(context, "apply the Service", &service).await?;
    let refused = route::ensure(context, node, entrance, pass).await?;
    let budget_acts = ["apply the PodDisruptionBudget", "remove the PodDisruptionBudget"];
    apply_or_remove(context, node, budget_acts, CHILD_NAME, pod_disruption_budget).await?;
    // Last, because it rests on what the Deployment says of its pods.
    let settled = settled_at.is_some_and(|time| time <= context.clock.now());
    let contracts =
        pass.database.as_ref().is_some_and(|it| it.schema_version < Some(placement.server.schema().version()));
    if let Some(time) = settled_at.filter(|_| !settled && (contracts || credentials.await_pods())) {
        pass.wake(time);
    }
    contract(node, &placement.server, settled, pass).await?;
    advance(context, node, placement, credentials, &database, settled, pass).await?;
    // A problem that leaves the rest of the node as it should be.
    match problem.as_ref().or(refused.as_ref()) {
        Some(Failure::Stalled { reason, message }) => Err(Failure::stalled(reason, message.clone())),
        _ => Ok(()),
    }
}

/// Who the pods are, what they may do, and where they report: nothing of it depends on their database.
#[tracing::instrument(level = "debug", skip_all)]
async fn ensure_identity(context: &Context, node: &ValidNode) -> Result<(), Failure> {
    let Identity { service_account, role_binding, node_report, node_content } = build::build_identity(node);
    ensure(context, "apply the ServiceAccount", &service_account).await?;
    ensure(context, "apply the RoleBinding", &role_binding).await?;
    ensure(context, "apply the NodeReport", &node_report).await?;
    ensure_shared(context, "apply the NodeContent", &node_content).await
}

/// Takes the pods and the route of a node away that is not to serve.
async fn stop(
    context: &Context,
    node: &ValidNode,
    placement: &Placement,
    credentials: &Credentials,
    pass: &mut Pass,
) -> Result<(), Failure> {
    let children = build::build(node, &context.settings, &placement.resource.spec, &credentials.fingerprint());
    apply(context, "stop the pods", &children.deployment).await?;
    route::ensure(context, node, children.entrance, pass).await.map(drop)
}

/// Whether a node's namespace was there before this pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Before,
    /// Nothing lies in it yet.
    MadeNow,
}

/// Creates the namespace, or recognises it by its mark. Never applied over: adopting is the danger.
#[tracing::instrument(level = "debug", skip_all)]
async fn ensure_namespace(context: &Context, resource: &LocalNode, node: &ValidNode) -> Result<Found, Failure> {
    let api = Api::<Namespace>::all(context.client.clone());
    let name = node.slug.namespace();
    // Of a node that no pass has reported on there is none, as a rule.
    let known =
        if resource.is_reported() { api.get_opt(&name).await.map_err(kubernetes("read the namespace"))? } else { None };
    let (namespace, found) = match known {
        Some(known) => (known, Found::Before),
        None => match api.create(&PostParams::default(), &build_namespace(node)).await {
            Ok(created) => {
                context.applied.made(node.slug.as_str(), ChildKind::namespace(), &created);
                (created, Found::MadeNow)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                (api.get(&name).await.map_err(kubernetes("read the namespace"))?, Found::Before)
            }
            Err(error) => return Err(kubernetes("create the namespace")(error)),
        },
    };
    if !observe::is_namespace_of(&namespace, &node.slug, &node.uid) {
        return Err(Failure::stalled(
            "NamespaceTaken",
            format!(
                "namespace {name} exists and was not made for this LocalNode; nothing was touched: delete it, or choose another name for the node"
            ),
        ));
    }
    if namespace.metadata.deletion_timestamp.is_some() {
        return Err(Failure::NamespaceTerminating(name));
    }
    let wanted = build_namespace(node);
    if wanted.labels().iter().all(|(key, value)| namespace.labels().get(key) == Some(value)) {
        return Ok(found);
    }
    // Ours, and edited by hand. The UID keeps this from reaching another namespace of the name.
    let part = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"uid": namespace.uid(), "labels": wanted.labels(), "annotations": wanted.annotations()},
    });
    apply_part(&api, "put the namespace's labels right", &name, &part).await?;
    Ok(found)
}

#[tracing::instrument(level = "debug", skip_all)]
async fn ensure_database(
    context: &Context,
    resource: &LocalNode,
    node: &ValidNode,
    placement: &Placement,
    secrets: &Secrets,
    credentials: &Credentials,
    pass: &mut Pass,
) -> Result<Provisioned, Failure> {
    let server = &placement.server;
    let mark = Mark { node: node.uid.clone(), cluster: context.cluster.clone() };
    let name = node.slug.database();
    if let Some(from) = resource.annotations().get(ADOPT_ANNOTATION) {
        server.adopt_database(server.schema().family, &name, &mark, from).await?;
    }
    let before = resource.status.clone().unwrap_or_default();
    let had_one = before.database.is_some_and(|database| database.schema_version.is_some());
    let recreate = requests::open(resource, RECREATE_ANNOTATION, before.handled.recreate_database.as_ref());
    let database = server
        .ensure_database(&NodeDatabase {
            name: &name,
            schema: server.schema(),
            mark: &mark,
            password: &credentials.password,
            next_password: credentials.next_password.as_deref(),
            connection_limit: node.connection_limit,
            may_sign_in: node.state != NodeState::Inactive,
            may_be_missing: !had_one || recreate.is_some(),
        })
        .await?;
    let mut schema_version = server.schema().version();
    let settled = is_settled(resource, node, schema_version) && !database.opened_now;
    let report = pass.report.as_ref();
    let standing = bootstrap::standing(context, resource, secrets.invitation.as_ref(), report, context.clock.now());
    if let Some(admin) = standing.filter(|_| settled) {
        pass.admin = admin;
    } else {
        let mut session = server.node_session(&database.name, server.schema()).await?;
        session.ensure_fee_rate(node.fee_basis_points, context.clock.now()).await?;
        bootstrap::invite(context, resource, node, secrets.invitation.as_ref(), &mut session, pass).await?;
        schema_version = session.schema_version();
        session.close().await;
    }
    // Recorded only when all of it is done: a pass that failed half-way must not look settled to the next.
    pass.handled.recreate_database = recreate;
    pass.database = Some(DatabaseStatus {
        server: server.name.clone(),
        name: database.name.clone(),
        role: database.name.clone(),
        secret: DATABASE_SECRET.to_owned(),
        schema_version: Some(schema_version),
        connection_limit: Some(node.connection_limit),
        size_bytes: Some(database.size_bytes),
    });
    Ok(database)
}

/// Takes away what only pods of an older release needed, once none of them is left. A node that names its own
/// image may run an older release for as long as it likes.
async fn contract(node: &ValidNode, server: &Server, settled: bool, pass: &mut Pass) -> Result<(), Failure> {
    let Some(database) = &mut pass.database else { return Ok(()) };
    if !settled || node.image.is_some() || database.schema_version >= Some(server.schema().version()) {
        return Ok(());
    }
    let mut session = server.node_session(&database.name, server.schema()).await?;
    session.contract().await?;
    database.schema_version = Some(session.schema_version());
    session.close().await;
    Ok(())
}

/// The node with those of its extra hosts that can be served; for the others, what a person must mend.
async fn routable(
    context: &Context,
    resource: &LocalNode,
    node: &ValidNode,
    pass: &mut Pass,
) -> Result<(ValidNode, Option<Failure>), Failure> {
    let all = if node.extra_hosts.is_empty() { Vec::new() } else { context.nodes.all() };
    for younger in hosts::yielding(resource, &all) {
        // It may have served the host until now, and hears of this in no other way.
        let _ = context.wake.send(younger);
    }
    let taken = hosts::taken(resource, &all);
    let mut routable = node.clone();
    routable.extra_hosts.retain(|host| taken.iter().all(|taken| taken.host != *host));
    let mut problem = taken.first().map(|Taken { host, by }| {
        Failure::stalled(
            "HostTaken",
            format!("spec.routing.extraHosts: {host} is the older node {by}'s; take it out of one of them"),
        )
    });
    if context.settings.routing.gateway.is_some() {
        if routable.tls_secret_in_use().is_some() {
            problem.get_or_insert(Failure::stalled(
                "TlsAtGateway",
                "spec.routing.tlsSecretName: hosts are routed at a Gateway, whose listeners hold the certificates; give it a listener for the extra hosts and take tlsSecretName out",
            ));
        }
        return Ok((routable, problem));
    }
    let found = match routable.tls_secret_in_use() {
        Some(secret) => observe::tls_secret_exists(context, &routable, secret).await?,
        None => Some(true),
    };
    if found.is_none() {
        let now = context.clock.now();
        pass.wake(now.saturating_add(SOON).unwrap_or(now));
    }
    if let (Some(secret), Some(false)) = (routable.tls_secret_in_use(), found) {
        let namespace = routable.slug.namespace();
        problem.get_or_insert(Failure::stalled(
            "TlsSecretMissing",
            format!("spec.routing.tlsSecretName: there is no Secret {secret} in namespace {namespace}; create it there, with the certificate of the extra hosts; until then they are not served"),
        ));
        routable.extra_hosts.clear();
    }
    Ok((routable, problem))
}

/// Whether an earlier pass finished this generation inside the node's database, at this schema.
fn is_settled(resource: &LocalNode, node: &ValidNode, schema_version: i64) -> bool {
    let Some(status) = &resource.status else { return false };
    let at_generation = conditions::find(&status.conditions, "DatabaseReady")
        .is_some_and(|ready| ready.status == "True" && ready.observed_generation == Some(node.generation));
    let version = status.database.as_ref().and_then(|database| database.schema_version);
    at_generation && version == Some(schema_version)
}

/// Applies a child that a node has only in some states, or removes what an earlier state left.
async fn apply_or_remove<K>(
    context: &Context,
    node: &ValidNode,
    [applying, removing]: [&'static str; 2],
    name: &str,
    wanted: Option<K>,
) -> Result<(), Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    match wanted {
        Some(child) => ensure(context, applying, &child).await,
        None => remove::<K>(context, node, removing, name).await,
    }
}

/// Removes a child, if it is there.
///
/// # Errors
/// Names the act.
pub async fn remove<K>(context: &Context, node: &ValidNode, act: &'static str, name: &str) -> Result<(), Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    if context.applied.is_absent(node.slug.as_str(), ChildKind::new(&K::kind(&()), name)) {
        return Ok(());
    }
    // Looked for first: a delete of nothing would be a write for nothing.
    let api = Api::<K>::namespaced(context.client.clone(), &node.slug.namespace());
    match find(&api, act, name).await? {
        Some(child) => delete(&api, act, &child).await,
        None => Ok(()),
    }
}

/// What a Deployment says of its pods.
impl Workload {
    fn of(deployment: &Deployment) -> Self {
        let status = deployment.status.clone().unwrap_or_default();
        let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let progressing = status.conditions.iter().flatten().find(|condition| condition.type_ == "Progressing");
        Self {
            wanted,
            ready: status.ready_replicas.unwrap_or(0),
            updated: status.updated_replicas.unwrap_or(0),
            available: status.available_replicas.unwrap_or(0),
            total: status.replicas.unwrap_or(0),
            rolled_out_at: progressing
                .filter(|condition| condition.reason.as_deref() == Some("NewReplicaSetAvailable"))
                .and_then(|condition| condition.last_update_time.as_ref())
                .map(|time| time.0),
            current: status.observed_generation >= deployment.metadata.generation,
            trouble: progressing
                .filter(|condition| condition.status == "False")
                .and_then(|condition| condition.message.clone()),
        }
    }
}
