//! The hub's database and Secrets: made on one DatabaseServer by the code that serves nodes, and kept right whenever
//! that server is looked at. The hub itself is installed by the chart, and is given no right to any of this.

mod keys;
mod secrets;

use std::sync::Arc;

use fateh_crds::{ADOPT_ANNOTATION, DatabaseServer, RECREATE_ANNOTATION};
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{Api, ResourceExt};
pub use secrets::{DATABASE_SECRET, INVITATION_SECRET, SIGNING_KEY_SECRET};

use crate::{
    conditions::{self, Fact},
    context::Context,
    database::{AdminInvitation, Mark, NodeDatabase, NodeSession},
    failure::{Failure, kubernetes},
    invitation::{self, Held, Plan, end_of_validity, random_text},
    kubernetes::{apply, delete},
    local_node::{Placement, connect},
    secrets::{Credentials, PreviousKey, SecretVersion, SigningKeys, new_key, public_part, signing_keys, text},
    settings::HubSettings,
};

/// Name of the hub's database and of its login role.
pub const DATABASE: &str = "global_platform";
/// The condition of the DatabaseServer that tells how the hub's database stands.
pub const CONDITION: &str = "HubDatabaseReady";
/// Whose the hub's database is, beside the cluster's UID: there is one hub.
const OWNER: &str = "hub";

/// Where the first platform admin stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admin {
    /// The invitation lies in its Secret.
    Invited,
    /// Nobody accepted in time.
    Expired,
    /// The invitation was accepted.
    Active,
}

/// Whether the hub's database is to lie on this server.
pub fn settings_for<'a>(context: &'a Context, server: &DatabaseServer) -> Option<&'a HubSettings> {
    let hub = &context.settings.hub;
    (hub.database_server.as_deref() == Some(&*server.name_any())).then_some(hub)
}

/// Makes what is missing, and puts right what differs.
///
/// # Errors
/// When a write fails; the next look at the server goes on from what it finds.
pub async fn ensure(context: &Context, hub: &HubSettings, server: &Arc<DatabaseServer>) -> Result<Admin, Failure> {
    let placement = &connect(context, Arc::clone(server)).await?;
    let secrets = Secrets::read(context).await?;
    let credentials = ensure_credentials(context, hub, placement, &secrets).await?;
    let (server, resource) = (&placement.server, &placement.resource);
    let mark = Mark { node: OWNER.to_owned(), cluster: context.cluster.clone() };
    let schema = server.hub_schema();
    if let Some(from) = resource.annotations().get(ADOPT_ANNOTATION) {
        server.adopt_database(schema.family, DATABASE, &mark, from).await?;
    }
    let status = resource.status.as_ref();
    let had_one = was_made(status.and_then(|status| conditions::find(&status.conditions, CONDITION)));
    let database = server
        .ensure_database(&NodeDatabase {
            name: DATABASE,
            schema,
            mark: &mark,
            password: &credentials.password,
            next_password: None,
            connection_limit: hub.connection_limit,
            may_sign_in: true,
            may_be_missing: !had_one || resource.annotations().contains_key(RECREATE_ANNOTATION),
        })
        .await?;
    let mut session = server.node_session(&database.name, schema).await?;
    let admin = invite(context, hub, secrets.invitation.as_ref(), &mut session).await?;
    session.close().await;
    Ok(admin)
}

/// Before the database was ever there: then one that is missing is not lost.
const NOT_YET: &str = "NotYetMade";

/// Whether the database was there when this was said.
#[must_use]
pub fn was_made(condition: Option<&Condition>) -> bool {
    condition.is_some_and(|it| it.reason != NOT_YET)
}

/// What an outcome says on the server's status. `before`: whether the database was there already.
#[must_use]
pub fn fact(outcome: &Result<Admin, Failure>, before: bool) -> Fact {
    match outcome {
        Ok(Admin::Invited) => Fact::holds(
            CONDITION,
            "Invited",
            format!(
                "database {DATABASE} is ready; the first platform admin's invitation lies in the Secret {INVITATION_SECRET}"
            ),
        ),
        Ok(Admin::Expired) => Fact::holds(
            CONDITION,
            "InvitationExpired",
            format!(
                "database {DATABASE} is ready; nobody accepted the invitation: delete the Secret {INVITATION_SECRET}, and another is made"
            ),
        ),
        Ok(Admin::Active) => Fact::holds(CONDITION, "Active", format!("database {DATABASE} is ready")),
        Err(failure) if before => Fact::fails(CONDITION, failure.reason(), failure.to_string()),
        Err(failure) => Fact::fails(CONDITION, NOT_YET, format!("{}: {failure}", failure.reason())),
    }
}

/// The hub's Secrets, as far as they exist.
struct Secrets {
    database: Option<Secret>,
    signing_key: Option<Secret>,
    invitation: Option<Secret>,
}

