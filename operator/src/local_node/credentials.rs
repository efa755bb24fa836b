//! Password and signing key of a node: made once, kept, and rotated when a person asks. Needs a client.

use std::time::Duration;

use fateh_crds::{LocalNode, ROTATE_PASSWORD_ANNOTATION, ROTATE_SIGNING_KEY_ANNOTATION};
use sha2::{Digest, Sha256};

use super::{
    build::{build_database_secret, build_signing_key_secret},
    observe::{Placement, Secrets},
    report::Pass,
    requests,
    rotation::{KeyStep, PasswordStep, Passwords, plan_key, plan_password},
    validate::ValidNode,
};
use crate::{
    context::Context,
    database::{Mark, Provisioned},
    failure::Failure,
    invitation::random_text,
    kubernetes::apply,
    secrets::{Credentials, Keys, PreviousKey, SecretVersion, SigningKeys, new_key, public_part},
};

/// How soon a rotation goes on that was taken up a moment ago.
const SOON: Duration = Duration::from_secs(1);

impl Credentials {
    /// Tells one set of credentials from another, and nothing about either: they hold 256 random bits each.
    /// Moves when pods need to be replaced, and only then: a finished rotation has the fingerprint of its last step.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let newest = self.next_password.as_ref().unwrap_or(&self.password);
        let mut digest = Sha256::new();
        for secret in [Some(newest), Some(&self.keys.current), self.keys.next.as_ref()].into_iter().flatten() {
            digest.update(secret);
            digest.update([0]);
        }
        hex::encode(&digest.finalize()[..8])
    }
}

impl Credentials {
    /// Whether a rotation waits for pods to be replaced.
    #[must_use]
    pub fn await_pods(&self) -> bool {
        self.next_password.is_some() || matches!(self.keys.state(), Keys::Next | Keys::Previous { until: None })
    }
}

/// Makes what is missing, begins the rotations that are asked for, and applies both Secrets.
///
/// # Errors
/// When a Secret cannot be written.
pub async fn ensure_credentials(
    context: &Context,
    resource: &LocalNode,
    node: &ValidNode,
    placement: &Placement,
    secrets: &Secrets,
    pass: &mut Pass,
) -> Result<Credentials, Failure> {
    let handled = resource.status.clone().unwrap_or_default().handled;
    let asked = requests::open(resource, ROTATE_PASSWORD_ANNOTATION, handled.rotate_password.as_ref());
    // One that was made a moment ago, or is being rotated already, answers the request.
    let mut next_password = secrets.next_password.clone().filter(|_| secrets.password.is_some());
    let rotate = asked.is_some() && secrets.password.is_some();
    if next_password.is_none() && plan_password(rotate, Passwords::One, false) == PasswordStep::Begin {
        next_password = Some(random_text());
    }
    let password = secrets.password.clone().unwrap_or_else(random_text);

    let asked_key = requests::open(resource, ROTATE_SIGNING_KEY_ANNOTATION, handled.rotate_signing_key.as_ref());
    let mut keys = match &secrets.signing_keys {
        Some(keys) => keys.clone(),
        None => SigningKeys { current: new_key()?, next: None, previous: None },
    };
    // While a key before is still accepted the request waits: its place is taken.
    let key_taken_up = keys.previous.is_none();
    let rotate_key = asked_key.is_some() && secrets.signing_keys.is_some();
    if plan_key(rotate_key, keys.state(), false, context.clock.now()) == KeyStep::Publish {
        keys.next = Some(new_key()?);
    }
    let read_from = secrets.versions.clone();
    let mut credentials = Credentials { password, next_password, keys, read_from };
    apply_password(context, node, placement, &mut credentials).await?;
    apply_keys(context, node, &mut credentials).await?;
    pass.handled.rotate_password = asked;
    pass.handled.rotate_signing_key = asked_key.filter(|_| key_taken_up);
    Ok(credentials)
}

