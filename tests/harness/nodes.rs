//! LocalNodes, as tests make and watch them.

use fateh_crds::{LocalNode, NodeReport};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Secret};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::eventually;

/// Field manager of what tests apply.
pub const TESTER: &str = "fateh-tests";

/// Applies a LocalNode with the three required fields and what `spec` adds.
///
/// # Errors
/// The API server's refusal.
pub async fn apply_node(client: &Client, name: &str, spec: Value) -> Result<LocalNode, kube::Error> {
    let mut full = json!({"displayName": "مدرسة", "region": "pg18", "adminEmail": "admin@example.com"});
    if let (Some(full), Some(spec)) = (full.as_object_mut(), spec.as_object()) {
        full.extend(spec.clone());
    }
    let node = json!({"apiVersion": "fateh-platform.com/v1alpha1", "kind": "LocalNode", "metadata": {"name": name}, "spec": full});
    let parameters = PatchParams::apply(TESTER).force();
    Api::<LocalNode>::all(client.clone()).patch(name, &parameters, &Patch::Apply(&node)).await
}

/// Waits until a condition has this status, for the newest generation, and returns its reason.
pub async fn condition(client: &Client, name: &str, kind: &str, status: &str) -> String {
    let api = Api::<LocalNode>::all(client.clone());
    eventually(&format!("{kind}={status} of {name}"), 60, async || {
        let node = api.get(name).await.map_err(|error| error.to_string())?;
        let conditions = node.status.map(|status| status.conditions).unwrap_or_default();
        let found = conditions.iter().find(|condition| condition.type_ == kind);
        match found {
            Some(found) if found.status == status && found.observed_generation == node.metadata.generation => {
                Ok(found.reason.clone())
            }
            _ => Err(format!("{conditions:#?}")),
        }
    })
    .await
}

/// Says in the Deployment's place that all its pods serve, where no kubelet runs.
pub async fn pods_serve(client: &Client, name: &str) {
    let api = Api::<Deployment>::namespaced(client.clone(), &format!("fateh-node-{name}"));
    let deployment = eventually("the Deployment", 60, async || api.get("node").await).await;
    let replicas = deployment.spec.and_then(|spec| spec.replicas);
    let status = json!({"status": {
        "observedGeneration": deployment.metadata.generation, "replicas": replicas, "updatedReplicas": replicas,
        "readyReplicas": replicas, "availableReplicas": replicas,
    }});
    let patched = api.patch_status("node", &PatchParams::default(), &Patch::Merge(&status)).await;
    assert!(patched.is_ok(), "{patched:?}");
}

/// Applies a node, plays its pods, and waits until it is Ready.
pub async fn ready_node(client: &Client, name: &str, spec: Value) -> LocalNode {
    let node = apply_node(client, name, spec).await.unwrap_or_else(|error| panic!("apply {name}: {error}"));
    becomes_ready(client, name).await;
    node
}

/// Plays the node's pods, as often as the operator changes them, until the node is Ready at its newest generation.
pub async fn becomes_ready(client: &Client, name: &str) {
    let nodes = Api::<LocalNode>::all(client.clone());
    eventually(&format!("readiness of {name}"), 60, async || {
        pods_serve(client, name).await;
        let node = nodes.get(name).await.map_err(|error| error.to_string())?;
        let ready =
            node.status.iter().flat_map(|status| &status.conditions).find(|condition| condition.type_ == "Ready");
        match ready {
            Some(ready) if ready.status == "True" && ready.observed_generation == node.metadata.generation => Ok(()),
            other => Err(format!("{other:#?}")),
        }
    })
    .await;
}

/// Deletes a node and waits until it is gone.
pub async fn delete_node(client: &Client, name: &str) {
    let api = Api::<LocalNode>::all(client.clone());
    let deleted = api.delete(name, &DeleteParams::default()).await;
    assert!(deleted.is_ok(), "{deleted:?}");
    gone(client, name).await;
}

/// Waits until a node is gone.
pub async fn gone(client: &Client, name: &str) {
    let api = Api::<LocalNode>::all(client.clone());
    eventually(&format!("the end of {name}"), 90, async || match api.get_opt(name).await {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

/// A key of one of the node's Secrets.
pub async fn secret(client: &Client, node: &str, secret: &str, key: &str) -> String {
    let api = Api::<Secret>::namespaced(client.clone(), &format!("fateh-node-{node}"));
    let found = eventually(&format!("Secret {secret} of {node}"), 30, async || api.get(secret).await).await;
    let value = found.data.and_then(|mut data| data.remove(key)).unwrap_or_else(|| panic!("{secret} has no key {key}"));
    String::from_utf8(value.0).unwrap_or_else(|error| panic!("{secret}/{key}: {error}"))
}

/// The present time, as a node's clock would have it.
pub async fn now() -> String {
    let output = tokio::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%S.%6NZ"]).output().await;
    let output = output.unwrap_or_else(|error| panic!("ask for the time: {error}"));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Reports in the place of a node's pods.
pub async fn report(client: &Client, node: &str, status: Value) {
    let reported = try_report(client, node, status).await;
    assert!(reported.is_ok(), "{reported:?}");
}

/// The same of a node that may be gone.
///
/// # Errors
/// The API server's refusal.
pub async fn try_report(client: &Client, node: &str, status: Value) -> Result<(), kube::Error> {
    let api = Api::<NodeReport>::namespaced(client.clone(), &format!("fateh-node-{node}"));
    let part = json!({"apiVersion": "fateh-platform.com/v1alpha1", "kind": "NodeReport", "status": status});
    api.patch_status("node", &PatchParams::apply("node-runtime").force(), &Patch::Apply(&part)).await.map(drop)
}

/// The notes of the events about a node, by reason.
pub async fn events(client: &Client, node: &LocalNode) -> Vec<(String, String)> {
    let api = Api::<k8s_openapi::api::events::v1::Event>::namespaced(client.clone(), "default");
    let all = api.list(&kube::api::ListParams::default()).await.unwrap_or_else(|error| panic!("list events: {error}"));
    let about = |event: &k8s_openapi::api::events::v1::Event| {
        event.regarding.as_ref().and_then(|about| about.uid.clone()) == node.uid()
    };
    all.items
        .into_iter()
        .filter(about)
        .map(|event| (event.reason.unwrap_or_default(), event.note.unwrap_or_default()))
        .collect()
}
