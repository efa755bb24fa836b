//! From the creation of one LocalNode to all its children, database included, beside the same writes sent bare.

use std::time::Instant;

use fateh_crds::LocalNode;
use fateh_tests::{
    apply_node,
    figures::{Figures, percentile},
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

/// One node after another, by the operator and bare in turns.
pub async fn measure(client: &Client, sender: &Sender, life: &Life, figures: &mut Figures) {
    let program = Program::start_directly("operator-provisioning", &fleet::PROBE).await;
    // The first has the template made.
    fateh_tests::ready_node(client, "bench-first", json!({})).await;
    let (mut operated, mut bare) = (Vec::new(), Vec::new());
    let names: Vec<_> = (0..NODES).map(|index| format!("bench-one-{index}")).collect();
    let mut changes =
        watcher(Api::<LocalNode>::all(client.clone()), watcher::Config::default()).applied_objects().boxed();
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
        operated.push(started.elapsed().as_secs_f64() * 1000.0);
        let started = Instant::now();
        sender.make(life, &name.replace("one", "bare")).await;
        bare.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    fleet::remove(client, &names).await;
    fleet::remove(client, &["bench-first".to_owned()]).await;
    program.stop().await;
    figures.add("one LocalNode, create to all children applied, p50", percentile(&operated, 50), "ms", "250");
    figures.add("one LocalNode, create to all children applied, p99", percentile(&operated, 99), "ms", "1000");
    figures.add("the same writes and SQL sent bare in turns with it, p50", percentile(&bare, 50), "ms", "");
    figures.add("the same writes and SQL sent bare in turns with it, p99", percentile(&bare, 99), "ms", "");
    figures.add("ratio at p50", percentile(&operated, 50) / percentile(&bare, 50), "", "1.5");
}
