//! What was applied to each child, and what was seen of it since: a child that is as it was left is left alone, and
//! the news of what the operator did itself starts no reconcile.
//!
//! Without an entry a child is applied once more, which changes nothing. Only that a child is absent is believed once
//! its kind was listed; it is looked for before.

use std::{
    collections::{HashMap, HashSet},
    fmt::Debug,
    sync::{Mutex, MutexGuard, PoisonError},
};

use fateh_crds::{LocalNode, NODE_LABEL};
use kube::{Resource, ResourceExt};
use serde::Serialize;

use crate::news::hash;

/// A kind of child: its kind and name, which are the same for every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChildKind(u64);

impl ChildKind {
    /// The kind and the name of a child.
    #[must_use]
    pub fn new(kind: &str, name: &str) -> Self {
        Self(hash(&(kind, name)))
    }

    /// The namespaces of nodes, which are the only children with different names.
    #[must_use]
    pub fn namespace() -> Self {
        Self::new("Namespace", "")
    }

    /// An invitation whose hash is known to be in the node's database, by the version of its Secret.
    #[must_use]
    pub fn stored_invitation() -> Self {
        Self::new("Secret", "stored invitation")
    }

    fn of<K: Resource<DynamicType = ()>>(child: &K) -> Self {
        Self::new(&K::kind(&()), &child.name_any())
    }
}

/// Thousands of nodes have many of these each: a number that stands for none takes half of what an [`Option`] does.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// What was applied last, as a hash; 0 before.
    wanted: u64,
    /// The version that it had then.
    left_at: u64,
    /// The newest version that a watch showed; of a child with a [`Sight::shape`], the newest that changed it.
    seen: u64,
    /// What it looked like then, as a hash; 0 of one without.
    shape: u64,
}

impl Entry {
    /// Whether the child was neither applied nor seen.
    const fn is_empty(self) -> bool {
        self.left_at == 0 && self.seen == 0
    }
}

/// A child as a watch shows it.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// Its version.
    pub version: u64,
    /// A hash of what of it is the operator's, of a child whose version also moves with what is not; none of others.
    pub shape: Option<u64>,
}

/// Names of nodes, by their hashes: a listing of each kind gathers those of all nodes, and all kinds are listed at once.
#[derive(Debug, Default)]
pub struct Names(HashSet<u64>);

impl Names {
    /// Adds one.
    pub fn add(&mut self, name: &str) {
        self.0.insert(hash(&name));
    }

    /// Whether it was added.
    #[must_use]
    pub fn contain(&self, name: &str) -> bool {
        self.0.contains(&hash(&name))
    }
}

/// What is known of the children of all nodes.
#[derive(Debug, Default)]
pub struct Applied(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The kinds that there are. An entry lies where its kind does, and need not say which it is.
    kinds: Vec<ChildKind>,
    /// Those that a watch has listed in full.
    listed: HashSet<ChildKind>,
    /// By the hash of a node's name, of which there are thousands.
    nodes: HashMap<u64, Vec<Entry>>,
}

impl Known {
    fn place(&mut self, kind: ChildKind) -> usize {
        self.kinds.iter().position(|known| *known == kind).unwrap_or_else(|| {
            self.kinds.push(kind);
            self.kinds.len() - 1
        })
    }

    fn entry(&mut self, node: &str, kind: ChildKind) -> &mut Entry {
        let place = self.place(kind);
        let all = self.kinds.len();
        let entries = self.nodes.entry(hash(&node)).or_default();
        if entries.len() <= place {
            // All that it will have, and not room for twice as many.
            entries.reserve_exact(all - entries.len());
            entries.resize(all, Entry::default());
        }
        &mut entries[place]
    }
}

impl Applied {
    /// Notes that a pass begins with `node`. If it is older than one before it, etcd was restored: what was left is not
    /// known any more.
    pub fn begin(&self, node: &LocalNode) {
        let (name, version) = (node.name_any(), version(node));
        let kind = ChildKind::new(&LocalNode::kind(&()), "");
        if self.with(&name, kind, |entry| entry.seen > version) {
            self.forget(&name);
            self.known().listed.clear();
        }
        self.with(&name, kind, |entry| entry.seen = version);
    }

    /// Whether this very object was applied last, and nobody has changed it since.
    pub fn stands<K>(&self, child: &K) -> bool
    where
        K: Resource<DynamicType = ()> + Clone + Serialize,
    {
        let Some(node) = child.labels().get(NODE_LABEL) else { return false };
        let entry = self.with(node, ChildKind::of(child), |entry| *entry);
        entry.wanted == content(child) && entry.seen <= entry.left_at
    }

