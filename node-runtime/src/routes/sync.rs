//! `POST /api/local/sync`: tells the centre now, and says what was sent and what still waits.

use axum::{extract::State, http::StatusCode, response::Response};
use fateh_common::service::{
    error::{ApiError, Failed},
    extract::Speaks,
};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::Answer;
use crate::{
    hub_client::HUB_AWAY,
    permissions::{May, RunSync},
    state::AppState,
    sync::{self, SyncError},
};

const WAIT: std::time::Duration = std::time::Duration::from_secs(30);
const BEING_SENT: ApiError = ApiError::Later(StatusCode::CONFLICT, "sync-running", WAIT);

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(run))
}

/// What was sent, and what still waits.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Synced {
    /// Items that were sent now.
    sent: usize,
    /// Of these, items that took effect, now or before.
    applied: usize,
    /// Of these, items that the centre refused for good; they are set aside.
    refused: usize,
    /// Items that still wait to be sent.
    pending: i64,
    /// Items that were ever refused and are not looked after yet.
    set_aside: i64,
    /// When the oldest of those that wait happened.
    oldest_pending: Option<Timestamp>,
}

/// Tell the centre now what it does not know yet.
#[utoipa::path(post, path = "/api/local/sync", tag = "sync",
    responses((status = 200, body = Answer<Synced>), (status = 409)), security(("token" = [])))]
async fn run(State(state): State<AppState>, speaks: Speaks, _: May<RunSync>) -> Result<Response, Failed> {
    let synced = async {
        let told = sync::tell(&state, true).await.map_err(|error| match error {
            SyncError::Database(error) => error.into(),
            SyncError::Taken => BEING_SENT,
            SyncError::Hub(error) => {
                tracing::warn!(%error, "the centre could not be told");
                HUB_AWAY
            }
        })?;
        let waiting = sync::count(&state).await?;
        Ok(Synced {
            sent: told.sent,
            applied: told.applied,
            refused: told.refused,
            pending: waiting.pending,
            set_aside: waiting.refused,
            oldest_pending: waiting.oldest,
        })
    };
    speaks.answer(StatusCode::OK, "synced", synced.await)
}
