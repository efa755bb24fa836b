//! The fleet in figures, counted from the caches at the moment that someone looks. Of one that stands by they are zero.

use fateh_crds::{ContentDistribution, DatabaseServer, NodeState, Phase};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use prometheus::{
    IntGauge, IntGaugeVec, Opts, Registry,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use crate::{cache::Cache, conditions::is_true, node_summary::NodeSummary};

const PHASES: [Phase; 8] = [
    Phase::Pending,
    Phase::Provisioning,
    Phase::Ready,
    Phase::Degraded,
    Phase::Stalled,
    Phase::Suspended,
    Phase::Inactive,
    Phase::Deleting,
];
const ROLLOUTS: [&str; 4] = ["complete", "progressing", "waiting", "stalled"];

/// The caches that are counted.
pub struct Caches {
    /// LocalNodes.
    pub nodes: Cache<NodeSummary>,
    /// DatabaseServers.
    pub servers: Cache<DatabaseServer>,
    /// ContentDistributions.
    pub distributions: Cache<ContentDistribution>,
}

struct Fleet {
    caches: Caches,
    nodes: IntGaugeVec,
    silent: IntGauge,
    rollouts: IntGaugeVec,
    servers: IntGaugeVec,
}

/// Shows, whenever someone looks, what the fleet is like.
///
/// # Errors
/// When it is shown already.
pub fn show(registry: &Registry, caches: Caches) -> Result<(), prometheus::Error> {
    let gauges = |name: &str, help: &str, label| IntGaugeVec::new(Opts::new(name, help), &[label]);
    registry.register(Box::new(Fleet {
        caches,
        nodes: gauges("fateh_operator_nodes", "LocalNodes by their phase.", "phase")?,
        silent: IntGauge::new("fateh_operator_nodes_silent", "Active nodes that have reported, and do so no more.")?,
        rollouts: gauges(
            "fateh_operator_rollouts",
            "ContentDistributions by where they are; waiting: for a person, as was asked for.",
            "state",
        )?,
        servers: gauges("fateh_operator_database_servers", "DatabaseServers by whether they can be reached.", "state")?,
    }))
}

impl Collector for Fleet {
    fn desc(&self) -> Vec<&Desc> {
        [self.nodes.desc(), self.silent.desc(), self.rollouts.desc(), self.servers.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let nodes = self.caches.nodes.all();
        let phases = PHASES.map(|phase| (phase, format!("{phase:?}")));
        show_counts(&self.nodes, &phases, nodes.iter().map(|node| node.phase));
        self.silent.set(length(nodes.iter().filter(|node| is_silent(node)).count()));
        let distributions = self.caches.distributions.all();
        let conditions = distributions
            .iter()
            .map(|distribution| distribution.status.as_ref().map(|status| &*status.conditions).unwrap_or_default());
        show_counts(&self.rollouts, &ROLLOUTS.map(|state| (state, state)), conditions.map(rollout));
        let servers = self.caches.servers.all();
        let reachable = servers
            .iter()
            .map(|server| server.status.as_ref().is_some_and(|status| is_true(&status.conditions, "Reachable")));
        show_counts(&self.servers, &[(true, "reachable"), (false, "unreachable")], reachable);
        [self.nodes.collect(), self.silent.collect(), self.rollouts.collect(), self.servers.collect()].concat()
    }
}

fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Shows how often each value was found, under its label; also of those that were not.
fn show_counts<V: PartialEq, L: AsRef<str>>(gauges: &IntGaugeVec, labels: &[(V, L)], found: impl Iterator<Item = V>) {
    let found: Vec<_> = found.collect();
    for (value, label) in labels {
        let count = found.iter().filter(|found| *found == value).count();
        gauges.with_label_values(&[label.as_ref()]).set(length(count));
    }
}

/// A node that is to serve, and of which nothing is heard although it has reported before.
fn is_silent(node: &NodeSummary) -> bool {
    node.state == NodeState::Active && node.has_figures && !node.reports()
}

/// Where a rollout is, in one word.
fn rollout(conditions: &[Condition]) -> &'static str {
    if is_true(conditions, "Stalled") {
        "stalled"
    } else if is_true(conditions, "AwaitingApproval") || is_true(conditions, "Paused") {
        "waiting"
    } else if is_true(conditions, "Ready") {
        "complete"
    } else {
        "progressing"
    }
}

#[cfg(test)]
mod tests {
    use fateh_crds::LocalNode;
    use futures::{StreamExt, stream};
    use kube::runtime::watcher::Event;
    use prometheus::TextEncoder;
    use serde_json::{Value, json};

    use super::*;

    fn node(name: &str, state: &str, phase: &str, reporting: Option<&str>) -> LocalNode {
        let conditions: Vec<_> = reporting.iter().map(|status| condition("Reporting", status)).collect();
        let statistics = reporting.map(|_| json!({}));
        serde_json::from_value(json!({
            "apiVersion": "fateh-platform.com/v1alpha1", "kind": "LocalNode", "metadata": {"name": name},
            "spec": {"displayName": "x", "region": "mena", "adminEmail": "a@example.com", "state": state},
            "status": {"phase": phase, "conditions": conditions, "statistics": statistics},
        }))
        .unwrap()
    }

    fn condition(kind: &str, status: &str) -> Value {
        json!({"type": kind, "status": status, "reason": "X", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }

    fn distribution(name: &str, holding: &[&str]) -> ContentDistribution {
        let conditions: Vec<_> = holding.iter().map(|kind| condition(kind, "True")).collect();
        serde_json::from_value(json!({
            "apiVersion": "fateh-platform.com/v1alpha1", "kind": "ContentDistribution", "metadata": {"name": name},
            "spec": {"content": {"id": name, "type": "Course", "version": "1", "source": {"catalog": {}}}},
            "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn everything_is_counted_once() {
        let (nodes, distributions, servers) = (Cache::default(), Cache::default(), Cache::default());
        // No pass has looked at it yet.
        let mut unseen = node("unseen", "Active", "Pending", None);
        unseen.status = None;
        let seen = [
            unseen,
            node("serving", "Active", "Ready", Some("True")),
            node("silent", "Active", "Degraded", Some("False")),
            node("new", "Active", "Provisioning", None),
            node("asleep", "Suspended", "Suspended", Some("False")),
        ];
        let events = stream::iter(seen.map(|node| Ok(Event::Apply(NodeSummary::from(node)))));
        assert_eq!(nodes.fill(events).count().await, 5);
        let made = [
            distribution("done", &["Ready"]),
            distribution("gate", &["AwaitingApproval", "Reconciling"]),
            distribution("broken", &["Stalled"]),
            distribution("going", &["Reconciling"]),
        ];
        let events = stream::iter(made.map(|distribution| Ok(Event::Apply(distribution))));
        assert_eq!(distributions.fill(events).count().await, 4);
        let registry = Registry::new();
        show(&registry, Caches { nodes, servers, distributions }).unwrap();
        let shown = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            "fateh_operator_nodes{phase=\"Pending\"} 1",
            "fateh_operator_nodes{phase=\"Ready\"} 1",
            "fateh_operator_nodes{phase=\"Degraded\"} 1",
            "fateh_operator_nodes{phase=\"Stalled\"} 0",
            "fateh_operator_nodes_silent 1",
            "fateh_operator_rollouts{state=\"complete\"} 1",
            "fateh_operator_rollouts{state=\"waiting\"} 1",
            "fateh_operator_rollouts{state=\"stalled\"} 1",
            "fateh_operator_rollouts{state=\"progressing\"} 1",
            "fateh_operator_database_servers{state=\"unreachable\"} 0",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line} is not in\n{shown}");
        }
    }
}
