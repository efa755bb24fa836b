//! Whatever happens to a node's children by hand is put right.

use fateh_crds::{NodeContent, NodeReport};
use fateh_tests::{Postgres, becomes_ready, condition, eventually, kubernetes, ready_node, secret};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, Secret, Service, ServiceAccount},
    networking::v1::{Ingress, NetworkPolicy},
    policy::v1::PodDisruptionBudget,
    rbac::v1::RoleBinding,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

trait Child:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned + Serialize
{
}
impl<K> Child for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Serialize
{
}

/// Deletes the child and waits for another one.
async fn comes_back<K: Child>(client: &Client, namespace: &str, name: &str) {
    let api = Api::<K>::namespaced(client.clone(), namespace);
    let before = api.get(name).await.unwrap().uid();
    api.delete(name, &DeleteParams::default()).await.unwrap();
    eventually(&format!("another {} {name}", K::kind(&())), 30, async || match api.get_opt(name).await.unwrap() {
        Some(child) if child.uid() != before && !child.owner_references().is_empty() => Ok(()),
        other => Err(other.and_then(|child| child.uid())),
    })
    .await;
}

/// The parts of a child that are its makers': neither metadata nor status.
fn contents<K: Child>(child: &K) -> Value {
    let mut value = serde_json::to_value(child).unwrap();
    let fields = value.as_object_mut().unwrap();
    fields.remove("metadata");
    fields.remove("status");
    value
}

/// Edits the child as `kubectl edit` would, and waits until it is as before.
async fn is_put_right<K: Child>(client: &Client, namespace: &str, name: &str, edit: Value) {
    let api = Api::<K>::namespaced(client.clone(), namespace);
    let before = contents(&api.get(name).await.unwrap());
    let parameters = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
    let edited = api.patch(name, &parameters, &Patch::Strategic(edit.clone())).await.unwrap();
    assert_ne!(contents(&edited), before, "{edit} changes {}", K::kind(&()));
    eventually(&format!("{} without {edit}", K::kind(&())), 30, async || {
        let now = contents(&api.get(name).await.unwrap());
        if now == before { Ok(()) } else { Err(now) }
    })
    .await;
}

#[tokio::test]
async fn every_child_comes_back() {
    let client = kubernetes().await;
    ready_node(&client, "deleted-children", json!({"runtime": {"replicas": 2}})).await;
    let namespace = "fateh-node-deleted-children";
    comes_back::<ConfigMap>(&client, namespace, "node").await;
    comes_back::<ServiceAccount>(&client, namespace, "node").await;
    comes_back::<RoleBinding>(&client, namespace, "node").await;
    comes_back::<NodeReport>(&client, namespace, "node").await;
    comes_back::<NodeContent>(&client, namespace, "node").await;
    comes_back::<NetworkPolicy>(&client, namespace, "node").await;
    comes_back::<Deployment>(&client, namespace, "node").await;
    comes_back::<Service>(&client, namespace, "node").await;
    comes_back::<Ingress>(&client, namespace, "node").await;
    comes_back::<PodDisruptionBudget>(&client, namespace, "node").await;
    comes_back::<Secret>(&client, namespace, "node-invitation").await;
    comes_back::<Secret>(&client, namespace, "node-signing-key").await;
    comes_back::<Secret>(&client, namespace, "node-database").await;
    becomes_ready(&client, "deleted-children").await;
}

#[tokio::test]
async fn a_lost_password_is_made_anew_and_pods_are_given_it() {
    let client = kubernetes().await;
    ready_node(&client, "lost-password", json!({})).await;
    let namespace = "fateh-node-lost-password";
    let deployments = Api::<Deployment>::namespaced(client.clone(), namespace);
    let template = async || deployments.get("node").await.unwrap().spec.unwrap().template;
    let (before, pods) = (secret(&client, "lost-password", "node-database", "password").await, template().await);
    comes_back::<Secret>(&client, namespace, "node-database").await;
    let after = secret(&client, "lost-password", "node-database", "password").await;
    assert_ne!(before, after);
    eventually("the role takes the new password", 30, async || {
        Postgres::V18.connect("node_lost_password", &after, "node_lost_password").await.map(drop)
    })
    .await;
    assert!(Postgres::V18.connect("node_lost_password", &before, "node_lost_password").await.is_err());
    eventually("new pods", 30, async || if template().await == pods { Err(()) } else { Ok(()) }).await;
}

