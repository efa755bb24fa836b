//! The hub on a real cluster: at its host, with the operator's database and Secrets, and replaced under load.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use fateh_tests::{Http, eventually};
use serde_json::{Value, json};

use crate::backbone::{PASSWORD, answers, host, kubectl, kubectl_json, run, wait_ready};

const EMAIL: &str = "layla@example.com";

/// The hub's host, and the access token of the first platform admin, who accepts the invitation the first time.
pub async fn admin() -> (Http, String) {
    let hub = host("hub");
    let template = "go-template={{.data.token | base64decode}}";
    if let Ok(token) = run("kubectl", &["get", "secret", "hub-invitation", "-n", "fateh-system", "-o", template]).await
    {
        let body = json!({"token": token.trim(), "displayName": "ليلى", "password": PASSWORD});
        eventually("the invitation is accepted", 30, async || {
            let accepted = hub.post("/api/global/auth/invitation", None, &body).await;
            // Another story may have been quicker.
            if [201, 403].contains(&accepted.status) { Ok(()) } else { Err(accepted) }
        })
        .await;
    }
    let login = json!({"email": EMAIL, "password": PASSWORD});
    let session = eventually("a session at the hub", 30, async || {
        let answer = hub.post("/api/global/auth/login", None, &login).await;
        if answer.status == 200 { Ok(answer.json["data"].clone()) } else { Err(answer) }
    })
    .await;
    (hub, session["accessToken"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_node_is_made_by_the_api_and_a_suspended_one_has_a_holding_page() {
    let (hub, token) = admin().await;
    let body = json!({"slug": "salalah", "name": "مدرسة صلالة", "region": "mena", "country": "OM", "currency": "OMR",
        "adminEmail": "admin@example.com"});
    assert_eq!(hub.post("/api/global/nodes", Some(&token), &body).await.data(202)["slug"], "salalah");
    wait_ready("salalah").await;
    let http = host("salalah");
    assert_eq!(answers(&http).await["displayName"], "مدرسة صلالة");

    let mut change = body.clone();
    change.as_object_mut().unwrap().remove("slug");
    change["state"] = json!("Suspended");
    hub.send("PUT", "/api/global/nodes/salalah", Some(&token), "en", Some(&change)).await.data(202);
    eventually("the holding page", 60, async || {
        let answer = http.get("/", None).await;
        if answer.status == 503 && answer.text.contains("closed for the time being") { Ok(()) } else { Err(answer) }
    })
    .await;
    assert_eq!(host("nobody").get("/", None).await.status, 404);
    change["state"] = json!("Active");
    hub.send("PUT", "/api/global/nodes/salalah", Some(&token), "en", Some(&change)).await.data(202);
    answers(&http).await;
    let statistics = hub.get("/api/global/statistics", Some(&token)).await.data(200);
    let nodes = statistics["nodes"].as_array().unwrap();
    assert!(nodes.iter().any(|node| node["slug"] == "salalah"), "{statistics}");
}

#[tokio::test]
async fn disturbing_the_hub_is_replaced_under_load_without_a_failed_request() {
    let (hub, token) = admin().await;
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (hub, token, stop, asked) = (hub.clone(), token.clone(), Arc::clone(&stop), Arc::clone(&asked));
            tokio::spawn(async move {
                let mut failed = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let answer = hub.get("/api/global/statistics", Some(&token)).await;
                    asked.fetch_add(1, Ordering::Relaxed);
                    if answer.status != 200 {
                        failed.push(answer);
                    }
                }
                failed
            })
        })
        .collect();
    let names = async || -> Vec<Value> {
        let list = ["get", "pods", "-n", "fateh-system", "-l", "app.kubernetes.io/name=fateh-hub"];
        let pods = kubectl_json(&list).await;
        pods["items"].as_array().unwrap().iter().map(|pod| pod["metadata"]["name"].clone()).collect()
    };
    let before = names().await;
    kubectl(&["rollout", "restart", "deployment/fateh-hub", "-n", "fateh-system"]).await;
    kubectl(&["rollout", "status", "deployment/fateh-hub", "-n", "fateh-system", "--timeout=120s"]).await;
    eventually("the end of the pods before", 60, async || {
        let now = names().await;
        if now.iter().any(|pod| before.contains(pod)) { Err(now) } else { Ok(()) }
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let mut failed = Vec::new();
    for client in clients {
        failed.extend(client.await.unwrap());
    }
    let asked = asked.load(Ordering::Relaxed);
    println!("{asked} requests while two pods of the hub were replaced, {} failed", failed.len());
    assert!(failed.is_empty() && asked > 50, "{asked} requests, of which failed: {failed:#?}");
}
