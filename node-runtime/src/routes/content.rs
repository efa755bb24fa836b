//! `/api/local/content`: what the node teaches, its own and what was distributed to it.

use axum::{
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use fateh_common::{
    catalogue::MAX_BODY,
    envelope::Language,
    service::{
        error::{ApiError, Failed, NOT_FOUND},
        extract::{Body, Id, Parameters, Speaks},
        paging::Limit,
        validation::{Problems, is_language, is_storable},
    },
    sql::new_id,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{Answer, Nothing};
use crate::{
    content::{Path, edit, merge, receive},
    permissions::{EditContent, May, ReadContent},
    signed_in::SignedIn,
    state::AppState,
    storage::{
        contents::{self, Content, Filter, Kind, Listed, State as Standing},
        distributions,
    },
};

/// Bytes of one piece of the node's own, and so many more than was distributed of any other.
const MAX_CONTENT: usize = 48 * 1024;
/// Bytes of a request that changes a piece, whoever made it.
const MAX_CHANGE: usize = MAX_BODY + 2 * MAX_CONTENT;
const CHANGED_MEANWHILE: ApiError = ApiError::Refused(StatusCode::PRECONDITION_FAILED, "changed-meanwhile");
const VERSION_REQUIRED: ApiError = ApiError::Refused(StatusCode::PRECONDITION_REQUIRED, "version-required");
const DISTRIBUTED: ApiError = ApiError::Refused(StatusCode::CONFLICT, "content-distributed");
const NOTHING_TO_REVERT: ApiError = ApiError::Refused(StatusCode::CONFLICT, "nothing-to-revert");
const NO_CONFLICT: ApiError = ApiError::Refused(StatusCode::CONFLICT, "no-such-conflict");

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .merge(OpenApiRouter::new().routes(routes!(read, change, remove)).layer(DefaultBodyLimit::max(MAX_CHANGE)))
        .routes(routes!(put_back))
        .routes(routes!(settle))
}

/// Everything is text here, so that each field is refused by name.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// course, lesson, quiz or resource
    #[serde(rename = "type")]
    #[param(rename = "type")]
    kind: Option<String>,
    /// draft, published or archived; students see what is published
    status: Option<String>,
    /// Of what exists in several languages, this one, or the node's own, or any.
    language: Option<String>,
    /// Pieces on a page: 1 to 200, 50 unless told.
    limit: Option<String>,
    /// The nextCursor of the page before.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Entry {
    id: Uuid,
    #[serde(rename = "type")]
    kind: Kind,
    title: String,
    language: String,
    status: Standing,
    is_customized: bool,
    /// Places that both the node and the centre changed.
    conflicts: i64,
}

impl From<Listed> for Entry {
    fn from(row: Listed) -> Self {
        Self {
            id: row.id,
            kind: row.kind,
            title: row.title,
            language: row.language,
            status: row.status,
            is_customized: row.is_customized,
            conflicts: row.conflicts,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ContentPage)]
struct Page {
    content: Vec<Entry>,
    /// Pass it as `cursor` for the next page; null on the last.
    next_cursor: Option<Uuid>,
}

/// One piece in one language.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Piece {
    id: Uuid,
    /// The centre's identifier; null for the node's own.
    global_content_id: Option<String>,
    #[serde(rename = "type")]
    kind: Kind,
    title: String,
    #[schema(value_type = Object)]
    content: Value,
    language: String,
    status: Standing,
    is_customized: bool,
    /// Which places were changed here, by whom and when; null when none was.
    #[schema(value_type = Option<Object>)]
    customization: Option<Value>,
    /// What was distributed last; for those who edit, and only where the node serves something else.
    #[schema(value_type = Option<Object>)]
    upstream: Option<Value>,
    /// Places that both the node and the centre changed, with all three values; for those who edit.
    #[schema(value_type = Vec<Object>)]
    conflicts: Vec<merge::Conflict>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Piece {
    fn of(piece: Content, edits: bool) -> Self {
        Self {
            id: piece.id,
            global_content_id: piece.global_id,
            kind: piece.kind,
            title: piece.title,
            content: piece.content,
            language: piece.language,
            status: piece.state,
            is_customized: piece.is_customized,
            customization: piece.customization.filter(|_| edits),
            upstream: piece.upstream.filter(|_| edits && piece.is_customized),
            conflicts: if edits { piece.conflicts } else { Vec::new() },
            created_at: piece.created_at,
            updated_at: piece.updated_at,
        }
    }
}

/// List what the node teaches.
#[utoipa::path(get, path = "/api/local/content", tag = "content", params(ListQuery),
    responses((status = 200, body = Answer<Page>)), security(("token" = [])))]
