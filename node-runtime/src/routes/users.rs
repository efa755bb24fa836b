//! `/api/local/users`: the node's people, and `/api/local/users/me`: oneself.

use axum::{extract::State, http::StatusCode, response::Response};
use fateh_common::{
    identity::new_password::ResetToken,
    service::{
        error::{ApiError, Failed, NOT_FOUND},
        extract::{Body, Id, Parameters, Speaks},
        paging::Limit,
        validation::{Problems, is_email, is_password, is_profile, is_username, key},
    },
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::Connection;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{Answer, Nothing, auth};
use crate::{
    permissions::{ManageUsers, May, OwnAccount, ReadUsers},
    state::AppState,
    storage::users::{self, Change, Filter, NewUser, Role, Status, User},
};

const LAST_ADMIN: ApiError = ApiError::Refused(StatusCode::CONFLICT, "last-admin");

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(read_own, change_own))
        .routes(routes!(change_own_password))
        .routes(routes!(read, change, remove))
        .routes(routes!(begin_reset))
}

/// Everything is text here, so that each field is refused by name.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// student, instructor or admin
    role: Option<String>,
    /// active or suspended
    status: Option<String>,
    /// How the user name or e-mail begins.
    search: Option<String>,
    /// Users on a page: 1 to 200, 50 unless told.
    limit: Option<String>,
    /// The nextCursor of the page before.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UserPage)]
struct Page {
    users: Vec<User>,
    /// Pass it as `cursor` for the next page; null on the last.
    next_cursor: Option<Uuid>,
}

/// List users, oldest first.
#[utoipa::path(get, path = "/api/local/users", tag = "users", params(ListQuery),
    responses((status = 200, body = Answer<Page>), (status = 422)), security(("token" = [])))]
async fn list(
    State(state): State<AppState>,
    speaks: Speaks,
    _: May<ReadUsers>,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Response, Failed> {
    speaks.answer(StatusCode::OK, "users-listed", page(&state, query).await)
}

async fn page(state: &AppState, query: ListQuery) -> Result<Page, ApiError> {
    let role = query.role.as_deref().map(parse_role);
    let status = query.status.as_deref().map(parse_status);
    let cursor = query.cursor.as_deref().map(Uuid::parse_str).transpose();
    let searchable = query.search.as_deref().is_none_or(|text| text.len() <= 254 && !text.contains('\0'));
    let mut problems = Problems::default();
    problems.unless(role != Some(None), "role", "field-role");
    problems.unless(status != Some(None), "status", "field-status");
    problems.unless(searchable, "search", "field-search");
    let limit = Limit::parse(query.limit.as_deref(), &mut problems);
    problems.unless(cursor.is_ok(), "cursor", "field-cursor");
    problems.refuse()?;
    let filter = Filter {
        role: role.flatten(),
        status: status.flatten(),
        search: query.search.as_deref().map(key).filter(|search| !search.is_empty()),
        after: cursor.unwrap_or(None),
    };
    let mut connection = state.connection().await?;
    let users = users::list(&mut connection, &filter, limit.in_sql()).await?;
    let (users, next_cursor) = limit.cut(users, |user| user.id);
    Ok(Page { users, next_cursor })
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewUser)]
struct Creation {
    /// 3 to 64 letters, digits, '.', '_' or '-'.
    username: String,
    email: String,
    /// 12 to 256 characters.
    password: String,
    /// student, instructor or admin
    #[schema(example = "student")]
    role: String,
    /// At most 16 KiB.
    #[schema(value_type = Option<Object>)]
    profile: Option<Value>,
}

/// Make a user.
#[utoipa::path(post, path = "/api/local/users", tag = "users", request_body = Creation,
    responses((status = 201, body = Answer<User>), (status = 409)), security(("token" = [])))]
async fn create(
    State(state): State<AppState>,
    speaks: Speaks,
    _: May<ManageUsers>,
    Body(creation): Body<Creation>,
) -> Result<Response, Failed> {
    speaks.answer(StatusCode::CREATED, "user-created", make(&state, creation).await)
}

async fn make(state: &AppState, creation: Creation) -> Result<User, ApiError> {
    let mut problems = Problems::default();
    let role = parse_role(&creation.role);
    let profile = creation.profile.unwrap_or_else(|| serde_json::json!({}));
    problems.unless(is_username(&creation.username), "username", "field-username");
    problems.unless(is_email(&creation.email), "email", "field-email");
    problems.unless(is_password(&creation.password), "password", "field-password");
    problems.unless(role.is_some(), "role", "field-role");
    problems.unless(is_profile(&profile), "profile", "field-profile");
    problems.refuse()?;
    let password_hash = state.identity.hash(creation.password).await?;
    let new = NewUser {
        username: &creation.username,
        email: &creation.email,
        password_hash: &password_hash,
        role: role.unwrap_or(Role::Student),
        profile: &profile,
    };
    let user = users::insert(&mut *state.connection().await?, &new, state.clock.now()).await?;
    state.told.notify_one();
    Ok(user)
}

