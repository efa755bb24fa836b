use std::collections::BTreeMap;

use fateh_crds::DatabaseServerSpec;
use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};

use super::metadata;
use crate::local_node::validate::ValidNode;

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
    password: &str,
) -> Secret {
    let name = node.slug.database();
    let mut data = vec![
        ("host", server.host.clone()),
        ("port", server.port.to_string()),
        ("database", name.clone()),
        ("username", name),
        ("password", password.to_owned()),
        ("sslmode", server.tls.mode.sslmode().to_owned()),
    ];
    data.extend(ca.map(|ca| ("ca.crt", ca.to_owned())));
    secret(node, DATABASE_SECRET, data)
}

/// The node's signing key, PKCS #8 PEM.
#[must_use]
pub fn build_signing_key_secret(node: &ValidNode, pem: &str) -> Secret {
    secret(node, SIGNING_KEY_SECRET, vec![("key.pem", pem.to_owned())])
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
    use crate::local_node::{build::tests::server, validate::tests::valid};

    #[test]
    fn secrets_hold_what_their_readers_look_for() {
        let node = valid(json!({}));
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        insta::assert_yaml_snapshot!(build_database_secret(&node, &server(), Some("CA"), "secret"));
        insta::assert_yaml_snapshot!(build_signing_key_secret(&node, "PEM"));
        insta::assert_yaml_snapshot!(build_invitation_secret(&node, "https://riyadh.test", "token", at));
    }
}
