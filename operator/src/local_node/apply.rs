//! Carries a valid node out, in one order. Needs a client and the node's database server.

use std::fmt::Debug;

use ed25519_dalek::{
    SigningKey,
    pkcs8::{EncodePrivateKey, spki::der::pem::LineEnding},
};
use fateh_crds::{ADOPT_ANNOTATION, CHILD_NAME, DatabaseStatus, INVITE_ANNOTATION, LocalNode, NodeState};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, Secret},
};
use kube::{Api, Resource, ResourceExt, api::PostParams, core::NamespaceResourceScope};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use super::{
    build::{
        self, Children, DATABASE_SECRET, build_database_secret, build_invitation_secret, build_namespace,
        build_signing_key_secret,
    },
    invitation::{self, Held, Plan, VALIDITY, random_text},
    observe::{self, Placement, Secrets},
    report::{Admin, Pass},
    validate::ValidNode,
};
use crate::{
    conditions,
    context::Context,
    database::{AdminInvitation, Mark, NodeDatabase, schema_version},
    failure::{Failure, kubernetes},
    kubernetes::{apply, apply_part, apply_shared, delete},
};

/// Carries `node` out and notes in `pass` how far it came.
///
/// Order: namespace first, because all else lies in it; Secrets before the role that relies on them;
/// the database before the pods that connect to it; the route last.
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
    ensure_namespace(context, node).await?;
    let secrets = ensure_secrets(context, node, placement).await?;
    ensure_database(context, resource, node, placement, &secrets, pass).await?;
    let Children {
        config_map,
        service_account,
        role_binding,
        node_report,
        node_content,
        network_policy,
        deployment,
        service,
        ingress,
        pod_disruption_budget,
    } = build::build(node, &context.settings, &placement.resource.spec, &secrets.fingerprint());
    let client = &context.client;
    // The pods' rights, reports and walls stand before the pods.
    apply(client, "apply the ConfigMap", &config_map).await?;
    apply(client, "apply the ServiceAccount", &service_account).await?;
    apply(client, "apply the RoleBinding", &role_binding).await?;
    apply(client, "apply the NodeReport", &node_report).await?;
    apply_shared(client, "apply the NodeContent", &node_content).await?;
    apply(client, "apply the NetworkPolicy", &network_policy).await?;
    let deployment = apply(client, "apply the Deployment", &deployment).await?;
    pass.workload = Some(super::report::Workload::of(&deployment));
    apply(client, "apply the Service", &service).await?;
    pass.routed = ingress.is_some();
    apply_or_remove(context, node, ["apply the Ingress", "remove the Ingress"], ingress).await?;
    let budget_acts = ["apply the PodDisruptionBudget", "remove the PodDisruptionBudget"];
    apply_or_remove(context, node, budget_acts, pod_disruption_budget).await
}

/// Creates the namespace, or recognises it by its mark. Never applied over: adopting is the danger.
async fn ensure_namespace(context: &Context, node: &ValidNode) -> Result<(), Failure> {
    let api = Api::<Namespace>::all(context.client.clone());
    let name = node.slug.namespace();
    let found = match api.get_opt(&name).await.map_err(kubernetes("read the namespace"))? {
        Some(found) => found,
        None => match api.create(&PostParams::default(), &build_namespace(node)).await {
            Ok(created) => created,
            Err(kube::Error::Api(status)) if status.code == 409 => {
                api.get(&name).await.map_err(kubernetes("read the namespace"))?
            }
            Err(error) => return Err(kubernetes("create the namespace")(error)),
        },
    };
    if !observe::is_namespace_of(&found, &node.slug, &node.uid) {
        return Err(Failure::stalled(
            "NamespaceTaken",
            format!(
                "namespace {name} exists and was not made for this LocalNode; nothing was touched: delete it, or choose another name for the node"
            ),
        ));
    }
    if found.metadata.deletion_timestamp.is_some() {
        return Err(Failure::NamespaceTerminating(name));
    }
    let wanted = build_namespace(node);
    if wanted.labels().iter().all(|(key, value)| found.labels().get(key) == Some(value)) {
        return Ok(());
    }
    // Ours, and edited by hand. The UID keeps this from reaching another namespace of the name.
    let part = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"uid": found.uid(), "labels": wanted.labels(), "annotations": wanted.annotations()},
    });
    apply_part(&api, "put the namespace's labels right", &name, &part).await
}

/// Password and signing key: kept when they exist, made when they do not.
async fn ensure_secrets(context: &Context, node: &ValidNode, placement: &Placement) -> Result<Secrets, Failure> {
    let mut secrets = observe::secrets(context, node).await?;
    let password = secrets.password.get_or_insert_with(random_text);
    let secret = build_database_secret(node, &placement.resource.spec, placement.ca.as_deref(), password);
    apply(&context.client, "apply the Secret node-database", &secret).await?;
    if secrets.signing_key.is_none() {
        let pem = SigningKey::from_bytes(&rand::random())
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|error| Failure::Generate(error.to_string()))?;
        apply(&context.client, "apply the Secret node-signing-key", &build_signing_key_secret(node, &pem)).await?;
        secrets.signing_key = Some(pem.to_string());
    }
    Ok(secrets)
}

