//! `kubectl fateh rollout`: where a rollout is, and what it waits for.

use std::fmt::{self, Display};

use fateh_crds::{ContentDistribution, FailedNode, PlanStatus, RolloutSummary, StageStatus, condition, is_true};
use futures::TryStreamExt;
use kube::{Api, ResourceExt, runtime::watcher};
use serde::Serialize;

use crate::{
    cluster::{Cluster, Failure, failure},
    output::{Format, Table},
};

/// Where a rollout is.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    name: String,
    content: String,
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    phase: String,
    /// What it waits for, or why it stands.
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<String>,
    /// A person must act before it goes on.
    wants_a_person: bool,
    /// Nothing more happens by itself.
    ended: bool,
    summary: RolloutSummary,
    stages: Vec<StageStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed_nodes: Vec<FailedNode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<PlanStatus>,
}

/// Looks at a rollout.
pub async fn of(cluster: &Cluster, name: &str) -> Result<Progress, Failure> {
    Ok(Progress::of(&cluster.get(name).await?))
}

/// Shows a rollout whenever it changes, until it has ended or wants a person.
pub async fn watch(cluster: &Cluster, name: &str, output: Format) -> Result<(), Failure> {
    let api = Api::<ContentDistribution>::all(cluster.client.clone());
    // Read first, so that what may not be read, or is not there, is said instead of tried for ever.
    let mut shown = of(cluster, name).await?;
    output.print(&shown)?;
    let mut changes = std::pin::pin!(watcher::watch_object(api, name));
    while !(shown.ended || shown.wants_a_person) {
        let change = changes.try_next().await;
        let change = change.map_err(|error| match error {
            watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => {
                failure::<ContentDistribution>("watch", Some(name), error)
            }
            error => Failure::Request(format!("watch {name:?}"), error.to_string()),
        })?;
        let Some(Some(distribution)) = change else {
            return Err(Failure::NotFound("ContentDistribution".to_owned(), name.to_owned()));
        };
        let now = Progress::of(&distribution);
        if now != shown {
            if output == Format::Table {
                println!();
            }
            output.print(&now)?;
            shown = now;
        }
    }
    Ok(())
}

impl Progress {
    fn of(distribution: &ContentDistribution) -> Self {
        let status = distribution.status.clone().unwrap_or_default();
        let content = &distribution.spec.content;
        let is = |kind| is_true(&status.conditions, kind);
        // A status of before the last change says nothing of it.
        let seen = status.observed_generation == distribution.metadata.generation;
        let ready = condition(&status.conditions, "Ready");
        let planned = status.phase.as_deref() == Some("Planned");
        Self {
            name: distribution.name_any(),
            content: content.id.clone(),
            version: content.version.clone(),
            revision: status.current.map(|current| current.revision),
            phase: if seen { status.phase.unwrap_or_else(|| "Pending".to_owned()) } else { "Pending".to_owned() },
            message: if seen {
                ready.map(|ready| ready.message.clone()).unwrap_or_default()
            } else {
                "the operator has not seen the last change yet".to_owned()
            },
            done: status.done,
            wants_a_person: seen && (is("Stalled") || is("AwaitingApproval") || is("Paused")),
            ended: seen && (is("Ready") || planned),
            summary: status.summary,
            stages: status.stages,
            failed_nodes: status.failed_nodes,
            plan: status.plan,
        }
    }
}

impl Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let revision = self.revision.as_deref().unwrap_or("none yet");
        writeln!(f, "{}: {} {}, revision {revision}", self.name, self.content, self.version)?;
        writeln!(f, "{}: {}\n", self.phase, self.message)?;
        let mut table = Table::new(&["STAGE", "PHASE", "NODES", "DONE", "FAILED"]);
        for stage in &self.stages {
            let [total, applied, failed] = [stage.total, stage.applied, stage.failed].map(|count| count.to_string());
            table.row(&[&stage.name, &format!("{:?}", stage.phase), &total, &applied, &failed]);
        }
        writeln!(f, "{table}")?;
        let summary = &self.summary;
        let counts = [
            (summary.applied, "applied"),
            (summary.merged, "merged"),
            (summary.conflicted, "conflicted"),
            (summary.updating, "updating"),
            (summary.pending, "pending"),
            (summary.failed, "failed"),
            (summary.unreachable, "unreachable"),
            (summary.skipped, "skipped"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0).map(|(count, name)| format!("{count} {name}"));
        let counts: Vec<_> = counts.collect();
        writeln!(f, "of {} nodes: {}", summary.desired, counts.join(", "))?;
        if let Some(PlanStatus { answered, changes, conflicts, locked_edits, examples }) = &self.plan {
            writeln!(
                f,
                "of {answered} that answered, {changes} would change, {conflicts} would have conflicts, {locked_edits} have edits of locked fields"
            )?;
            examples.iter().try_for_each(|example| writeln!(f, "  {example}"))?;
        }
        self.failed_nodes.iter().try_for_each(|node| writeln!(f, "failed at {}: {}", node.name, node.message))
    }
}
