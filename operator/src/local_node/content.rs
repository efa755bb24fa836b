//! What a LocalNode's status says of its content, kept without a reconcile: in a rollout the content of every node changes,
//! and nothing else of it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use fateh_crds::{ContentStatus, Items, LocalNode, namespace_of};
use futures::{StreamExt, stream};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{sync::mpsc::UnboundedReceiver, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{context::Context, kubernetes::FIELD_MANAGER, node_summary::NodeSummary};

/// What happens within so short a time is one change.
const GATHER: Duration = Duration::from_secs(1);
/// How long a node may take to answer before status says that it has not: told and answered is one change, too.
const PATIENCE: Duration = Duration::from_secs(10);
/// Writes at once.
const WRITES: usize = 8;

/// Keeps the counts until `stop`. `changed` takes the names of nodes of which they may be others.
pub async fn count(context: Arc<Context>, mut changed: UnboundedReceiver<String>, stop: CancellationToken) {
    // Nodes whose status is to say something else, and since when.
    let mut behind = HashMap::<String, Instant>::new();
    loop {
        let next = behind.values().min().map(|since| *since + PATIENCE);
        tokio::select! {
            () = stop.cancelled() => return,
            name = changed.recv() => {
                let now = Instant::now();
                behind.extend(name.map(|name| (name, now)).filter(|(name, _)| !behind.contains_key(name)));
                while let Ok(Some(name)) = tokio::time::timeout_at(now + GATHER, changed.recv()).await {
                    behind.entry(name).or_insert(now);
                }
            }
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
        let mut writes = Vec::new();
        behind.retain(|name, since| {
            let Some(count) = Count::of(&context, name) else { return false };
            let is_due = count.items.are_settled() || since.elapsed() >= PATIENCE;
            if is_due {
                writes.push(count);
            }
            !is_due
        });
        let context = &context;
        let writes = writes.into_iter().map(|count| async move { count.write(context).await });
        stream::iter(writes).buffer_unordered(WRITES).collect::<()>().await;
    }
}

/// What a node's status does not say yet.
struct Count {
    node: Arc<NodeSummary>,
    items: Items,
    status: ContentStatus,
}

impl Count {
    fn of(context: &Context, name: &str) -> Option<Self> {
        let node = context.nodes.get(name)?;
        // Before its first pass, and in its last, status is the reconcile's alone.
        let said = node.content.clone()?;
        if node.is_leaving {
            return None;
        }
        let namespace = namespace_of(name);
        let items = items(context, &namespace);
        let report = context.reports.get(&namespace);
        let status = items.status(report.as_ref().and_then(|report| report.status.as_ref()));
        (status != said).then_some(Self { node, items, status })
    }

    async fn write(self, context: &Context) {
        let name = &*self.node.name;
        let part = json!({"metadata": {"uid": self.node.uid}, "status": {"content": self.status}});
        let api = Api::<LocalNode>::all(context.client.clone());
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        if let Err(error) = api.patch_status(name, &parameters, &Patch::Merge(&part)).await {
            tracing::warn!(node = name, %error, "the count of content could not be written; a reconcile does it");
            let _ = context.wake.send(name.to_owned());
        }
    }
}

/// Items of a node's content, as the cache has them.
pub fn items(context: &Context, namespace: &str) -> Items {
    context.contents.get(namespace).map(|content| Items::of(&content.items, &content.said)).unwrap_or_default()
}
