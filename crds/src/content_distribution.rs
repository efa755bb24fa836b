//! ContentDistribution: content that is rolled out over nodes in stages.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Content that is rolled out over many nodes in stages, without ruining what a node has changed.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "fateh-platform.com",
    version = "v1alpha1",
    kind = "ContentDistribution",
    status = "ContentDistributionStatus",
    shortname = "cdist",
    category = "fateh",
    derive = "PartialEq",
    doc = "Content that is rolled out over many nodes in stages, without ruining what a node has changed.",
    printcolumn(name = "VERSION", type_ = "string", json_path = ".spec.content.version"),
    printcolumn(name = "STAGE", type_ = "string", json_path = ".status.stage"),
    printcolumn(name = "DONE", type_ = "string", json_path = ".status.done"),
    printcolumn(name = "FAILED", type_ = "integer", json_path = ".status.summary.failed"),
    printcolumn(name = "READY", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "CONTENT", type_ = "string", json_path = ".spec.content.id", priority = 1),
    printcolumn(
        name = "MESSAGE",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ContentDistributionSpec {
    /// What is rolled out.
    pub content: ContentSpec,
    /// In which languages.
    #[serde(default)]
    pub languages: LanguagesSpec,
    /// To which nodes; empty: every Active node.
    #[serde(default)]
    pub targets: TargetsSpec,
    /// In which steps, and what happens when something fails.
    #[serde(default)]
    pub rollout: RolloutSpec,
    /// What happens to a node's own edits.
    #[serde(default)]
    pub local_changes: LocalChangesSpec,
    /// What becomes of the content on a node that is to hold it no longer.
    #[serde(default)]
    pub removal: RemovalPolicy,
    /// Whether content changes, or nodes are only asked what would happen.
    #[serde(default)]
    pub mode: DistributionMode,
    /// Stops the rollout where it is; what was released goes on.
    #[serde(default)]
    pub suspend: bool,
    /// How many revisions status remembers; of those that nodes were led back from, ten more.
    #[serde(default = "default_history")]
    #[schemars(range(min = 1, max = 20))]
    pub revision_history_limit: i32,
}

/// What is rolled out.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.id == oldSelf.id").message("id is immutable: make another ContentDistribution for other content").field_path(".id"))]
pub struct ContentSpec {
    /// Identifier of the content, the same for all its versions. Immutable.
    #[schemars(length(max = 128))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$')").message("must be of a-z, 0-9, '.', '_' and '-', beginning and ending with a letter or digit, for example algebra-1"))]
    pub id: String,
    /// What kind of content it is.
    #[serde(rename = "type")]
    pub kind: ContentType,
    /// Name of the version; other content under a version that was published is refused.
    #[schemars(length(max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9A-Za-z][0-9A-Za-z.+_-]*$')").message("must be of letters, digits, '.', '_', '+' and '-', beginning with a letter or digit, for example 1.2.0"))]
    pub version: String,
    /// Title by language tag.
    #[serde(default)]
    #[schemars(schema_with = "crate::schema::texts")]
    #[x_kube(validation = Rule::new("self.all(l, l.matches('^[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?$'))").message("the keys must be BCP 47 language tags, for example ar or en"))]
    pub title: BTreeMap<String, String>,
    /// Where it comes from.
    pub source: ContentSource,
}

/// Kinds of content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ContentType {
    /// A course of lessons.
    Course,
    /// One lesson.
    Lesson,
    /// A quiz.
    Quiz,
    /// Anything else that is read or watched.
    Resource,
}

/// Where content comes from: exactly one of them.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.inline) != has(self.catalog)").message("must be exactly one of inline and catalog"))]
pub struct ContentSource {
    /// The content itself, an object by language tag; 128 KiB in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::inline_content")]
    #[x_kube(validation = Rule::new("self.all(l, l.matches('^[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?$'))").message("the keys must be BCP 47 language tags, for example ar or en"))]
    pub inline: Option<BTreeMap<String, serde_json::Map<String, serde_json::Value>>>,
    /// The hub's content of this id and version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog: Option<CatalogSource>,
}

/// The hub's catalogue; there is nothing to say beside the id and version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CatalogSource {}

