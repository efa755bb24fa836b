//! The hub's Secrets, which its pods mount. Pure: needs no client.

use std::collections::BTreeMap;

use fateh_crds::DatabaseServerSpec;
use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::ResourceExt;

use super::DATABASE;
use crate::secrets::{Credentials, SigningKeys, database_entries, invitation_entries, signing_key_entries};

/// Credentials of the hub's login role.
pub const DATABASE_SECRET: &str = "hub-database";
/// The key that signs the hub's tokens.
pub const SIGNING_KEY_SECRET: &str = "hub-signing-key";
/// The first platform admin's one-time invitation.
pub const INVITATION_SECRET: &str = "hub-invitation";

/// When the keys last changed their parts.
const SINCE: &str = "fateh-platform.com/keys-since";

/// What the hub needs to reach its database.
#[must_use]
pub fn build_database_secret(
    namespace: &str,
    server: &DatabaseServerSpec,
    ca: Option<&str>,
    credentials: &Credentials,
) -> Secret {
    secret(namespace, DATABASE_SECRET, database_entries(DATABASE, server, ca, credentials))
}

/// The hub's signing keys.
#[must_use]
pub fn build_signing_key_secret(namespace: &str, keys: &SigningKeys, since: Timestamp) -> Secret {
    let mut secret = secret(namespace, SIGNING_KEY_SECRET, signing_key_entries(keys));
    secret.metadata.annotations = Some([(SINCE.to_owned(), since.to_string())].into());
    secret
}

/// The first platform admin's invitation. `url`: where the hub is reached.
#[must_use]
pub fn build_invitation_secret(namespace: &str, email: &str, url: &str, token: &str, expires_at: Timestamp) -> Secret {
    let url = format!("{url}/api/global/auth/invitation");
    secret(namespace, INVITATION_SECRET, invitation_entries(email, url, token, expires_at))
}

/// When the keys of a Secret last changed their parts.
#[must_use]
pub fn since(secret: &Secret) -> Option<Timestamp> {
    secret.annotations().get(SINCE)?.parse().ok()
}

/// Whether a Secret holds what is wanted, and nothing beside.
#[must_use]
pub fn is_as_wanted(found: &Secret, wanted: &Secret) -> bool {
    let has = |key: &String, value: &String, of: &BTreeMap<String, String>| of.get(key) == Some(value);
    found.data == wanted.data
        && wanted.labels().iter().all(|(key, value)| has(key, value, found.labels()))
        && wanted.annotations().iter().all(|(key, value)| has(key, value, found.annotations()))
}

fn secret(namespace: &str, name: &str, data: Vec<(&str, String)>) -> Secret {
    let labels = [("app.kubernetes.io/managed-by", "fateh-operator"), ("app.kubernetes.io/component", "hub")];
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            ..ObjectMeta::default()
        },
        data: Some(data.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes()))).collect()),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::SecretVersion;

    #[test]
    fn secrets_hold_what_the_hub_looks_for() {
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let server = serde_json::json!({"host": "db.test", "port": 5433, "adminSecretRef": {"name": "admin"}});
        let keys = SigningKeys { current: "PEM".into(), next: Some("NEXT".into()), previous: None };
        let credentials = Credentials {
            password: "secret".into(),
            next_password: None,
            keys,
            read_from: <[SecretVersion; 2]>::default(),
        };
        let server = serde_json::from_value(server).unwrap();
        let database = build_database_secret("fateh-system", &server, Some("CA"), &credentials);
        insta::assert_yaml_snapshot!("database", database);
        let signing_key = build_signing_key_secret("fateh-system", &credentials.keys, at);
        insta::assert_yaml_snapshot!("signing_key", signing_key);
        let invitation = build_invitation_secret("fateh-system", "root@example.com", "https://hub.test", "token", at);
        insta::assert_yaml_snapshot!("invitation", invitation);
        assert!(is_as_wanted(&signing_key, &signing_key) && since(&signing_key) == Some(at));
        for edit in [
            (|it: &mut Secret| it.data = None) as fn(&mut Secret),
            |it| it.metadata.labels = None,
            |it| it.metadata.annotations = None,
        ] {
            let mut edited = signing_key.clone();
            edit(&mut edited);
            assert!(!is_as_wanted(&edited, &signing_key));
        }
    }
}
