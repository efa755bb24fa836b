//! Users of nodes at the centre, and whose word counts for them.

use fateh_tests::{delete_node, eventually, kubernetes, ready_node, service_account_token};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{Api, api::PostParams};
use serde_json::json;
use uuid::Uuid;

use crate::{
    hub::{HUB, node_of, start},
    running::{become_admin, sign_in, text},
};

#[tokio::test]
async fn a_user_of_a_node_has_a_global_reference_and_a_token_that_is_good_at_the_hub_alone() {
    let hub = start("identity").await;
    let node = node_of(&hub, "vouching").await;
    become_admin(&node).await;
    let session = sign_in(&node.users, "سارة").await;
    assert_eq!(session["globalToken"]["state"], "issued", "{session}");
    let token = text(&session["globalToken"], "accessToken");
    let me = hub.http.get("/api/global/users/me", Some(&token)).await.data(200);
    assert_eq!(me["localUser"], session["user"]["id"]);
    let known: Uuid =
        sqlx::query_scalar("SELECT id FROM global_platform.global_identities WHERE local_user = $1::uuid")
            .bind(text(&session["user"], "id"))
            .fetch_one(&mut hub.database().await)
            .await
            .unwrap();
    assert_eq!(me["id"], json!(known), "the same reference, however often it is asked for");
    let again = sign_in(&node.users, "سارة").await;
    let token_again = text(&again["globalToken"], "accessToken");
    assert_eq!(hub.http.get("/api/global/users/me", Some(&token_again)).await.data(200)["id"], me["id"]);

    // Who is admin on a node is nobody at the centre, and the hub's token is none for a node.
    assert_eq!(hub.http.get("/api/global/nodes", Some(&token)).await.error(403), "forbidden");
    assert_eq!(node.users.get("/api/local/users/me", Some(&token)).await.error(401), "unauthenticated");
    let local = text(&session, "accessToken");
    assert_eq!(hub.http.get("/api/global/users/me", Some(&local)).await.error(401), "unauthenticated");
}

#[tokio::test]
async fn only_a_node_s_own_token_speaks_for_it() {
    let client = kubernetes().await;
    let hub = start("callers").await;
    for name in ["caller-a", "caller-b"] {
        ready_node(&client, name, json!({})).await;
    }
    let ask = async |token: &str, node: &str| {
        let body = json!({"node": node, "userId": Uuid::new_v4(), "role": "admin"});
        hub.http.post("/api/global/v1/identity/token", Some(token), &body).await
    };
    let honest = service_account_token(&client, "fateh-node-caller-a", "node", Some(HUB)).await;
    eventually("the hub knows the node", 10, async || {
        let answer = ask(&honest, "caller-a").await;
        if answer.status == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
    assert_eq!(ask(&honest, "caller-b").await.error(403), "forbidden", "one node for another");
    let for_the_cluster = service_account_token(&client, "fateh-node-caller-a", "node", None).await;
    assert_eq!(ask(&for_the_cluster, "caller-a").await.error(401), "unauthenticated", "of another audience");
    let of_another_account = service_account_token(&client, "fateh-system", "fateh-operator", Some(HUB)).await;
    assert_eq!(ask(&of_another_account, "caller-a").await.error(401), "unauthenticated", "of another account");
    let mut parts: Vec<_> = honest.split('.').map(str::to_owned).collect();
    parts[2] = parts[2].chars().rev().collect();
    assert_eq!(ask(&parts.join("."), "caller-a").await.error(401), "unauthenticated", "forged");
    assert_eq!(ask("a.b.c", "caller-a").await.error(401), "unauthenticated", "no token at all");

    // A namespace that merely looks like a node's.
    let namespace = serde_json::from_value(json!({"metadata": {"name": "fateh-node-lookalike"}})).unwrap();
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), "fateh-node-lookalike");
    let account = serde_json::from_value(json!({"metadata": {"name": "node"}})).unwrap();
    accounts.create(&PostParams::default(), &account).await.unwrap();
    let pretended = service_account_token(&client, "fateh-node-lookalike", "node", Some(HUB)).await;
    assert_eq!(ask(&pretended, "lookalike").await.error(401), "unauthenticated", "there is no such node");
    fateh_tests::apply_node(&client, "lookalike", json!({})).await.unwrap();
    fateh_tests::condition(&client, "lookalike", "Ready", "False").await;
    assert_eq!(ask(&pretended, "lookalike").await.error(401), "unauthenticated", "the node does not have it");

    delete_node(&client, "caller-a").await;
    eventually("a node that is gone speaks no more", 10, async || {
        let answer = ask(&honest, "caller-a").await;
        if answer.status == 401 { Ok(()) } else { Err(answer) }
    })
    .await;
    for name in ["caller-b", "lookalike"] {
        delete_node(&client, name).await;
    }
    Api::<Namespace>::all(client).delete("fateh-node-lookalike", &kube::api::DeleteParams::default()).await.unwrap();
}
