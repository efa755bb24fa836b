//! What is said of a distribution: its status, when that is written, and the events that tell of it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use fateh_crds::{ContentDistribution, ContentDistributionStatus, DISTRIBUTION_FINALIZER, RolloutSummary};
use jiff::Timestamp;
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::events::EventType,
};
use serde_json::json;
use tokio::time::Instant;

use super::{
    controller::{Course, KIND, Part},
    report,
};
use crate::{
    conditions,
    context::Context,
    failure::{Failure, kubernetes},
    kubernetes::{FIELD_MANAGER, put_finalizer},
};

/// Counts that move, and nothing else, are written no more often: of many distributions at once they would be most of
/// what is written.
pub const COUNTS_INTERVAL: Duration = Duration::from_secs(1);
/// Of so many distributions in a pass that tells nodes: it ends when they are written, and nodes wait for the next.
const COUNTS_AT_ONCE: usize = 4;

/// What is to be said of a distribution.
pub struct Saying {
    /// The distribution.
    pub part: Arc<Part>,
    /// None where nothing new is.
    pub status: Option<ContentDistributionStatus>,
    counts_alone: bool,
}

/// What is to be said of the distributions of a pass, and when.
#[derive(Default)]
pub struct Said {
    /// Before any node is told.
    pub first: Vec<Saying>,
    /// While nodes are told: nothing follows from it.
    pub meanwhile: Vec<Saying>,
    /// Names of those of which it is said after [`COUNTS_INTERVAL`].
    pub later: Vec<String>,
}

/// What is to be said of a distribution, whose nodes the API server may have `refused` to have told.
pub fn saying(part: &Arc<Part>, refused: Option<String>, now: Timestamp) -> Saying {
    let previous = part.resource.status.clone().unwrap_or_default();
    let status = status_of(part, &previous, refused, now);
    // One that is not held is held first.
    let counts_alone =
        is_held(&part.resource) && status.as_ref().is_some_and(|status| differ_in_counts_alone(&previous, status));
    Saying { part: Arc::clone(part), status, counts_alone }
}

impl Said {
    /// Counts wait for their interval, and among many, where nodes are told, for those that are older.
    pub fn new(sayings: Vec<Saying>, written_at: &HashMap<String, Instant>, now: Instant) -> Self {
        let tells = |saying: &Saying| matches!(&saying.part.course, Course::Planned(plan) if !plan.changes.is_empty());
        let at_once = if sayings.iter().any(tells) { COUNTS_AT_ONCE } else { sayings.len() };
        let last = |saying: &Saying| written_at.get(&saying.part.name).copied();
        let (counts, first): (Vec<_>, Vec<_>) = sayings.into_iter().partition(|saying| saying.counts_alone);
        let (mut waiting, mut meanwhile): (Vec<_>, Vec<_>) = counts
            .into_iter()
            .partition(|saying: &Saying| last(saying).is_some_and(|last| now.duration_since(last) < COUNTS_INTERVAL));
        meanwhile.sort_by_key(last);
        waiting.extend(meanwhile.split_off(at_once.min(meanwhile.len())));
        Self { first, meanwhile, later: waiting.into_iter().map(|saying| saying.part.name.clone()).collect() }
    }
}

/// What is to be said of a distribution; none where nothing new is.
fn status_of(
    part: &Part,
    previous: &ContentDistributionStatus,
    refused: Option<String>,
    now: Timestamp,
) -> Option<ContentDistributionStatus> {
    let generation = part.resource.metadata.generation;
    let before = &previous.conditions;
    // What was wrong with the last try is said until one succeeds.
    let wrong = conditions::is_true(before, "Stalled")
        || conditions::find(before, "Ready").is_some_and(|ready| ready.reason == "HubUnreachable");
    let publishing = matches!(part.course, Course::Publishing);
    if publishing && wrong && previous.observed_generation == generation {
        return None;
    }
    let mut status = match &part.course {
        Course::Planned(plan) => ContentDistributionStatus {
            conditions: report::of_plan(&part.name, before, &plan.status, &plan.verdict, generation, now),
            ..plan.status.clone()
        },
        Course::Publishing => {
            ContentDistributionStatus { conditions: report::of_publishing(before, generation, now), ..previous.clone() }
        }
        Course::Failed(failure) => ContentDistributionStatus {
            conditions: report::of_failure(before, failure, generation, now),
            ..previous.clone()
        },
    };
    // A rollout that waits for a person waits for that first.
    if let Some(message) = refused
        && !conditions::is_true(&status.conditions, "Stalled")
    {
        let failure = Failure::stalled("NodeRefused", message);
        status.conditions = report::of_refusal(before, &status.conditions, &failure, generation, now);
    }
    status.observed_generation = generation;
    (status != *previous).then_some(status)
}

/// Whether two statuses tell the same but for how many nodes are how far, of which no decision is made: only the order
/// of plans.
fn differ_in_counts_alone(one: &ContentDistributionStatus, other: &ContentDistributionStatus) -> bool {
    let [one, other] = [one, other].map(|status| {
        let mut status = status.clone();
        status.summary = RolloutSummary::default();
        status.done = None;
        status.stages.iter_mut().for_each(|stage| stage.applied = 0);
        status.conditions.iter_mut().for_each(|condition| condition.message.clear());
        status
    });
    one == other
}

