//! What is said of a distribution: its status, when that is written, and the events that tell of it.

use fateh_crds::{ContentDistribution, ContentDistributionStatus, DISTRIBUTION_FINALIZER, RolloutSummary};
use jiff::Timestamp;
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::events::EventType,
};
use serde_json::json;

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

/// What is to be said of a distribution; none where nothing new is.
pub fn status_of(
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

/// Whether two statuses tell the same but for how many nodes are how far, which nothing is planned from.
pub fn differ_in_counts_alone(one: &ContentDistributionStatus, other: &ContentDistributionStatus) -> bool {
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
    } else if !resource.finalizers().iter().any(|held| held == DISTRIBUTION_FINALIZER) {
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
}
