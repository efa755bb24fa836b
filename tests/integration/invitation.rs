//! The first admin's invitation: one at a time, made anew when it is lost, gone when it is used.

use fateh_crds::LocalNode;
use fateh_tests::{Postgres, condition, eventually, kubernetes, ready_node, secret};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;

#[tokio::test]
async fn a_lost_invitation_is_made_anew_and_a_used_one_never() {
    let client = kubernetes().await;
    ready_node(&client, "inviting", json!({})).await;
    assert_eq!(condition(&client, "inviting", "AdminBootstrapped", "True").await, "Invited");
    let secrets = Api::<Secret>::namespaced(client.clone(), "fateh-node-inviting");
    let first = secret(&client, "inviting", "node-invitation", "token").await;

    secrets.delete("node-invitation", &DeleteParams::default()).await.unwrap();
    let second = eventually("another invitation", 30, async || {
        let token = secret(&client, "inviting", "node-invitation", "token").await;
        if token == first { Err("the first one") } else { Ok(token) }
    })
    .await;
    // Only the hash of the newest token is in the database.
    let password = secret(&client, "inviting", "node-database", "password").await;
    let mut session = Postgres::V18.connect("node_inviting", &password, "node_inviting").await.unwrap();
    eventually("its hash in the database", 30, async || {
        let matches: bool = sqlx::query_scalar("SELECT bool_and(token_hash = sha256($1)) FROM first_admin_invitation")
            .bind(second.as_bytes())
            .fetch_one(&mut session)
            .await
            .unwrap();
        if matches { Ok(()) } else { Err("another hash") }
    })
    .await;

    sqlx::query("UPDATE first_admin_invitation SET accepted_at = now()").execute(&mut session).await.unwrap();
    let report =
        json!({"reportedAt": "2026-01-01T00:00:00.000000Z", "version": "1", "adminState": "Active", "statistics": {}});
    fateh_tests::report(&client, "inviting", report).await;
    let active = async || {
        eventually("an active admin", 30, async || {
            match condition(&client, "inviting", "AdminBootstrapped", "True").await.as_str() {
                "Active" => Ok(()),
                other => Err(other.to_owned()),
            }
        })
        .await;
    };
    active().await;
    assert!(secrets.get_opt("node-invitation").await.unwrap().is_none(), "a used invitation is removed");

    // Not even when it is asked for.
    let asked = json!({"metadata": {"annotations": {"fateh-platform.com/invite": "please"}}});
    let nodes = Api::<LocalNode>::all(client.clone());
    nodes.patch("inviting", &PatchParams::default(), &Patch::Merge(&asked)).await.unwrap();
    fateh_tests::apply_node(&client, "inviting", json!({"displayName": "another"})).await.unwrap();
    condition(&client, "inviting", "DatabaseReady", "True").await;
    active().await;
    assert!(secrets.get_opt("node-invitation").await.unwrap().is_none(), "and never made again");
}

#[tokio::test]
async fn an_expired_invitation_says_so_and_is_renewed_on_request() {
    let client = kubernetes().await;
    ready_node(&client, "expiring", json!({})).await;
    let secrets = Api::<Secret>::namespaced(client.clone(), "fateh-node-expiring");
    let past = json!({"stringData": {"expiresAt": "2026-01-01T00:00:00Z"}});
    secrets.patch("node-invitation", &PatchParams::default(), &Patch::Merge(&past)).await.unwrap();
    assert_eq!(condition(&client, "expiring", "AdminBootstrapped", "False").await, "InvitationExpired");
    assert_eq!(condition(&client, "expiring", "Ready", "True").await, "Serving", "the node serves all the same");

    let before = secret(&client, "expiring", "node-invitation", "token").await;
    let asked = json!({"metadata": {"annotations": {"fateh-platform.com/invite": "once more"}}});
    Api::<LocalNode>::all(client.clone())
        .patch("expiring", &PatchParams::default(), &Patch::Merge(&asked))
        .await
        .unwrap();
    assert_eq!(condition(&client, "expiring", "AdminBootstrapped", "True").await, "Invited");
    assert_ne!(secret(&client, "expiring", "node-invitation", "token").await, before);
}
