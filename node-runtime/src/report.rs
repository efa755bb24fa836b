//! Reports to the API server: heartbeat and figures in one small object, by one replica an interval.

use std::time::Duration;

use fateh_common::identity::invitations;
use fateh_crds::{AdminState, CHILD_NAME, NodeReport, NodeReportStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{metrics::Metrics, state::AppState, storage::reports};

/// Owns what the node's pods write in Kubernetes.
pub const FIELD_MANAGER: &str = "node-runtime";
const PATCH_DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
enum ReportError {
    #[error("count the figures: {0}")]
    Database(#[from] sqlx::Error),
    #[error("write the NodeReport: {0}")]
    Kubernetes(#[from] kube::Error),
    #[error("the API server did not answer in time")]
    Deadline,
}

/// Reports at every interval until `stop`. A report that fails is only logged: the next one is soon.
pub async fn run(state: AppState, client: Client, metrics: Metrics, stop: CancellationToken) {
    let interval = state.node.report_interval();
    loop {
        match report(&state, &client).await {
            Ok(true) => metrics.reported("sent"),
            Ok(false) => {}
            Err(error) => {
                metrics.reported("failed");
                tracing::warn!(%error, "the node could not report");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(jittered(interval, rand::random())) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// True when it was this replica's turn.
async fn report(state: &AppState, client: &Client) -> Result<bool, ReportError> {
    let now = state.clock.now();
    let mut connection = state.database.acquire().await?;
    if !reports::take_turn(&mut connection, now, earliest(now, state.node.report_interval())).await? {
        return Ok(false);
    }
    let accepted = invitations::is_accepted(state.identity.tables(), &mut connection).await?;
    let status = NodeReportStatus {
        reported_at: MicroTime(now),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        admin_state: if accepted { AdminState::Active } else { AdminState::Invited },
        statistics: reports::statistics(&mut connection, now).await?,
    };
    drop(connection);
    let api = Api::<NodeReport>::namespaced(client.clone(), &state.node.namespace);
    let part = json!({"apiVersion": NodeReport::api_version(&()), "kind": "NodeReport", "status": status});
    let (parameters, patch) = (PatchParams::apply(FIELD_MANAGER).force(), Patch::Apply(&part));
    let write = api.patch_status(CHILD_NAME, &parameters, &patch);
    tokio::time::timeout(PATCH_DEADLINE, write).await.map_err(|_| ReportError::Deadline)??;
    Ok(true)
}

/// A turn lasts most of an interval: with jitter, this replica's next one comes after its end.
fn earliest(now: Timestamp, interval: Duration) -> Timestamp {
    now.saturating_sub(interval * 4 / 5).unwrap_or(now)
}

/// Between 90 % and 110 % of the interval, so that a thousand nodes do not report at once.
fn jittered(interval: Duration, random: u16) -> Duration {
    interval.mul_f64(0.9 + 0.2 * f64::from(random) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_tenth_and_after_the_end_of_a_turn() {
        let interval = Duration::from_secs(60);
        assert_eq!(jittered(interval, 0), Duration::from_secs(54));
        assert_eq!(jittered(interval, u16::MAX), Duration::from_secs(66));
        let now = Timestamp::from_second(1000).unwrap();
        assert_eq!(earliest(now, interval), Timestamp::from_second(952).unwrap());
    }
}
