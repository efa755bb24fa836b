//! At rest the operator is silent.

use std::{collections::BTreeSet, time::Duration};

use fateh_tests::{eventually, variable};
use serde_json::Value;

use crate::backbone::{apply, kubectl, wait_ready};

/// Everything that ServiceAccounts have written so far, as the API server's audit log has it.
pub fn audit_log() -> Vec<Value> {
    let log = std::fs::read_to_string(variable("FATEH_AUDIT")).unwrap();
    log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The operator's writes to one node so far: verb, resource and name.
fn writes(node: &str) -> Vec<String> {
    audit_log()
        .into_iter()
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
