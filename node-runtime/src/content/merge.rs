//! The three-way merge of content: a node's own edits, and what changed upstream since. Pure.
//!
//! Objects merge field by field, and lists whose elements all bear an `id` element by element; everything else is
//! one value, each question of a quiz among it. Where both sides changed a value it is a conflict: the node's value
//! goes on being served, upstream's is kept beside it, and the base stays what it was at that place, so that the
//! conflict stands until it is settled. Going back to an older version is a merge like any other.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::path::{Path, get, id, put};

/// Elements of a list under this name are one value each.
const WHOLE_ELEMENTS: &str = "questions";

/// A place that both sides changed. A value that is none was deleted, or was not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Where.
    pub path: Path,
    /// What both began with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub base: Option<Value>,
    /// The node's, which is served.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub local: Option<Value>,
    /// The centre's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub upstream: Option<Value>,
}

/// What came of a merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// What is to be served.
    pub value: Value,
    /// What the next merge is to begin with: upstream's value, but for the places in conflict.
    pub base: Value,
    /// The places that both sides changed, in the order of their paths.
    pub conflicts: Vec<Conflict>,
}

/// Merges the node's version and upstream's, which both come from `base`.
#[must_use]
pub fn merge(base: &Value, local: &Value, upstream: &Value) -> Merged {
    let mut conflicts = Vec::new();
    let settled = merge_value(&Path::default(), Some(base), Some(local), Some(upstream), false, &mut conflicts);
    conflicts.sort_by(|one, other| one.path.cmp(&other.path));
    // The document itself is on all three sides, so it is on both of these.
    Merged { value: settled.value.unwrap_or_default(), base: settled.base.unwrap_or_default(), conflicts }
}

/// How a conflict is to end.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// The node's value stays.
    Ours,
    /// Upstream's takes its place.
    Theirs,
    /// Another takes the place of both.
    Edit(Value),
}

/// Settles one conflict: the document to serve, and the base of the next merge. None where a place cannot be
/// reached, or an edit would give a list's element another id.
#[must_use]
pub fn settle(merged: &Merged, upstream: &Value, conflict: &Conflict, choice: Choice) -> Option<(Value, Value)> {
    let (mut value, mut base) = (merged.value.clone(), merged.base.clone());
    if !put(&mut base, &conflict.path, conflict.upstream.clone(), upstream) {
        return None;
    }
    let wanted = match choice {
        Choice::Ours => return Some((value, base)),
        Choice::Theirs => conflict.upstream.clone(),
        Choice::Edit(edited) => {
            let before = conflict.local.as_ref().or(conflict.upstream.as_ref());
            if before.and_then(id) != id(&edited) && before.and_then(id).is_some() {
                return None;
            }
            Some(edited)
        }
    };
    put(&mut value, &conflict.path, wanted, upstream).then_some((value, base))
}

/// The places at which the node's version is another than upstream's, in the order of the document: the topmost
/// place of each difference that the merge would treat as one.
#[must_use]
pub fn edits(base: &Value, local: &Value) -> Vec<Path> {
    let mut found = Vec::new();
    find_edits(&Path::default(), Some(base), Some(local), false, &mut found);
    found
}

/// Puts the value of `base` back at one place; none where there is nothing to put back.
#[must_use]
pub fn revert(base: &Value, local: &Value, path: &Path) -> Option<Value> {
    let mut reverted = local.clone();
    let changed = put(&mut reverted, path, get(base, path).cloned(), base) && reverted != *local;
    changed.then_some(reverted)
}

struct Settled {
    value: Option<Value>,
    base: Option<Value>,
}

fn merge_value(
    path: &Path,
    base: Option<&Value>,
    local: Option<&Value>,
    upstream: Option<&Value>,
    whole: bool,
    conflicts: &mut Vec<Conflict>,
) -> Settled {
    // Equal changes, no change here, or no change there: upstream's word is the base from now on.
    if local == upstream || local == base || upstream == base {
        let value = if local == base { upstream } else { local };
        return Settled { value: value.cloned(), base: upstream.cloned() };
    }
    if !whole && let (Some(local), Some(upstream)) = (local, upstream) {
        if let (Some(local), Some(upstream)) = (local.as_object(), upstream.as_object())
            && let Some(base) = base.map_or(Some(&Map::new()), Value::as_object)
        {
            return merge_objects(path, base, local, upstream, conflicts);
        }
        if let (Some(local), Some(upstream)) = (keyed(local), keyed(upstream))
            && let Some(base) = base.map_or(Some(&[][..]), keyed)
        {
            return merge_lists(path, base, local, upstream, conflicts);
        }
    }
    let [base, local, upstream] = [base, local, upstream].map(Option::<&Value>::cloned);
    let settled = Settled { value: local.clone(), base: base.clone() };
    conflicts.push(Conflict { path: path.clone(), base, local, upstream });
    settled
}