/// Takes the next step of the rotations under way. `rolled_out`: every pod was started with these credentials, and
/// none of those before is left.
///
/// # Errors
/// When a write fails; the next pass goes on from what it finds.
pub async fn advance(
    context: &Context,
    node: &ValidNode,
    placement: &Placement,
    mut credentials: Credentials,
    database: &Provisioned,
    rolled_out: bool,
    pass: &mut Pass,
) -> Result<(), Failure> {
    let now = context.clock.now();
    if pass.handled.rotate_password.is_some() || pass.handled.rotate_signing_key.is_some() {
        // Not before status says that the request was taken up: one that is not known to be would be asked again.
        pass.wake(now.saturating_add(SOON).unwrap_or(now));
        return Ok(());
    }
    if let Some(next) = credentials.next_password.clone() {
        let step = plan_password(false, Passwords::Two { altered: database.has_next_password }, rolled_out);
        if step == PasswordStep::Alter {
            let mark = Mark { node: node.uid.clone(), cluster: context.cluster.clone() };
            placement.server.change_password(&node.slug.database(), &mark, &next).await?;
        }
        if step != PasswordStep::Rest {
            credentials.password = next;
            credentials.next_password = None;
            apply_password(context, node, placement, &mut credentials).await?;
            pass.rotated.push("PasswordRotated");
        }
    }
    let keys = &mut credentials.keys;
    match plan_key(false, keys.state(), rolled_out, now) {
        KeyStep::Rest | KeyStep::Publish => {
            if let Some(until) = keys.previous.as_ref().and_then(|previous| previous.until) {
                pass.wake(until);
            }
            return Ok(());
        }
        KeyStep::Use => {
            keys.previous = Some(PreviousKey { public: public_part(&keys.current)?, until: None });
            if let Some(next) = keys.next.take() {
                keys.current = next;
            }
            pass.rotated.push("SigningKeyRotated");
            // The next pass rolls out the pods that sign with it; what this one wrote is no news to start it.
            pass.wake(now);
        }
        KeyStep::Expire(until) => {
            if let Some(previous) = &mut keys.previous {
                previous.until = Some(until);
            }
            pass.wake(until);
        }
        KeyStep::Remove => keys.previous = None,
    }
    apply_keys(context, node, &mut credentials).await
}

async fn apply_password(
    context: &Context,
    node: &ValidNode,
    placement: &Placement,
    credentials: &mut Credentials,
) -> Result<(), Failure> {
    let mut secret = build_database_secret(node, &placement.resource.spec, placement.ca.as_deref(), credentials);
    credentials.read_from[0].bind(&mut secret);
    if !context.applied.stands(&secret) {
        let applied = apply(context, "apply the Secret node-database", &secret).await?;
        credentials.read_from[0] = SecretVersion::of(&applied);
    }
    Ok(())
}

async fn apply_keys(context: &Context, node: &ValidNode, credentials: &mut Credentials) -> Result<(), Failure> {
    let mut secret = build_signing_key_secret(node, &credentials.keys);
    credentials.read_from[1].bind(&mut secret);
    if !context.applied.stands(&secret) {
        let applied = apply(context, "apply the Secret node-signing-key", &secret).await?;
        credentials.read_from[1] = SecretVersion::of(&applied);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn credentials(password: &str, next: Option<&str>, key: &str, next_key: Option<&str>) -> Credentials {
        let keys = SigningKeys { current: key.to_owned(), next: next_key.map(str::to_owned), previous: None };
        Credentials {
            password: password.to_owned(),
            next_password: next.map(str::to_owned),
            keys,
            read_from: <[SecretVersion; 2]>::default(),
        }
    }

    #[test]
    fn pods_are_replaced_once_by_a_password_rotation_and_twice_by_one_of_the_key() {
        let rest = credentials("a", None, "k", None).fingerprint();
        let begun = credentials("a", Some("b"), "k", None).fingerprint();
        assert_ne!(rest, begun);
        assert_eq!(begun, credentials("b", None, "k", None).fingerprint(), "finishing restarts nothing");
        let published = credentials("a", None, "k", Some("l")).fingerprint();
        let used = credentials("a", None, "l", None).fingerprint();
        assert!(rest != published && published != used);
        let mut expiring = credentials("a", None, "l", None);
        expiring.keys.previous = Some(PreviousKey { public: "p".into(), until: Some(Timestamp::UNIX_EPOCH) });
        assert_eq!(used, expiring.fingerprint(), "letting the key before go restarts nothing");
    }
}
