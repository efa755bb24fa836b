//! The nodes as a pass sees them, and what it tells them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use fateh_crds::{CHILD_NAME, ContentItem, ContentState, NodeContent, NodeState};
use jiff::Timestamp;
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{content::Content, plan::Change, view::Node};
use crate::{
    failure::{Failure, kubernetes},
    node_summary::NodeSummary,
};

/// Owns the items of NodeContents; the object itself is the LocalNode controller's.
const CONTENT_MANAGER: &str = "fateh-operator-content";
/// Items that a node may hold.
const MAX_ITEMS: usize = 500;

/// What nodes are to be told, by their place in the fleet, and by which distribution.
pub type Wanted = BTreeMap<usize, Vec<(String, Change)>>;

/// A node, what it was told and what it said.
pub struct Member {
    /// The node.
    pub node: Arc<NodeSummary>,
    /// What it is told to hold and says that it holds, once there is a NodeContent.
    pub content: Option<Arc<Content>>,
}

/// All nodes of a pass, by name.
pub struct Fleet {
    /// Each has its place among them.
    pub members: Vec<Member>,
}

impl Fleet {
    /// The nodes as the planner of one distribution sees them. Others plan to tell some of them something in this pass.
    pub fn view(&self, distribution: &str, planned_for: &BTreeSet<usize>) -> Vec<Node> {
        let members = self.members.iter().enumerate();
        members.map(|(index, member)| member.view(distribution, planned_for.contains(&index))).collect()
    }

    /// Removals that were carried out, of distributions that are gone and forget nothing themselves any more.
    pub fn left_behind(&self, names: &BTreeSet<String>) -> Vec<(usize, String)> {
        let members = self.members.iter().enumerate();
        let items = members.flat_map(|(index, member)| {
            let items = member.content.iter().flat_map(|content| &content.items);
            items.filter(|item| !names.contains(&item.distribution)).map(move |item| (index, member, item))
        });
        let removed = items.filter(|(_, member, item)| {
            let said = member.content.iter().flat_map(|content| &content.said);
            item.removal.is_some()
                && said.into_iter().any(|said| said.is_of(item) && said.state == ContentState::Removed)
        });
        removed.map(|(index, _, item)| (index, item.distribution.clone())).collect()
    }

    /// Why a node cannot take one item more; `wanted` is what others bring to it in the same pass.
    pub fn is_full(&self, index: usize, distribution: &str, change: &Change, wanted: &Wanted) -> Option<Failure> {
        let member = self.members.get(index)?;
        let items = &member.content.as_ref()?.items;
        let is_new = |distribution: &str, change: &Change| {
            let dry_run = matches!(change, Change::Ask(_));
            let has_one = items.iter().any(|item| item.distribution == distribution && item.dry_run == dry_run);
            matches!(change, Change::Put(_) | Change::Ask(_)) && !has_one
        };
        let others = wanted.get(&index).into_iter().flatten().filter(|(name, change)| is_new(name, change)).count();
        (is_new(distribution, change) && items.len() + others >= MAX_ITEMS).then(|| {
            let message = format!(
                "node {} holds {MAX_ITEMS} items already; delete distributions that are no longer needed, or exclude it in spec.targets.exclude",
                member.node.name
            );
            Failure::stalled("ContentLimit", message)
        })
    }
}

/// Whether what was planned from one holds for the other, which is newer: the node was told nothing since, and what it
/// said is about other distributions.
fn holds_for(planned: &Content, newer: &Content, changes: &[(String, Change)]) -> bool {
    let told = |content: &Content| (content.uid.clone(), content.generation);
    let said = |content: &Content| -> Vec<_> {
        let concerned = |name: &str| changes.iter().any(|(changed, _)| changed == name);
        content.said.iter().filter(|said| concerned(&said.distribution)).cloned().collect()
    };
    told(planned) == told(newer) && newer.version > planned.version && said(planned) == said(newer)
}