/// See a user.
#[utoipa::path(get, path = "/api/local/users/{id}", tag = "users", params(("id" = Uuid, Path)),
    responses((status = 200, body = Answer<User>), (status = 404)), security(("token" = [])))]
async fn read(
    State(state): State<AppState>,
    speaks: Speaks,
    _: May<ReadUsers>,
    Id(id): Id,
) -> Result<Response, Failed> {
    let found = async { users::find(&mut *state.connection().await?, id).await?.ok_or(NOT_FOUND) };
    speaks.answer(StatusCode::OK, "user-found", found.await)
}

/// What is to be another; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = UserChange)]
struct Alteration {
    username: Option<String>,
    email: Option<String>,
    /// student, instructor or admin
    role: Option<String>,
    /// active or suspended
    status: Option<String>,
    /// In place of the one before; at most 16 KiB.
    #[schema(value_type = Option<Object>)]
    profile: Option<Value>,
}

impl Alteration {
    fn check(self) -> Result<Change, ApiError> {
        let role = self.role.as_deref().map(parse_role);
        let status = self.status.as_deref().map(parse_status);
        let mut problems = Problems::default();
        problems.unless(self.username.as_deref().is_none_or(is_username), "username", "field-username");
        problems.unless(self.email.as_deref().is_none_or(is_email), "email", "field-email");
        problems.unless(role != Some(None), "role", "field-role");
        problems.unless(status != Some(None), "status", "field-status");
        problems.unless(self.profile.as_ref().is_none_or(is_profile), "profile", "field-profile");
        problems.refuse()?;
        Ok(Change {
            username: self.username,
            email: self.email,
            role: role.flatten(),
            status: status.flatten(),
            profile: self.profile,
        })
    }
}

/// Change a user. A new role or status holds everywhere within seconds.
#[utoipa::path(patch, path = "/api/local/users/{id}", tag = "users", params(("id" = Uuid, Path)),
    request_body = Alteration,
    responses((status = 200, body = Answer<User>), (status = 404), (status = 409)), security(("token" = [])))]
async fn change(
    State(state): State<AppState>,
    speaks: Speaks,
    _: May<ManageUsers>,
    Id(id): Id,
    Body(alteration): Body<Alteration>,
) -> Result<Response, Failed> {
    let changed = async { alter(&state, id, alteration.check()?).await };
    speaks.answer(StatusCode::OK, "user-changed", changed.await)
}

async fn alter(state: &AppState, id: Uuid, change: Change) -> Result<User, ApiError> {
    let mut connection = state.connection().await?;
    let mut transaction = connection.begin().await?;
    let admins_left = match (change.role, change.status) {
        (None, None) => 1,
        _ => users::other_active_admins(&mut transaction, id).await?,
    };
    let user = users::change(&mut transaction, id, &change, state.clock.now()).await?.ok_or(NOT_FOUND)?;
    if admins_left == 0 && (user.role, user.status) != (Role::Admin, Status::Active) {
        return Err(LAST_ADMIN);
    }
    if user.status == Status::Suspended {
        state.identity.end_sessions(&mut transaction, id).await?;
    }
    transaction.commit().await?;
    state.identity.revoke(user.security());
    Ok(user)
}

/// Delete a user for good. What tells who it was is erased; money that was recorded stays.
#[utoipa::path(delete, path = "/api/local/users/{id}", tag = "users", params(("id" = Uuid, Path)),
    responses((status = 200, body = Answer<Nothing>), (status = 404), (status = 409)), security(("token" = [])))]
async fn remove(
    State(state): State<AppState>,
    speaks: Speaks,
    _: May<ManageUsers>,
    Id(id): Id,
) -> Result<Response, Failed> {
    let removed = async {
        let mut connection = state.connection().await?;
        let mut transaction = connection.begin().await?;
        let admins_left = users::other_active_admins(&mut transaction, id).await?;
        let before = users::find(&mut transaction, id).await?.ok_or(NOT_FOUND)?;
        if admins_left == 0 && before.role == Role::Admin {
            return Err(LAST_ADMIN);
        }
        state.identity.end_sessions(&mut transaction, id).await?;
        let user = users::delete(&mut transaction, id, state.clock.now()).await?.ok_or(NOT_FOUND)?;
        transaction.commit().await?;
        state.identity.revoke(user.security());
        Ok(())
    };
    speaks.answer(StatusCode::OK, "user-deleted", removed.await)
}

