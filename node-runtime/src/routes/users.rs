//! `GET` and `POST /api/local/users`: for admins.

use axum::{
    Router,
    extract::{Query, State},
    http::StatusCode,
    response::Response,
    routing::get,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    error::{ApiError, Failed},
    http::{Body, SignedIn, Speaks},
    state::AppState,
    storage::users::{self, NewUser, Role, User},
    validation::{Problems, is_email, is_password, is_username},
};

const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 200;

pub fn routes() -> Router<AppState> {
    Router::new().route("/api/local/users", get(list).post(create))
}

/// Everything is text here, so that each field is refused by name.
#[derive(Deserialize)]
struct ListQuery {
    role: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    users: Vec<User>,
    /// Pass it as `cursor` for the next page; null on the last.
    next_cursor: Option<Uuid>,
}

async fn list(
    State(state): State<AppState>,
    speaks: Speaks,
    signed_in: SignedIn,
    Query(query): Query<ListQuery>,
) -> Result<Response, Failed> {
    speaks.answer(StatusCode::OK, "users-listed", page(&state, &signed_in, query).await)
}

async fn page(state: &AppState, signed_in: &SignedIn, query: ListQuery) -> Result<Page, ApiError> {
    signed_in.must_be_admin()?;
    let role = query.role.as_deref().map(parse_role);
    let limit = query.limit.as_deref().map_or(Some(DEFAULT_LIMIT), |text| text.parse().ok());
    let limit = limit.filter(|limit| (1..=MAX_LIMIT).contains(limit));
    let cursor = query.cursor.as_deref().map(Uuid::parse_str).transpose();
    let mut problems = Problems::default();
    problems.unless(role != Some(None), "role", "field-role");
    problems.unless(limit.is_some(), "limit", "field-limit");
    problems.unless(cursor.is_ok(), "cursor", "field-cursor");
    problems.refuse()?;
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    let mut connection = state.connection().await?;
    // One more than asked for tells whether there is another page.
    let mut users = users::list(&mut connection, role.flatten(), cursor.unwrap_or(None), limit + 1).await?;
    let length = usize::try_from(limit).unwrap_or(0);
    let more = users.len() > length;
    users.truncate(length);
    Ok(Page { next_cursor: users.last().filter(|_| more).map(|user| user.id), users })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Creation {
    username: String,
    email: String,
    password: String,
    role: String,
}

async fn create(
    State(state): State<AppState>,
    speaks: Speaks,
    signed_in: SignedIn,
    Body(creation): Body<Creation>,
) -> Result<Response, Failed> {
    speaks.answer(StatusCode::CREATED, "user-created", make(&state, &signed_in, creation).await)
}

async fn make(state: &AppState, signed_in: &SignedIn, creation: Creation) -> Result<User, ApiError> {
    signed_in.must_be_admin()?;
    let mut problems = Problems::default();
    let role = parse_role(&creation.role);
    problems.unless(is_username(&creation.username), "username", "field-username");
    problems.unless(is_email(&creation.email), "email", "field-email");
    problems.unless(is_password(&creation.password), "password", "field-password");
    problems.unless(role.is_some(), "role", "field-role");
    problems.refuse()?;
    let password_hash = state.passwords.hash(creation.password).await?;
    let new = NewUser {
        username: &creation.username,
        email: &creation.email,
        password_hash: &password_hash,
        role: role.unwrap_or(Role::Student),
    };
    Ok(users::insert(&mut *state.connection().await?, &new, state.clock.now()).await?)
}

fn parse_role(text: &str) -> Option<Role> {
    match text {
        "student" => Some(Role::Student),
        "instructor" => Some(Role::Instructor),
        "admin" => Some(Role::Admin),
        _ => None,
    }
}