#[tokio::test]
async fn a_deleted_namespace_comes_back_and_the_data_is_kept() {
    let client = kubernetes().await;
    ready_node(&client, "lost-namespace", json!({})).await;
    let name = "node_lost_namespace";
    let (password, key) = (
        secret(&client, "lost-namespace", "node-database", "password").await,
        secret(&client, "lost-namespace", "node-signing-key", "key.pem").await,
    );
    let mut session = Postgres::V18.connect(name, &password, name).await.unwrap();
    let insert = "INSERT INTO local_content VALUES (gen_random_uuid(), NULL, 'kept', '{}', false, NULL, 'ar', 'draft', now(), now())";
    sqlx::query(insert).execute(&mut session).await.unwrap();
    let namespaces = Api::<Namespace>::all(client.clone());
    let before = namespaces.get("fateh-node-lost-namespace").await.unwrap().uid();
    namespaces.delete("fateh-node-lost-namespace", &DeleteParams::default()).await.unwrap();
    eventually("another namespace", 60, async || {
        match namespaces.get_opt("fateh-node-lost-namespace").await.unwrap() {
            Some(namespace) if namespace.uid() != before => Ok(()),
            other => Err(other.and_then(|namespace| namespace.status)),
        }
    })
    .await;
    condition(&client, "lost-namespace", "RouteReady", "True").await;
    eventually("pods can serve again", 60, async || {
        let deployments = Api::<Deployment>::namespaced(client.clone(), "fateh-node-lost-namespace");
        deployments.get("node").await.map(drop)
    })
    .await;
    becomes_ready(&client, "lost-namespace").await;
    let anew = secret(&client, "lost-namespace", "node-database", "password").await;
    assert_ne!(anew, password);
    assert_ne!(secret(&client, "lost-namespace", "node-signing-key", "key.pem").await, key);
    secret(&client, "lost-namespace", "node-invitation", "token").await;
    let mut session = Postgres::V18.connect(name, &anew, name).await.unwrap();
    let kept: String = sqlx::query_scalar("SELECT title FROM local_content").fetch_one(&mut session).await.unwrap();
    assert_eq!(kept, "kept");
}

#[tokio::test]
async fn edits_by_hand_are_put_right_additions_included() {
    let client = kubernetes().await;
    ready_node(&client, "edited", json!({"runtime": {"replicas": 2}})).await;
    let namespace = "fateh-node-edited";
    let container = json!({"name": "extra", "image": "registry.test/evil:1"});
    is_put_right::<Deployment>(
        &client,
        namespace,
        "node",
        json!({"spec": {"template": {"spec": {"containers": [container]}}}}),
    )
    .await;
    let env = json!({"name": "node", "env": [{"name": "EXTRA", "value": "1"}]});
    is_put_right::<Deployment>(
        &client,
        namespace,
        "node",
        json!({"spec": {"template": {"spec": {"containers": [env]}}}}),
    )
    .await;
    is_put_right::<Deployment>(&client, namespace, "node", json!({"spec": {"replicas": 7}})).await;
    is_put_right::<ConfigMap>(&client, namespace, "node", json!({"data": {"extra": "1"}})).await;
    is_put_right::<Secret>(
        &client,
        namespace,
        "node-database",
        json!({"stringData": {"host": "evil.test", "extra": "1"}}),
    )
    .await;
    let port = json!({"name": "extra", "port": 81, "protocol": "TCP"});
    is_put_right::<Service>(&client, namespace, "node", json!({"spec": {"ports": [port]}})).await;
    is_put_right::<NetworkPolicy>(&client, namespace, "node", json!({"spec": {"ingress": [{}]}})).await;
    is_put_right::<Ingress>(&client, namespace, "node", json!({"spec": {"rules": [{"host": "evil.test"}]}})).await;
    is_put_right::<PodDisruptionBudget>(&client, namespace, "node", json!({"spec": {"maxUnavailable": 2}})).await;
    let subject = json!({"kind": "ServiceAccount", "name": "evil", "namespace": "default"});
    is_put_right::<RoleBinding>(&client, namespace, "node", json!({"subjects": [subject]})).await;
    is_put_right::<ServiceAccount>(&client, namespace, "node", json!({"automountServiceAccountToken": true})).await;

    let namespaces = Api::<Namespace>::all(client.clone());
    let relaxed = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}});
    namespaces.patch(namespace, &PatchParams::default(), &Patch::Merge(&relaxed)).await.unwrap();
    eventually("the restricted level", 30, async || {
        let level = namespaces.get(namespace).await.unwrap().labels()["pod-security.kubernetes.io/enforce"].clone();
        if level == "restricted" { Ok(()) } else { Err(level) }
    })
    .await;
}