impl Member {
    fn view(&self, distribution: &str, told: bool) -> Node {
        let node = &self.node;
        // One whose NodeContent is not there yet cannot be told anything.
        let reachable = node.reports() && self.content.is_some();
        let reporting_since = node.reporting.filter(|_| reachable).map(|reporting| reporting.since);
        let items = self.content.as_ref().map(|content| &*content.items).unwrap_or_default();
        let said = self.content.as_ref().map(|content| &*content.said).unwrap_or_default();
        let item = |dry_run| items.iter().find(|item| item.distribution == distribution && item.dry_run == dry_run);
        let answer = |dry_run| said.iter().find(|said| said.distribution == distribution && said.dry_run == dry_run);
        Node {
            name: node.name.to_string(),
            uid: node.uid.to_string(),
            created_at: node.created_at.unwrap_or(Timestamp::UNIX_EPOCH),
            labels: node.labels().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            active: node.state == NodeState::Active,
            reporting_since,
            item: item(false).cloned(),
            acknowledgement: answer(false).cloned(),
            question: item(true).cloned(),
            answer: answer(true).cloned(),
            told,
        }
    }

    /// Writes the node's whole list, with everything that changes in it. Of its content, `cached` is what is known now:
    /// nodes answer while others are told.
    pub async fn tell(
        &self,
        client: &Client,
        cached: Option<Arc<Content>>,
        changes: Vec<(String, Change)>,
    ) -> Result<Content, Failure> {
        let Some(planned) = &self.content else {
            return Err(Failure::stalled("NoNodeContent", "the node's NodeContent is not there yet"));
        };
        let content = cached.filter(|cached| holds_for(planned, cached, &changes));
        let content = content.as_ref().unwrap_or(planned);
        let mut items: Vec<ContentItem> = content.items.to_vec();
        for (name, change) in changes {
            let dry_run = matches!(change, Change::Ask(_) | Change::Unask);
            items.retain(|item| item.distribution != name || item.dry_run != dry_run);
            match change {
                Change::Put(item) | Change::Ask(item) => items.push(item),
                Change::Forget | Change::Unask => {}
            }
        }
        items.sort_by(|one, other| (&one.distribution, one.dry_run).cmp(&(&other.distribution, other.dry_run)));
        // What it was planned from: if the node was told something else since, it is planned again.
        let body = json!({
            "apiVersion": NodeContent::api_version(&()), "kind": NodeContent::kind(&()),
            "metadata": {"name": CHILD_NAME, "uid": content.uid, "resourceVersion": content.version.to_string()},
            "spec": {"items": items},
        });
        let api = Api::<NodeContent>::namespaced(client.clone(), content.namespace());
        let parameters = PatchParams::apply(CONTENT_MANAGER).force();
        let written = api.patch(CHILD_NAME, &parameters, &Patch::Apply(&body)).await;
        Ok(written.map_err(kubernetes("tell the node"))?.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn content(uid: &str, generation: i64, version: &str, said: &[(&str, &str)]) -> Content {
        let said: Vec<Value> = said
            .iter()
            .map(|(name, state)| json!({"distribution": name, "revision": "a", "attempt": 1, "state": state}))
            .collect();
        let content: NodeContent = serde_json::from_value(json!({
            "apiVersion": NodeContent::api_version(&()), "kind": NodeContent::kind(&()),
            "metadata": {"name": CHILD_NAME, "uid": uid, "generation": generation, "resourceVersion": version},
            "spec": {"items": []}, "status": {"items": said},
        }))
        .unwrap();
        content.into()
    }

    #[test]
    fn a_plan_holds_while_the_node_speaks_of_others_alone() {
        let changes = [("sums".to_owned(), Change::Forget)];
        let planned = content("a", 3, "10", &[("sums", "Pending")]);
        for (newer, holds) in [
            (content("a", 3, "11", &[("sums", "Pending"), ("letters", "Applied")]), true),
            (content("a", 3, "11", &[("sums", "Applied")]), false),
            (content("a", 3, "11", &[]), false),
            (content("a", 4, "11", &[("sums", "Pending")]), false),
            (content("b", 3, "11", &[("sums", "Pending")]), false),
            (content("a", 3, "9", &[("sums", "Pending")]), false),
        ] {
            assert_eq!(holds_for(&planned, &newer, &changes), holds, "{newer:?}");
        }
    }
}
