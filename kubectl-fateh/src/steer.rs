//! `kubectl fateh approve`, `pause`, `resume` and `retry`: by annotation, so that GitOps keeps the spec.

use fateh_crds::{APPROVE_ANNOTATION, ContentDistribution, PAUSE_ANNOTATION, RETRY_ANNOTATION, StagePhase};
use jiff::Timestamp;
use kube::ResourceExt;

use crate::cluster::{Cluster, Failure};

/// Lets a rollout into a stage: the one that waits, unless another is named.
pub async fn approve(cluster: &Cluster, name: &str, stage: Option<&str>) -> Result<(), Failure> {
    let distribution: ContentDistribution = cluster.get(name).await?;
    let (revision, stage) = to_approve(&distribution, stage).map_err(Failure::Unfit)?;
    cluster.annotate(&distribution, APPROVE_ANNOTATION, Some(&format!("{revision}/{stage}"))).await?;
    println!("stage {stage} of {name} is approved for revision {revision}");
    Ok(())
}

/// Which stage of which revision is meant, or why none can be.
fn to_approve(distribution: &ContentDistribution, stage: Option<&str>) -> Result<(String, String), String> {
    let name = distribution.name_any();
    let status = distribution.status.clone().unwrap_or_default();
    let current =
        status.current.ok_or_else(|| format!("{name} has no revision yet; see kubectl fateh rollout {name}"))?;
    // Of a spec that was changed a moment ago, the status speaks of the revision before.
    if status.observed_generation != distribution.metadata.generation {
        return Err(format!(
            "{name} was changed, and is not planned for yet; look at kubectl fateh rollout {name}, then approve"
        ));
    }
    let stages = &distribution.spec.rollout.stages;
    let named = match stage {
        Some(stage) if stages.iter().any(|known| known.name == stage) => stage.to_owned(),
        Some(stage) => {
            let known: Vec<_> = stages.iter().map(|stage| &*stage.name).collect();
            return Err(format!("{name} has no stage {stage:?}, but {}", known.join(", ")));
        }
        None => {
            let waiting = status.stages.iter().find(|stage| stage.phase == StagePhase::AwaitingApproval);
            let waiting = waiting.ok_or_else(|| {
                format!("no stage of {name} waits for approval; name one with --stage to approve it before its time")
            })?;
            waiting.name.clone()
        }
    };
    Ok((current.revision, named))
}

/// Stops a rollout where it is.
pub async fn pause(cluster: &Cluster, name: &str) -> Result<(), Failure> {
    let distribution: ContentDistribution = cluster.get(name).await?;
    cluster.annotate(&distribution, PAUSE_ANNOTATION, Some("true")).await?;
    println!("{name} is paused; kubectl fateh resume {name} lets it go on");
    Ok(())
}

/// Lets a paused rollout go on.
pub async fn resume(cluster: &Cluster, name: &str) -> Result<(), Failure> {
    let distribution: ContentDistribution = cluster.get(name).await?;
    cluster.annotate(&distribution, PAUSE_ANNOTATION, None).await?;
    if distribution.spec.suspend {
        let message = format!("{name} stays where it is: spec.suspend is true; set it to false where the spec is kept");
        return Err(Failure::Unfit(message));
    }
    println!("{name} goes on");
    Ok(())
}

/// Lets nodes that failed try again.
pub async fn retry(cluster: &Cluster, name: &str, now: Timestamp) -> Result<(), Failure> {
    let distribution: ContentDistribution = cluster.get(name).await?;
    cluster.annotate(&distribution, RETRY_ANNOTATION, Some(&now.to_string())).await?;
    println!("the nodes of {name} that failed try again");
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn distribution(observed: i64, phases: &[(&str, &str)]) -> ContentDistribution {
        let stages: Vec<_> = phases.iter().map(|(name, phase)| json!({"name": name, "phase": phase})).collect();
        let spec: Vec<_> = phases.iter().map(|(name, _)| json!({"name": name})).collect();
        serde_json::from_value(json!({
            "apiVersion": "fateh-platform.com/v1alpha1", "kind": "ContentDistribution",
            "metadata": {"name": "algebra", "generation": 2},
            "spec": {"content": {"id": "algebra", "type": "Course", "version": "1", "source": {"catalog": {}}},
                "rollout": {"stages": spec}},
            "status": {"observedGeneration": observed, "stages": stages,
                "current": {"revision": "abc", "digest": "abcdef", "version": "1", "startedAt": "2026-01-01T00:00:00Z"}},
        }))
        .unwrap()
    }

    #[test]
    fn the_stage_that_waits_is_approved_or_the_one_that_is_named() {
        let waits = distribution(2, &[("canary", "Done"), ("rest", "AwaitingApproval"), ("late", "Waiting")]);
        let chosen = |stage| to_approve(&waits, stage).unwrap();
        assert_eq!(chosen(None), ("abc".to_owned(), "rest".to_owned()));
        assert_eq!(chosen(Some("late")), ("abc".to_owned(), "late".to_owned()));
        assert!(to_approve(&waits, Some("other")).unwrap_err().contains("canary, rest, late"));
    }

    #[test]
    fn nothing_is_approved_that_nobody_has_seen() {
        let changed = distribution(1, &[("rest", "AwaitingApproval")]);
        assert!(to_approve(&changed, None).unwrap_err().contains("not planned for yet"));
        let runs = distribution(2, &[("rest", "Running")]);
        assert!(to_approve(&runs, None).unwrap_err().contains("--stage"));
    }
}
