//! What of the watched objects makes a rollout worth a look.

use std::{
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fateh_crds::{ContentDistribution, node_of};
use kube::{ResourceExt, runtime::watcher::Event};
use tokio::sync::mpsc::UnboundedSender;

use super::{content::Content, controller::Dirty};
use crate::{news::News, node_summary::NodeSummary};

/// Tells the rollouts' controller what changed.
#[derive(Clone)]
pub struct Signals {
    to: UnboundedSender<Dirty>,
    /// Takes the names of nodes whose content, or what status says of it, changed.
    count: UnboundedSender<String>,
    news: Arc<Mutex<News>>,
}

impl Signals {
    /// Signals that arrive at the other ends.
    #[must_use]
    pub fn new(to: UnboundedSender<Dirty>, count: UnboundedSender<String>) -> Self {
        Self { to, count, news: Arc::default() }
    }

    /// What the watch of nodes sees.
    pub fn nodes(&self, event: &Event<NodeSummary>) {
        match event {
            Event::Apply(node) | Event::InitApply(node) => {
                self.node(node);
                let _ = self.count.send(node.name.to_string());
            }
            Event::Delete(node) => self.node_is_gone(&node.name),
            Event::Init | Event::InitDone => {}
        }
    }

    /// A node: whether it is a member, where, and whether it can be reached. Its figures make no difference.
    fn node(&self, node: &NodeSummary) {
        let labels: Vec<_> = node.labels().collect();
        let reports = node.reporting.map(|reporting| reporting.reports);
        let looked_at = (&node.uid, labels, format!("{:?}", node.state), reports, node.is_leaving);
        if self.is_news("LocalNode", &node.name, &looked_at) {
            let _ = self.to.send(Dirty::All);
        }
    }

    /// What a node was told, and said.
    pub fn content(&self, content: &Content) {
        let said = content.said.iter().map(|said| &said.distribution);
        let mut names: Vec<_> = content.items.iter().map(|item| &item.distribution).chain(said).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let _ = self.to.send(Dirty::One(name.clone()));
        }
        let Some(node) = node_of(content.namespace()) else { return };
        // One that was made anew has lost what the node was told.
        if self.is_news("UID of a NodeContent", node, &content.uid) {
            self.everything();
        }
        let _ = self.count.send(node.to_owned());
    }

    /// A distribution: what is asked for, not what is known of it.
    pub fn distribution(&self, distribution: &ContentDistribution) {
        let metadata = &distribution.metadata;
        let deleting = metadata.deletion_timestamp.is_some();
        let looked_at = (&metadata.uid, metadata.generation, &metadata.annotations, &metadata.finalizers, deleting);
        if self.is_news("ContentDistribution", &distribution.name_any(), &looked_at) {
            let _ = self.to.send(Dirty::One(distribution.name_any()));
        }
    }

    /// Anything may have changed.
    pub fn everything(&self) {
        let _ = self.to.send(Dirty::All);
    }

    /// A distribution is gone: content that it held is free for others.
    pub fn distribution_is_gone(&self, name: &str) {
        self.news().forget(&("ContentDistribution", name));
        let _ = self.to.send(Dirty::All);
    }

    fn node_is_gone(&self, name: &str) {
        for kind in ["LocalNode", "UID of a NodeContent"] {
            self.news().forget(&(kind, name));
        }
        let _ = self.to.send(Dirty::All);
    }

    fn is_news(&self, kind: &'static str, name: &str, looked_at: &impl Hash) -> bool {
        self.news().are_in(&(kind, name), looked_at)
    }

    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
