//! `make bench`: many LocalNodes at once with real pods, beside the same Deployments without the operator.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::{
    fs,
    time::{Duration, Instant},
};

use fateh_crds::LocalNode;
use fateh_tests::{
    apply_node, eventually,
    figures::{Figures, percentile},
    kubernetes, program,
};
use futures::{StreamExt, stream};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;

const NODES: usize = 100;
/// Requests under way at once, as many as the operator has.
const AT_ONCE: usize = 16;
/// How long a program is left alone before its memory is that of one at rest.
const REST: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_nodes_with_pods() {
    let client = kubernetes().await;
    let names: Vec<_> = (0..NODES).map(|index| format!("bench-{index}")).collect();
    let operators = processes("fateh-operator");
    assert!(!operators.is_empty(), "the operator runs on this machine");
    tokio::time::sleep(REST).await;
    let hub_idle = resident("fateh-hub");
    let processor = |pids: &[u32]| pids.iter().map(|pid| program::processor_time(*pid)).sum::<u64>();
    let before = processor(&operators);
    let started = Instant::now();
    let apply = stream::iter(&names).for_each_concurrent(AT_ONCE, |name| {
        let client = client.clone();
        async move { drop(apply_node(&client, name, json!({"region": "mena"})).await.unwrap()) }
    });
    apply.await;
    until("all nodes are Ready", async || {
        let nodes = Api::<LocalNode>::all(client.clone()).list(&ListParams::default()).await.unwrap();
        let ready = |node: &&LocalNode| {
            let mut conditions = node.status.iter().flat_map(|status| &status.conditions);
            conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
        };
        nodes.iter().filter(ready).count()
    })
    .await;
    let operated = started.elapsed().as_secs_f64();
    let used = processor(&operators) - before;
    let peak = operators.iter().map(|pid| program::memory(*pid, "VmHWM:")).max().unwrap();
    tokio::time::sleep(REST).await;
    let node_idle = resident("node-runtime");

    let system = Api::<Deployment>::namespaced(client.clone(), "fateh-system");
    let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
    system.patch("fateh-operator", &PatchParams::default(), &none).await.unwrap();
    eventually("the operator is gone", 60, async || {
        let left = processes("fateh-operator");
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    let deployments = take_deployments(&client).await;
    assert_eq!(deployments.len(), NODES);
    let started = Instant::now();
    let create = stream::iter(&deployments).for_each_concurrent(AT_ONCE, |deployment| {
        let api = Api::<Deployment>::namespaced(client.clone(), &deployment.namespace().unwrap());
        async move { drop(api.create(&PostParams::default(), deployment).await.unwrap()) }
    });
    create.await;
    until("all Deployments are available", async || {
        let (api, named) = (Api::<Deployment>::all(client.clone()), ListParams::default().fields("metadata.name=node"));
        let all = api.list(&named).await.unwrap();
        let available = |deployment: &&Deployment| {
            deployment.status.as_ref().and_then(|status| status.available_replicas) == Some(1)
        };
        all.iter().filter(available).count()
    })
    .await;
    let bare = started.elapsed().as_secs_f64();

    let mut figures = Figures::default();
    figures.add("100 LocalNodes at once until all Ready, with pods", operated, "s", "");
    figures.add("the same 100 Deployments without the operator", bare, "s", "");
    figures.add("ratio", operated / bare, "", "");
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    for (what, value, unit, goal) in [
        ("operator: most resident memory", peak as f64 / 1000.0, "MB", "20"),
        ("operator: processor time for each node", used as f64 / NODES as f64, "ms", ""),
        ("hub: resident memory in its pod, idle", percentile(&hub_idle, 50), "MB", "12"),
        ("node-runtime: resident memory in their pods, idle, p50", percentile(&node_idle, 50), "MB", "10"),
        ("node-runtime: resident memory in their pods, idle, most", percentile(&node_idle, 100), "MB", "10"),
    ] {
        figures.add(what, value, unit, goal);
    }
    figures.finish("pods");
}

/// Processes of this machine with this name.
fn processes(name: &str) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(|pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name))
        .collect()
}

/// What each process with this name has in memory, in MB.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn resident(name: &str) -> Vec<f64> {
    processes(name).into_iter().map(|pid| program::memory(pid, "VmRSS:") as f64 / 1000.0).collect()
}

/// Waits until as many as there are nodes have got there.
async fn until(what: &str, count: impl AsyncFn() -> usize) {
    let deadline = Instant::now() + Duration::from_secs(600);
    loop {
        let done = count().await;
        if done >= NODES {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {done} of {NODES}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Deletes the nodes' Deployments, pods included, and returns them as they would be created.
async fn take_deployments(client: &Client) -> Vec<Deployment> {
    let selected = ListParams::default().fields("metadata.name=node");
    let found = Api::<Deployment>::all(client.clone()).list(&selected).await.unwrap();
    let mut taken = Vec::new();
    for deployment in found {
        let api = Api::<Deployment>::namespaced(client.clone(), &deployment.namespace().unwrap());
        api.delete("node", &DeleteParams::foreground()).await.unwrap();
        let metadata = ObjectMeta {
            name: deployment.metadata.name.clone(),
            namespace: deployment.metadata.namespace.clone(),
            labels: deployment.metadata.labels.clone(),
            ..ObjectMeta::default()
        };
        taken.push(Deployment { metadata, spec: deployment.spec, status: None });
    }
    eventually("their pods are gone", 120, async || {
        let (api, labelled) =
            (Api::<Pod>::all(client.clone()), ListParams::default().labels("app.kubernetes.io/name=node"));
        let left = api.list(&labelled).await.unwrap().items.len();
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
    taken
}
