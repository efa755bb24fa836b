//! Gateway API in the place of Ingress, and back, with a real Gateway controller: no visitor of the node is turned away.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use fateh_tests::{eventually, variable};

use crate::{
    backbone::{answers, apply, apply_text, host, kubectl, kubectl_json, wait_ready},
    platform::{file, upgrade},
};

const NODE: &str = "portal";

async fn route_by(mode: &str) {
    upgrade(&[format!("routing.mode={mode},routing.gateway.namespace=gateways,routing.gateway.name=public")]).await;
    kubectl(&["rollout", "status", "deployment/fateh-operator", "-n", "fateh-system", "--timeout=60s"]).await;
}

/// Applies the Gateway that the project ships, at the port of the local ingress controller.
async fn apply_gateway() {
    apply_text(&file("manifests/gateway.yaml").replace("port: 443", "port: 8443")).await;
    let pki = variable("FATEH_PKI");
    let (certificate, key) = (format!("--cert={pki}/wildcard.crt"), format!("--key={pki}/wildcard.key"));
    let make = ["create", "secret", "tls", "wildcard-tls", "-n", "gateways", &certificate, &key];
    apply_text(&kubectl(&[&make[..], &["--dry-run=client", "-o", "json"]].concat()).await).await;
    kubectl(&["wait", "--for=condition=Programmed", "gateway/public", "-n", "gateways", "--timeout=30s"]).await;
}

/// Waits for a condition of the node; its message.
async fn condition(kind: &str, status: &str, reason: &str) -> String {
    eventually(&format!("{kind} is {status}: {reason}"), 60, async || {
        let node = kubectl_json(&["get", "localnode", NODE]).await;
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default();
        let there = found["status"] == status && found["reason"] == reason;
        if there { Ok(found["message"].as_str().unwrap().to_owned()) } else { Err(found) }
    })
    .await
}

/// Which of its two possible routes a node has.
async fn routes() -> String {
    kubectl(&["get", "ingresses,httproutes", "-n", &format!("fateh-node-{NODE}"), "-o", "name"]).await.trim().to_owned()
}

#[tokio::test]
async fn nodes_move_to_a_gateway_and_back_with_no_request_lost() {
    apply(NODE, "").await;
    wait_ready(NODE).await;
    let http = host(NODE);
    answers(&http).await;
    apply_gateway().await;

    let (over, asked, failed) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    let visitor = async {
        while !over.load(Ordering::Relaxed) {
            let status = http.get("/api/local/node", None).await.status;
            asked.fetch_add(1, Ordering::Relaxed);
            failed.fetch_add(u32::from(status != 200), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let story = async {
        route_by("Gateway").await;
        condition("RouteReady", "True", "Programmed").await;
        condition("Ready", "True", "Serving").await;
        eventually("the Ingress is gone", 30, async || match routes().await {
            routes if routes == "httproute.gateway.networking.k8s.io/node" => Ok(()),
            routes => Err(routes),
        })
        .await;
        // The hub and the holding page are routed in the same way.
        eventually("the hub answers", 30, async || match host("hub").get("/api/openapi.json", None).await.status {
            200 => Ok(()),
            status => Err(status),
        })
        .await;
        assert_eq!(host("nobody").get("/", None).await.status, 404);
        route_by("Ingress").await;
        condition("RouteReady", "True", "Applied").await;
        eventually("the HTTPRoute is gone", 30, async || match routes().await {
            routes if routes == "ingress.networking.k8s.io/node" => Ok(()),
            routes => Err(routes),
        })
        .await;
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(visitor, story);
    let (asked, failed) = (asked.into_inner(), failed.into_inner());
    println!("{asked} requests while the node moved to the Gateway and back, {failed} failed");
    assert!(asked > 100 && failed == 0, "{failed} of {asked} requests failed");

    // A Gateway that takes no routes is named where the engineer looks, and mended where it is.
    route_by("Gateway").await;
    condition("RouteReady", "True", "Programmed").await;
    let listener = |from: &str| {
        format!(
            r#"[{{"op": "replace", "path": "/spec/listeners/0/allowedRoutes/namespaces/from", "value": "{from}"}}]"#
        )
    };
    kubectl(&["patch", "gateway", "public", "-n", "gateways", "--type=json", "-p", &listener("Same")]).await;
    // What the operator sees of its listeners is told until the Gateway itself has spoken.
    eventually("the Gateway's own words", 60, async || {
        let message = condition("RouteReady", "False", "RouteRefused").await;
        if message.contains("the Gateway gateways/public says") { Ok(()) } else { Err(message) }
    })
    .await;
    condition("Ready", "False", "RouteRefused").await;
    condition("Stalled", "True", "RouteRefused").await;
    kubectl(&["patch", "gateway", "public", "-n", "gateways", "--type=json", "-p", &listener("All")]).await;
    condition("Ready", "True", "Serving").await;
    // It accepts a route for one of its hosts; that it leaves out another is told all the same.
    let hosts = |hosts: &str| format!(r#"{{"spec": {{"routing": {{"extraHosts": {hosts}}}}}}}"#);
    kubectl(&["patch", "localnode", NODE, "--type=merge", "-p", &hosts(r#"["portal.school.example"]"#)]).await;
    let message = condition("Stalled", "True", "RouteRefused").await;
    assert!(message.contains("portal.school.example"), "{message}");
    assert_eq!(http.get("/api/local/node", None).await.status, 200, "its own host is served meanwhile");
    let another = r#"[{"op": "add", "path": "/spec/listeners/-", "value": {
        "name": "school", "hostname": "portal.school.example", "protocol": "HTTPS", "port": 8443,
        "tls": {"mode": "Terminate", "certificateRefs": [{"name": "wildcard-tls"}]},
        "allowedRoutes": {"namespaces": {"from": "All"}}}}]"#;
    kubectl(&["patch", "gateway", "public", "-n", "gateways", "--type=json", "-p", another]).await;
    condition("Ready", "True", "Serving").await;
    kubectl(&["patch", "localnode", NODE, "--type=merge", "-p", &hosts("null")]).await;
    // A Gateway that goes is noticed, and that it is back.
    kubectl(&["delete", "gateway", "public", "-n", "gateways", "--timeout=60s"]).await;
    condition("RouteReady", "Unknown", "RoutePending").await;
    apply_gateway().await;
    condition("Ready", "True", "Serving").await;
    route_by("Ingress").await;
    condition("RouteReady", "True", "Applied").await;
    super::all_report().await;
    kubectl(&["delete", "localnode", NODE, "--timeout=60s"]).await;
    kubectl(&["delete", "namespace/gateways", "gatewayclass/traefik", "--timeout=60s"]).await;
}
