//! NodeContent: what a node is to hold, and what it says it holds.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The content that one node is to hold, by digest, and the node's acknowledgements.
/// One per node, named `node`; the operator writes the spec, the node's pods the status.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "fateh-platform.com",
    version = "v1alpha1",
    kind = "NodeContent",
    namespaced,
    status = "NodeContentStatus",
    shortname = "nc",
    category = "fateh",
    derive = "PartialEq",
    doc = "The content that one node is to hold, by digest, and the node's acknowledgements.",
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct NodeContentSpec {
    /// One item for each distribution that has released something to this node, sorted by distribution.
    // Left out where there is none: who makes the object does not own its items.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500), extend("x-kubernetes-list-type" = "atomic"))]
    pub items: Vec<ContentItem>,
}

/// What one distribution has released to the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContentItem {
    /// Name of the ContentDistribution.
    #[schemars(length(max = 253))]
    pub distribution: String,
    /// Revision: the first 12 hex digits of the manifest's digest.
    #[schemars(length(max = 12))]
    pub revision: String,
    /// SHA-256 of the manifest, in hex.
    #[schemars(length(max = 64))]
    pub digest: String,
    /// Digest that the node held before, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub previous_digest: Option<String>,
    /// Stage that the node was released in.
    #[schemars(length(max = 63))]
    pub stage: String,
    /// Counts retries; an acknowledgement names it.
    pub attempt: i32,
    /// When the item was released to the node.
    pub released_at: MicroTime,
    /// Ask what would happen, change nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// How to remove the content, when it is to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal: Option<Removal>,
}

/// What becomes of content that a node is no longer to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Removal {
    /// It stays as it is.
    Keep,
    /// It is archived: kept, but hidden from students.
    Archive,
    /// It is deleted; the node's own edits are kept as a local revision.
    Delete,
}

/// The node's acknowledgements.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeContentStatus {
    /// One entry for each item of the spec that the node has acted on.
    #[serde(default)]
    #[schemars(length(max = 500), extend("x-kubernetes-list-type" = "atomic"))]
    pub items: Vec<ContentAcknowledgement>,
}

/// What the node did with one item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContentAcknowledgement {
    /// Name of the ContentDistribution.
    #[schemars(length(max = 253))]
    pub distribution: String,
    /// Revision that is acknowledged.
    #[schemars(length(max = 12))]
    pub revision: String,
    /// Attempt that is acknowledged.
    pub attempt: i32,
    /// What came of it.
    pub state: ContentState,
    /// Digest that is served now, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub active_digest: Option<String>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub message: Option<String>,
    /// Whether this answers an item that only asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// What would happen, of an item that only asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<ContentPlan>,
}

impl ContentAcknowledgement {
    /// Whether it is of this very item: it counts for nothing else.
    #[must_use]
    pub fn is_of(&self, item: &ContentItem) -> bool {
        self.is_about(item) && self.revision == item.revision && self.attempt == item.attempt
    }

    /// Whether it speaks of the same distribution, and of an item that is carried out or of one that only asks alike.
    #[must_use]
    pub fn is_about(&self, item: &ContentItem) -> bool {
        self.distribution == item.distribution && self.dry_run == item.dry_run
    }

    /// Whether the node says that it holds this digest.
    #[must_use]
    pub fn holds(&self, digest: &str) -> bool {
        self.state.is_held() && self.active_digest.as_deref() == Some(digest)
    }
}

/// What an item would do to a node's content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContentPlan {
    /// Whether what the node serves would change.
    #[serde(default)]
    pub changes: bool,
    /// Places that both the node and the centre changed.
    #[serde(default)]
    pub conflicts: i32,
    /// Edits of fields that would be locked, and so be replaced.
    #[serde(default)]
    pub locked_edits: i32,
    /// Some of those places.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 256)), extend("x-kubernetes-list-type" = "atomic"))]
    pub paths: Vec<String>,
}

/// State of one item on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ContentState {
    /// Seen, not yet carried out.
    Pending,
    /// Held as it was sent.
    Applied,
    /// Held together with the node's own edits.
    Merged,
    /// Held, and some of the node's edits wait for a decision.
    Conflicted,
    /// Not carried out.
    Failed,
    /// Removed, as asked.
    Removed,
}

impl ContentState {
    /// Whether the content is held, with or without the node's own edits.
    #[must_use]
    pub const fn is_held(self) -> bool {
        matches!(self, Self::Applied | Self::Merged | Self::Conflicted)
    }
}
