//! `/api/global/audit`: who did what, when, from where.

use axum::{extract::State, http::StatusCode, response::Response};
use fateh_common::service::{
    error::Failed,
    extract::{Parameters, Speaks},
    paging::Limit,
    validation::Problems,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::Answer;
use crate::{
    permissions::{May, ReadAudit},
    state::AppState,
    storage::audit,
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Everything is text here, so that each field is refused by name.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Records on a page: 1 to 200, 50 unless told.
    limit: Option<String>,
    /// The nextCursor of the page before.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditRecord)]
struct Record {
    at: Timestamp,
    /// `user:<id>`
    actor: String,
    action: String,
    subject: String,
    /// Address of the client.
    address: Option<String>,
    #[schema(value_type = Object)]
    detail: Value,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditPage)]
struct Page {
    records: Vec<Record>,
    /// Pass it as `cursor` for the next page; null on the last.
    next_cursor: Option<Uuid>,
}

/// List what was done, newest first.
#[utoipa::path(get, path = "/api/global/audit", tag = "audit", params(ListQuery),
    responses((status = 200, body = Answer<Page>), (status = 422)), security(("token" = [])))]
async fn list(
    State(state): State<AppState>,
    speaks: Speaks,
    _: May<ReadAudit>,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Response, Failed> {
    let page = async {
        let cursor = query.cursor.as_deref().map(Uuid::parse_str).transpose();
        let mut problems = Problems::default();
        let limit = Limit::parse(query.limit.as_deref(), &mut problems);
        problems.unless(cursor.is_ok(), "cursor", "field-cursor");
        problems.refuse()?;
        let mut connection = state.connection().await?;
        let found = audit::list(&mut connection, cursor.unwrap_or(None), limit.in_sql()).await?;
        let (found, next_cursor) = limit.cut(found, |record| record.id);
        let records = found.into_iter().map(|record| Record {
            at: record.at,
            actor: record.actor,
            action: record.action,
            subject: record.subject,
            address: record.address,
            detail: record.detail,
        });
        Ok(Page { records: records.collect(), next_cursor })
    };
    speaks.answer(StatusCode::OK, "audit-listed", page.await)
}
