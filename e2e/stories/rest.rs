//! At rest: the operator is silent, and what it made goes on without it.

use std::{collections::BTreeSet, time::Duration};

use fateh_tests::{eventually, variable};
use serde_json::Value;

use crate::backbone::{answers, apply, host, kubectl, wait_ready};

/// The operator's writes to one node so far: verb, resource and name.
fn writes(node: &str) -> Vec<String> {
    let log = std::fs::read_to_string(variable("FATEH_AUDIT")).unwrap();
    let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    entries
        .filter(|entry| entry["user"]["username"] == "system:serviceaccount:fateh-system:fateh-operator")
        .filter(|entry| {
            let object = &entry["objectRef"];
            object["namespace"] == format!("fateh-node-{node}")
                || (object["resource"] == "localnodes" && object["name"] == node)
        })
        .map(|entry| format!("{} {}/{}", entry["verb"], entry["objectRef"]["resource"], entry["objectRef"]["name"]))
        .collect()
}

#[tokio::test]
async fn nothing_is_written_when_nothing_changes() {
    apply("quiet", "").await;
    wait_ready("quiet").await;
    kubectl(&["wait", "--for=condition=Reporting", "--timeout=60s", "localnode/quiet"]).await;
    // Settled: two looks apart by a second see the same writes.
    eventually("the last write of the provisioning", 30, async || {
        let before = writes("quiet").len();
        tokio::time::sleep(Duration::from_secs(2)).await;
        if writes("quiet").len() == before { Ok(()) } else { Err(before) }
    })
    .await;
    let before = writes("quiet");
    assert!(!before.is_empty(), "the audit log shows the operator's writes");
    // Four heartbeats of the node; the time is what is tested here.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let after: BTreeSet<_> = writes("quiet").split_off(before.len()).into_iter().collect();
    assert_eq!(after, BTreeSet::new(), "writes at rest");
}

#[tokio::test]
async fn a_node_answers_while_the_operator_is_away() {
    apply("alone", "").await;
    wait_ready("alone").await;
    let http = host("alone");
    answers(&http).await;
    let pods = kubectl(&["get", "pods", "-n", "fateh-node-alone", "-o", "jsonpath={.items[*].metadata.uid}"]).await;
    kubectl(&["delete", "pod", "-n", "fateh-system", "-l", "app.kubernetes.io/name=fateh-operator", "--wait=true"])
        .await;
    answers(&http).await;
    kubectl(&["rollout", "status", "deployment/fateh-operator", "-n", "fateh-system", "--timeout=60s"]).await;
    wait_ready("alone").await;
    let same = kubectl(&["get", "pods", "-n", "fateh-node-alone", "-o", "jsonpath={.items[*].metadata.uid}"]).await;
    assert_eq!(pods, same, "a new operator restarts no pod");
}
