//! What of a NodeContent is kept between passes: there is one for each node.

use fateh_crds::{ContentAcknowledgement, ContentItem, NodeContent};

use crate::{applied::version, cache::Keyed};

/// What a node is told to hold, and what it says that it holds.
#[derive(Clone, Debug)]
pub struct Content {
    namespace: Box<str>,
    /// UID of the object.
    pub uid: Box<str>,
    /// Its version.
    pub version: u64,
    /// Counts what the node was told.
    pub generation: Option<i64>,
    /// What it is told.
    pub items: Box<[ContentItem]>,
    /// What it said.
    pub said: Box<[ContentAcknowledgement]>,
}

impl Content {
    /// Where the object lies.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }
}

impl From<NodeContent> for Content {
    fn from(content: NodeContent) -> Self {
        Self {
            version: version(&content),
            namespace: content.metadata.namespace.unwrap_or_default().into(),
            uid: content.metadata.uid.unwrap_or_default().into(),
            generation: content.metadata.generation,
            items: content.spec.items.into(),
            said: content.status.unwrap_or_default().items.into(),
        }
    }
}

impl Keyed for Content {
    fn key(&self) -> &str {
        &self.namespace
    }
}
