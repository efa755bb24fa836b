//! Nodes' pods, as the centre sees them: each watches what its node is told and acknowledges it, without a database.

use std::{collections::BTreeMap, time::Duration};

use fateh_crds::{ContentItem, NodeContent};
use futures::{StreamExt, TryStreamExt};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};
use tokio::{
    sync::watch::{Receiver, Sender, channel},
    task::JoinSet,
};

use crate::{now, try_report};

/// How a node takes what it is told: as a state of its acknowledgements, or not at all, and without a heartbeat.
pub type Manner = Option<&'static str>;

/// Someone who answers for each of some nodes.
pub struct Agents {
    manners: BTreeMap<String, Sender<Manner>>,
    /// They end when this does.
    _answering: JoinSet<()>,
}

impl Agents {
    /// Answers for these nodes, and reports as often as `beat` says.
    #[must_use]
    pub fn start(client: &Client, names: &[String], beat: Duration) -> Self {
        let (mut manners, mut answering) = (BTreeMap::new(), JoinSet::new());
        for name in names {
            let (manner, wanted) = channel(Some("Applied"));
            manners.insert(name.clone(), manner);
            answering.spawn(answer(client.clone(), name.clone(), wanted, beat));
        }
        Self { manners, _answering: answering }
    }

    /// How a node is to take what it is told from now on, and what it was told already.
    pub fn behave(&self, name: &str, manner: Manner) {
        self.manners.get(name).unwrap_or_else(|| panic!("{name} is none of these nodes")).send_replace(manner);
    }
}

async fn answer(client: Client, name: String, mut manner: Receiver<Manner>, beat: Duration) {
    let api = Api::<NodeContent>::namespaced(client.clone(), &format!("fateh-node-{name}"));
    let mut changes = watcher::watch_object(api.clone(), "node").default_backoff().boxed();
    let mut content = None;
    let mut beats = tokio::time::interval(beat);
    loop {
        tokio::select! {
            // A watch that breaks off begins again by itself.
            change = changes.try_next() => if let Ok(change) = change { content = change.flatten() },
            changed = manner.changed() => if changed.is_err() { return },
            _ = beats.tick() => if manner.borrow().is_some() {
                let status = json!({"reportedAt": now().await, "version": "1", "adminState": "Invited"});
                // The node may be gone, or about to come.
                let _ = try_report(&client, &name, status).await;
            },
        }
        let wanted = *manner.borrow_and_update();
        if let (Some(state), Some(told)) = (wanted, &content) {
            acknowledge(&api, told, state).await;
        }
    }
}

async fn acknowledge(api: &Api<NodeContent>, told: &NodeContent, state: &str) {
    let said: Vec<_> = told.spec.items.iter().map(|item| acknowledgement(item, state)).collect();
    let before = told.status.as_ref().map_or_else(|| json!([]), |status| json!(status.items));
    if before == json!(said) {
        return;
    }
    let part = json!({"apiVersion": "fateh-platform.com/v1alpha1", "kind": "NodeContent", "status": {"items": said}});
    // One that fails is made again with the next beat.
    let _ = api.patch_status("node", &PatchParams::apply("node-runtime").force(), &Patch::Apply(&part)).await;
}

fn acknowledgement(item: &ContentItem, state: &str) -> Value {
    let state = if item.removal.is_some() { "Removed" } else { state };
    let mut said =
        json!({"distribution": item.distribution, "revision": item.revision, "attempt": item.attempt, "state": state});
    if !matches!(state, "Failed" | "Removed") {
        said["activeDigest"] = json!(item.digest);
    }
    said
}
