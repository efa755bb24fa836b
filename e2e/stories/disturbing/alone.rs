//! A node that nobody looks after for a while.

use std::time::Instant;

use fateh_tests::{Http, eventually};
use serde_json::json;

use super::{
    all_report,
    outages::{outage, part},
};
use crate::{
    backbone::{PASSWORD, answers, apply, become_admin, host, invitation, kubectl, run, wait_ready},
    hub,
};

/// What people do all day; each of it must succeed.
async fn a_day_s_work(http: &Http, admin: &str, number: u32) {
    let login = json!({"login": "admin@example.com", "password": PASSWORD});
    http.post("/api/local/auth/login", None, &login).await.data(200);
    let name = format!("learner-{number}");
    let user =
        json!({"username": name, "email": format!("{name}@example.com"), "password": PASSWORD, "role": "student"});
    http.post("/api/local/users", Some(admin), &user).await.data(201);
    let lesson =
        json!({"type": "lesson", "title": "درس", "content": {"text": "نص"}, "language": "ar", "status": "published"});
    let made = http.post("/api/local/content", Some(admin), &lesson).await.data(201);
    http.get(&format!("/api/local/content/{}", made["id"].as_str().unwrap()), Some(admin)).await.data(200);
    let money = http.with_header("x-node-id: forsaken").with_header(&format!("Idempotency-Key: {number}"));
    let course = json!({"type": "course", "amount": "100", "currency": "USD"});
    money.post("/api/local/revenue", Some(admin), &course).await.data(201);
}

/// The hub has all that was paid, once, and nothing is still on its way.
async fn the_centre_knows(payments: u32) {
    let (hub, token) = hub::admin().await;
    let gross = format!("{payments}00.00");
    eventually("the centre has all the money, once", 120, async || {
        let statistics = hub.get("/api/global/statistics", Some(&token)).await.data(200);
        let nodes = statistics["nodes"].as_array().unwrap();
        let node = nodes.iter().find(|node| node["slug"] == "forsaken").cloned().unwrap_or_default();
        let dollars = node["revenue"].as_array().into_iter().flatten().find(|sum| sum["currency"] == "USD");
        if dollars.is_some_and(|sum| sum["gross"] == gross.as_str()) { Ok(()) } else { Err(node) }
    })
    .await;
}

async fn scale(deployment: &str, replicas: &str) {
    kubectl(&["scale", &format!("deployment/{deployment}"), "-n", "fateh-system", &format!("--replicas={replicas}")])
        .await;
    if replicas == "0" {
        let pods = format!("app.kubernetes.io/name={deployment}");
        kubectl(&["wait", "pod", "-n", "fateh-system", "-l", &pods, "--for=delete", "--timeout=60s"]).await;
    }
}

#[tokio::test]
async fn with_hub_operator_and_api_server_stopped_people_go_on_working() {
    apply("forsaken", "  currency: USD\n").await;
    wait_ready("forsaken").await;
    let http = host("forsaken");
    answers(&http).await;
    let admin = become_admin(&http, &invitation("forsaken").await).await;
    a_day_s_work(&http, &admin, 0).await;
    the_centre_knows(1).await;

    scale("fateh-hub", "0").await;
    scale("fateh-operator", "0").await;
    part("stop", "kube-apiserver").await;
    let (started, mut done) = (Instant::now(), 1);
    while started.elapsed() < outage() {
        a_day_s_work(&http, &admin, done).await;
        done += 1;
    }
    part("start", "kube-apiserver").await;
    eventually("the API server is back", 60, async || run("kubectl", &["get", "--raw", "/readyz"]).await).await;
    scale("fateh-operator", "2").await;
    scale("fateh-hub", "2").await;
    kubectl(&["rollout", "status", "deployment/fateh-hub", "-n", "fateh-system", "--timeout=90s"]).await;
    let back = Instant::now();
    the_centre_knows(done).await;
    println!(
        "{done} times a user, a lesson and a payment; the centre had them {} ms after its return",
        back.elapsed().as_millis()
    );
    let synced = http.send("POST", "/api/local/sync", Some(&admin), "en", None).await.data(200);
    assert_eq!((synced["pending"].as_i64(), synced["setAside"].as_i64()), (Some(0), Some(0)), "{synced}");
    kubectl(&["rollout", "status", "deployment/fateh-operator", "-n", "fateh-system", "--timeout=90s"]).await;
    all_report().await;
}
