//! What the Secrets of a node and of the hub hold, and how it is read and written. Pure: needs no client.

use std::time::Duration;

use ed25519_dalek::{
    SigningKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, spki::der::pem::LineEnding},
};
use fateh_crds::DatabaseServerSpec;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

use crate::failure::Failure;

/// A token may be as old as this and still hold: its validity, the clocks' difference, and a pod's last seconds.
pub const LAST_TOKENS: Duration = Duration::from_secs(600 + 60);

/// What pods sign in and sign with, as it lies in the Secrets.
#[derive(Clone)]
pub struct Credentials {
    /// Password that the role is known to have, or to have had until a moment ago.
    pub password: String,
    /// Password that it is about to be given.
    pub next_password: Option<String>,
    /// Signing keys.
    pub keys: SigningKeys,
    /// The two Secrets as they were read. One that was deleted meanwhile is not written anew with what it held:
    /// whoever deleted it wants others. And a write that was long on its way undoes nothing that came after it.
    pub read_from: [SecretVersion; 2],
}

/// Which object a Secret was, and which version of it; nothing for one that did not exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretVersion {
    uid: Option<String>,
    version: Option<String>,
}

impl SecretVersion {
    /// Of a Secret that was read or written.
    #[must_use]
    pub fn of(secret: &Secret) -> Self {
        Self { uid: secret.uid(), version: secret.resource_version() }
    }

    /// Lets a write succeed only on that version.
    pub fn bind(&self, secret: &mut Secret) {
        secret.metadata.uid.clone_from(&self.uid);
        secret.metadata.resource_version.clone_from(&self.version);
    }
}

/// Signing keys, PEM.
#[derive(Clone)]
pub struct SigningKeys {
    /// The one that signs.
    pub current: String,
    /// The one that is published and will sign.
    pub next: Option<String>,
    /// Public part of the one that signed before.
    pub previous: Option<PreviousKey>,
}

/// A key that no longer signs.
#[derive(Clone)]
pub struct PreviousKey {
    /// Public part, PEM.
    pub public: String,
    /// Until when it is accepted; none as long as a pod may still sign with it.
    pub until: Option<Timestamp>,
}

impl SigningKeys {
    /// What there is beside the one that signs.
    #[must_use]
    pub fn state(&self) -> Keys {
        match (&self.next, &self.previous) {
            (Some(_), _) => Keys::Next,
            (None, Some(previous)) => Keys::Previous { until: previous.until },
            (None, None) => Keys::One,
        }
    }
}

/// What the Secret holds of signing keys beside the one that signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Nothing.
    One,
    /// The next one: published, not yet used.
    Next,
    /// The one before: no longer used, still accepted.
    Previous {
        /// Until when, once every pod signs with the new one.
        until: Option<Timestamp>,
    },
}

/// A key of a Secret, as text; none for an empty one.
#[must_use]
pub fn text(secret: &Secret, key: &str) -> Option<String> {
    let value = secret.data.as_ref()?.get(key)?;
    String::from_utf8(value.0.clone()).ok().filter(|text| !text.is_empty())
}

/// The signing keys that a Secret holds.
#[must_use]
pub fn signing_keys(secret: &Secret) -> Option<SigningKeys> {
    let until = || text(secret, "previousUntil").and_then(|until| until.parse().ok());
    let previous = text(secret, "previous.pub.pem").map(|public| PreviousKey { public, until: until() });
    Some(SigningKeys { current: text(secret, "key.pem")?, next: text(secret, "next.pem"), previous })
}

/// What pods need to reach the database `name`, which is also the name of its role.
#[must_use]
pub fn database_entries(
    name: &str,
    server: &DatabaseServerSpec,
    ca: Option<&str>,
    credentials: &Credentials,
) -> Vec<(&'static str, String)> {
    let mut entries = vec![
        ("host", server.host.clone()),
        ("port", server.port.to_string()),
        ("database", name.to_owned()),
        ("username", name.to_owned()),
        ("password", credentials.password.clone()),
        ("sslmode", server.tls.mode.sslmode().to_owned()),
    ];
    entries.extend(credentials.next_password.clone().map(|next| ("nextPassword", next)));
    entries.extend(ca.map(|ca| ("ca.crt", ca.to_owned())));
    entries
}

/// Signing keys: PKCS #8 PEM, and the public part of the one before.
#[must_use]
pub fn signing_key_entries(keys: &SigningKeys) -> Vec<(&'static str, String)> {
    let mut entries = vec![("key.pem", keys.current.clone())];
    entries.extend(keys.next.clone().map(|next| ("next.pem", next)));
    if let Some(previous) = &keys.previous {
        entries.push(("previous.pub.pem", previous.public.clone()));
        entries.extend(previous.until.map(|until| ("previousUntil", until.to_string())));
    }
    entries
}

/// An invitation: whoever holds the token becomes the admin, once, until it expires. `url`: where it is accepted.
#[must_use]
pub fn invitation_entries(email: &str, url: String, token: &str, expires_at: Timestamp) -> Vec<(&'static str, String)> {
    vec![("email", email.to_owned()), ("token", token.to_owned()), ("expiresAt", expires_at.to_string()), ("url", url)]
}

/// A new signing key, PKCS #8 PEM.
///
/// # Errors
/// When it cannot be written as PEM.
pub fn new_key() -> Result<String, Failure> {
    let pem = SigningKey::from_bytes(&rand::random()).to_pkcs8_pem(LineEnding::LF);
    pem.map(|pem| pem.to_string()).map_err(|error| Failure::Generate(error.to_string()))
}

/// The public part of a signing key, PEM.
///
/// # Errors
/// When the key is no PKCS #8 PEM of Ed25519.
pub fn public_part(pem: &str) -> Result<String, Failure> {
    let key = SigningKey::from_pkcs8_pem(pem).map_err(|error| Failure::Generate(error.to_string()))?;
    key.verifying_key().to_public_key_pem(LineEnding::LF).map_err(|error| Failure::Generate(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_part_says_nothing_of_the_private_one() {
        let pem = new_key().unwrap();
        assert!(public_part(&pem).unwrap().starts_with("-----BEGIN PUBLIC KEY-----"));
        assert!(public_part("nonsense").is_err());
    }
}
