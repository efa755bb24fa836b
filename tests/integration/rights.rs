//! What a node's ServiceAccount may do, tried with its real token.

use fateh_crds::{LocalNode, NodeContent, NodeReport};
use fateh_tests::{kubernetes, ready_node};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::{ConfigMap, Namespace, Pod, Secret, ServiceAccount},
};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

/// A client that signs in as the node's pods do.
async fn as_node(admin: &Client, node: &str) -> Client {
    let accounts = Api::<ServiceAccount>::namespaced(admin.clone(), &format!("fateh-node-{node}"));
    let request = TokenRequest {
        spec: TokenRequestSpec { expiration_seconds: Some(600), ..TokenRequestSpec::default() },
        ..TokenRequest::default()
    };
    let token =
        accounts.create_token_request("node", &PostParams::default(), &request).await.unwrap().status.unwrap().token;
    let mut config = Config::infer().await.unwrap();
    config.auth_info = kube::config::AuthInfo { token: Some(token.into()), ..kube::config::AuthInfo::default() };
    Client::try_from(config).unwrap()
}

fn forbidden<T: std::fmt::Debug>(what: &str, result: Result<T, kube::Error>) {
    match result {
        Err(kube::Error::Api(status)) if status.code == 403 => {}
        other => panic!("{what} should be forbidden: {other:?}"),
    }
}

#[tokio::test]
async fn a_node_reads_its_content_writes_its_status_and_nothing_else() {
    let admin = kubernetes().await;
    ready_node(&admin, "confined", json!({})).await;
    ready_node(&admin, "neighbour", json!({})).await;
    let client = as_node(&admin, "confined").await;
    let (own, other) = ("fateh-node-confined", "fateh-node-neighbour");

    let contents = |namespace: &str| Api::<NodeContent>::namespaced(client.clone(), namespace);
    let reports = |namespace: &str| Api::<NodeReport>::namespaced(client.clone(), namespace);
    contents(own).get("node").await.unwrap();
    contents(own).list(&ListParams::default()).await.unwrap();
    let part = |kind: &str| json!({"apiVersion": "fateh-platform.com/v1alpha1", "kind": kind, "status": {"items": []}});
    let apply = PatchParams::apply("node-runtime").force();
    contents(own).patch_status("node", &apply, &Patch::Apply(part("NodeContent"))).await.unwrap();

    // Through a status endpoint nothing but status is taken, whatever else is sent.
    let sly = json!({"metadata": {"finalizers": ["evil.example/stay"], "labels": {"a": "b"}}, "spec": {"items": []}, "status": {"items": []}});
    contents(own).patch_status("node", &PatchParams::default(), &Patch::Merge(&sly)).await.unwrap();
    let kept = Api::<NodeContent>::namespaced(admin.clone(), own).get("node").await.unwrap();
    assert!(kept.metadata.finalizers.is_none() && !kept.metadata.labels.unwrap().contains_key("a"));

    let edit = json!({"metadata": {"labels": {"a": "b"}}});
    let merge = PatchParams::default();
    forbidden("edit its NodeContent", contents(own).patch("node", &merge, &Patch::Merge(&edit)).await);
    forbidden("edit its NodeReport", reports(own).patch("node", &merge, &Patch::Merge(&edit)).await);
    forbidden("delete its NodeContent", contents(own).delete("node", &DeleteParams::default()).await);
    forbidden("read its NodeReport", reports(own).get("node").await);
    forbidden("read a neighbour's content", contents(other).get("node").await);
    forbidden("write a neighbour's report", reports(other).patch_status("node", &merge, &Patch::Merge(&edit)).await);
    forbidden("read all content", Api::<NodeContent>::all(client.clone()).list(&ListParams::default()).await);
    forbidden("read its Secret", Api::<Secret>::namespaced(client.clone(), own).get("node-database").await);
    forbidden("list its Secrets", Api::<Secret>::namespaced(client.clone(), own).list(&ListParams::default()).await);
    forbidden("read its ConfigMap", Api::<ConfigMap>::namespaced(client.clone(), own).get("node").await);
    forbidden("list pods", Api::<Pod>::namespaced(client.clone(), own).list(&ListParams::default()).await);
    forbidden("read its LocalNode", Api::<LocalNode>::all(client.clone()).get("confined").await);
    forbidden(
        "write its LocalNode's status",
        Api::<LocalNode>::all(client.clone()).patch_status("confined", &merge, &Patch::Merge(&edit)).await,
    );
    forbidden("list namespaces", Api::<Namespace>::all(client.clone()).list(&ListParams::default()).await);
}
