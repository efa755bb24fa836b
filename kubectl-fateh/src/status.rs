//! `kubectl fateh status`: all nodes at a glance.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
};

use fateh_crds::{LocalNode, Phase, condition, is_true};
use jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;

use crate::{
    cluster::{Cluster, Failure},
    output::{Table, age, counted},
};

/// The fleet.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fleet {
    /// Nodes by phase.
    phases: BTreeMap<String, usize>,
    /// The nodes, by name.
    nodes: Vec<Node>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    name: String,
    display_name: String,
    region: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<String>,
    phase: Phase,
    ready: bool,
    /// The latest word is not older than the node may be silent.
    reporting: bool,
    users: i64,
    /// Items held, of those to be held.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revenue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    age_seconds: i64,
    /// Why it is not Ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// Looks at all nodes, or at those that a selector takes.
pub async fn fleet(cluster: &Cluster, selector: Option<&str>, now: Timestamp) -> Result<Fleet, Failure> {
    let nodes: Vec<LocalNode> = cluster.all(selector).await?;
    Ok(Fleet::of(&nodes, now))
}

impl Fleet {
    fn of(nodes: &[LocalNode], now: Timestamp) -> Self {
        let nodes: Vec<_> = nodes.iter().map(|node| Node::of(node, now)).collect();
        let mut phases = BTreeMap::new();
        for node in &nodes {
            *phases.entry(format!("{:?}", node.phase)).or_default() += 1;
        }
        Self { phases, nodes }
    }
}

impl Node {
    fn of(node: &LocalNode, now: Timestamp) -> Self {
        let status = node.status.clone().unwrap_or_default();
        let ready = is_true(&status.conditions, "Ready");
        let statistics = status.statistics.as_ref();
        let message = condition(&status.conditions, "Ready").map(|ready| ready.message.clone());
        Self {
            name: node.name_any(),
            display_name: node.spec.display_name.clone(),
            region: node.spec.region.clone(),
            country: node.spec.country.clone(),
            phase: status.phase,
            ready,
            reporting: is_true(&status.conditions, "Reporting"),
            users: statistics.map_or(0, |statistics| statistics.figures.users.total),
            content: status.content.as_ref().map(|content| content.summary.clone()),
            revenue: statistics.and_then(|statistics| statistics.revenue_summary.clone()),
            url: status.url.clone(),
            age_seconds: node.creation_timestamp().map_or(0, |made| now.as_second() - made.0.as_second()),
            message: message.filter(|message| !ready && !message.is_empty()),
        }
    }
}

impl Display for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes.is_empty() {
            return writeln!(f, "no nodes");
        }
        let mut table = Table::new(&["NODE", "PHASE", "REPORTING", "USERS", "CONTENT", "REVENUE", "REGION", "AGE"]);
        for node in &self.nodes {
            table.row(&[
                &node.name,
                &format!("{:?}", node.phase),
                if node.reporting { "yes" } else { "no" },
                &node.users.to_string(),
                node.content.as_deref().unwrap_or_default(),
                node.revenue.as_deref().unwrap_or_default(),
                &node.region,
                &age(node.age_seconds),
            ]);
        }
        let phases: Vec<_> = self.phases.iter().map(|(phase, count)| format!("{count} {phase}")).collect();
        writeln!(f, "{table}\n{}: {}", counted(self.nodes.len(), "node"), phases.join(", "))?;
        let asked_for = [Phase::Suspended, Phase::Inactive];
        for node in self.nodes.iter().filter(|node| !asked_for.contains(&node.phase)) {
            if let Some(message) = &node.message {
                writeln!(f, "{}: {message}", node.name)?;
            }
        }
        Ok(())
    }
}
