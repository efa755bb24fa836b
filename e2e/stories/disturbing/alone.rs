//! A node that nobody looks after for a while.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use fateh_tests::{Http, eventually, variable};
use serde_json::json;

use super::{
    all_report,
    outages::{outage, part},
};
use crate::{
    backbone::{PASSWORD, answers, apply, become_admin, host, invitation, kubectl, run, wait_ready},
    peer::{self, Peer},
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

async fn the_centre_knows(hub: &Peer, payments: u32) {
    let expected = i64::from(payments) * 10_000;
    eventually("the centre has all the money, once", 120, async || {
        let (amount, fee, net) = hub.sums();
        if amount == expected && fee + net == amount { Ok(()) } else { Err((amount, fee, net)) }
    })
    .await;
}

#[tokio::test]
async fn with_hub_operator_and_api_server_stopped_people_go_on_working() {
    let hub = Arc::new(Peer::default());
    hub.takes_any_token.store(true, Ordering::Relaxed);
    let (_, listening) = peer::serve(&hub, &variable("FATEH_HUB")).await;
    apply("forsaken", "  currency: USD\n").await;
    wait_ready("forsaken").await;
    let http = host("forsaken");
    answers(&http).await;
    let admin = become_admin(&http, &invitation("forsaken").await).await;
    a_day_s_work(&http, &admin, 0).await;
    the_centre_knows(&hub, 1).await;
    // The node says who it is by a token that is good at the hub alone.
    let review = |audience: &str| {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": *hub.token_seen.lock().unwrap(), "audiences": [audience]}});
        let file = std::env::temp_dir().join("fateh-review.json");
        std::fs::write(&file, review.to_string()).unwrap();
        async move { kubectl(&["create", "-f", file.to_str().unwrap(), "-o", "jsonpath={.status.user.username}"]).await }
    };
    assert_eq!(review("https://hub.fateh-platform.com").await, "system:serviceaccount:fateh-node-forsaken:node");
    assert_eq!(review("https://kubernetes.default.svc.cluster.local").await, "");

    hub.away.store(true, Ordering::Relaxed);
    listening.abort();
    let operator = "deployment/fateh-operator";
    kubectl(&["scale", operator, "-n", "fateh-system", "--replicas=0"]).await;
    let pods = "app.kubernetes.io/name=fateh-operator";
    kubectl(&["wait", "pod", "-n", "fateh-system", "-l", pods, "--for=delete", "--timeout=60s"]).await;
    part("stop", "kube-apiserver").await;
    let (started, mut done) = (Instant::now(), 1);
    while started.elapsed() < outage() {
        a_day_s_work(&http, &admin, done).await;
        done += 1;
    }
    part("start", "kube-apiserver").await;
    eventually("the API server is back", 60, async || run("kubectl", &["get", "--raw", "/readyz"]).await).await;
    kubectl(&["scale", operator, "-n", "fateh-system", "--replicas=2"]).await;
    hub.away.store(false, Ordering::Relaxed);
    let (_, listening) = peer::serve(&hub, &variable("FATEH_HUB")).await;
    let back = Instant::now();
    the_centre_knows(&hub, done).await;
    println!(
        "{done} times a user, a lesson and a payment; the centre had them {} ms after its return",
        back.elapsed().as_millis()
    );
    let synced = http.send("POST", "/api/local/sync", Some(&admin), "en", None).await.data(200);
    assert_eq!((synced["pending"].as_i64(), synced["setAside"].as_i64()), (Some(0), Some(0)), "{synced}");
    kubectl(&["rollout", "status", operator, "-n", "fateh-system", "--timeout=90s"]).await;
    all_report().await;
    listening.abort();
}
