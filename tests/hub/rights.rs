//! What the hub may do with its real token, and what not.

use std::fs;

use fateh_crds::{DatabaseServer, LocalNode, NodeContent};
use fateh_tests::{delete_node, kubernetes, ready_node, service_account_token, variable};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, Secret},
};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, ListParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

async fn as_hub(client: &Client) -> Client {
    let token = service_account_token(client, "fateh-system", "fateh-hub", None).await;
    let text = fs::read_to_string(variable("KUBECONFIG")).unwrap();
    let mut config =
        Config::from_custom_kubeconfig(Kubeconfig::from_yaml(&text).unwrap(), &KubeConfigOptions::default())
            .await
            .unwrap();
    config.auth_info.token = Some(token.into());
    Client::try_from(config).unwrap()
}

fn forbidden<T: std::fmt::Debug>(what: &str, result: Result<T, kube::Error>) {
    match result {
        Err(kube::Error::Api(status)) if status.code == 403 => {}
        other => panic!("{what}: {other:?}"),
    }
}

#[tokio::test]
async fn the_hub_says_what_a_node_is_and_not_what_runs_or_where_its_data_lies() {
    let client = kubernetes().await;
    let hub = as_hub(&client).await;
    let nodes = Api::<LocalNode>::all(hub.clone());
    let apply = PatchParams::apply("fateh-hub");
    let node = |name: &str, more: Value| {
        let mut node = json!({"apiVersion": "fateh-platform.com/v1alpha1", "kind": "LocalNode", "metadata": {"name": name},
            "spec": {"displayName": "x", "region": "pg18", "adminEmail": "a@example.com"}});
        for part in ["metadata", "spec"] {
            if let Some(more) = more[part].as_object() {
                node[part].as_object_mut().unwrap().extend(more.clone());
            }
        }
        Patch::Apply(node)
    };
    let bad = [
        json!({"spec": {"runtime": {"image": "evil.test/image:1"}}}),
        json!({"spec": {"runtime": {"replicas": 5}}}),
        json!({"spec": {"runtime": {"resources": {"limits": {"memory": "1Gi"}}}}}),
        json!({"spec": {"database": {"serverRef": "pg15"}}}),
        json!({"spec": {"database": {"reclaimPolicy": "Delete"}}}),
        json!({"spec": {"database": {"connectionLimit": 500}}}),
        json!({"metadata": {"finalizers": ["fateh-platform.com/mine"]}}),
        json!({"metadata": {"annotations": {"fateh-platform.com/adopt-database": "node_other"}}}),
        json!({"metadata": {"annotations": {"fateh-platform.com/abandon-database": "uid"}}}),
        json!({"metadata": {"annotations": {"fateh-platform.com/recreate-database": "now"}}}),
        json!({"spec": {"fees": {"platformBasisPoints": 0}}}),
        json!({"spec": {"routing": {"extraHosts": ["bank.example.com"]}}}),
        json!({"spec": {"routing": {"tlsSecretName": "theirs"}}}),
    ];
    for change in &bad {
        forbidden(
            &format!("make {change}"),
            nodes.patch("hub-rights", &apply, &node("hub-rights", change.clone())).await,
        );
    }
    nodes.patch("hub-rights", &apply, &node("hub-rights", json!({}))).await.unwrap();
    fateh_tests::becomes_ready(&client, "hub-rights").await;
    for change in &bad {
        forbidden(
            &format!("change {change}"),
            nodes.patch("hub-rights", &apply, &node("hub-rights", change.clone())).await,
        );
    }
    nodes.patch("hub-rights", &apply, &node("hub-rights", json!({"spec": {"country": "SA"}}))).await.unwrap();
    ready_node(&client, "hub-deletes", json!({"database": {"reclaimPolicy": "Delete"}})).await;
    forbidden("delete a node with its database", nodes.delete("hub-deletes", &DeleteParams::default()).await);
    delete_node(&client, "hub-deletes").await;

    let namespace = "fateh-node-hub-rights";
    let list = ListParams::default();
    forbidden("read Secrets", Api::<Secret>::namespaced(hub.clone(), namespace).get("node-database").await);
    forbidden("list Secrets", Api::<Secret>::all(hub.clone()).list(&list).await);
    forbidden("list Deployments", Api::<Deployment>::all(hub.clone()).list(&list).await);
    forbidden("list namespaces", Api::<Namespace>::all(hub.clone()).list(&list).await);
    forbidden("list DatabaseServers", Api::<DatabaseServer>::all(hub.clone()).list(&list).await);
    forbidden("read NodeContent", Api::<NodeContent>::namespaced(hub.clone(), namespace).get("node").await);
    let status = Patch::Merge(json!({"status": {"phase": "Ready"}}));
    forbidden("write status", nodes.patch_status("hub-rights", &PatchParams::default(), &status).await);
    nodes.delete("hub-rights", &DeleteParams::default()).await.unwrap();
    fateh_tests::gone(&client, "hub-rights").await;
}
