//! `kubectl fateh conflicts`: which nodes serve edits of their own that wait for a decision.

use std::fmt::{self, Display};

use fateh_crds::{ContentState, NODE_LABEL, NodeContent};
use kube::{Api, ResourceExt};
use serde::Serialize;

use crate::{
    cluster::{Cluster, Failure},
    output::{Table, counted},
};

/// Content with edits that wait, by node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Conflicts {
    conflicts: Vec<Conflict>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Conflict {
    node: String,
    distribution: String,
    revision: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// Looks for them at all nodes; of one distribution, or of all.
pub async fn list(cluster: &Cluster, distribution: Option<&str>) -> Result<Conflicts, Failure> {
    if let Some(name) = distribution {
        cluster.get::<fateh_crds::ContentDistribution>(name).await?;
    }
    let contents: Vec<NodeContent> = cluster.list(&Api::all(cluster.client.clone()), None).await?;
    Ok(Conflicts::of(&contents, distribution))
}

impl Conflicts {
    fn of(contents: &[NodeContent], distribution: Option<&str>) -> Self {
        let mut conflicts = Vec::new();
        for content in contents {
            let node = content.labels().get(NODE_LABEL).cloned().or_else(|| content.namespace()).unwrap_or_default();
            let said = content.status.iter().flat_map(|status| &status.items);
            let waits = said.filter(|said| said.state == ContentState::Conflicted && !said.dry_run);
            let asked = waits.filter(|said| distribution.is_none_or(|name| name == said.distribution));
            conflicts.extend(asked.map(|said| Conflict {
                node: node.clone(),
                distribution: said.distribution.clone(),
                revision: said.revision.clone(),
                message: said.message.clone(),
            }));
        }
        Self { conflicts }
    }
}

impl Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.conflicts.is_empty() {
            return writeln!(f, "no conflicts");
        }
        let mut table = Table::new(&["NODE", "DISTRIBUTION", "REVISION"]);
        for conflict in &self.conflicts {
            table.row(&[&conflict.node, &conflict.distribution, &conflict.revision]);
        }
        let count = counted(self.conflicts.len(), "conflict");
        writeln!(
            f,
            "{table}\n{count}: a node serves its own edits until its partner decides (POST /api/local/content/{{id}}/conflicts)"
        )
    }
}