    /// Notes that `child` was applied, and what the API server made of it.
    pub fn left<K>(&self, child: &K, made: &K)
    where
        K: Resource<DynamicType = ()> + Clone + Serialize,
    {
        let Some(node) = child.labels().get(NODE_LABEL) else { return };
        let left_at = version(made);
        let wanted = content(child);
        self.with(node, ChildKind::of(child), |entry| *entry = Entry { wanted, left_at, ..*entry });
    }

    /// Notes that a child was made that is never applied.
    pub fn made(&self, node: &str, kind: ChildKind, made: &impl ResourceExt) {
        let left_at = version(made);
        self.with(node, kind, |entry| entry.left_at = left_at);
    }

    /// Whether a child still has the version that was noted.
    pub fn is_as_made(&self, node: &str, kind: ChildKind, child: &impl ResourceExt) -> bool {
        self.with(node, kind, |entry| entry.left_at == version(child))
    }

    /// Whether there is no such child, as far as watches show: one that is on its way to them will be news. False of a
    /// kind that was not listed yet.
    pub fn is_absent(&self, node: &str, kind: ChildKind) -> bool {
        let mut known = self.known();
        known.listed.contains(&kind) && known.entry(node, kind).is_empty()
    }

    /// Whether nothing is known of such a child.
    pub fn is_unknown(&self, node: &str, kind: ChildKind) -> bool {
        self.with(node, kind, |entry| entry.is_empty())
    }

    /// Notes what a watch showed; true if it is not the version that the operator left.
    pub fn sees(&self, node: &str, kind: ChildKind, sight: Sight) -> bool {
        let Sight { version, shape } = sight;
        self.with(node, kind, |entry| {
            if shape.is_none_or(|shape| shape != entry.shape) {
                entry.seen = entry.seen.max(version);
            }
            entry.shape = shape.unwrap_or_default();
            version != entry.left_at
        })
    }

    /// Notes that a child is gone.
    pub fn gone(&self, node: &str, kind: ChildKind) {
        let mut known = self.known();
        let place = known.place(kind);
        if let Some(entry) = known.nodes.get_mut(&hash(&node)).and_then(|entries| entries.get_mut(place)) {
            *entry = Entry::default();
        }
    }

    /// Notes that of this kind only these nodes have a child.
    pub fn only(&self, kind: ChildKind, nodes: &Names) {
        let mut known = self.known();
        let place = known.place(kind);
        // One that was forgotten while it was listed would look as if it were absent.
        let is_known =
            |node| known.nodes.get(node).and_then(|entries| entries.get(place)).is_some_and(|it| !it.is_empty());
        if nodes.0.iter().all(is_known) {
            known.listed.insert(kind);
        } else {
            known.listed.remove(&kind);
        }
        for (_, entries) in known.nodes.iter_mut().filter(|(node, _)| !nodes.0.contains(node)) {
            if let Some(entry) = entries.get_mut(place) {
                *entry = Entry::default();
            }
        }
    }

    /// Forgets a node.
    pub fn forget(&self, node: &str) {
        self.known().nodes.remove(&hash(&node));
    }

    fn with<T>(&self, node: &str, kind: ChildKind, change: impl FnOnce(&mut Entry) -> T) -> T {
        change(self.known().entry(node, kind))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The object's version; versions of one kind can be compared. One that is no number counts as new.
pub fn version(object: &impl ResourceExt) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or(u64::MAX)
}

/// What of an object is applied, without the version that it was read at.
fn content<K: Resource + Clone + Serialize>(child: &K) -> u64 {
    let mut child = child.clone();
    child.meta_mut().resource_version = None;
    child.meta_mut().uid = None;
    // Builders use ordered maps, so equal objects have equal text; one that cannot be written equals none.
    serde_json::to_string(&child).map_or_else(|_| rand::random(), |text| hash(&text))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn child(value: &str, version: &str) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.name = Some("node".into());
        map.metadata.labels = Some([(NODE_LABEL.to_owned(), "riyadh".to_owned())].into());
        map.metadata.resource_version = (!version.is_empty()).then(|| version.to_owned());
        map.data = Some([("key".to_owned(), value.to_owned())].into());
        map
    }