fn merge_objects(
    path: &Path,
    base: &Map<String, Value>,
    local: &Map<String, Value>,
    upstream: &Map<String, Value>,
    conflicts: &mut Vec<Conflict>,
) -> Settled {
    let (mut value, mut new_base) = (Map::new(), Map::new());
    let names: BTreeSet<_> = base.keys().chain(local.keys()).chain(upstream.keys()).collect();
    for name in names {
        let below = path.join(name);
        let settled = merge_value(&below, base.get(name), local.get(name), upstream.get(name), false, conflicts);
        value.extend(settled.value.map(|value| (name.clone(), value)));
        new_base.extend(settled.base.map(|base| (name.clone(), base)));
    }
    Settled { value: Some(Value::Object(value)), base: Some(Value::Object(new_base)) }
}

fn merge_lists(
    path: &Path,
    base: &[Value],
    local: &[Value],
    upstream: &[Value],
    conflicts: &mut Vec<Conflict>,
) -> Settled {
    let whole = path.segments().last().is_some_and(|name| name == WHOLE_ELEMENTS);
    // The node's order stands as long as upstream has not changed its own.
    let reordered = ids_within(upstream, base) != ids_within(base, upstream);
    let (first, second) = if reordered { (upstream, local) } else { (local, upstream) };
    let value_order = woven(&[first, second, base]);
    let base_order = woven(&[upstream, base]);
    let (mut values, mut bases) = (HashMap::new(), HashMap::new());
    let [of_base, of_local, of_upstream] = [base, local, upstream].map(by_id);
    for element in woven(&[upstream, local, base]) {
        let below = path.join(&element);
        let [base, local, upstream] = [&of_base, &of_local, &of_upstream].map(|list| list.get(&element).copied());
        let settled = merge_value(&below, base, local, upstream, whole, conflicts);
        values.extend(settled.value.map(|value| (element.clone(), value)));
        bases.extend(settled.base.map(|base| (element, base)));
    }
    let sorted = |mut elements: HashMap<String, Value>, order: &[String]| {
        Some(Value::Array(order.iter().filter_map(|id| elements.remove(id)).collect()))
    };
    Settled { value: sorted(values, &value_order), base: sorted(bases, &base_order) }
}

/// A list whose elements all bear an id of their own.
fn keyed(value: &Value) -> Option<&[Value]> {
    let list = value.as_array()?;
    let ids: BTreeSet<_> = list.iter().filter_map(id).collect();
    (ids.len() == list.len()).then_some(list)
}

fn by_id(list: &[Value]) -> HashMap<String, &Value> {
    list.iter().filter_map(|element| Some((id(element)?, element))).collect()
}

/// The ids of a list, those only that another list has too.
fn ids_within(list: &[Value], other: &[Value]) -> Vec<String> {
    let other = by_id(other);
    list.iter().filter_map(id).filter(|wanted| other.contains_key(wanted)).collect()
}

/// The ids of several lists in one order: that of the first, with what only later lists have behind its neighbour.
fn woven(lists: &[&[Value]]) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    let mut placed = HashSet::new();
    for list in lists {
        let mut before: Option<String> = None;
        for wanted in list.iter().filter_map(id) {
            if placed.insert(wanted.clone()) {
                // Its neighbour has its place already.
                let at = before.and_then(|before| order.iter().position(|id| *id == before)).map_or(0, |at| at + 1);
                order.insert(at, wanted.clone());
            }
            before = Some(wanted);
        }
    }
    order
}

