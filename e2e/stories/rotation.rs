//! Password and signing key are changed under the eyes of people who sign in all the while.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fateh_tests::eventually;
use serde_json::json;

use crate::backbone::{PASSWORD, answers, apply, become_admin, host, invitation, kubectl, kubectl_json, wait_ready};

async fn keys(secret: &str) -> Vec<String> {
    let secret = kubectl_json(&["get", "secret", secret, "-n", "fateh-node-rotating"]).await;
    secret["data"].as_object().unwrap().keys().cloned().collect()
}

#[tokio::test]
async fn nobody_is_shut_out_while_password_and_signing_key_are_changed() {
    apply("rotating", "  runtime: {replicas: 2}\n").await;
    wait_ready("rotating").await;
    let http = host("rotating");
    answers(&http).await;
    become_admin(&http, &invitation("rotating").await).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (stopping, visiting) = (Arc::clone(&stop), http.clone());
    // Signs in without pause, and uses the token of a minute ago each time.
    let visitor = tokio::spawn(async move {
        let (mut visits, mut tokens) = (0, std::collections::VecDeque::<String>::new());
        while !stopping.load(Ordering::Relaxed) {
            let session =
                visiting.post("/api/local/auth/login", None, &json!({"login": "sara", "password": PASSWORD})).await;
            assert_eq!(session.status, 200, "sign-in {visits}: {session:?}");
            tokens.push_back(session.json["data"]["accessToken"].as_str().unwrap().to_owned());
            let listed = visiting.get("/api/local/users", tokens.front().map(String::as_str)).await;
            assert_eq!(listed.status, 200, "the token of an earlier sign-in: {listed:?}");
            if tokens.len() > 200 {
                tokens.pop_front();
            }
            visits += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        visits
    });
    let published = http.get("/.well-known/jwks.json", None).await.json["keys"].as_array().unwrap().len();
    assert_eq!(published, 1);
    let before =
        kubectl(&["get", "secret", "node-database", "-n", "fateh-node-rotating", "-o", "jsonpath={.data.password}"])
            .await;
    kubectl(&[
        "annotate",
        "localnode",
        "rotating",
        "fateh-platform.com/rotate-password=1",
        "fateh-platform.com/rotate-signing-key=1",
    ])
    .await;
    eventually("both keys are published", 90, async || {
        let jwks = http.get("/.well-known/jwks.json", None).await.json;
        if jwks["keys"].as_array().is_some_and(|keys| keys.len() == 2) { Ok(()) } else { Err(jwks) }
    })
    .await;
    // Pods that know both are rolled out, and the last of those before has gone: 30 s of grace.
    eventually("the new password and the new key are in use", 180, async || {
        let both = (keys("node-database").await, keys("node-signing-key").await);
        let done = !both.0.contains(&"nextPassword".to_owned()) && both.1.contains(&"previous.pub.pem".to_owned());
        if done { Ok(()) } else { Err(both) }
    })
    .await;
    let after =
        kubectl(&["get", "secret", "node-database", "-n", "fateh-node-rotating", "-o", "jsonpath={.data.password}"])
            .await;
    assert_ne!(before, after);
    if fateh_tests::soak() {
        eventually("an end is set for the key before", 180, async || {
            let keys = keys("node-signing-key").await;
            if keys.contains(&"previousUntil".to_owned()) { Ok(()) } else { Err(keys) }
        })
        .await;
    }
    wait_ready("rotating").await;
    stop.store(true, Ordering::Relaxed);
    let visits = visitor.await.unwrap();
    println!("{visits} sign-ins while both were changed, none refused");
    let story = kubectl(&["describe", "localnode", "rotating"]).await;
    assert!(story.contains("PasswordRotated") && story.contains("SigningKeyRotated"), "{story}");
    // What is left of the rotation would be written minutes later, into another story's minute at rest.
    kubectl(&["delete", "localnode", "rotating", "--wait=false"]).await;
}
