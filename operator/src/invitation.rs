//! A first admin's invitation, a node's or the hub's: what to do about it is decided here, without a client.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use sha2::{Digest, Sha256};

use crate::secrets::text;

/// How long an invitation holds.
const VALIDITY: Duration = Duration::from_secs(72 * 3600);

/// The invitation that lies in the Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// SHA-256 of its token.
    pub token_hash: [u8; 32],
    /// End of its validity.
    pub expires_at: Timestamp,
}

impl Held {
    /// Of a token and the end of its validity.
    #[must_use]
    pub fn of(token: &str, expires_at: Timestamp) -> Self {
        Self { token_hash: hash(token), expires_at }
    }

    /// What a Secret holds; none if it is no invitation.
    #[must_use]
    pub fn read(secret: &Secret) -> Option<Self> {
        Some(Self::of(&text(secret, "token")?, text(secret, "expiresAt")?.parse().ok()?))
    }
}

/// The end of the validity of an invitation that is made now. Whole seconds, so that Secret, database and status show
/// the same time.
#[must_use]
pub fn end_of_validity(now: Timestamp) -> Timestamp {
    let end = now.saturating_add(VALIDITY).unwrap_or(now);
    Timestamp::from_second(end.as_second()).unwrap_or(end)
}

/// What is to be done about the invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// It was accepted: the Secret goes, and none is made again.
    Remove,
    /// A new one is made: a new token in the Secret, its hash in the database.
    Renew,
    /// The Secret's one is stored in the database, where it is not, or not any more.
    Store,
    /// Nothing: Secret and database agree.
    Keep,
    /// It has expired; a person asks for another.
    Expired,
}

/// Plans from what Secret and database hold. `asked_anew`: the `invite` annotation has a value that was not yet carried out.
#[must_use]
pub fn plan(held: Option<&Held>, stored_hash: Option<&[u8]>, accepted: bool, asked_anew: bool, now: Timestamp) -> Plan {
    match held {
        _ if accepted => Plan::Remove,
        None => Plan::Renew,
        Some(_) if asked_anew => Plan::Renew,
        Some(held) if held.expires_at <= now => Plan::Expired,
        Some(held) if stored_hash != Some(held.token_hash.as_slice()) => Plan::Store,
        Some(_) => Plan::Keep,
    }
}

/// SHA-256 of a token.
fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Text of 256 random bits, fit for URLs: a password or an invitation's token.
#[must_use]
pub fn random_text() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_follows_from_secret_and_database() {
        let now = Timestamp::from_second(1000).unwrap();
        let held = |expires| Held { token_hash: [7; 32], expires_at: Timestamp::from_second(expires).unwrap() };
        let (fresh, stale) = (held(1001), held(1000));
        for (case, secret, stored, accepted, anew, expected) in [
            ("first time", None, None, false, false, Plan::Renew),
            ("secret lost before use", None, Some([7; 32]), false, false, Plan::Renew),
            ("written, not yet stored", Some(&fresh), None, false, false, Plan::Store),
            ("another one stored", Some(&fresh), Some([8; 32]), false, false, Plan::Store),
            ("both agree", Some(&fresh), Some([7; 32]), false, false, Plan::Keep),
            ("expired", Some(&stale), Some([7; 32]), false, false, Plan::Expired),
            ("expired, asked anew", Some(&stale), Some([7; 32]), false, true, Plan::Renew),
            ("accepted", Some(&fresh), Some([7; 32]), true, true, Plan::Remove),
            ("accepted, secret gone", None, Some([7; 32]), true, false, Plan::Remove),
        ] {
            let stored = stored.as_ref().map(<[u8; 32]>::as_slice);
            assert_eq!(plan(secret, stored, accepted, anew, now), expected, "{case}");
        }
    }

    #[test]
    fn random_texts_differ_and_hold_256_bits() {
        assert_ne!(random_text(), random_text());
        assert_eq!(random_text().len(), 43);
    }
}