async fn list(
    State(state): State<AppState>,
    speaks: Speaks,
    May { user, .. }: May<ReadContent>,
    headers: HeaderMap,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Response, Failed> {
    speaks.answer(StatusCode::OK, "content-listed", page(&state, &user, &headers, query).await)
}

async fn page(state: &AppState, user: &SignedIn, headers: &HeaderMap, query: ListQuery) -> Result<Page, ApiError> {
    let kind = query.kind.as_deref().map(parse_kind);
    let standing = query.status.as_deref().map(parse_standing);
    let cursor = query.cursor.as_deref().map(Uuid::parse_str).transpose();
    let mut problems = Problems::default();
    problems.unless(kind != Some(None), "type", "field-content-type");
    problems.unless(standing != Some(None), "status", "field-content-status");
    problems.unless(query.language.as_deref().is_none_or(is_language), "language", "field-language");
    let limit = Limit::parse(query.limit.as_deref(), &mut problems);
    problems.unless(cursor.is_ok(), "cursor", "field-cursor");
    problems.refuse()?;
    let edits = user.may_edit_content();
    let languages = match query.language {
        Some(language) => vec![language, state.node.language.clone()],
        None if edits => Vec::new(),
        None => wanted_languages(headers, &state.node.language),
    };
    let filter = Filter {
        state: if edits { standing.flatten() } else { Some(Standing::Published) },
        kind: kind.flatten(),
        languages,
        after: cursor.unwrap_or(None),
    };
    let mut connection = state.connection().await?;
    let rows = contents::list(&mut connection, &filter, limit.in_sql()).await?;
    let (rows, next_cursor) = limit.cut(rows, |row| row.id);
    Ok(Page { next_cursor, content: rows.into_iter().map(Entry::from).collect() })
}

/// The languages that a reader asks for, and then the node's own.
fn wanted_languages(headers: &HeaderMap, own: &str) -> Vec<String> {
    let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let tags = accepted.split(',').take(16).filter_map(|range| range.split(';').next()).map(str::trim);
    let mut wanted: Vec<_> = tags.filter(|tag| is_language(tag)).map(str::to_owned).collect();
    wanted.push(own.to_owned());
    wanted
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewContent)]
struct Creation {
    /// course, lesson, quiz or resource
    #[serde(rename = "type")]
    #[schema(example = "lesson")]
    kind: String,
    /// 1 to 512 characters.
    title: String,
    /// At most 48 KiB. Elements of lists bear an `id`, so that edits of different elements never meet.
    #[schema(value_type = Object)]
    content: Value,
    /// BCP 47; the node's own unless told.
    language: Option<String>,
    /// draft (unless told), published or archived
    status: Option<String>,
}

/// Make a piece of the node's own.
#[utoipa::path(post, path = "/api/local/content", tag = "content", request_body = Creation,
    responses((status = 201, body = Answer<Piece>)), security(("token" = [])))]
async fn create(
    State(state): State<AppState>,
    speaks: Speaks,
    May { user, .. }: May<EditContent>,
    Body(creation): Body<Creation>,
) -> Result<Response, Failed> {
    let made = make(&state, &user, creation).await;
    tagged(&speaks, StatusCode::CREATED, "content-created", made, true)
}