/// Languages that nodes are sent.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LanguagesSpec {
    /// BCP 47 tags; empty: each node's own language.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 35)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(l, l.matches('^[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?$'))").message("must be BCP 47 language tags, for example ar or en"))]
    pub want: Vec<String>,
    /// What happens where the content lacks such a language.
    #[serde(default)]
    pub fallback: LanguageFallback,
}

/// What happens where content lacks a language.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LanguageFallback {
    /// The node fails.
    Require,
    /// The node takes another language that there is.
    #[default]
    Fallback,
    /// The node goes without.
    Skip,
}

/// Nodes that content is for: those that match the selector, and those that are named, but for those excluded.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetsSpec {
    /// By labels of LocalNodes, for example fateh-platform.com/region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::selector")]
    pub selector: Option<LabelSelector>,
    /// By name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(max = 40)), extend("x-kubernetes-list-type" = "set"))]
    pub nodes: Vec<String>,
    /// Never these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(max = 40)), extend("x-kubernetes-list-type" = "set"))]
    pub exclude: Vec<String>,
}

/// In which steps content reaches nodes.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSpec {
    /// One after the other; a node belongs to the first that takes it. Unless given: one canary, a quarter, the rest.
    #[serde(default = "default_stages")]
    // Atomic: a default that nobody owns would be merged with what is given later.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = Rule::new("self.all(s, self.exists_one(t, t.name == s.name))").message("must have different names"))]
    pub stages: Vec<Stage>,
    /// What happens when a stage has more failures than it may have.
    #[serde(default)]
    pub on_failure: FailurePolicy,
    /// What happens with nodes that do not report.
    #[serde(default)]
    pub unreachable: UnreachablePolicy,
    /// What happens with nodes that are made after the revision was begun.
    #[serde(default)]
    pub new_nodes: NewNodesPolicy,
}

/// What happens when a stage has more failures than it may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailurePolicy {
    /// The rollout stops until a person acts.
    #[default]
    Pause,
    /// Nodes that have not acknowledged get back what they had.
    Abort,
    /// Every node gets back what it last held.
    Rollback,
    /// The rollout goes on.
    Continue,
}

/// What happens with nodes that do not report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UnreachablePolicy {
    /// They are passed over, and catch up when they return.
    #[default]
    Skip,
    /// They count as failures.
    CountAsFailed,
    /// The rollout waits for them.
    Block,
}

/// What happens with nodes that are made after the revision was begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NewNodesPolicy {
    /// They get it once the last stage is done.
    #[default]
    CatchUp,
    /// They get the next revision.
    NextRevision,
}

/// A step of a rollout: which nodes, how many at once, and what it must show before the next begins.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.selector), has(self.nodes), has(self.percent), has(self.count)].filter(given, given).size() <= 1").message("must have at most one of selector, nodes, percent and count; with none of them it takes all that are left"))]
pub struct Stage {
    /// Name, unique among the stages.
    #[schemars(length(max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')").message("must be of a-z, 0-9 and '-', beginning and ending with a letter or digit, for example canary"))]
    pub name: String,
    /// Nodes by their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::selector")]
    pub selector: Option<LabelSelector>,
    /// Nodes by name; at least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000), inner(length(max = 40)), extend("x-kubernetes-list-type" = "set"))]
    pub nodes: Option<Vec<String>>,
    /// So much of all members, rounded up: 1 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub percent: Option<i32>,
    /// So many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub count: Option<i32>,
    /// So many of the stage at once: a number, or a percentage rounded up.
    #[serde(default = "default_concurrency")]
    #[schemars(schema_with = "crate::schema::amount")]
    #[x_kube(validation = Rule::new("type(self) == int ? self >= 1 : self.matches('^([1-9][0-9]?|100)%$')").message("must be a number from 1, or a percentage from 1% to 100%"))]
    pub max_concurrency: Amount,
    /// So many may fail: a number, or a percentage rounded down.
    #[serde(default = "default_failures")]
    #[schemars(schema_with = "crate::schema::amount")]
    #[x_kube(validation = Rule::new("type(self) == int ? self >= 0 : self.matches('^([0-9]|[1-9][0-9]|100)%$')").message("must be a number from 0, or a percentage from 0% to 100%"))]
    pub max_failures: Amount,
    /// How long all of the stage must have held the content before the next begins, for example 30m.
    #[serde(default = "default_soak")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,6}(h|m|s))+$')").message("must be a duration that is not negative, for example 90s, 30m or 1h30m"))]
    pub min_success_time: String,
    /// How long a node may take to acknowledge, for example 10m.
    #[serde(default = "default_deadline")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,6}(h|m|s))+$')").message("must be a duration that is not negative, for example 90s, 10m or 1h"))]
    pub progress_deadline: String,
    /// Whether a person must approve before it begins.
    #[serde(default)]
    pub approval: bool,
}

