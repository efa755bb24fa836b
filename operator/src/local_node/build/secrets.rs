use std::collections::BTreeMap;

use fateh_crds::DatabaseServerSpec;
use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};

use super::metadata;
use crate::local_node::{
    credentials::{Credentials, SigningKeys},
    validate::ValidNode,
};

/// Credentials of the node's login role.
pub const DATABASE_SECRET: &str = "node-database";
/// The key that signs the node's tokens.
pub const SIGNING_KEY_SECRET: &str = "node-signing-key";
/// The first admin's one-time invitation.
pub const INVITATION_SECRET: &str = "node-invitation";

/// What a pod needs to reach its database.
#[must_use]
pub fn build_database_secret(
    node: &ValidNode,
    server: &DatabaseServerSpec,
    ca: Option<&str>,
    credentials: &Credentials,
) -> Secret {
    let name = node.slug.database();
    let mut data = vec![
        ("host", server.host.clone()),
        ("port", server.port.to_string()),
        ("database", name.clone()),
        ("username", name),
        ("password", credentials.password.clone()),
        ("sslmode", server.tls.mode.sslmode().to_owned()),
    ];
    data.extend(credentials.next_password.clone().map(|next| ("nextPassword", next)));
    data.extend(ca.map(|ca| ("ca.crt", ca.to_owned())));
    secret(node, DATABASE_SECRET, data)
}

/// The node's signing keys: PKCS #8 PEM, and the public part of the one before.
#[must_use]
pub fn build_signing_key_secret(node: &ValidNode, keys: &SigningKeys) -> Secret {
    let mut data = vec![("key.pem", keys.current.clone())];
    data.extend(keys.next.clone().map(|next| ("next.pem", next)));
    if let Some(previous) = &keys.previous {
        data.push(("previous.pub.pem", previous.public.clone()));
        data.extend(previous.until.map(|until| ("previousUntil", until.to_string())));
    }
    secret(node, SIGNING_KEY_SECRET, data)
}

/// The first admin's invitation: whoever holds the token becomes the admin, once, until it expires.
#[must_use]
pub fn build_invitation_secret(node: &ValidNode, url: &str, token: &str, expires_at: Timestamp) -> Secret {
    let data = vec![
        ("email", node.admin_email.clone()),
        ("token", token.to_owned()),
        ("expiresAt", expires_at.to_string()),
        ("url", format!("{url}/api/local/auth/invitation")),
    ];
    secret(node, INVITATION_SECRET, data)
}

fn secret(node: &ValidNode, name: &str, data: Vec<(&str, String)>) -> Secret {
    let data: BTreeMap<_, _> =
        data.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes()))).collect();
    Secret { metadata: metadata(node, name), data: Some(data), type_: Some("Opaque".to_owned()), ..Secret::default() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::local_node::{
        build::tests::server,
        credentials::{PreviousKey, SecretVersion},
        validate::tests::valid,
    };

    #[test]
    fn secrets_hold_what_their_readers_look_for() {
        let node = valid(json!({}));
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let keys = SigningKeys { current: "PEM".into(), next: None, previous: None };
        let mut credentials = Credentials {
            password: "secret".into(),
            next_password: None,
            keys,
            read_from: <[SecretVersion; 2]>::default(),
        };
        insta::assert_yaml_snapshot!(build_database_secret(&node, &server(), Some("CA"), &credentials));
        insta::assert_yaml_snapshot!(build_signing_key_secret(&node, &credentials.keys));
        insta::assert_yaml_snapshot!(build_invitation_secret(&node, "https://riyadh.test", "token", at));
        credentials.next_password = Some("next".into());
        credentials.keys.next = Some("NEXT".into());
        credentials.keys.previous = Some(PreviousKey { public: "PUBLIC".into(), until: Some(at) });
        insta::assert_yaml_snapshot!(build_database_secret(&node, &server(), None, &credentials));
        insta::assert_yaml_snapshot!(build_signing_key_secret(&node, &credentials.keys));
    }
}