async fn make(state: &AppState, user: &SignedIn, creation: Creation) -> Result<Content, ApiError> {
    let kind = parse_kind(&creation.kind);
    let standing = creation.status.as_deref().map_or(Some(Standing::Draft), parse_standing);
    let language = creation.language.unwrap_or_else(|| state.node.language.clone());
    let mut problems = Problems::default();
    problems.unless(kind.is_some(), "type", "field-content-type");
    problems.unless(standing.is_some(), "status", "field-content-status");
    problems.unless(is_language(&language), "language", "field-language");
    check_document(&creation.title, &creation.content, MAX_CONTENT, &mut problems);
    problems.refuse()?;
    let now = state.clock.now();
    let piece = Content {
        id: new_id(now),
        global_id: None,
        kind: kind.unwrap_or(Kind::Lesson),
        title: creation.title,
        content: creation.content,
        language,
        state: standing.unwrap_or(Standing::Draft),
        is_customized: false,
        customization: None,
        revision: 1,
        upstream: None,
        base: None,
        conflicts: Vec::new(),
        created_at: now,
        updated_at: now,
    };
    contents::insert(&mut *state.connection().await?, &piece, user.local()).await?;
    Ok(piece)
}

/// Bytes that a piece may have.
fn room(piece: &Content) -> usize {
    MAX_CONTENT + piece.upstream.as_ref().map_or(0, |upstream| upstream.to_string().len())
}

fn check_document(title: &str, content: &Value, room: usize, problems: &mut Problems) {
    let readable = (1..=512).contains(&title.chars().count()) && !title.chars().any(char::is_control);
    problems.unless(readable, "title", "field-title");
    let storable = content.is_object() && content.to_string().len() <= room && is_storable(content);
    problems.unless(storable, "content", "field-content");
}

/// Read a piece. Students find what is published.
#[utoipa::path(get, path = "/api/local/content/{id}", tag = "content", params(("id" = Uuid, Path),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of what is held already")),
    responses((status = 200, body = Answer<Piece>), (status = 304, description = "It is as it was"), (status = 404)),
    security(("token" = [])))]
async fn read(
    State(state): State<AppState>,
    speaks: Speaks,
    May { user, .. }: May<ReadContent>,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Response, Failed> {
    let edits = user.may_edit_content();
    let found = async {
        let piece = contents::find(&mut *state.connection().await?, id).await?;
        piece.filter(|piece| edits || piece.state == Standing::Published).ok_or(NOT_FOUND)
    };
    let found = found.await;
    if let Ok(piece) = &found {
        let tag = etag(piece.revision, speaks.0, edits);
        let held = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        if held
            .flat_map(|line| line.split(','))
            .any(|held| held.trim().trim_start_matches("W/") == tag || held.trim() == "*")
        {
            return Ok((StatusCode::NOT_MODIFIED, caching(&tag)).into_response());
        }
    }
    tagged(&speaks, StatusCode::OK, "content-found", found, edits)
}

/// The answer with a piece, under its tag.
fn tagged(
    speaks: &Speaks,
    status: StatusCode,
    key: &str,
    result: Result<Content, ApiError>,
    edits: bool,
) -> Result<Response, Failed> {
    let tag = result.as_ref().map(|piece| etag(piece.revision, speaks.0, edits)).unwrap_or_default();
    let answer = speaks.answer(status, key, result.map(|piece| Piece::of(piece, edits)))?;
    Ok((caching(&tag), answer).into_response())
}

/// A strong tag: the revision, and what else the answer's bytes depend on.
fn etag(revision: i64, language: Language, edits: bool) -> String {
    format!("\"{revision}.{}{}\"", language.tag(), if edits { ".e" } else { "" })
}

/// A copy may be kept by the one who asked, and is asked about each time.
fn caching(tag: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-language, authorization"));
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, tag);
    }
    headers
}

/// The piece, if it is the one that `If-Match` names.
async fn matched(state: &AppState, id: Uuid, headers: &HeaderMap) -> Result<Content, ApiError> {
    let wanted = headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok()).ok_or(VERSION_REQUIRED)?;
    let piece = contents::find(&mut *state.connection().await?, id).await?.ok_or(NOT_FOUND)?;
    let revision = |tag: &str| tag.trim().strip_prefix('"')?.split(['.', '"']).next()?.parse::<i64>().ok();
    if wanted.split(',').any(|tag| revision(tag) == Some(piece.revision)) { Ok(piece) } else { Err(CHANGED_MEANWHILE) }
}

