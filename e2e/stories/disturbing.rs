//! Stories that disturb the operator, and so are told one at a time.

mod alone;
mod current;
mod gateway;
mod helm;
mod outages;
mod under_load;

use std::time::{Duration, Instant};

use fateh_tests::{eventually, soak};
use serde_json::{Value, json};

use crate::{
    audit::audit_log,
    backbone::{answers, apply, host, kubectl, kubectl_json, run, wait_ready},
    platform::{self, pods},
    rollouts::{distribute, status},
};

#[tokio::test]
async fn a_node_answers_while_the_operator_is_away() {
    apply("alone", "").await;
    wait_ready("alone").await;
    let http = host("alone");
    answers(&http).await;
    let before = pods("alone").await;
    kubectl(&["delete", "pod", "-n", "fateh-system", "-l", "app.kubernetes.io/name=fateh-operator", "--wait=true"])
        .await;
    answers(&http).await;
    kubectl(&["rollout", "status", "deployment/fateh-operator", "-n", "fateh-system", "--timeout=60s"]).await;
    wait_ready("alone").await;
    assert_eq!(pods("alone").await, before, "a new operator restarts no pod");
}

/// The pod that leads, by the Lease.
async fn leader() -> Option<String> {
    let lease = kubectl_json(&["get", "lease", "fateh-operator", "-n", "fateh-system"]).await;
    // The identity is the pod's name and eight hex digits.
    let holder = lease["spec"]["holderIdentity"].as_str()?;
    holder.rsplit_once('-').map(|(pod, _)| pod.to_owned())
}

async fn another_leader_than(before: &str, seconds: u64) -> String {
    eventually("another leader", seconds, async || match leader().await {
        Some(pod) if pod != before => Ok(pod),
        other => Err(other),
    })
    .await
}

/// Whoever leads knows that every node reports.
async fn all_report() {
    kubectl(&["wait", "--for=condition=Reporting", "--timeout=60s", "localnode", "--all"]).await;
}

/// Both replicas run, and one of them leads.
async fn two_operators() -> String {
    kubectl(&["rollout", "status", "deployment/fateh-operator", "-n", "fateh-system", "--timeout=60s"]).await;
    eventually("a living leader", 30, async || {
        let operators = "app.kubernetes.io/name=fateh-operator";
        let names = "jsonpath={.items[*].metadata.name}";
        let pods = kubectl(&["get", "pods", "-n", "fateh-system", "-l", operators, "-o", names]).await;
        match leader().await {
            Some(leader) if pods.contains(&leader) && pods.split(' ').count() == 2 => Ok(leader),
            other => Err((other, pods)),
        }
    })
    .await
}

/// The process of a pod's container, as the machine knows it.
async fn process(pod: &str) -> String {
    let id = kubectl(&[
        "get",
        "pod",
        pod,
        "-n",
        "fateh-system",
        "-o",
        "jsonpath={.status.containerStatuses[0].containerID}",
    ])
    .await;
    platform::process(&id).await
}

#[tokio::test]
async fn a_leader_that_is_asked_to_go_hands_over_at_once() {
    let before = two_operators().await;
    let started = Instant::now();
    kubectl(&["delete", "pod", &before, "-n", "fateh-system", "--wait=false"]).await;
    another_leader_than(&before, 10).await;
    let took = started.elapsed();
    println!("planned hand-over, from the deletion of the pod: {} ms", took.as_millis());
    // The bound leaves room for a busy machine; an unplanned hand-over takes 15 s at least.
    assert!(took < Duration::from_secs(5), "{took:?}");
    apply("handed", "").await;
    wait_ready("handed").await;
}

#[tokio::test]
async fn a_leader_that_is_killed_is_followed_within_twenty_seconds() {
    let before = two_operators().await;
    let started = Instant::now();
    run("kill", &["-KILL", &process(&before).await]).await.unwrap();
    // The container is started again in the same pod, with another identity.
    let lease = async || {
        kubectl(&["get", "lease", "fateh-operator", "-n", "fateh-system", "-o", "jsonpath={.spec.leaseTransitions}"])
            .await
    };
    let transitions = lease().await;
    eventually("another leader", 20, async || if lease().await == transitions { Err(()) } else { Ok(()) }).await;
    println!("hand-over after a SIGKILL: {} ms", started.elapsed().as_millis());
    apply("crashed", "").await;
    wait_ready("crashed").await;
    all_report().await;
}

#[tokio::test]
async fn a_paused_leader_that_wakes_up_does_no_harm() {
    let before = two_operators().await;
    let pid = process(&before).await;
    run("kill", &["-STOP", &pid]).await.unwrap();
    another_leader_than(&before, 30).await;
    let written_before = audit_log().len();
    run("kill", &["-CONT", &pid]).await.unwrap();
    eventually("the end of the one that was paused", 30, async || {
        let count = kubectl(&[
            "get",
            "pod",
            &before,
            "-n",
            "fateh-system",
            "-o",
            "jsonpath={.status.containerStatuses[0].restartCount}",
        ])
        .await;
        if count == "0" { Err(count) } else { Ok(()) }
    })
    .await;
    let by_it = |entry: &Value| entry["user"]["extra"]["authentication.kubernetes.io/pod-name"][0] == before.as_str();
    let written: Vec<_> = audit_log().split_off(written_before).into_iter().filter(by_it).collect();
    let harmless = |entry: &Value| entry["objectRef"]["resource"] == "leases";
    assert!(written.iter().all(harmless), "{written:#?}");
    apply("awake", "").await;
    wait_ready("awake").await;
}

/// The operator's writes so far, to whatever it may be, but for its lease.
fn all_writes() -> Vec<String> {
    audit_log()
        .into_iter()
        .filter(|entry| entry["user"]["username"] == "system:serviceaccount:fateh-system:fateh-operator")
        .filter(|entry| entry["objectRef"]["resource"] != "leases")
        .map(|entry| {
            format!(
                "{} {} {}/{}",
                entry["verb"],
                entry["objectRef"]["resource"],
                entry["objectRef"]["namespace"],
                entry["objectRef"]["name"]
            )
        })
        .collect()
}

#[tokio::test]
async fn rest_has_no_write_of_the_operators_but_its_lease() {
    two_operators().await;
    apply("resting", "").await;
    wait_ready("resting").await;
    all_report().await;
    distribute("resting", &["resting"], "1", &json!({"text": "١ + ١"}), json!({})).await;
    status("resting", "the end of the rollout", |status| status["phase"] == "Complete").await;
    eventually("the last write for what came before", 90, async || {
        let before = all_writes().len();
        tokio::time::sleep(Duration::from_secs(6)).await;
        if all_writes().len() == before { Ok(()) } else { Err(before) }
    })
    .await;
    let before = all_writes().len();
    // The time is what is tested here.
    let rest = Duration::from_secs(if soak() { 600 } else { 60 });
    tokio::time::sleep(rest).await;
    assert_eq!(all_writes().split_off(before), Vec::<String>::new(), "writes in {} s at rest", rest.as_secs());
    kubectl(&["delete", "cdist", "resting", "--timeout=60s"]).await;
}
