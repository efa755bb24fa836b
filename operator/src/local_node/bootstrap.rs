//! The first admin's invitation, carried out: its token in the Secret, its hash in the database. Needs a client and
//! a session in the node's database.

use fateh_crds::{AdminState, INVITE_ANNOTATION, LocalNode, NodeReportStatus};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};

use super::{
    build::{self, build_invitation_secret},
    report::{Admin, Pass},
    requests,
    validate::ValidNode,
};
use crate::{
    applied::ChildKind,
    conditions,
    context::Context,
    database::{AdminInvitation, NodeSession},
    failure::Failure,
    invitation::{self, Held, Plan, end_of_validity, random_text},
    kubernetes::{apply, delete},
};

/// Brings Secret and database into agreement about the invitation, and notes in `pass` where the admin stands.
///
/// # Errors
/// When a write fails; the next pass finds it half done and goes on.
pub async fn invite(
    context: &Context,
    resource: &LocalNode,
    node: &ValidNode,
    secret: Option<&Secret>,
    session: &mut NodeSession<'_>,
    pass: &mut Pass,
) -> Result<(), Failure> {
    let now = context.clock.now();
    let stored = session.invitation().await?;
    let held = secret.and_then(Held::read);
    let handled = resource.status.as_ref().and_then(|status| status.handled.invite.as_ref());
    let asked = requests::open(resource, INVITE_ANNOTATION, handled);
    let plan = invitation::plan(
        held.as_ref(),
        stored.as_ref().map(|row| row.token_hash.as_slice()),
        stored.as_ref().is_some_and(|row| row.accepted),
        asked.is_some(),
        now,
    );
    pass.admin = match (plan, held) {
        (Plan::Remove, _) => {
            if let Some(secret) = secret {
                let api = Api::<Secret>::namespaced(context.client.clone(), &node.slug.namespace());
                delete(&api, "delete the used invitation", secret).await?;
            }
            Admin::Active
        }
        (Plan::Expired, _) => Admin::Expired,
        (Plan::Keep | Plan::Store, Some(held)) => {
            if plan == Plan::Store {
                session.replace_invitation(&admin_invitation(node, &held)).await?;
            }
            if let Some(secret) = secret {
                context.applied.made(node.slug.as_str(), ChildKind::stored_invitation(), secret);
            }
            Admin::Invited { expires_at: held.expires_at }
        }
        // The Secret first: a hash in the database without its token would invite no one.
        (Plan::Renew | Plan::Keep | Plan::Store, _) => {
            let token = random_text();
            let expires_at = end_of_validity(now);
            let url = build::url(node, &context.settings);
            let secret = build_invitation_secret(node, &url, &token, expires_at);
            let applied = apply(context, "apply the Secret node-invitation", &secret).await?;
            let held = Held::of(&token, expires_at);
            session.replace_invitation(&admin_invitation(node, &held)).await?;
            context.applied.made(node.slug.as_str(), ChildKind::stored_invitation(), &applied);
            pass.handled.invite = asked;
            Admin::Invited { expires_at }
        }
    };
    Ok(())
}

/// Where the admin stands by what an earlier pass left, unless there is reason to look into the database again.
pub fn standing(
    context: &Context,
    resource: &LocalNode,
    secret: Option<&Secret>,
    report: Option<&NodeReportStatus>,
    now: Timestamp,
) -> Option<Admin> {
    let status = resource.status.as_ref()?;
    let left = conditions::find(&status.conditions, "AdminBootstrapped")?;
    match (left.reason.as_str(), secret.map(Held::read)) {
        ("Active", None) => Some(Admin::Active),
        ("Invited", Some(Some(held))) => {
            let asked = requests::open(resource, INVITE_ANNOTATION, status.handled.invite.as_ref()).is_some();
            let accepted = report.is_some_and(|report| report.admin_state == AdminState::Active);
            // By this very process, and for this very Secret: what status says may be of one before.
            let stored = secret.is_some_and(|secret| {
                context.applied.is_as_made(&resource.name_any(), ChildKind::stored_invitation(), secret)
            });
            let stands = stored && !asked && !accepted && now < held.expires_at;
            stands.then_some(Admin::Invited { expires_at: held.expires_at })
        }
        _ => None,
    }
}

fn admin_invitation<'a>(node: &'a ValidNode, held: &Held) -> AdminInvitation<'a> {
    AdminInvitation { email: &node.admin_email, token_hash: held.token_hash, expires_at: held.expires_at }
}
