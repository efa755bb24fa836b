//! `/api/local/content/replaced`: what the node had changed in content of the centre's, and serves no more.

use axum::{extract::State, http::StatusCode, response::Response};
use fateh_common::service::{
    error::{ApiError, Failed, NOT_FOUND},
    extract::{Id, Parameters, Speaks},
    paging::Limit,
    validation::{Problems, is_content_id},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::Answer;
use crate::{
    permissions::{EditContent, May},
    state::AppState,
    storage::replaced::{self, Replaced},
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(read))
}

/// Everything is text here, so that each field is refused by name.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// The centre's identifier of the content; all unless told.
    content_id: Option<String>,
    /// Documents on a page: 1 to 200, 50 unless told.
    limit: Option<String>,
    /// The nextCursor of the page before.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReplacedEntry)]
struct Entry {
    id: Uuid,
    /// The centre's identifier of the content.
    global_content_id: String,
    language: String,
    /// The title that it had.
    title: String,
    replaced_at: Timestamp,
}

impl From<Replaced> for Entry {
    fn from(replaced: Replaced) -> Self {
        let Replaced { id, content_id, language, document, replaced_at } = replaced;
        let title = document["title"].as_str().unwrap_or_default().to_owned();
        Self { id, global_content_id: content_id, language, title, replaced_at }
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReplacedPage)]
struct Page {
    /// The newest first.
    replaced: Vec<Entry>,
    /// Pass it as `cursor` for the next page; null on the last.
    next_cursor: Option<Uuid>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReplacedContent)]
struct Document {
    #[serde(flatten)]
    entry: Entry,
    /// As the node served it.
    #[schema(value_type = Object)]
    content: Value,
}

impl From<Replaced> for Document {
    fn from(mut replaced: Replaced) -> Self {
        let content = replaced.document["content"].take();
        Self { entry: replaced.into(), content }
    }
}

/// List what the node had changed and serves no more: where a field was locked, or content was deleted.
#[utoipa::path(get, path = "/api/local/content/replaced", tag = "content", params(ListQuery),
    responses((status = 200, body = Answer<Page>)), security(("token" = [])))]
async fn list(
    State(state): State<AppState>,
    speaks: Speaks,
    _: May<EditContent>,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Response, Failed> {
    speaks.answer(StatusCode::OK, "replaced-content-listed", page(&state, query).await)
}

async fn page(state: &AppState, query: ListQuery) -> Result<Page, ApiError> {
    let cursor = query.cursor.as_deref().map(Uuid::parse_str).transpose();
    let mut problems = Problems::default();
    let limit = Limit::parse(query.limit.as_deref(), &mut problems);
    problems.unless(cursor.is_ok(), "cursor", "field-cursor");
    problems.unless(query.content_id.as_deref().is_none_or(is_content_id), "contentId", "field-content-id");
    problems.refuse()?;
    let mut connection = state.connection().await?;
    let found =
        replaced::list(&mut connection, query.content_id.as_deref(), cursor.unwrap_or(None), limit.in_sql()).await?;
    let (found, next_cursor) = limit.cut(found, |found| found.id);
    Ok(Page { next_cursor, replaced: found.into_iter().map(Entry::from).collect() })
}

/// Read what the node had changed, as it was.
#[utoipa::path(get, path = "/api/local/content/replaced/{id}", tag = "content", params(("id" = Uuid, Path)),
    responses((status = 200, body = Answer<Document>), (status = 404)), security(("token" = [])))]
async fn read(
    State(state): State<AppState>,
    speaks: Speaks,
    _: May<EditContent>,
    Id(id): Id,
) -> Result<Response, Failed> {
    let found = async { replaced::find(&mut *state.connection().await?, id).await?.ok_or(NOT_FOUND) };
    speaks.answer(StatusCode::OK, "replaced-content-found", found.await.map(Document::from))
}