/// Whether a distribution stays until its nodes have let it go.
fn is_held(resource: &ContentDistribution) -> bool {
    resource.finalizers().iter().any(|held| held == DISTRIBUTION_FINALIZER)
}

/// Writes what is new; and holds the distribution before the first node is told. What was written, if anything was.
///
/// # Errors
/// When a write fails.
pub async fn write_status(
    context: &Context,
    part: &Part,
    status: Option<ContentDistributionStatus>,
) -> Result<Option<ContentDistribution>, Failure> {
    let resource = &part.resource;
    let name = &part.name;
    let api = Api::<ContentDistribution>::all(context.client.clone());
    if resource.metadata.deletion_timestamp.is_none() {
        put_finalizer(&api, "hold the ContentDistribution", resource.as_ref(), DISTRIBUTION_FINALIZER).await?;
    } else if !is_held(resource) {
        return Ok(None);
    }
    let Some(status) = status else { return Ok(None) };
    let body = json!({
        "apiVersion": ContentDistribution::api_version(&()), "kind": KIND,
        "metadata": {"uid": resource.uid()}, "status": status,
    });
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let mut written = api
        .patch_status(name, &parameters, &Patch::Apply(&body))
        .await
        .map_err(kubernetes("write the ContentDistribution's status"))?;
    crate::watch::forget(&mut written);
    tell_people(context, resource, &resource.status.clone().unwrap_or_default(), &status).await;
    Ok(Some(written))
}

/// Events tell what changed: where the rollout stands, in the words of `Ready`.
async fn tell_people(
    context: &Context,
    resource: &ContentDistribution,
    before: &ContentDistributionStatus,
    now: &ContentDistributionStatus,
) {
    let ready = |status: &ContentDistributionStatus| {
        conditions::find(&status.conditions, "Ready").map(|ready| (ready.reason.clone(), ready.message.clone()))
    };
    let Some((reason, message)) = ready(now) else { return };
    let stage_before = before.stage.as_ref();
    if ready(before).is_some_and(|(before, _)| before == reason) && stage_before == now.stage.as_ref() {
        return;
    }
    let bad = conditions::is_true(&now.conditions, "Stalled");
    let kind = if bad { EventType::Warning } else { EventType::Normal };
    context.publish(resource, kind, &reason, "RollOut", &message).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::plan::{Change, Plan};

    #[test]
    fn only_counts_and_what_is_said_of_them_may_wait() {
        let status = |phase: &str, stage_phase: &str, applied: i32, message: &str| -> ContentDistributionStatus {
            serde_json::from_value(json!({
                "phase": phase, "done": format!("{applied}/9"), "summary": {"desired": 9, "applied": applied},
                "stages": [{"name": "all", "phase": stage_phase, "total": 9, "applied": applied}],
                "conditions": [{"type": "Ready", "status": "False", "reason": "RollingOut", "message": message,
                    "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            }))
            .unwrap()
        };
        let before = status("RollingOut", "Running", 3, "3 of 9");
        for (after, waits) in [
            (status("RollingOut", "Running", 4, "4 of 9"), true),
            (status("Complete", "Running", 4, "4 of 9"), false),
            (status("RollingOut", "Done", 9, "9 of 9"), false),
        ] {
            assert_eq!(differ_in_counts_alone(&before, &after), waits, "{after:?}");
        }
    }

    #[test]
    fn of_many_counts_the_oldest_come_first_where_nodes_are_told() {
        let saying = |name: &str, counts_alone: bool, tells: bool| {
            let spec = json!({"content": {"id": name, "type": "Course", "version": "1", "source": {"catalog": {}}}});
            let resource = Arc::new(ContentDistribution::new(name, serde_json::from_value(spec).unwrap()));
            let changes = if tells { vec![(0, Change::Forget)] } else { Vec::new() };
            let course = Course::Planned(Box::new(Plan { changes, ..Plan::default() }));
            Saying { part: Arc::new(Part { name: name.to_owned(), resource, course }), status: None, counts_alone }
        };
        let now = Instant::now();
        let ago = |tenths: u64| now - Duration::from_millis(100 * tenths);
        let written_at: HashMap<_, _> = [("a", 5), ("b", 20), ("c", 50), ("d", 30), ("e", 40), ("f", 15)]
            .map(|(name, tenths)| (name.to_owned(), ago(tenths)))
            .into();
        let names = |sayings: &[Saying]| sayings.iter().map(|saying| saying.part.name.clone()).collect::<Vec<_>>();
        for (tells, meanwhile, later) in [
            (true, &["new", "c", "e", "d"][..], &["a", "b", "f"][..]),
            (false, &["new", "c", "e", "d", "b", "f"], &["a"]),
        ] {
            let counts = ["a", "b", "c", "d", "e", "f", "new"].map(|name| saying(name, true, false));
            let all = counts.into_iter().chain([saying("phase", false, tells)]).collect();
            let said = Said::new(all, &written_at, now);
            assert_eq!(names(&said.first), ["phase"]);
            assert_eq!(names(&said.meanwhile), meanwhile);
            assert_eq!(said.later, later);
        }
    }
}
