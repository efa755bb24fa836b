//! Many LocalNodes at once, with pods simulated: how long until all are Ready, beside the same writes sent bare.

use std::{collections::HashSet, time::Instant};

use fateh_crds::{DatabaseServer, LocalNode};
use fateh_tests::{apply_node, figures::Figures, gone, kubernetes, program::Program};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};

use crate::bare::{Life, Sender};

/// As many as the operator reconciles at once.
const AT_ONCE: usize = 16;

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
pub async fn bare(client: &Client, sender: &Sender, life: &Life) -> f64 {
    let names: Vec<_> = (0..nodes()).map(|index| format!("bench-bare-all-{index}")).collect();
    let started = Instant::now();
    let sent = stream::iter(&names).for_each_concurrent(AT_ONCE, |name| async move {
        let node = apply_node(client, name, json!({})).await.unwrap();
        sender.send(life, &node).await;
    });
    sent.await;
    started.elapsed().as_secs_f64()
}

/// The same by the operator.
pub async fn operated(client: &Client, bare: f64, figures: &mut Figures) {
    let count = nodes();
    let pods = simulate_pods(client).await;
    let program = Program::start_directly("operator-fleet", &[]).await;
    fateh_tests::ready_node(client, "bench-first", json!({})).await;
    let idle = program.memory().await;
    let names: Vec<_> = (0..count).map(|index| format!("bench-all-{index}")).collect();
    let started = Instant::now();
    let processor = program.processor_time().await;
    make_ready(client, &names, &json!({})).await;
    let took = started.elapsed().as_secs_f64();
    let processor = program.processor_time().await - processor;
    figures.add(&format!("{count} LocalNodes at once until all Ready, pods simulated"), took, "s", "120");
    figures.add("the same writes and SQL sent bare, 16 nodes at once", bare, "s", "");
    figures.add("ratio", took / bare, "", "1.5");
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    for (what, value, unit, goal) in [
        ("operator: resident memory with one node", idle as f64 / 1000.0, "MB", ""),
        ("operator: most resident memory meanwhile", program.peak_memory().await as f64 / 1000.0, "MB", "20"),
        ("operator: processor time for each node", processor as f64 / count as f64, "ms", ""),
    ] {
        figures.add(what, value, unit, goal);
    }
    program.stop().await;
    pods.abort();
}

/// Applies nodes, and waits until all of them are Ready.
pub async fn make_ready(client: &Client, names: &[String], spec: &Value) {
    let mut changes =
        watcher(Api::<LocalNode>::all(kubernetes().await), watcher::Config::default()).applied_objects().boxed();
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
pub async fn simulate_pods(client: &Client) -> tokio::task::JoinHandle<()> {
    let (watching, writing) = (kubernetes().await, client.clone());
    tokio::spawn(async move {
        let named = watcher::Config::default().fields("metadata.name=node");
        let deployments = watcher(Api::<Deployment>::all(watching), named).applied_objects();
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
