//! The nodes, as the API server has them: a cache that a watch keeps, and no table repeats.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fateh_crds::LocalNode;
use futures::StreamExt;
use kube::{
    Api, Client,
    runtime::{
        WatchStreamExt,
        reflector::{self, ObjectRef, Store, store::Writer},
        watcher,
    },
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Objects of one page of a listing: more would all be in memory at once, as text.
const PAGE: u32 = 100;
/// Every so often all is listed anew, so that an event that was lost is made up for.
const RELIST: Duration = Duration::from_secs(1800);

/// The nodes that the hub knows.
#[derive(Clone)]
pub struct Fleet {
    nodes: Store<LocalNode>,
    listed: Arc<AtomicBool>,
}

impl Fleet {
    /// An empty cache, and what fills it.
    #[must_use]
    pub fn new() -> (Self, Writer<LocalNode>) {
        let (nodes, writer) = reflector::store();
        (Self { nodes, listed: Arc::default() }, writer)
    }

    /// Whether all nodes have been listed once.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.listed.load(Ordering::Relaxed)
    }

    /// A node by its name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<Arc<LocalNode>> {
        self.nodes.get(&ObjectRef::new(name))
    }

    /// The UID of the node of a name.
    #[must_use]
    pub fn uid(&self, name: &str) -> Option<Uuid> {
        uid(&*self.node(name)?)
    }

    /// All nodes, by name.
    #[must_use]
    pub fn nodes(&self) -> Vec<Arc<LocalNode>> {
        let mut nodes = self.nodes.state();
        nodes.sort_unstable_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
        nodes
    }

    /// Follows the API server until `stop`.
    pub async fn follow(self, mut writer: Writer<LocalNode>, client: Client, stop: CancellationToken) {
        let api = Api::<LocalNode>::all(client);
        loop {
            let config = watcher::Config::default().page_size(PAGE);
            let events = watcher(api.clone(), config).default_backoff().modify(forget);
            let mut events = Box::pin(events);
            let relist = tokio::time::sleep(RELIST);
            tokio::pin!(relist);
            loop {
                let event = tokio::select! {
                    event = events.next() => event,
                    () = &mut relist => break,
                    () = stop.cancelled() => return,
                };
                match event {
                    Some(Ok(event)) => {
                        let done = matches!(event, watcher::Event::InitDone);
                        writer.apply_watcher_event(&event);
                        if done {
                            self.listed.store(true, Ordering::Relaxed);
                        }
                    }
                    Some(Err(error)) => tracing::warn!(%error, "the watch of the nodes failed"),
                    None => break,
                }
            }
        }
    }
}

/// A node's UID.
#[must_use]
pub fn uid(node: &LocalNode) -> Option<Uuid> {
    node.metadata.uid.as_ref()?.parse().ok()
}

/// What the hub never looks at is not kept.
fn forget(node: &mut LocalNode) {
    node.metadata.managed_fields = None;
    if let Some(annotations) = &mut node.metadata.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}