/// Writes a changed piece, unless it was changed by another since it was read.
async fn keep(state: &AppState, mut piece: Content) -> Result<Content, ApiError> {
    // What was put together must be as readable as what is sent.
    let text = piece.content.to_string();
    let mut problems = Problems::default();
    problems.unless(
        text.len() <= room(&piece) && serde_json::from_str::<Value>(&text).is_ok(),
        "content",
        "field-content",
    );
    problems.refuse()?;
    let mut connection = state.connection().await?;
    if let Some(id) = &piece.global_id {
        let locked = distributions::locked_fields(&mut connection, id).await?;
        let edits = merge::edits(
            piece.upstream.as_ref().unwrap_or(&Value::Null),
            &edit::document(&piece.title, &piece.content),
        );
        if let Some(path) = edits.iter().find(|path| receive::is_locked(path, &locked)) {
            return Err(ApiError::Because(StatusCode::CONFLICT, "field-locked", vec![("path", path.to_string())]));
        }
    }
    if !contents::replace(&mut connection, &piece).await? {
        return Err(CHANGED_MEANWHILE);
    }
    // What the centre is told of the node's edits.
    state.edited.notify_one();
    piece.revision += 1;
    Ok(piece)
}

/// What is to be another; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ContentChange)]
struct Alteration {
    title: Option<String>,
    /// In place of the one before; at most 48 KiB, or so much more than was distributed.
    #[schema(value_type = Option<Object>)]
    content: Option<Value>,
    /// draft, published or archived
    status: Option<String>,
}

/// Change a piece. What was distributed keeps upstream's value beside, so that a change can be put back.
#[utoipa::path(patch, path = "/api/local/content/{id}", tag = "content", request_body = Alteration,
    params(("id" = Uuid, Path), ("If-Match" = String, Header, description = "The ETag of what is changed")),
    responses((status = 200, body = Answer<Piece>), (status = 404), (status = 409), (status = 412), (status = 428)),
    security(("token" = [])))]
async fn change(
    State(state): State<AppState>,
    speaks: Speaks,
    May { user, .. }: May<EditContent>,
    Id(id): Id,
    headers: HeaderMap,
    Body(alteration): Body<Alteration>,
) -> Result<Response, Failed> {
    let changed = async {
        let mut piece = matched(&state, id, &headers).await?;
        let standing = alteration.status.as_deref().map(parse_standing);
        let title = alteration.title.unwrap_or_else(|| piece.title.clone());
        let content = alteration.content.unwrap_or_else(|| piece.content.clone());
        let mut problems = Problems::default();
        problems.unless(standing != Some(None), "status", "field-content-status");
        check_document(&title, &content, room(&piece), &mut problems);
        problems.refuse()?;
        piece.state = standing.flatten().unwrap_or(piece.state);
        keep(&state, edit::edited(piece, edit::document(&title, &content), user.id, state.clock.now())).await
    };
    tagged(&speaks, StatusCode::OK, "content-changed", changed.await, true)
}

/// Delete a piece of the node's own. What was distributed is archived instead.
#[utoipa::path(delete, path = "/api/local/content/{id}", tag = "content",
    params(("id" = Uuid, Path), ("If-Match" = String, Header, description = "The ETag of what is deleted")),
    responses((status = 200, body = Answer<Nothing>), (status = 404), (status = 409), (status = 412), (status = 428)),
    security(("token" = [])))]