impl Secrets {
    async fn read(context: &Context) -> Result<Self, Failure> {
        let api = api(context);
        let reads = futures::try_join!(
            api.get_opt(DATABASE_SECRET),
            api.get_opt(SIGNING_KEY_SECRET),
            api.get_opt(INVITATION_SECRET)
        );
        let (database, signing_key, invitation) = reads.map_err(kubernetes("read the hub's Secrets"))?;
        Ok(Self { database, signing_key, invitation })
    }
}

fn api(context: &Context) -> Api<Secret> {
    Api::namespaced(context.client.clone(), &context.settings.namespace)
}

async fn ensure_credentials(
    context: &Context,
    hub: &HubSettings,
    placement: &Placement,
    secrets: &Secrets,
) -> Result<Credentials, Failure> {
    let now = context.clock.now();
    let mut keys = match secrets.signing_key.as_ref().and_then(signing_keys) {
        Some(keys) => keys,
        None => SigningKeys { current: new_key()?, next: None, previous: None },
    };
    let mut since = secrets.signing_key.as_ref().and_then(secrets::since).unwrap_or(now);
    match keys::plan(keys.state(), since, now, hub.key_validity, hub.key_lead) {
        keys::Step::Rest => {}
        keys::Step::Publish => {
            keys.next = Some(new_key()?);
            since = now;
        }
        keys::Step::Use(until) => {
            keys.previous = Some(PreviousKey { public: public_part(&keys.current)?, until: Some(until) });
            if let Some(next) = keys.next.take() {
                keys.current = next;
            }
            since = now;
            tracing::info!("the hub signs with its next key");
        }
        keys::Step::Remove => keys.previous = None,
    }
    let password = secrets.database.as_ref().and_then(|secret| text(secret, "password")).unwrap_or_else(random_text);
    let versions =
        [&secrets.database, &secrets.signing_key].map(|it| it.as_ref().map(SecretVersion::of).unwrap_or_default());
    let credentials = Credentials { password, next_password: None, keys, read_from: versions };
    let namespace = &context.settings.namespace;
    let (spec, ca) = (&placement.resource.spec, placement.ca.as_deref());
    let mut database = secrets::build_database_secret(namespace, spec, ca, &credentials);
    let mut signing_key = secrets::build_signing_key_secret(namespace, &credentials.keys, since);
    for (act, wanted, found, version) in [
        ("apply the Secret hub-database", &mut database, &secrets.database, &credentials.read_from[0]),
        ("apply the Secret hub-signing-key", &mut signing_key, &secrets.signing_key, &credentials.read_from[1]),
    ] {
        if !found.as_ref().is_some_and(|found| secrets::is_as_wanted(found, wanted)) {
            // One that was deleted or changed meanwhile is looked at anew, not written over.
            version.bind(wanted);
            apply(context, act, wanted).await?;
        }
    }
    Ok(credentials)
}

/// Brings Secret and database into agreement about the invitation; see [`invitation::plan`].
async fn invite(
    context: &Context,
    hub: &HubSettings,
    secret: Option<&Secret>,
    session: &mut NodeSession<'_>,
) -> Result<Admin, Failure> {
    let now = context.clock.now();
    let row = session.invitation().await?;
    let held = secret.and_then(Held::read);
    let hash = row.as_ref().map(|row| row.token_hash.as_slice());
    let accepted = row.as_ref().is_some_and(|row| row.accepted);
    let email = hub.admin_email.as_deref().unwrap_or_default();
    let stored = |held: &Held| AdminInvitation { email, token_hash: held.token_hash, expires_at: held.expires_at };
    match (invitation::plan(held.as_ref(), hash, accepted, false, now), held) {
        (Plan::Remove, _) => {
            if let Some(secret) = secret {
                delete(&api(context), "delete the hub's used invitation", secret).await?;
            }
            Ok(Admin::Active)
        }
        (Plan::Expired, _) => Ok(Admin::Expired),
        (plan @ (Plan::Keep | Plan::Store), Some(held)) => {
            if plan == Plan::Store {
                session.replace_invitation(&stored(&held)).await?;
            }
            Ok(Admin::Invited)
        }
        // The Secret first: a hash in the database without its token would invite no one.
        (Plan::Renew | Plan::Keep | Plan::Store, _) => {
            let token = random_text();
            let expires_at = end_of_validity(now);
            let url = context.settings.routing.hub_url();
            let secret = secrets::build_invitation_secret(&context.settings.namespace, email, &url, &token, expires_at);
            apply(context, "apply the Secret hub-invitation", &secret).await?;
            session.replace_invitation(&stored(&Held::of(&token, expires_at))).await?;
            Ok(Admin::Invited)
        }
    }
}
