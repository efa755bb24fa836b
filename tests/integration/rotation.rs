//! Passwords and signing keys are changed on request, step by step, and nobody is shut out on the way.

use fateh_crds::{LocalNode, ROTATE_PASSWORD_ANNOTATION, ROTATE_SIGNING_KEY_ANNOTATION};
use fateh_tests::{Postgres, becomes_ready, eventually, kubernetes, pods_serve, ready_node, secret};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Secret};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

async fn ask(client: &Client, node: &str, annotation: &str, nonce: &str) {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {annotation: nonce}}}));
    Api::<LocalNode>::all(client.clone()).patch(node, &PatchParams::default(), &patch).await.unwrap();
}

/// The keys of one of the node's Secrets.
async fn keys(client: &Client, node: &str, name: &str) -> Vec<String> {
    let secrets = Api::<Secret>::namespaced(client.clone(), &format!("fateh-node-{node}"));
    secrets.get(name).await.unwrap().data.unwrap().into_keys().collect()
}

async fn has_key(client: &Client, node: &str, name: &str, key: &str, expected: bool) {
    eventually(&format!("{key} in {name}: {expected}"), 60, async || {
        let keys = keys(client, node, name).await;
        if keys.contains(&key.to_owned()) == expected { Ok(()) } else { Err(keys) }
    })
    .await;
}

async fn template(client: &Client, node: &str) -> serde_json::Value {
    let deployments = Api::<Deployment>::namespaced(client.clone(), &format!("fateh-node-{node}"));
    serde_json::to_value(deployments.get("node").await.unwrap().spec.unwrap().template).unwrap()
}

async fn a_password_is_changed(server: Postgres) {
    let client = kubernetes().await;
    let node = format!("turning-{}", server.name());
    let database = format!("node_{}", node.replace('-', "_"));
    ready_node(&client, &node, json!({"region": server.name()})).await;
    let (old, pods) = (secret(&client, &node, "node-database", "password").await, template(&client, &node).await);
    ask(&client, &node, ROTATE_PASSWORD_ANNOTATION, "1").await;

    // First both are in the Secret, new pods are wanted, and the role still takes the old one.
    has_key(&client, &node, "node-database", "nextPassword", true).await;
    let next = secret(&client, &node, "node-database", "nextPassword").await;
    assert_eq!(secret(&client, &node, "node-database", "password").await, old);
    let both = eventually("pods that know both", 30, async || {
        let now = template(&client, &node).await;
        if now == pods { Err(()) } else { Ok(now) }
    })
    .await;
    server.connect(&database, &old, &database).await.unwrap();
    assert!(server.connect(&database, &next, &database).await.is_err(), "not before the pods know it");

    // When they are rolled out, the role takes the new one; that restarts nothing.
    pods_serve(&client, &node).await;
    has_key(&client, &node, "node-database", "nextPassword", false).await;
    assert_eq!(secret(&client, &node, "node-database", "password").await, next);
    server.connect(&database, &next, &database).await.unwrap();
    assert!(server.connect(&database, &old, &database).await.is_err(), "the old one holds no more");
    becomes_ready(&client, &node).await;
    assert_eq!(template(&client, &node).await, both);

    // The same value asks once; another one asks again.
    let status = Api::<LocalNode>::all(client.clone()).get(&node).await.unwrap().status.unwrap();
    assert!(status.handled.rotate_password.is_some());
    ask(&client, &node, ROTATE_PASSWORD_ANNOTATION, "2").await;
    has_key(&client, &node, "node-database", "nextPassword", true).await;
}

#[tokio::test]
async fn a_password_is_changed_when_every_pod_knows_it_on_postgresql_15() {
    a_password_is_changed(Postgres::V15).await;
}

#[tokio::test]
async fn a_password_is_changed_when_every_pod_knows_it_on_postgresql_18() {
    a_password_is_changed(Postgres::V18).await;
}

#[tokio::test]
async fn a_signing_key_is_published_then_used_then_let_go() {
    let client = kubernetes().await;
    let (node, name) = ("signing", "node-signing-key");
    ready_node(&client, node, json!({})).await;
    let old = secret(&client, node, name, "key.pem").await;
    ask(&client, node, ROTATE_SIGNING_KEY_ANNOTATION, "1").await;
    has_key(&client, node, name, "next.pem", true).await;
    let next = secret(&client, node, name, "next.pem").await;
    assert_eq!(secret(&client, node, name, "key.pem").await, old, "published, not yet used");

    eventually("new pods, then the next key in use", 60, async || {
        pods_serve(&client, node).await;
        if keys(&client, node, name).await.contains(&"previous.pub.pem".to_owned()) { Ok(()) } else { Err(()) }
    })
    .await;
    assert_eq!(secret(&client, node, name, "key.pem").await, next);
    assert!(secret(&client, node, name, "previous.pub.pem").await.starts_with("-----BEGIN PUBLIC KEY-----"));
    assert!(!keys(&client, node, name).await.contains(&"next.pem".to_owned()));
    eventually("an end for the old key, once no pod signs with it", 60, async || {
        pods_serve(&client, node).await;
        if keys(&client, node, name).await.contains(&"previousUntil".to_owned()) { Ok(()) } else { Err(()) }
    })
    .await;
    // As if its last token had expired. Said again if a pass that had read the Secret before puts it right.
    let past = Patch::Merge(json!({"stringData": {"previousUntil": "2026-01-01T00:00:00Z"}}));
    let secrets = Api::<Secret>::namespaced(client.clone(), &format!("fateh-node-{node}"));
    eventually("the end of the old key", 60, async || {
        if keys(&client, node, name).await.contains(&"previousUntil".to_owned()) {
            secrets.patch(name, &PatchParams::default(), &past).await.unwrap();
        }
        if keys(&client, node, name).await.contains(&"previous.pub.pem".to_owned()) { Err(()) } else { Ok(()) }
    })
    .await;
    assert_eq!(secret(&client, node, name, "key.pem").await, next);
    becomes_ready(&client, node).await;
}