async fn remove(
    State(state): State<AppState>,
    speaks: Speaks,
    _: May<EditContent>,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Response, Failed> {
    let removed = async {
        let piece = matched(&state, id, &headers).await?;
        if piece.global_id.is_some() {
            return Err(DISTRIBUTED);
        }
        let deleted = contents::delete(&mut *state.connection().await?, id, piece.revision).await?;
        if deleted { Ok(()) } else { Err(CHANGED_MEANWHILE) }
    };
    speaks.answer(StatusCode::OK, "content-deleted", removed.await)
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PuttingBack {
    /// One of the customization's; everything unless told.
    #[schema(example = "/content/lessons/intro/title")]
    path: Option<String>,
}

/// Put back what was distributed, at one place or everywhere.
#[utoipa::path(post, path = "/api/local/content/{id}/revert", tag = "content", request_body = PuttingBack,
    params(("id" = Uuid, Path), ("If-Match" = String, Header, description = "The ETag of what is changed")),
    responses((status = 200, body = Answer<Piece>), (status = 404), (status = 409), (status = 412), (status = 428)),
    security(("token" = [])))]
async fn put_back(
    State(state): State<AppState>,
    speaks: Speaks,
    May { user, .. }: May<EditContent>,
    Id(id): Id,
    headers: HeaderMap,
    Body(wanted): Body<PuttingBack>,
) -> Result<Response, Failed> {
    let reverted = async {
        let path = wanted.path.map(Path::try_from).transpose();
        let mut problems = Problems::default();
        problems.unless(path.is_ok(), "path", "field-path");
        problems.refuse()?;
        let piece = matched(&state, id, &headers).await?;
        let path = path.unwrap_or(None);
        let reverted = edit::reverted(piece, path.as_ref(), user.id, state.clock.now());
        keep(&state, reverted.ok_or(NOTHING_TO_REVERT)?).await
    };
    tagged(&speaks, StatusCode::OK, "content-changed", reverted.await, true)
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settling {
    /// One of the conflicts'.
    #[schema(example = "/content/lessons/intro/title")]
    path: String,
    /// ours, theirs or edit
    #[schema(example = "theirs")]
    choice: String,
    /// For edit: what takes the place of both.
    #[schema(value_type = Option<Object>)]
    value: Option<Value>,
}

/// Settle a conflict: keep the node's value, take the centre's, or write another.
#[utoipa::path(post, path = "/api/local/content/{id}/conflicts", tag = "content", request_body = Settling,
    params(("id" = Uuid, Path), ("If-Match" = String, Header, description = "The ETag of what is changed")),
    responses((status = 200, body = Answer<Piece>), (status = 404), (status = 409), (status = 412), (status = 428)),
    security(("token" = [])))]
async fn settle(
    State(state): State<AppState>,
    speaks: Speaks,
    May { user, .. }: May<EditContent>,
    Id(id): Id,
    headers: HeaderMap,
    Body(settling): Body<Settling>,
) -> Result<Response, Failed> {
    let settled = async {
        let path = Path::try_from(settling.path);
        let choice = match (settling.choice.as_str(), settling.value) {
            ("ours", None) => Some(merge::Choice::Ours),
            ("theirs", None) => Some(merge::Choice::Theirs),
            ("edit", Some(value)) if value.to_string().len() <= MAX_CONTENT && is_storable(&value) => {
                Some(merge::Choice::Edit(value))
            }
            _ => None,
        };
        let mut problems = Problems::default();
        problems.unless(path.is_ok(), "path", "field-path");
        problems.unless(choice.is_some(), "choice", "field-choice");
        problems.refuse()?;
        let piece = matched(&state, id, &headers).await?;
        let (Ok(path), Some(choice)) = (path, choice) else { return Err(NO_CONFLICT) };
        let settled = edit::settled(piece, &path, choice, user.id, state.clock.now());
        keep(&state, settled.ok_or(NO_CONFLICT)?).await
    };
    tagged(&speaks, StatusCode::OK, "content-changed", settled.await, true)
}

fn parse_kind(text: &str) -> Option<Kind> {
    match text {
        "course" => Some(Kind::Course),
        "lesson" => Some(Kind::Lesson),
        "quiz" => Some(Kind::Quiz),
        "resource" => Some(Kind::Resource),
        _ => None,
    }
}

fn parse_standing(text: &str) -> Option<Standing> {
    match text {
        "draft" => Some(Standing::Draft),
        "published" => Some(Standing::Published),
        "archived" => Some(Standing::Archived),
        _ => None,
    }
}