async fn ensure_database(
    context: &Context,
    resource: &LocalNode,
    node: &ValidNode,
    placement: &Placement,
    secrets: &Secrets,
    pass: &mut Pass,
) -> Result<(), Failure> {
    let server = &placement.server;
    let mark = Mark { node: node.uid.clone(), cluster: context.cluster.clone() };
    if let Some(from) = resource.annotations().get(ADOPT_ANNOTATION) {
        server.adopt_database(&node.slug, &mark, from).await?;
    }
    let database = server
        .ensure_database(&NodeDatabase {
            slug: &node.slug,
            mark: &mark,
            password: secrets.password.as_deref().unwrap_or_default(),
            connection_limit: node.connection_limit,
            may_sign_in: node.state != NodeState::Inactive,
        })
        .await?;
    let settled = is_settled(resource, node) && !database.opened_now;
    // Recorded only when all of it is done: a pass that failed half-way must not look settled to the next.
    let ready = DatabaseStatus {
        server: server.name.clone(),
        name: database.name.clone(),
        role: database.name.clone(),
        secret: DATABASE_SECRET.to_owned(),
        schema_version: Some(schema_version()),
        size_bytes: Some(database.size_bytes),
    };
    if settled && secrets.invitation.is_none() {
        pass.admin = Admin::Active;
        pass.database = Some(ready);
        return Ok(());
    }
    let now = context.clock.now();
    let mut session = server.node_session(&database.name).await?;
    session.ensure_fee_rate(node.fee_basis_points, now).await?;
    let stored = session.invitation().await?;
    let held = secrets.invitation.as_ref().and_then(held);
    // Compared and kept as a digest: the annotation may be longer than status has room for.
    let asked = resource.annotations().get(INVITE_ANNOTATION).map(|nonce| hex::encode(&invitation::hash(nonce)[..8]));
    let handled = resource.status.as_ref().and_then(|status| status.handled_invite.as_ref());
    let plan = invitation::plan(
        held.as_ref(),
        stored.as_ref().map(|row| row.token_hash.as_slice()),
        stored.as_ref().is_some_and(|row| row.accepted),
        asked.is_some() && asked.as_ref() != handled,
        now,
    );
    pass.admin = match (plan, held) {
        (Plan::Remove, _) => {
            if let Some(secret) = &secrets.invitation {
                let api = Api::<Secret>::namespaced(context.client.clone(), &node.slug.namespace());
                delete(&api, "delete the used invitation", secret).await?;
            }
            Admin::Active
        }
        (Plan::Expired, _) => Admin::Expired,
        (Plan::Keep, Some(held)) => Admin::Invited { expires_at: held.expires_at },
        (Plan::Store, Some(held)) => {
            session.replace_invitation(&admin_invitation(node, &held)).await?;
            Admin::Invited { expires_at: held.expires_at }
        }
        // The Secret first: a hash in the database without its token would invite no one.
        (Plan::Renew | Plan::Keep | Plan::Store, _) => {
            let token = random_text();
            let expires_at = end_of_validity(now);
            let url = build::url(node, &context.settings);
            let secret = build_invitation_secret(node, &url, &token, expires_at);
            apply(&context.client, "apply the Secret node-invitation", &secret).await?;
            let held = Held { token_hash: invitation::hash(&token), expires_at };
            session.replace_invitation(&admin_invitation(node, &held)).await?;
            pass.handled_invite = asked;
            Admin::Invited { expires_at }
        }
    };
    session.close().await;
    pass.database = Some(ready);
    Ok(())
}

/// Whether an earlier pass finished this generation inside the node's database, at this schema, with an active admin.
fn is_settled(resource: &LocalNode, node: &ValidNode) -> bool {
    let Some(status) = &resource.status else { return false };
    let at_generation = conditions::find(&status.conditions, "DatabaseReady")
        .is_some_and(|ready| ready.status == "True" && ready.observed_generation == Some(node.generation));
    let active =
        conditions::find(&status.conditions, "AdminBootstrapped").is_some_and(|admin| admin.reason == "Active");
    let version = status.database.as_ref().and_then(|database| database.schema_version);
    at_generation && active && version == Some(schema_version())
}

fn held(secret: &Secret) -> Option<Held> {
    let token = observe::text(secret, "token")?;
    let expires_at = observe::text(secret, "expiresAt")?.parse().ok()?;
    Some(Held { token_hash: invitation::hash(&token), expires_at })
}

fn admin_invitation<'a>(node: &'a ValidNode, held: &Held) -> AdminInvitation<'a> {
    AdminInvitation { email: &node.admin_email, token_hash: held.token_hash, expires_at: held.expires_at }
}

fn end_of_validity(now: Timestamp) -> Timestamp {
    // Whole seconds, so that Secret, database and status show the same time.
    let end = now.saturating_add(VALIDITY).unwrap_or(now);
    Timestamp::from_second(end.as_second()).unwrap_or(end)
}

/// Applies a child that a node has only in some states, or removes what an earlier state left.
async fn apply_or_remove<K>(
    context: &Context,
    node: &ValidNode,
    [applying, removing]: [&'static str; 2],
    wanted: Option<K>,
) -> Result<(), Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    if let Some(child) = wanted {
        return apply(&context.client, applying, &child).await.map(drop);
    }
    // Looked for first: a delete of nothing would be a write for nothing.
    let api = Api::<K>::namespaced(context.client.clone(), &node.slug.namespace());
    match api.get_opt(CHILD_NAME).await.map_err(kubernetes(removing))? {
        Some(child) => delete(&api, removing, &child).await,
        None => Ok(()),
    }
}

/// What a Deployment says of its pods.
impl super::report::Workload {
    fn of(deployment: &Deployment) -> Self {
        let status = deployment.status.clone().unwrap_or_default();
        let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let progressing = status.conditions.iter().flatten().find(|condition| condition.type_ == "Progressing");
        Self {
            wanted,
            ready: status.ready_replicas.unwrap_or(0),
            updated: status.updated_replicas.unwrap_or(0),
            available: status.available_replicas.unwrap_or(0),
            current: status.observed_generation >= deployment.metadata.generation,
            trouble: progressing
                .filter(|condition| condition.status == "False")
                .and_then(|condition| condition.message.clone()),
        }
    }
}
