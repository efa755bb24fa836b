//! What is remembered from pass to pass: the revision, its stages' latches, and what people asked for.

use fateh_crds::{ContentDistributionStatus, Revision, StagePhase, StageStatus};
use jiff::Timestamp;

use super::{COMPLETE, ROLLED_BACK, ROLLING_BACK, SUPERSEDED, is_given_up, outcome, whole_second};
use crate::rollout::view::{Rollout, revision};

/// Revisions that were given up and are remembered beyond the limit.
const GIVEN_UP: usize = 10;

/// The status that a pass begins with. `highest` is the highest number of an attempt that any node was told.
pub fn status(rollout: &Rollout<'_>, highest: i32, now: Timestamp) -> ContentDistributionStatus {
    let mut status = rollout.status.clone();
    // Never a number that was used: what a node said to something else is not said to this.
    let used = status.current.as_ref().map_or(0, |current| current.attempt).max(highest);
    let unused = used.saturating_add(1);
    let is_new = status.current.as_ref().is_none_or(|current| current.digest != rollout.digest);
    if is_new {
        begin_revision(&mut status, rollout, unused, now);
    }
    if let Some(current) = &mut status.current {
        current.source = Some(rollout.source.to_owned());
    }
    let known = std::mem::take(&mut status.stages);
    status.stages = rollout
        .spec
        .rollout
        .stages
        .iter()
        .map(|stage| {
            // An edited list keeps its latches by name.
            known.iter().find(|before| before.name == stage.name).cloned().unwrap_or_else(|| waiting(&stage.name))
        })
        .collect();
    retry(&mut status, rollout, unused, now, is_new);
    approve(&mut status, rollout, now);
    status
}

fn waiting(name: &str) -> StageStatus {
    StageStatus {
        name: name.to_owned(),
        phase: StagePhase::Waiting,
        total: 0,
        applied: 0,
        failed: 0,
        started_at: None,
        soak_until: None,
        approved_at: None,
    }
}

fn begin_revision(status: &mut ContentDistributionStatus, rollout: &Rollout<'_>, attempt: i32, now: Timestamp) {
    if let Some(mut before) = status.current.take() {
        if before.outcome.is_none() {
            before.outcome = Some(SUPERSEDED.to_owned());
        } else if before.outcome.as_deref() == Some(ROLLING_BACK) {
            before.outcome = Some(ROLLED_BACK.to_owned());
        }
        status.history.insert(0, before);
    }
    forget(&mut status.history, usize::try_from(rollout.spec.revision_history_limit).unwrap_or(5));
    status.stages.clear();
    status.current = Some(Revision {
        revision: revision(rollout.digest).to_owned(),
        digest: rollout.digest.to_owned(),
        version: rollout.spec.content.version.clone(),
        started_at: whole_second(now),
        source: None,
        attempt,
        outcome: None,
    });
}

/// Forgets the oldest. Those that were given up are remembered longer: nodes that still hold one must not be led back
/// to it.
fn forget(history: &mut Vec<Revision>, limit: usize) {
    let mut seen = Vec::new();
    history.retain(|revision| {
        let is_known = seen.contains(&revision.digest);
        seen.push(revision.digest.clone());
        seen.len() <= limit || is_given_up(revision.outcome.as_deref()) && !is_known
    });
    history.truncate(limit + GIVEN_UP);
}

/// A word that was not heeded yet lets what failed try again; an aborted revision starts anew.
fn retry(status: &mut ContentDistributionStatus, rollout: &Rollout<'_>, attempt: i32, now: Timestamp, is_new: bool) {
    let Some(asked) = &rollout.controls.retry else { return };
    if status.handled_retry.as_ref() == Some(asked) {
        return;
    }
    status.handled_retry = Some(asked.clone());
    // What stood there before the revision was not said about it.
    if is_new {
        return;
    }
    let given_up = is_given_up(outcome(status));
    if let Some(current) = &mut status.current {
        current.attempt = attempt;
        if given_up || current.outcome.as_deref() == Some(COMPLETE) {
            current.outcome = None;
        }
        if given_up {
            current.started_at = whole_second(now);
        }
    }
    for stage in &mut status.stages {
        if given_up {
            *stage = waiting(&stage.name);
        } else if stage.phase == StagePhase::OverBudget {
            stage.phase = StagePhase::Running;
        }
    }
}

/// An approval is of one stage of one revision, may come early, and is remembered.
fn approve(status: &mut ContentDistributionStatus, rollout: &Rollout<'_>, now: Timestamp) {
    let Some((of, name)) = &rollout.controls.approve else { return };
    if status.current.as_ref().is_none_or(|current| current.revision != *of) {
        return;
    }
    if let Some(stage) = status.stages.iter_mut().find(|stage| stage.name == *name && stage.approved_at.is_none()) {
        stage.approved_at = Some(whole_second(now));
    }
}