fn find_edits(path: &Path, base: Option<&Value>, local: Option<&Value>, whole: bool, found: &mut Vec<Path>) {
    if base == local {
        return;
    }
    if !whole && let (Some(base), Some(local)) = (base, local) {
        if let (Some(base), Some(local)) = (base.as_object(), local.as_object()) {
            let names: BTreeSet<_> = base.keys().chain(local.keys()).collect();
            return names.into_iter().for_each(|name| {
                find_edits(&path.join(name), base.get(name), local.get(name), false, found);
            });
        }
        if let (Some(base), Some(local)) = (keyed(base), keyed(local)) {
            let whole = path.segments().last().is_some_and(|name| name == WHOLE_ELEMENTS);
            let before = found.len();
            let (of_base, of_local) = (by_id(base), by_id(local));
            for element in woven(&[local, base]) {
                let (base, local) = (of_base.get(&element).copied(), of_local.get(&element).copied());
                find_edits(&path.join(&element), base, local, whole, found);
            }
            if found.len() == before {
                // Nothing but the order.
                found.push(path.clone());
            }
            return;
        }
    }
    found.push(path.clone());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn paths(merged: &Merged) -> Vec<String> {
        merged.conflicts.iter().map(|conflict| conflict.path.to_string()).collect()
    }

    #[test]
    fn each_side_s_changes_are_kept() {
        let base =
            json!({"title": "Sums", "intro": "old", "lessons": [{"id": "a", "text": "A"}, {"id": "b", "text": "B"}]});
        let local = json!({"title": "Sums", "intro": "ours", "lessons": [{"id": "a", "text": "A"}, {"id": "own", "text": "O"}, {"id": "b", "text": "B"}]});
        let upstream = json!({"title": "Addition", "intro": "old", "lessons": [{"id": "c", "text": "C"}, {"id": "b", "text": "B2"}, {"id": "a", "text": "A"}]});
        let merged = merge(&base, &local, &upstream);
        let expected = json!({"title": "Addition", "intro": "ours", "lessons": [
            {"id": "c", "text": "C"}, {"id": "b", "text": "B2"}, {"id": "a", "text": "A"}, {"id": "own", "text": "O"}]});
        assert_eq!((merged.value, merged.conflicts), (expected, Vec::new()));
        assert_eq!(merged.base, upstream);
    }

    #[test]
    fn what_counts_as_a_conflict() {
        let lists = |elements: Value| json!({"lessons": elements});
        let questions = |elements: Value| json!({"questions": elements});
        for (why, base, local, upstream, at) in [
            ("both changed a field", json!({"a": 1}), json!({"a": 2}), json!({"a": 3}), &["/a"][..]),
            ("both changed it alike", json!({"a": 1}), json!({"a": 2}), json!({"a": 2}), &[]),
            ("both deleted it", json!({"a": 1}), json!({}), json!({}), &[]),
            ("deleted here, changed there", json!({"a": 1}), json!({}), json!({"a": 3}), &["/a"]),
            ("changed here, deleted there", json!({"a": 1}), json!({"a": 2}), json!({}), &["/a"]),
            ("deleted here, untouched there", json!({"a": 1}), json!({}), json!({"a": 1}), &[]),
            ("both added it, each its own", json!({}), json!({"a": 2}), json!({"a": 3}), &["/a"]),
            ("both added objects", json!({}), json!({"a": {"x": 1}}), json!({"a": {"y": 1}}), &[]),
            ("another type", json!({"a": 1}), json!({"a": {"x": 1}}), json!({"a": [1]}), &["/a"]),
            ("a list without ids is one value", json!({"a": [1]}), json!({"a": [1, 2]}), json!({"a": [1, 3]}), &["/a"]),
            (
                "so is one with an id twice",
                lists(json!([{"id": 1}])),
                lists(json!([{"id": 1}, {"id": 1}])),
                lists(json!([])),
                &["/lessons"],
            ),
            (
                "fields of one element",
                lists(json!([{"id": 1, "x": 0, "y": 0}])),
                lists(json!([{"id": 1, "x": 1, "y": 0}])),
                lists(json!([{"id": 1, "x": 0, "y": 1}])),
                &[],
            ),
            (
                "a question is one value",
                questions(json!([{"id": 1, "x": 0, "y": 0}])),
                questions(json!([{"id": 1, "x": 1, "y": 0}])),
                questions(json!([{"id": 1, "x": 0, "y": 1}])),
                &["/questions/1"],
            ),
            (
                "different questions",
                questions(json!([{"id": 1, "x": 0}, {"id": 2, "x": 0}])),
                questions(json!([{"id": 1, "x": 1}, {"id": 2, "x": 0}])),
                questions(json!([{"id": 1, "x": 0}, {"id": 2, "x": 2}])),
                &[],
            ),
            (
                "an element deleted here, changed there",
                lists(json!([{"id": 1, "x": 0}])),
                lists(json!([])),
                lists(json!([{"id": 1, "x": 1}])),
                &["/lessons/1"],
            ),
        ] {
            let merged = merge(&base, &local, &upstream);
            assert_eq!(paths(&merged), at, "{why}");
            for conflict in &merged.conflicts {
                assert_eq!(get(&merged.value, &conflict.path), get(&local, &conflict.path), "{why}: ours is served");
                assert_eq!(get(&merged.base, &conflict.path), get(&base, &conflict.path), "{why}: the base stays");
                assert_eq!(get(&upstream, &conflict.path), conflict.upstream.as_ref(), "{why}: theirs is kept");
            }
        }
    }

    #[test]
    fn an_order_that_only_the_node_changed_stands() {
        let list = |ids: &[&str]| Value::Array(ids.iter().map(|id| json!({"id": id})).collect());
        for (base, local, upstream, expected) in [
            (&["a", "b", "c"][..], &["c", "a", "b"][..], &["a", "b", "c"][..], &["c", "a", "b"][..]),
            (&["a", "b", "c"], &["c", "a", "b"], &["a", "x", "b", "c"], &["c", "a", "x", "b"]),
            (&["a", "b", "c"], &["c", "a", "b"], &["b", "a", "c"], &["b", "a", "c"]),
            (&["a", "b"], &["own", "a", "b"], &["b", "a"], &["own", "b", "a"]),
            (&["a", "b"], &["a", "own", "b"], &["b", "a", "x"], &["b", "a", "own", "x"]),
            (&["a", "b"], &["b"], &["a", "b", "c"], &["b", "c"]),
        ] {
            let merged = merge(&list(base), &list(local), &list(upstream));
            assert_eq!(merged.value, list(expected), "{base:?} {local:?} {upstream:?}");
            assert_eq!(merged.base, list(upstream));
        }
    }

    #[test]
    fn a_conflict_stands_until_it_is_settled() {
        let (base, local, upstream) = (json!({"a": 1, "b": 1}), json!({"a": 2, "b": 1}), json!({"a": 3, "b": 2}));
        let first = merge(&base, &local, &upstream);
        let again = merge(&first.base, &first.value, &upstream);
        assert_eq!(again, first, "the same version once more changes nothing");
        let conflict = &first.conflicts[0];
        for (choice, expected) in [
            (Choice::Ours, json!({"a": 2, "b": 2})),
            (Choice::Theirs, json!({"a": 3, "b": 2})),
            (Choice::Edit(json!(4)), json!({"a": 4, "b": 2})),
        ] {
            let (value, base) = settle(&first, &upstream, conflict, choice).unwrap();
            assert_eq!((&value, &base), (&expected, &upstream));
            assert!(merge(&base, &value, &upstream).conflicts.is_empty());
        }
    }

    #[test]
    fn a_settled_deletion_and_a_foreign_id() {
        let list = |elements: Value| json!({"lessons": elements});
        let (base, local) = (list(json!([{"id": "a", "x": 0}, {"id": "b"}])), list(json!([{"id": "b"}])));
        let upstream = list(json!([{"id": "a", "x": 1}, {"id": "b"}]));
        let merged = merge(&base, &local, &upstream);
        let settled = |choice| settle(&merged, &upstream, &merged.conflicts[0], choice);
        assert_eq!(settled(Choice::Theirs).unwrap(), (upstream.clone(), upstream.clone()));
        assert_eq!(settled(Choice::Ours).unwrap(), (local.clone(), upstream.clone()));
        assert_eq!(settled(Choice::Edit(json!({"id": "z"}))), None);
    }

    #[test]
    fn edits_are_found_and_put_back() {
        let base = json!({"title": "A", "lessons": [{"id": 1, "t": "x"}, {"id": 2}], "tags": [1]});
        let local = json!({"title": "B", "lessons": [{"id": 1, "t": "y"}, {"id": 3}], "tags": [1, 2]});
        let found: Vec<_> = edits(&base, &local).iter().map(Path::to_string).collect();
        assert_eq!(found, ["/lessons/1/t", "/lessons/2", "/lessons/3", "/tags", "/title"]);
        let mut left = local.clone();
        for path in edits(&base, &local) {
            left = revert(&base, &left, &path).unwrap();
        }
        assert_eq!(left, base);
        let reordered = json!({"title": "A", "lessons": [{"id": 2}, {"id": 1, "t": "x"}], "tags": [1]});
        assert_eq!(edits(&base, &reordered).len(), 1, "an order is an edit too");
    }

    /// Documents of one shape, small enough that three of them often meet at the same places.
    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![(0..3_i64).prop_map(|n| json!(n)), Just(json!(null)), Just(json!([1, 2]))];
        let value = leaf.prop_recursive(3, 24, 4, |inner| {
            let elements =
                prop::collection::btree_map(0..4_i64, prop::collection::btree_map("[xy]", inner.clone(), 0..2), 0..4);
            let list = (elements, any::<bool>()).prop_map(|(elements, reversed)| {
                let mut list: Vec<_> = elements
                    .into_iter()
                    .map(|(id, fields)| {
                        let mut element: Map<_, _> = fields.into_iter().collect();
                        element.insert("id".into(), json!(id));
                        Value::Object(element)
                    })
                    .collect();
                if reversed {
                    list.reverse();
                }
                Value::Array(list)
            });
            prop_oneof![
                prop::collection::btree_map("[abq]", inner, 0..3).prop_map(|fields| {
                    let named = |name: String| if name == "q" { "questions".to_owned() } else { name };
                    Value::Object(fields.into_iter().map(|(name, value)| (named(name), value)).collect())
                }),
                list,
            ]
        });
        prop::collection::btree_map("[abc]", value, 0..4).prop_map(|fields| Value::Object(fields.into_iter().collect()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn one_side_s_changes_alone_are_taken_whole(base in document(), changed in document()) {
            let upstream = merge(&base, &base, &changed);
            prop_assert_eq!((&upstream.value, &upstream.base, upstream.conflicts.len()), (&changed, &changed, 0));
            let local = merge(&base, &changed, &base);
            prop_assert_eq!((&local.value, &local.base, local.conflicts.len()), (&changed, &base, 0));
            let both = merge(&base, &changed, &changed);
            prop_assert_eq!((&both.value, &both.base, both.conflicts.len()), (&changed, &changed, 0));
        }

        #[test]
        fn the_base_advances_where_nothing_is_in_conflict(base in document(), local in document(), upstream in document()) {
            let merged = merge(&base, &local, &upstream);
            if merged.conflicts.is_empty() {
                prop_assert_eq!(&merged.base, &upstream);
            }
            for conflict in &merged.conflicts {
                prop_assert_eq!(get(&merged.value, &conflict.path), conflict.local.as_ref());
                prop_assert_eq!(get(&merged.base, &conflict.path), conflict.base.as_ref());
                prop_assert_eq!(get(&upstream, &conflict.path), conflict.upstream.as_ref());
            }
            let again = merge(&merged.base, &merged.value, &upstream);
            prop_assert_eq!(again, merged);
        }

        #[test]
        fn settled_conflicts_leave_none(base in document(), local in document(), upstream in document(), theirs: bool) {
            let mut merged = merge(&base, &local, &upstream);
            let mut rounds = 0;
            while let Some(conflict) = merged.conflicts.first().cloned() {
                let choice = if theirs { Choice::Theirs } else { Choice::Ours };
                let (value, base) = settle(&merged, &upstream, &conflict, choice).unwrap();
                merged = merge(&base, &value, &upstream);
                rounds += 1;
                prop_assert!(rounds < 100);
            }
            prop_assert_eq!(&merged.base, &upstream);
        }

        #[test]
        fn going_back_to_a_version_keeps_the_node_s_own_edits(base in document(), local in document(), upstream in document()) {
            let forward = merge(&base, &local, &upstream);
            if !forward.conflicts.is_empty() {
                return Ok(());
            }
            let back = merge(&forward.base, &forward.value, &base);
            // What was deleted there and edited here meanwhile is a conflict, like any other.
            prop_assert!(!back.conflicts.is_empty() || back.base == base);
            if edits(&base, &local).is_empty() {
                prop_assert_eq!(&back.value, &base);
            }
        }
    }
}
