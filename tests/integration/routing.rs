//! Extra hosts and their certificate: what the schema cannot see is refused in words, and recovers when it is mended.

use fateh_crds::LocalNode;
use fateh_tests::{apply_node, becomes_ready, condition, eventually, kubernetes, ready_node};
use k8s_openapi::api::{core::v1::Secret, networking::v1::Ingress};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use serde_json::json;

async fn hosts(client: &Client, node: &str) -> Vec<String> {
    let ingresses = Api::<Ingress>::namespaced(client.clone(), &format!("fateh-node-{node}"));
    let ingress = eventually("the Ingress", 30, async || ingresses.get("node").await).await;
    ingress.spec.unwrap().rules.unwrap().into_iter().filter_map(|rule| rule.host).collect()
}

async fn message(client: &Client, node: &str) -> String {
    let status = Api::<LocalNode>::all(client.clone()).get(node).await.unwrap().status.unwrap();
    status.conditions.into_iter().find(|condition| condition.type_ == "Stalled").unwrap().message
}

#[tokio::test]
async fn a_missing_certificate_is_named_and_its_hosts_are_served_once_it_is_there() {
    let client = kubernetes().await;
    let spec = json!({"routing": {"extraHosts": ["school.example.com"], "tlsSecretName": "school-tls"}});
    apply_node(&client, "certified", spec).await.unwrap();
    assert_eq!(condition(&client, "certified", "Stalled", "True").await, "TlsSecretMissing");
    assert!(message(&client, "certified").await.contains("school-tls in namespace fateh-node-certified"));
    assert_eq!(hosts(&client, "certified").await, ["certified.fateh-platform.com"], "its own host is served");

    let secrets = Api::<Secret>::namespaced(client.clone(), "fateh-node-certified");
    let secret = json!({"metadata": {"name": "school-tls"}, "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": "certificate", "tls.key": "key"}});
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    becomes_ready(&client, "certified").await;
    assert_eq!(hosts(&client, "certified").await, ["certified.fateh-platform.com", "school.example.com"]);

    secrets.delete("school-tls", &DeleteParams::default()).await.unwrap();
    // Not watched, because it is not ours: seen when the node is next looked at.
    apply_node(&client, "certified", json!({"displayName": "another", "routing": {"extraHosts": ["school.example.com"], "tlsSecretName": "school-tls"}})).await.unwrap();
    assert_eq!(condition(&client, "certified", "Stalled", "True").await, "TlsSecretMissing");
    apply_node(&client, "certified", json!({})).await.unwrap();
    becomes_ready(&client, "certified").await;
}

#[tokio::test]
async fn a_host_is_the_older_nodes_until_it_is_given_up() {
    let client = kubernetes().await;
    let both = json!({"routing": {"extraHosts": ["shared.example.com"]}});
    ready_node(&client, "first-come", both.clone()).await;
    // Ages are told apart by the second.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    apply_node(&client, "second-come", both).await.unwrap();
    assert_eq!(condition(&client, "second-come", "Stalled", "True").await, "HostTaken");
    assert!(message(&client, "second-come").await.contains("shared.example.com is the older node first-come's"));
    assert_eq!(hosts(&client, "second-come").await, ["second-come.fateh-platform.com"]);
    condition(&client, "first-come", "Ready", "True").await;

    apply_node(&client, "first-come", json!({})).await.unwrap();
    becomes_ready(&client, "second-come").await;
    assert_eq!(hosts(&client, "second-come").await, ["second-come.fateh-platform.com", "shared.example.com"]);
}

#[tokio::test]
async fn settings_that_are_too_large_are_refused_in_words_and_recover() {
    let client = kubernetes().await;
    let large = json!({"settings": {"text": "ب".repeat(40_000)}});
    apply_node(&client, "large", large).await.unwrap();
    assert_eq!(condition(&client, "large", "Stalled", "True").await, "SettingsTooLarge");
    assert!(message(&client, "large").await.contains("at most 65536 are accepted"));
    apply_node(&client, "large", json!({"settings": {"text": "small"}})).await.unwrap();
    becomes_ready(&client, "large").await;
}
