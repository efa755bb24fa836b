//! Suspended and Inactive: carried out, reported as done, and taken back without a loss.

use fateh_crds::{LocalNode, Phase};
use fateh_tests::{Postgres, apply_node, condition, eventually, kubernetes, pods_serve, ready_node, secret};
use k8s_openapi::api::{apps::v1::Deployment, networking::v1::Ingress};
use kube::Api;
use serde_json::json;

async fn goes_to_rest_and_comes_back(server: Postgres, state: &str, phase: Phase) {
    let client = kubernetes().await;
    let name = format!("resting-{}-{}", state.to_lowercase(), server.name());
    let database = format!("node_{}", name.replace('-', "_"));
    let namespace = format!("fateh-node-{name}");
    ready_node(&client, &name, json!({"region": server.name()})).await;
    let password = secret(&client, &name, "node-database", "password").await;
    let mut session = server.connect(&database, &password, &database).await.unwrap();
    let insert = "INSERT INTO local_content VALUES (gen_random_uuid(), NULL, 'kept', '{}', false, NULL, 'ar', 'draft', now(), now())";
    sqlx::query(insert).execute(&mut session).await.unwrap();

    apply_node(&client, &name, json!({"region": server.name(), "state": state})).await.unwrap();
    let deployments = Api::<Deployment>::namespaced(client.clone(), &namespace);
    eventually("no pods wanted", 30, async || match deployments.get("node").await.unwrap().spec.unwrap().replicas {
        Some(0) => Ok(()),
        other => Err(other),
    })
    .await;
    pods_serve(&client, &name).await; // all none of them
    assert_eq!(condition(&client, &name, "Ready", "True").await, state);
    let status = Api::<LocalNode>::all(client.clone()).get(&name).await.unwrap().status.unwrap();
    assert_eq!(status.phase, phase);
    let ingresses = Api::<Ingress>::namespaced(client.clone(), &namespace);
    assert!(ingresses.get_opt("node").await.unwrap().is_none(), "it has no route of its own");

    let signs_in = server.connect(&database, &password, &database).await;
    if state == "Inactive" {
        assert!(signs_in.unwrap_err().to_string().contains("not permitted to log in"));
        assert!(sqlx::query("SELECT 1").execute(&mut session).await.is_err(), "its sessions were ended");
    } else {
        assert!(signs_in.is_ok());
    }

    apply_node(&client, &name, json!({"region": server.name(), "state": "Active"})).await.unwrap();
    condition(&client, &name, "RouteReady", "True").await;
    pods_serve(&client, &name).await;
    assert_eq!(condition(&client, &name, "Ready", "True").await, "Serving");
    assert_eq!(secret(&client, &name, "node-database", "password").await, password);
    let mut session = server.connect(&database, &password, &database).await.unwrap();
    let kept: String = sqlx::query_scalar("SELECT title FROM local_content").fetch_one(&mut session).await.unwrap();
    assert_eq!(kept, "kept");
}

#[tokio::test]
async fn a_suspended_node_keeps_its_data_and_comes_back() {
    goes_to_rest_and_comes_back(Postgres::V18, "Suspended", Phase::Suspended).await;
}

#[tokio::test]
async fn an_inactive_node_keeps_its_data_behind_a_locked_role_on_postgresql_15() {
    goes_to_rest_and_comes_back(Postgres::V15, "Inactive", Phase::Inactive).await;
}

#[tokio::test]
async fn an_inactive_node_keeps_its_data_behind_a_locked_role_on_postgresql_18() {
    goes_to_rest_and_comes_back(Postgres::V18, "Inactive", Phase::Inactive).await;
}