    #[test]
    fn a_child_stands_until_it_is_wanted_otherwise_or_another_changes_it() {
        let applied = Applied::default();
        let kind = ChildKind::new("ConfigMap", "node");
        assert!(!applied.stands(&child("a", "")), "it was never applied");
        applied.left(&child("a", ""), &child("a", "7"));
        assert!(applied.stands(&child("a", "")) && applied.stands(&child("a", "7")));
        assert!(!applied.stands(&child("b", "")), "it is wanted otherwise");
        let sees = |version| applied.sees("riyadh", kind, Sight { version, shape: None });
        assert!(!sees(7), "this is the operator's own doing");
        assert!(applied.stands(&child("a", "")));
        assert!(sees(8), "another has changed it");
        assert!(!applied.stands(&child("a", "")));
        applied.left(&child("a", ""), &child("a", "9"));
        assert!(applied.stands(&child("a", "")));
    }

    #[test]
    fn what_others_say_in_a_child_is_no_change_of_it() {
        let applied = Applied::default();
        let kind = ChildKind::new("ConfigMap", "node");
        let sees = |version, shape| applied.sees("riyadh", kind, Sight { version, shape: Some(shape) });
        applied.left(&child("a", ""), &child("a", "7"));
        assert!(!sees(7, 1));
        assert!(sees(8, 1), "it is news");
        assert!(applied.stands(&child("a", "")), "and leaves what was applied");
        assert!(sees(9, 2));
        assert!(!applied.stands(&child("a", "")), "another has changed it");
        applied.left(&child("a", ""), &child("a", "10"));
        assert!(!sees(10, 1) && applied.stands(&child("a", "")));
    }

    #[test]
    fn news_that_come_before_the_answer_are_not_lost() {
        let applied = Applied::default();
        let kind = ChildKind::new("ConfigMap", "node");
        for version in [7, 8] {
            assert!(applied.sees("riyadh", kind, Sight { version, shape: None }));
        }
        applied.left(&child("a", ""), &child("a", "7"));
        assert!(!applied.stands(&child("a", "")), "version 8 is another's");
    }

    #[test]
    fn what_was_left_is_not_known_any_more_once_time_went_back() {
        let applied = Applied::default();
        let node = |version: &str| {
            let spec = serde_json::json!({"displayName": "a", "region": "b", "adminEmail": "a@b.cd"});
            let mut node = LocalNode::new("riyadh", serde_json::from_value(spec).unwrap());
            node.metadata.resource_version = Some(version.to_owned());
            node
        };
        applied.begin(&node("9"));
        applied.left(&child("a", ""), &child("a", "12"));
        applied.begin(&node("10"));
        assert!(applied.stands(&child("a", "")));
        applied.begin(&node("9"));
        assert!(!applied.stands(&child("a", "")), "etcd was restored");
    }

    fn named(name: &str) -> Names {
        let mut names = Names::default();
        names.add(name);
        names
    }

    #[test]
    fn a_child_is_absent_once_its_kind_was_listed_and_until_it_is_seen_or_made() {
        let applied = Applied::default();
        let kind = ChildKind::new("ConfigMap", "node");
        assert!(!applied.is_absent("riyadh", kind), "nobody has looked");
        applied.only(kind, &named("cairo"));
        assert!(!applied.is_absent("riyadh", kind), "what was listed is not known any more");
        applied.sees("cairo", kind, Sight { version: 6, shape: None });
        applied.only(kind, &named("cairo"));
        assert!(applied.is_absent("riyadh", kind) && !applied.is_absent("cairo", kind));
        applied.sees("riyadh", kind, Sight { version: 7, shape: None });
        assert!(!applied.is_absent("riyadh", kind), "another has made one");
        applied.gone("riyadh", kind);
        assert!(applied.is_absent("riyadh", kind));
        applied.left(&child("a", ""), &child("a", "9"));
        assert!(!applied.is_absent("riyadh", kind), "the operator has made one, which no watch has shown yet");
    }

    #[test]
    fn what_is_gone_does_not_stand() {
        let kind = ChildKind::new("ConfigMap", "node");
        let vanish: [fn(&Applied, ChildKind); 3] = [
            |applied, kind| applied.gone("riyadh", kind),
            |applied, kind| applied.only(kind, &named("cairo")),
            |applied, _| applied.forget("riyadh"),
        ];
        for vanish in vanish {
            let applied = Applied::default();
            applied.left(&child("a", ""), &child("a", "7"));
            applied.only(kind, &named("riyadh"));
            applied.only(ChildKind::new("Secret", "node"), &Names::default());
            assert!(applied.stands(&child("a", "")));
            vanish(&applied, kind);
            assert!(!applied.stands(&child("a", "")));
        }
    }
}
