//! From the creation of one LocalNode to all its children, database included.

use std::time::Instant;

use fateh_crds::LocalNode;
use fateh_tests::{
    apply_node,
    figures::{Figures, percentile},
    kubernetes,
    program::Program,
};
use futures::{StreamExt, TryStreamExt};
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;

use crate::{
    bare::{Life, Sender},
    fleet,
};

const NODES: usize = 100;

/// The writes alone, for one node after another; in ms.
pub async fn bare(client: &Client, sender: &Sender, life: &Life) -> Vec<f64> {
    let mut took = Vec::new();
    for name in (0..NODES).map(|index| format!("bench-bare-{index}")) {
        let started = Instant::now();
        let node = apply_node(client, &name, json!({})).await.unwrap();
        sender.send(life, &node).await;
        took.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    took
}

/// The same by the operator.
pub async fn operated(client: &Client, bare: &[f64], figures: &mut Figures) {
    let program = Program::start_directly("operator-provisioning", &[]).await;
    // The first has the template made.
    fateh_tests::ready_node(client, "bench-first", json!({})).await;
    let mut took = Vec::new();
    let names: Vec<_> = (0..NODES).map(|index| format!("bench-one-{index}")).collect();
    let mut changes =
        watcher(Api::<LocalNode>::all(kubernetes().await), watcher::Config::default()).applied_objects().boxed();
    for name in &names {
        let started = Instant::now();
        apply_node(client, name, json!({})).await.unwrap();
        while let Some(node) = changes.try_next().await.unwrap() {
            let mut conditions = node.status.iter().flat_map(|status| &status.conditions);
            let routed = conditions.any(|condition| condition.type_ == "RouteReady" && condition.status == "True");
            if node.metadata.name.as_deref() == Some(name) && routed {
                break;
            }
        }
        took.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    fleet::remove(client, &names).await;
    fleet::remove(client, &["bench-first".to_owned()]).await;
    program.stop().await;
    figures.add("one LocalNode, create to all children applied, p50", percentile(&took, 50), "ms", "250");
    figures.add("one LocalNode, create to all children applied, p99", percentile(&took, 99), "ms", "1000");
    figures.add("the same writes and SQL sent bare, p50", percentile(bare, 50), "ms", "");
    figures.add("the same writes and SQL sent bare, p99", percentile(bare, 99), "ms", "");
    figures.add("ratio at p50", percentile(&took, 50) / percentile(bare, 50), "", "1.5");
}
