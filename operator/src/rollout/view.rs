//! What the planner sees of a distribution and of nodes: values, no objects and no client.

use std::collections::BTreeMap;

use fateh_common::catalogue::Digest;
use fateh_crds::{
    Amount, ContentAcknowledgement, ContentDistributionSpec, ContentDistributionStatus, ContentItem, Removal,
    RemovalPolicy, Stage, TargetsSpec,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};

/// Stage of an item that was released outside the stages. No stage can be called so.
pub const CATCH_UP: &str = "(catch-up)";
/// Stage of an item that gives a node back what it had.
pub const BACK: &str = "(back)";
/// Stage of an item that only asks.
pub const ASKED: &str = "(plan)";

/// A distribution, as far as the planner looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Rollout<'a> {
    /// Name of the distribution.
    pub name: &'a str,
    /// What is asked for.
    pub spec: &'a ContentDistributionSpec,
    /// What is known; the planner's only memory beside the items on the nodes.
    pub status: &'a ContentDistributionStatus,
    /// The digest of the manifest that the spec makes.
    pub digest: &'a str,
    /// The digest of what of the spec makes that manifest.
    pub source: &'a str,
    /// What was asked for by annotation.
    pub controls: &'a Controls,
    /// Whether the distribution is being deleted.
    pub deleting: bool,
}

/// What people ask for without touching the spec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Controls {
    /// The revision and stage that are approved.
    pub approve: Option<(String, String)>,
    /// Whether nothing more is to be released for now.
    pub pause: bool,
    /// Digest of the word that asks for another try.
    pub retry: Option<String>,
}

/// A node, and what it was told of one distribution and said to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its UID: the order of nodes is that of its hash.
    pub uid: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether its state is Active.
    pub active: bool,
    /// Whether it reports, and since when.
    pub reporting_since: Option<Timestamp>,
    /// What it was told.
    pub item: Option<ContentItem>,
    /// What it said to that.
    pub acknowledgement: Option<ContentAcknowledgement>,
    /// What it was only asked.
    pub question: Option<ContentItem>,
    /// What it answered.
    pub answer: Option<ContentAcknowledgement>,
    /// Whether another distribution plans to tell it something in this pass: what is added to that costs no write of its
    /// own.
    pub told: bool,
}

impl Node {
    /// Its place in the order of nodes: by chance, but always the same.
    pub fn order(&self) -> Digest {
        Digest::of(self.uid.as_bytes())
    }

    /// What it said to what it was told, if it has said anything yet.
    pub fn acknowledged(&self) -> Option<&ContentAcknowledgement> {
        let item = self.item.as_ref()?;
        self.acknowledgement.as_ref().filter(|said| said.is_of(item))
    }

    /// What it answered to what it was only asked.
    pub fn answered(&self) -> Option<&ContentAcknowledgement> {
        let question = self.question.as_ref()?;
        self.answer.as_ref().filter(|said| said.is_of(question))
    }

    /// The digest that it is told to hold and has acknowledged.
    pub fn holds(&self) -> Option<&str> {
        let item = self.item.as_ref().filter(|item| item.removal.is_none())?;
        self.acknowledged().filter(|said| said.holds(&item.digest)).map(|_| item.digest.as_str())
    }
}

/// Which nodes a distribution is for, whatever their state.
pub struct Targets<'a> {
    spec: &'a TargetsSpec,
    selector: Option<Selector>,
}

impl<'a> Targets<'a> {
    /// Those of a spec.
    pub fn of(spec: &'a ContentDistributionSpec) -> Self {
        let spec = &spec.targets;
        Self { spec, selector: spec.selector.as_ref().and_then(selector) }
    }

    /// Whether the distribution is for this node.
    pub fn take(&self, node: &Node) -> bool {
        let everywhere = self.spec.selector.is_none() && self.spec.nodes.is_empty();
        let matched = self.selector.as_ref().is_some_and(|selector| selector.matches(&node.labels));
        (everywhere || matched || self.spec.nodes.contains(&node.name)) && !self.spec.exclude.contains(&node.name)
    }
}

/// A selector that labels can be held against; by one that cannot be read, none are selected.
pub fn selector(selector: &LabelSelector) -> Option<Selector> {
    Selector::try_from(selector.clone()).ok()
}

/// An amount of so many: percentages round up, or down.
pub fn amount(amount: &Amount, of: usize, up: bool) -> usize {
    match amount {
        Amount::Number(number) => usize::try_from(*number).unwrap_or(0),
        Amount::Percent(text) => {
            let percent: usize = text.trim_end_matches('%').parse().unwrap_or(0);
            percent_of(percent, of, up)
        }
    }
}

/// So much of so many.
pub const fn percent_of(percent: usize, of: usize, up: bool) -> usize {
    let product = percent.saturating_mul(of);
    if up { product.div_ceil(100) } else { product / 100 }
}

/// A duration as the schema takes it, for example 1h30m; nothing where it cannot be read.
pub fn duration(text: &str) -> SignedDuration {
    text.parse().unwrap_or(SignedDuration::ZERO)
}

/// Nodes of a stage at once: at least one.
pub fn concurrency(stage: &Stage, of: usize) -> usize {
    amount(&stage.max_concurrency, of, true).max(1)
}

/// Nodes of a stage that may fail.
pub fn failures(stage: &Stage, of: usize) -> usize {
    amount(&stage.max_failures, of, false)
}

/// What becomes of content on a node that is to hold it no longer.
pub const fn removal(policy: RemovalPolicy) -> Removal {
    match policy {
        RemovalPolicy::Keep => Removal::Keep,
        RemovalPolicy::Archive => Removal::Archive,
        RemovalPolicy::Delete => Removal::Delete,
    }
}

/// The revision that a digest is called by.
pub fn revision(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}
