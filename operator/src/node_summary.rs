//! What is kept of each LocalNode between passes: a fraction of the object, because there are thousands of them. A pass
//! reads its node anew.

use std::borrow::Cow;

use fateh_crds::{ContentStatus, LocalNode, NODE_FINALIZER, NodeState, Phase};
use jiff::Timestamp;
use kube::{Resource, ResourceExt, api::ObjectMeta};
use serde::Deserialize;

use crate::{cache::Keyed, conditions, kubernetes::has_finalizer, news::hash, watch};

/// A LocalNode in brief.
#[derive(Clone, Debug)]
pub struct NodeSummary {
    /// Its name.
    pub name: Box<str>,
    /// Its UID.
    pub uid: Box<str>,
    /// Counts what is asked for.
    pub generation: Option<i64>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// Whether it is being deleted.
    pub is_leaving: bool,
    /// Its labels, in order. Not a map, which holds room for eleven.
    labels: Box<[(Box<str>, Box<str>)]>,
    /// A hash of its annotations, without kubectl's own.
    pub annotations: u64,
    /// Whether it has the finalizer that a pass gives it, or no pass has reported on it yet.
    pub held: bool,
    /// Whether it is to serve.
    pub state: NodeState,
    /// Hosts that it asks for.
    pub extra_hosts: Box<[String]>,
    /// Connections that it asks for.
    pub connection_limit: i32,
    /// Where its database lies, once that is recorded.
    pub placed: Option<Placed>,
    /// Where it is.
    pub phase: Phase,
    /// What status says of its reports.
    pub reporting: Option<Reporting>,
    /// Whether it has ever reported figures.
    pub has_figures: bool,
    /// What status says of its content.
    pub content: Option<ContentStatus>,
}

/// Where a node's database lies.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The DatabaseServer.
    pub server: Box<str>,
    /// The database.
    pub database: Box<str>,
    /// Connections that the role may hold, as carried out.
    pub granted: Option<i32>,
    /// Whether role and database are as the node's spec has it now.
    pub settled: bool,
}

/// A node's condition `Reporting`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reporting {
    /// Whether it reports; none where that is not known.
    pub reports: Option<bool>,
    /// Since when.
    pub since: Timestamp,
}

impl NodeSummary {
    /// What tells an older node from a younger one.
    #[must_use]
    pub fn age(&self) -> (Option<Timestamp>, &str) {
        (self.created_at, &self.uid)
    }

    /// Its labels, in order.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Whether status says that it reports.
    #[must_use]
    pub fn reports(&self) -> bool {
        self.reporting.is_some_and(|reporting| reporting.reports == Some(true))
    }
}

impl From<LocalNode> for NodeSummary {
    fn from(mut node: LocalNode) -> Self {
        watch::forget(&mut node);
        let held = has_finalizer(&node, NODE_FINALIZER) || !node.is_reported();
        let annotations = hash(node.annotations());
        let generation = node.metadata.generation;
        let status = node.status.unwrap_or_default();
        let find = |kind| conditions::find(&status.conditions, kind);
        let settled = find("DatabaseReady")
            .is_some_and(|ready| ready.status == "True" && ready.observed_generation == generation);
        let reporting = find("Reporting").map(|reporting| Reporting {
            reports: match reporting.status.as_str() {
                "True" => Some(true),
                "False" => Some(false),
                _ => None,
            },
            since: reporting.last_transition_time.0,
        });
        let placed = status.database.map(|database| Placed {
            server: database.server.into(),
            database: database.name.into(),
            granted: database.connection_limit,
            settled,
        });
        let labels = node.metadata.labels.unwrap_or_default();
        Self {
            name: node.metadata.name.unwrap_or_default().into(),
            uid: node.metadata.uid.unwrap_or_default().into(),
            generation,
            created_at: node.metadata.creation_timestamp.map(|time| time.0),
            is_leaving: node.metadata.deletion_timestamp.is_some(),
            labels: labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
            annotations,
            held,
            state: node.spec.state,
            extra_hosts: node.spec.routing.extra_hosts.into(),
            connection_limit: node.spec.database.connection_limit,
            placed,
            phase: status.phase,
            reporting,
            has_figures: status.statistics.is_some(),
            content: status.content,
        }
    }
}