/// Make a one-time token by which a user sets another password.
#[utoipa::path(post, path = "/api/local/users/{id}/password-reset", tag = "users", params(("id" = Uuid, Path)),
    responses((status = 201, body = Answer<ResetToken>), (status = 404)), security(("token" = [])))]
async fn begin_reset(
    State(state): State<AppState>,
    speaks: Speaks,
    _: May<ManageUsers>,
    Id(id): Id,
) -> Result<Response, Failed> {
    let made = async {
        let mut connection = state.connection().await?;
        users::find(&mut connection, id).await?.ok_or(NOT_FOUND)?;
        Ok(state.identity.offer_reset(&mut connection, id).await?)
    };
    speaks.answer(StatusCode::CREATED, "reset-made", made.await)
}

/// See oneself.
#[utoipa::path(get, path = "/api/local/users/me", tag = "users",
    responses((status = 200, body = Answer<User>)), security(("token" = [])))]
async fn read_own(
    State(state): State<AppState>,
    speaks: Speaks,
    May { user, .. }: May<OwnAccount>,
) -> Result<Response, Failed> {
    let found = async { users::find(&mut *state.connection().await?, user.id).await?.ok_or(auth::GONE) };
    speaks.answer(StatusCode::OK, "user-found", found.await)
}

/// What one may change of oneself.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OwnAlteration {
    /// In place of the one before; at most 16 KiB.
    #[schema(value_type = Object)]
    profile: Value,
}

/// Change one's own profile.
#[utoipa::path(patch, path = "/api/local/users/me", tag = "users", request_body = OwnAlteration,
    responses((status = 200, body = Answer<User>)), security(("token" = [])))]
async fn change_own(
    State(state): State<AppState>,
    speaks: Speaks,
    May { user, .. }: May<OwnAccount>,
    Body(alteration): Body<OwnAlteration>,
) -> Result<Response, Failed> {
    let changed = async {
        let mut problems = Problems::default();
        problems.unless(is_profile(&alteration.profile), "profile", "field-profile");
        problems.refuse()?;
        let change = Change { profile: Some(alteration.profile), ..Change::default() };
        let changed = users::change(&mut *state.connection().await?, user.id, &change, state.clock.now()).await?;
        changed.ok_or(auth::GONE)
    };
    speaks.answer(StatusCode::OK, "user-changed", changed.await)
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewPassword {
    current_password: String,
    /// 12 to 256 characters.
    new_password: String,
}

/// Change one's own password. Every session ends; the answer begins another.
#[utoipa::path(post, path = "/api/local/users/me/password", tag = "users", request_body = NewPassword,
    responses((status = 200, body = Answer<auth::Session>), (status = 403), (status = 429)), security(("token" = [])))]
async fn change_own_password(
    State(state): State<AppState>,
    speaks: Speaks,
    May { user, .. }: May<OwnAccount>,
    Body(passwords): Body<NewPassword>,
) -> Result<Response, Failed> {
    speaks.answer(StatusCode::OK, "password-changed", set_own_password(&state, user.id, passwords).await)
}

async fn set_own_password(state: &AppState, id: Uuid, passwords: NewPassword) -> Result<auth::Session, ApiError> {
    let mut problems = Problems::default();
    problems.unless(is_password(&passwords.new_password), "newPassword", "field-password");
    problems.refuse()?;
    let NewPassword { current_password, new_password } = passwords;
    let new = state.identity.replace_password(id, current_password, new_password).await?;
    let mut connection = state.connection().await?;
    let mut transaction = connection.begin().await?;
    let security = state.identity.set_password(&mut transaction, &new).await?;
    let begun = state.identity.begin_first_session(&mut transaction, &security).await?;
    let session = auth::session(state, &mut transaction, begun).await?;
    transaction.commit().await?;
    state.identity.revoke(security);
    Ok(session)
}

fn parse_role(text: &str) -> Option<Role> {
    match text {
        "student" => Some(Role::Student),
        "instructor" => Some(Role::Instructor),
        "admin" => Some(Role::Admin),
        _ => None,
    }
}

/// What an admin may set; deleting has a way of its own.
fn parse_status(text: &str) -> Option<Status> {
    match text {
        "active" => Some(Status::Active),
        "suspended" => Some(Status::Suspended),
        _ => None,
    }
}
