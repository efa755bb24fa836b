//! A change of the spec is followed by every child that it touches, and by no other.

use fateh_tests::{Postgres, becomes_ready, condition, eventually, kubernetes, ready_node, secret};
use k8s_openapi::api::{
    apps::v1::Deployment, core::v1::ConfigMap, networking::v1::Ingress, policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, ResourceExt,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::json;

#[tokio::test]
async fn a_change_is_carried_out_and_reported_for_its_generation() {
    let client = kubernetes().await;
    ready_node(&client, "changing", json!({})).await;
    let namespace = "fateh-node-changing";
    let deployments = Api::<Deployment>::namespaced(client.clone(), namespace);
    let template = async || deployments.get("node").await.unwrap().spec.unwrap().template;
    let before = template().await;

    let spec = json!({
        "runtime": {"replicas": 3}, "fees": {"platformBasisPoints": 1500},
        "routing": {"extraHosts": ["learn.example.com"]}, "database": {"connectionLimit": 30},
    });
    fateh_tests::apply_node(&client, "changing", spec.clone()).await.unwrap();
    condition(&client, "changing", "DatabaseReady", "True").await;
    becomes_ready(&client, "changing").await;
    assert_eq!(template().await, before, "a change of replicas, fees, hosts and limit restarts no pod");
    assert_eq!(deployments.get("node").await.unwrap().spec.unwrap().replicas, Some(3));
    let budgets = Api::<PodDisruptionBudget>::namespaced(client.clone(), namespace);
    budgets.get("node").await.unwrap();
    let ingress = Api::<Ingress>::namespaced(client.clone(), namespace).get("node").await.unwrap();
    let hosts: Vec<_> = ingress.spec.unwrap().rules.unwrap().into_iter().filter_map(|rule| rule.host).collect();
    assert_eq!(hosts, ["changing.fateh-platform.com", "learn.example.com"]);

    let password = secret(&client, "changing", "node-database", "password").await;
    let mut session = Postgres::V18.connect("node_changing", &password, "node_changing").await.unwrap();
    let rates: Vec<i32> = sqlx::query_scalar("SELECT platform_basis_points FROM fee_rates ORDER BY valid_from")
        .fetch_all(&mut session)
        .await
        .unwrap();
    assert_eq!(rates, [1000, 1500], "a fee is appended, never overwritten");
    let limit: i32 = sqlx::query_scalar("SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user")
        .fetch_one(&mut session)
        .await
        .unwrap();
    assert_eq!(limit, 30);

    // A new display name is a new configuration, and so a new pod, and touches nothing else.
    let versions = async || {
        let read = unnamed_children(&client, namespace).await;
        read.into_iter().map(|child| child.metadata.resource_version).collect::<Vec<_>>()
    };
    let untouched = versions().await;
    fateh_tests::apply_node(&client, "changing", json!({"displayName": "اسم جديد"})).await.unwrap();
    condition(&client, "changing", "DatabaseReady", "True").await;
    let config = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    eventually("the new display name", 30, async || {
        let text = config.get("node").await.unwrap().data.unwrap()["node.json"].clone();
        if text.contains("اسم جديد") { Ok(()) } else { Err(text) }
    })
    .await;
    eventually("a new template", 30, async || if template().await == before { Err(()) } else { Ok(()) }).await;
    assert_eq!(versions().await, untouched, "no other child was written");
    // Back to one pod, and so without a budget.
    eventually("the end of the budget", 30, async || match budgets.get_opt("node").await.unwrap() {
        None => Ok(()),
        Some(budget) => Err(budget.name_any()),
    })
    .await;
}

/// The children that no display name is in.
async fn unnamed_children(client: &kube::Client, namespace: &str) -> Vec<DynamicObject> {
    let mut children = Vec::new();
    for (group, version, kind) in [
        ("", "v1", "ServiceAccount"),
        ("", "v1", "Service"),
        ("rbac.authorization.k8s.io", "v1", "RoleBinding"),
        ("networking.k8s.io", "v1", "NetworkPolicy"),
        ("fateh-platform.com", "v1alpha1", "NodeContent"),
    ] {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource);
        children.push(api.get("node").await.unwrap());
    }
    children
}

#[tokio::test]
async fn a_password_is_made_once() {
    let client = kubernetes().await;
    ready_node(&client, "one-password", json!({})).await;
    let before = secret(&client, "one-password", "node-database", "password").await;
    let key = secret(&client, "one-password", "node-signing-key", "key.pem").await;
    fateh_tests::apply_node(&client, "one-password", json!({"displayName": "another"})).await.unwrap();
    condition(&client, "one-password", "DatabaseReady", "True").await;
    assert_eq!(secret(&client, "one-password", "node-database", "password").await, before);
    assert_eq!(secret(&client, "one-password", "node-signing-key", "key.pem").await, key);
}
