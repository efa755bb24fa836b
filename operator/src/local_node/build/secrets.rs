use std::collections::BTreeMap;

use fateh_crds::DatabaseServerSpec;
use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};

use super::metadata;
use crate::{
    local_node::validate::ValidNode,
    secrets::{Credentials, SigningKeys, database_entries, invitation_entries, signing_key_entries},
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
    secret(node, DATABASE_SECRET, database_entries(&node.slug.database(), server, ca, credentials))
}

/// The node's signing keys.
#[must_use]
pub fn build_signing_key_secret(node: &ValidNode, keys: &SigningKeys) -> Secret {
    secret(node, SIGNING_KEY_SECRET, signing_key_entries(keys))
}

/// The first admin's invitation.
#[must_use]
pub fn build_invitation_secret(node: &ValidNode, url: &str, token: &str, expires_at: Timestamp) -> Secret {
    let url = format!("{url}/api/local/auth/invitation");
    secret(node, INVITATION_SECRET, invitation_entries(&node.admin_email, url, token, expires_at))
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
    use crate::{
        local_node::{build::tests::server, validate::tests::valid},
        secrets::{PreviousKey, SecretVersion},
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