/// A number, or a percentage such as 25%.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Amount {
    /// A number.
    Number(i32),
    /// A percentage, as text.
    Percent(String),
}

/// What happens to a node's own edits.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalChangesSpec {
    /// What happens to them.
    #[serde(default)]
    pub policy: LocalChangePolicy,
    /// Fields that a node may not edit, as paths such as /title.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 256)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(f, f.startsWith('/'))").message("must be paths that begin with '/', for example /title"))]
    pub locked_fields: Vec<String>,
}

/// What happens to a node's own edits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LocalChangePolicy {
    /// They are merged with what comes; where both changed, the node's stays until a person decides.
    #[default]
    Merge,
    /// What a node has edited stays as it is.
    Preserve,
    /// What comes replaces them; they are kept as a local revision.
    Overwrite,
}

/// What becomes of content on a node that is to hold it no longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RemovalPolicy {
    /// It stays.
    #[default]
    Keep,
    /// It is kept, but hidden from students.
    Archive,
    /// It is deleted; the node's own edits are kept as a local revision.
    Delete,
}

/// Whether content changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DistributionMode {
    /// It does.
    #[default]
    Apply,
    /// Nodes only say what would happen.
    Plan,
}

const fn default_history() -> i32 {
    5
}
fn default_concurrency() -> Amount {
    Amount::Percent("25%".to_owned())
}
fn default_failures() -> Amount {
    Amount::Percent("5%".to_owned())
}
fn default_soak() -> String {
    "0s".to_owned()
}
fn default_deadline() -> String {
    "10m".to_owned()
}

impl Stage {
    /// A stage of this name that takes all nodes that are left.
    #[must_use]
    pub fn of_the_rest(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            selector: None,
            nodes: None,
            percent: None,
            count: None,
            max_concurrency: default_concurrency(),
            max_failures: default_failures(),
            min_success_time: default_soak(),
            progress_deadline: default_deadline(),
            approval: false,
        }
    }
}

fn default_stages() -> Vec<Stage> {
    vec![
        Stage { count: Some(1), ..Stage::of_the_rest("canary") },
        Stage { percent: Some(25), ..Stage::of_the_rest("quarter") },
        Stage::of_the_rest("rest"),
    ]
}

impl Default for RolloutSpec {
    fn default() -> Self {
        Self {
            stages: default_stages(),
            on_failure: FailurePolicy::default(),
            unreachable: UnreachablePolicy::default(),
            new_nodes: NewNodesPolicy::default(),
        }
    }
}

/// What is known of a rollout. One writer: the operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContentDistributionStatus {
    /// Generation of the spec that the status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What is known of the rollout.
    #[serde(default)]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
    /// Where the rollout is, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub phase: Option<String>,
    /// Name of the stage that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub stage: Option<String>,
    /// Nodes that hold it, of those that are to: for example 84/100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub done: Option<String>,
    /// The revision that is rolled out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<Revision>,
    /// All nodes, each counted once.
    #[serde(default)]
    pub summary: RolloutSummary,
    /// The stages, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub stages: Vec<StageStatus>,
    /// Nodes that failed; the first twenty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    pub failed_nodes: Vec<FailedNode>,
    /// Revisions before, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    pub history: Vec<Revision>,
    /// What would happen, in the mode Plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanStatus>,
    /// Digest of the annotation's value that was last retried for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub handled_retry: Option<String>,
}

