//! `GET /api/local/statistics`: how the node is doing.

use axum::{extract::State, http::StatusCode, response::Response};
use fateh_common::{
    money::decimal,
    service::{error::Failed, extract::Speaks},
};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::Answer;
use crate::{
    permissions::{May, ReadStatistics},
    state::AppState,
    storage::{outbox, reports},
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(read))
}

/// How the node is doing.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Statistics {
    users: Users,
    content: Content,
    /// By currency; a node has one.
    revenue: Vec<Revenue>,
    sync: Sync,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Users {
    total: i64,
    /// Signed in within 30 days.
    active30d: i64,
    students: i64,
    instructors: i64,
    admins: i64,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Content {
    published: i64,
    /// With edits of the node's own.
    customised: i64,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RevenueFigures)]
struct Revenue {
    currency: String,
    gross: String,
    platform_fee: String,
    net_amount: String,
    /// What was given back of the gross.
    refunds: String,
}

/// What the centre is still to be told.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Sync {
    pending: i64,
    /// Items that the centre has refused.
    set_aside: i64,
    oldest_pending: Option<Timestamp>,
}

/// See how the node is doing.
#[utoipa::path(get, path = "/api/local/statistics", tag = "statistics",
    responses((status = 200, body = Answer<Statistics>)), security(("token" = [])))]
async fn read(State(state): State<AppState>, speaks: Speaks, _: May<ReadStatistics>) -> Result<Response, Failed> {
    let counted = async {
        let mut connection = state.connection().await?;
        let figures = reports::statistics(&mut connection, state.clock.now()).await?;
        let waiting = outbox::waiting(&mut connection).await?;
        let revenue = figures.revenue.into_iter().map(|sum| Revenue {
            gross: decimal(sum.gross, &sum.currency),
            platform_fee: decimal(sum.fee, &sum.currency),
            net_amount: decimal(sum.net, &sum.currency),
            refunds: decimal(sum.refunds, &sum.currency),
            currency: sum.currency,
        });
        let by_role = figures.users.by_role;
        Ok(Statistics {
            users: Users {
                total: figures.users.total,
                active30d: figures.users.active30d,
                students: by_role.student,
                instructors: by_role.instructor,
                admins: by_role.admin,
            },
            content: Content { published: figures.content.published, customised: figures.content.customised },
            revenue: revenue.collect(),
            sync: Sync { pending: waiting.pending, set_aside: waiting.refused, oldest_pending: waiting.oldest },
        })
    };
    speaks.answer(StatusCode::OK, "statistics", counted.await)
}
