//! What a distribution's status says of a rollout, in conditions. Pure.

use fateh_crds::{APPROVE_ANNOTATION, ContentDistributionStatus, RETRY_ANNOTATION};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::plan::{ABORTED, ROLLED_BACK, ROLLING_BACK, Verdict};
use crate::{
    conditions::{Fact, merge},
    failure::{Disposition, Failure},
};

/// The conditions of a rollout that goes as planned.
pub fn of_plan(
    name: &str,
    previous: &[Condition],
    status: &ContentDistributionStatus,
    verdict: &Verdict,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let progress = progress(status);
    let revision = status.current.as_ref().map_or("", |current| current.revision.as_str());
    let retry = format!(
        "mend the cause, then: kubectl annotate cdist {name} {RETRY_ANNOTATION}=1 --overwrite (any value that it did not have before), or publish another version"
    );
    // Ready, its reason, and what it says; then whether it goes on by itself, or a person must act.
    let (ready, reason, message, going, stalled) = match verdict {
        Verdict::Progressing => (None, "Progressing", progress.clone(), true, false),
        Verdict::Soaking => {
            (None, "Soaking", format!("the stage holds the content, and must for a while; {progress}"), true, false)
        }
        Verdict::AwaitingApproval(stage) => {
            let how = format!("kubectl annotate cdist {name} {APPROVE_ANNOTATION}={revision}/{stage} --overwrite");
            (None, "AwaitingApproval", format!("stage {stage} waits for approval: {how}"), true, false)
        }
        Verdict::Paused => (None, "Paused", format!("paused by hand; {progress}"), true, false),
        Verdict::StageUnreachable(stage) => (
            None,
            "StageUnreachable",
            format!("no node of stage {stage} can be reached; it waits for one to report"),
            true,
            false,
        ),
        Verdict::Blocked(stage) => (
            None,
            "Blocked",
            format!("stage {stage} waits for nodes that do not report (spec.rollout.unreachable is Block)"),
            true,
            false,
        ),
        Verdict::OverBudget(stage) => (
            Some(false),
            "FailureBudgetExceeded",
            format!("more of stage {stage} failed than may (status.failedNodes); {retry}"),
            false,
            true,
        ),
        Verdict::Aborted => (
            Some(false),
            ABORTED,
            format!("stopped after too many failures; nodes that had not acknowledged got back what they had; {retry}"),
            false,
            true,
        ),
        Verdict::RollingBack => (
            Some(false),
            ROLLING_BACK,
            "too many failures: nodes are given back what they last held".to_owned(),
            false,
            true,
        ),
        Verdict::RolledBack => (
            Some(false),
            ROLLED_BACK,
            format!("too many failures: nodes hold again what they last held; {retry}"),
            false,
            true,
        ),
        Verdict::Planning => {
            (None, "Planning", format!("nodes are asked what would happen; {}", planned(status)), true, false)
        }
        Verdict::Planned => {
            (None, "Planned", format!("{}; set spec.mode to Apply to carry it out", planned(status)), true, false)
        }
        Verdict::Complete(0) => (Some(true), "Complete", progress.clone(), false, false),
        Verdict::Complete(silent) => (
            Some(true),
            "CompleteExceptUnreachable",
            format!("{progress}; {silent} do not report, and catch up when they return"),
            false,
            false,
        ),
        Verdict::Removing => (None, "Removing", "nodes are told to remove the content".to_owned(), true, false),
    };
    let summary = &status.summary;
    let flag = |kind, holds: bool, reason, message: String| {
        if holds { Fact::holds(kind, reason, message) } else { Fact::fails(kind, "No", "") }
    };
    let paused = matches!(verdict, Verdict::Paused);
    let over =
        matches!(verdict, Verdict::OverBudget(_) | Verdict::Aborted | Verdict::RollingBack | Verdict::RolledBack);
    let conflicts = format!("{} nodes serve edits of their own that wait for a decision", summary.conflicted);
    let facts = vec![
        Fact { kind: "Ready", holds: ready, reason, message: message.clone() },
        Fact { kind: "Reconciling", holds: Some(going), reason, message: message.clone() },
        Fact { kind: "Stalled", holds: Some(stalled), reason, message: message.clone() },
        flag("Paused", paused, "ByHand", "take the annotation away, or set spec.suspend to false, to go on".to_owned()),
        flag("AwaitingApproval", matches!(verdict, Verdict::AwaitingApproval(_)), "Stage", message.clone()),
        flag("FailureBudgetExceeded", over, "TooManyFailures", message.clone()),
        flag("RolledBack", matches!(verdict, Verdict::RolledBack), "TooManyFailures", message),
        flag("ConflictsPresent", summary.conflicted > 0, "LocalEdits", conflicts),
    ];
    merge(previous, facts, generation, now)
}

/// The conditions of a distribution that cannot go on as it is.
pub fn of_failure(
    previous: &[Condition],
    failure: &Failure,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let person = failure.disposition() == Disposition::NeedsAPerson;
    let (reason, message) = (failure.reason(), failure.to_string());
    let fact = |kind, holds| Fact { kind, holds, reason, message: message.clone() };
    let facts = vec![
        fact("Ready", if person { Some(false) } else { None }),
        fact("Reconciling", Some(!person)),
        fact("Stalled", Some(person)),
    ];
    beside_the_rollout(previous, facts, generation, now)
}

/// What a plan says, of which a part cannot be carried out.
pub fn of_refusal(
    previous: &[Condition],
    planned: &[Condition],
    failure: &Failure,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let is_said = |condition: &Condition| ["Ready", "Reconciling", "Stalled"].contains(&&*condition.type_);
    let mut conditions = of_failure(previous, failure, generation, now);
    conditions.retain(is_said);
    conditions.extend(planned.iter().filter(|condition| !is_said(condition)).cloned());
    conditions
}

/// The conditions of a revision that is on its way to the hub.
pub fn of_publishing(previous: &[Condition], generation: Option<i64>, now: Timestamp) -> Vec<Condition> {
    let message = "the revision is published to the hub's catalogue";
    let facts = vec![
        Fact::unknown("Ready", "Publishing", message),
        Fact::holds("Reconciling", "Publishing", message),
        Fact::fails("Stalled", "Publishing", message),
    ];
    beside_the_rollout(previous, facts, generation, now)
}

/// What is said while there is nothing new of the rollout: what was known of it stays known.
fn beside_the_rollout(
    previous: &[Condition],
    facts: Vec<Fact>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let is_new = |condition: &&Condition| facts.iter().any(|fact| fact.kind == condition.type_);
    let known: Vec<_> = previous.iter().filter(|condition| !is_new(condition)).cloned().collect();
    let mut conditions = merge(previous, facts, generation, now);
    conditions.extend(known);
    conditions
}

fn progress(status: &ContentDistributionStatus) -> String {
    let summary = &status.summary;
    let stage = status.stage.as_deref().unwrap_or_default();
    let done = status.done.as_deref().unwrap_or("0/0");
    let mut parts = vec![format!("stage {stage}: {done} nodes hold it")];
    for (count, what) in [(summary.updating, "on their way"), (summary.failed, "failed"), (summary.skipped, "skipped")]
    {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    parts.join(", ")
}

fn planned(status: &ContentDistributionStatus) -> String {
    let plan = status.plan.clone().unwrap_or_default();
    let examples = if plan.examples.is_empty() { String::new() } else { format!(" ({})", plan.examples.join(", ")) };
    format!(
        "{} nodes answered: {} would change, {} have conflicts, {} have edits that would be replaced{examples}",
        plan.answered, plan.changes, plan.conflicts, plan.locked_edits
    )
}