impl Keyed for NodeSummary {
    fn key(&self) -> &str {
        &self.name
    }
}

/// A LocalNode as lists and watches read it, so that they never hold whole ones either.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "LocalNode")]
pub struct WatchedNode {
    /// Name, and the version from which a watch goes on; nothing else.
    metadata: ObjectMeta,
    summary: NodeSummary,
}

impl From<LocalNode> for WatchedNode {
    fn from(node: LocalNode) -> Self {
        let metadata = ObjectMeta {
            name: node.metadata.name.clone(),
            resource_version: node.metadata.resource_version.clone(),
            ..ObjectMeta::default()
        };
        Self { metadata, summary: node.into() }
    }
}

impl From<WatchedNode> for NodeSummary {
    fn from(node: WatchedNode) -> Self {
        node.summary
    }
}

impl Resource for WatchedNode {
    type DynamicType = ();
    type Scope = <LocalNode as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        LocalNode::kind(&())
    }
    fn group((): &()) -> Cow<'_, str> {
        LocalNode::group(&())
    }
    fn version((): &()) -> Cow<'_, str> {
        LocalNode::version(&())
    }
    fn plural((): &()) -> Cow<'_, str> {
        LocalNode::plural(&())
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn watched(metadata: Value, status: Value) -> WatchedNode {
        let spec = json!({"displayName": "a", "region": "b", "adminEmail": "a@b.cd"});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap()
    }

    fn read(metadata: Value, status: Value) -> NodeSummary {
        watched(metadata, status).into()
    }

    #[test]
    fn a_watch_can_go_on_from_what_is_read() {
        let node = watched(json!({"name": "riyadh", "uid": "u", "resourceVersion": "7", "generation": 2}), json!({}));
        assert_eq!((node.name_any(), node.resource_version()), ("riyadh".into(), Some("7".into())));
        let node = NodeSummary::from(node);
        assert_eq!((&*node.name, &*node.uid, node.generation), ("riyadh", "u", Some(2)));
    }

    #[test]
    fn only_what_holds_for_this_generation_is_settled() {
        let ready = |status: &str, generation: i64| {
            let condition = json!({"type": "DatabaseReady", "status": status, "reason": "a", "message": "b",
                "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z"});
            let database = json!({"server": "default", "name": "node_riyadh", "role": "", "secret": ""});
            let status = json!({"database": database, "conditions": [condition]});
            read(json!({"name": "riyadh", "generation": 2}), status).placed.unwrap().settled
        };
        assert!(ready("True", 2) && !ready("True", 1) && !ready("Unknown", 2));
    }

    #[test]
    fn a_finalizer_is_missed_only_once_a_pass_was_made() {
        let held =
            |finalizers: Value, status: Value| read(json!({"name": "riyadh", "finalizers": finalizers}), status).held;
        // What the API server says of a new one, before anyone has looked at it.
        assert!(held(json!([]), json!({})) && held(json!([]), json!({"observedGeneration": 0})));
        assert!(!held(json!(["another"]), json!({"observedGeneration": 1})));
        assert!(held(json!([NODE_FINALIZER]), json!({"observedGeneration": 1})));
    }

    #[test]
    fn what_kubectl_notes_for_itself_is_not_asked_for() {
        let annotated =
            |annotations: Value| read(json!({"name": "riyadh", "annotations": annotations}), json!({})).annotations;
        let asked = json!({"fateh-platform.com/rotate": "1"});
        let noted = json!({"fateh-platform.com/rotate": "1", "kubectl.kubernetes.io/last-applied-configuration": "{}"});
        assert_eq!(annotated(asked.clone()), annotated(noted));
        assert_ne!(annotated(asked), annotated(json!({})));
    }
}