/// A revision: what of the spec changes what nodes hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// The first 12 hex digits of its digest.
    #[schemars(length(max = 12))]
    pub revision: String,
    /// SHA-256 of its manifest, in hex.
    #[schemars(length(max = 64))]
    pub digest: String,
    /// Name of the content's version.
    #[schemars(length(max = 64))]
    pub version: String,
    /// When its rollout was begun.
    pub started_at: Time,
    /// SHA-256 of what of the spec made it, in hex: while that is the same, so is the revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub source: Option<String>,
    /// Counts retries: nodes that failed at an earlier attempt are to try again.
    #[serde(default = "first_attempt")]
    pub attempt: i32,
    /// How it ended; absent while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub outcome: Option<String>,
}

const fn first_attempt() -> i32 {
    1
}

/// All nodes that are to hold the content, each counted once: the other counts make `desired`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSummary {
    /// Nodes in all.
    #[serde(default)]
    pub desired: i32,
    /// Not yet released to.
    #[serde(default)]
    pub pending: i32,
    /// Released to, not yet acknowledged.
    #[serde(default)]
    pub updating: i32,
    /// Hold it as it was sent.
    #[serde(default)]
    pub applied: i32,
    /// Hold it together with their own edits.
    #[serde(default)]
    pub merged: i32,
    /// Hold it, with edits that wait for a decision.
    #[serde(default)]
    pub conflicted: i32,
    /// Did not take it.
    #[serde(default)]
    pub failed: i32,
    /// Do not report.
    #[serde(default)]
    pub unreachable: i32,
    /// No stage takes them, or they are out of use.
    #[serde(default)]
    pub skipped: i32,
}

/// Where a stage is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StageStatus {
    /// Its name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Where it is; one that is done never begins again.
    pub phase: StagePhase,
    /// Nodes that it took.
    #[serde(default)]
    pub total: i32,
    /// Nodes of it that hold the content.
    #[serde(default)]
    pub applied: i32,
    /// Nodes of it that did not take it.
    #[serde(default)]
    pub failed: i32,
    /// When it was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// Until when it must hold; written once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak_until: Option<Time>,
    /// When it was approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_at: Option<Time>,
}

/// Where a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StagePhase {
    /// Not yet begun.
    Waiting,
    /// Waits for a person's approval.
    AwaitingApproval,
    /// Content is released to its nodes.
    Running,
    /// All of it hold the content, and must for a while.
    Soaking,
    /// More of it failed than may; nothing more is released.
    OverBudget,
    /// Done.
    Done,
}

/// A node that did not take the content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailedNode {
    /// Its name.
    #[schemars(length(max = 40))]
    pub name: String,
    /// Why.
    #[schemars(length(max = 256))]
    pub message: String,
}

/// What would happen if the revision were rolled out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanStatus {
    /// Nodes that have answered.
    #[serde(default)]
    pub answered: i32,
    /// Nodes whose content would change.
    #[serde(default)]
    pub changes: i32,
    /// Nodes with edits that would conflict.
    #[serde(default)]
    pub conflicts: i32,
    /// Nodes with edits of fields that would be locked.
    #[serde(default)]
    pub locked_edits: i32,
    /// Some of those edits, as node and path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 320)), extend("x-kubernetes-list-type" = "atomic"))]
    pub examples: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_one_canary_a_quarter_and_the_rest() {
        let spec =
            serde_json::json!({"content": {"id": "a", "type": "Course", "version": "1", "source": {"catalog": {}}}});
        let spec: ContentDistributionSpec = serde_json::from_value(spec).unwrap();
        let stages: Vec<_> =
            spec.rollout.stages.iter().map(|stage| (&*stage.name, stage.count, stage.percent)).collect();
        assert_eq!(stages, [("canary", Some(1), None), ("quarter", None, Some(25)), ("rest", None, None)]);
        assert_eq!(spec.rollout.stages[2].max_concurrency, Amount::Percent("25%".into()));
        let number: Amount = serde_json::from_str("3").unwrap();
        assert_eq!(number, Amount::Number(3));
    }
}
