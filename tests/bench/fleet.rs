//! Many LocalNodes at once, with pods simulated: how long until all are Ready, beside the same writes sent bare.

use std::{collections::HashSet, time::Instant};

use fateh_crds::{DatabaseServer, LocalNode};
use fateh_tests::{apply_node, figures::Figures, gone, program::Program};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};

use crate::{
    bare::{Life, Sender},
    requests::Requests,
};

/// As many as the operator reconciles at once.
const AT_ONCE: usize = 16;

/// As it is unless it is set: what looking at all databases costs belongs to the figures, and not every two seconds.
pub const PROBE: [&str; 1] = ["--probe-interval=30"];

fn nodes() -> usize {
    std::env::var("FATEH_BENCH_NODES").ok().and_then(|count| count.parse().ok()).unwrap_or(1000)
}

/// Lets the server take more nodes than one that is meant to answer them would.
pub async fn room(client: &Client) {
    let capacity = json!({"spec": {"capacity": {"maxDatabases": 100_000, "connectionOvercommit": 1000}}});
    let servers = Api::<DatabaseServer>::all(client.clone());
    servers.patch("pg18", &PatchParams::default(), &Patch::Merge(&capacity)).await.unwrap();
}

/// The writes alone, as many nodes at once as the operator works on; in s.
async fn bare(sender: &Sender, life: &Life, names: &[String]) -> f64 {
    let started = Instant::now();
    stream::iter(names).for_each_concurrent(AT_ONCE, |name| sender.make(life, name)).await;
    started.elapsed().as_secs_f64()
}

/// All by the operator, between two halves of them sent bare.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub async fn measure(client: &Client, sender: &Sender, life: &Life, figures: &mut Figures) {
    let count = nodes();
    let pods = simulate_pods(client);
    let program = Program::start_directly("operator-fleet", &PROBE).await;
    fateh_tests::ready_node(client, "bench-first", json!({})).await;
    let idle = program.memory().await;
    let name = |kind: &'static str| (0..count).map(move |index| format!("bench-{kind}-{index}")).collect::<Vec<_>>();
    let (operated, unoperated) = (name("all"), name("bare-all"));
    let (first, second) = unoperated.split_at(count / 2);

    let mut bare_took = bare(sender, life, first).await;
    let (processor, requests) = (program.processor_time().await, Requests::now(client).await);
    let started = Instant::now();
    make_ready(client, &operated, &json!({})).await;
    let took = started.elapsed().as_secs_f64();
    let (processor, after) = (program.processor_time().await - processor, Requests::now(client).await);
    bare_took += bare(sender, life, second).await;

    figures.add(&format!("{count} LocalNodes at once until all Ready, pods simulated"), took, "s", "120");
    figures.add("the same writes and SQL sent bare, 16 nodes at once, half before it", bare_took, "s", "");
    figures.add("ratio", took / bare_took, "", "1.5");
    let peak = program.peak_memory().await;
    figures.add("operator: resident memory with one node", idle as f64 / 1000.0, "MB", "");
    figures.add("operator: most resident memory meanwhile", peak as f64 / 1000.0, "MB", "20");
    let for_each = |all: u64| all as f64 / count as f64;
    figures.add("operator: processor time for each node", for_each(processor), "ms", "");
    figures.add(
        "passes for each node",
        for_each(after.reads_of("localnodes") - requests.reads_of("localnodes")),
        "",
        "",
    );
    figures.add("objects read for each node", for_each(after.reads() - requests.reads()), "", "");
    // The LocalNode, and what the pods are said to do.
    let writes = after.writes() - requests.writes() - 2 * count as u64;
    figures.add("writes to the API server for each node, the controllers' among them", for_each(writes), "", "");
    let events = after.writes_of("events", "") - requests.writes_of("events", "");
    figures.add("events among them", for_each(events), "", "");
    program.stop().await;
    pods.abort();
}

/// Applies nodes, and waits until all of them are Ready.
pub async fn make_ready(client: &Client, names: &[String], spec: &Value) {
    let mut changes =
        watcher(Api::<LocalNode>::all(client.clone()), watcher::Config::default()).applied_objects().boxed();
    let apply = stream::iter(names).for_each_concurrent(AT_ONCE, |name| async move {
        apply_node(client, name, spec.clone()).await.unwrap();
    });
    let ready = async {
        let mut waiting: HashSet<_> = names.iter().cloned().collect();
        while !waiting.is_empty() {
            let node = changes.try_next().await.unwrap().unwrap();
            let mut conditions = node.status.iter().flat_map(|status| &status.conditions);
            if conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True") {
                waiting.remove(&node.name_any());
            }
        }
    };
    futures::future::join(apply, ready).await;
}

/// Says of every Deployment that its pods serve, as soon as it is seen.
pub fn simulate_pods(client: &Client) -> tokio::task::JoinHandle<()> {
    let writing = client.clone();
    let named = watcher::Config::default().fields("metadata.name=node");
    let deployments = watcher(Api::<Deployment>::all(client.clone()), named).applied_objects();
    tokio::spawn(async move {
        deployments
            .for_each_concurrent(8, |deployment| {
                let client = writing.clone();
                async move {
                    let Ok(deployment) = deployment else { return };
                    let observed = deployment.status.as_ref().and_then(|status| status.observed_generation);
                    if observed == deployment.metadata.generation {
                        return;
                    }
                    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas);
                    let status = json!({"status": {
                        "observedGeneration": deployment.metadata.generation, "replicas": replicas,
                        "updatedReplicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas,
                    }});
                    let api = Api::<Deployment>::namespaced(client, &deployment.namespace().unwrap_or_default());
                    // One that is gone meanwhile needs no pods.
                    let _ = api.patch_status("node", &PatchParams::default(), &Patch::Merge(&status)).await;
                }
            })
            .await;
    })
}

/// Deletes nodes by the operator.
pub async fn remove(client: &Client, names: &[String]) {
    let nodes = Api::<LocalNode>::all(client.clone());
    for name in names {
        nodes.delete(name, &DeleteParams::default()).await.unwrap();
    }
    for name in names {
        gone(client, name).await;
    }
}
