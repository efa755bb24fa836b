//! `/api/global/users`: people with an account at the centre, and oneself.

use std::net::IpAddr;

use axum::{extract::State, http::StatusCode, response::Response};
use fateh_common::service::{
    client_address::ClientAddress,
    error::{ApiError, Failed, NOT_FOUND},
    extract::{Body, Id, Parameters, Speaks},
    paging::Limit,
    validation::{Problems, is_email, is_password},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::Connection;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::Answer;
use crate::{
    permissions::{CentralRole, ManageUsers, May, OwnAccount},
    signed_in::{HubClaims, SignedIn},
    state::AppState,
    storage::{
        audit,
        users::{self, NewUser, User},
    },
};

const LAST_ADMIN: ApiError = ApiError::Refused(StatusCode::CONFLICT, "last-platform-admin");

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(read_own)).routes(routes!(list, create)).routes(routes!(change))
}

/// 1 to 128 characters on one line.
pub fn is_display_name(text: &str) -> bool {
    (1..=128).contains(&text.trim().chars().count()) && !text.chars().any(char::is_control)
}

/// Who asks: an account, or a node's user.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Oneself {
    /// The account, or the global identity.
    id: Uuid,
    /// Absent for a node's user, whom the centre does not know by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<User>,
    /// The user of the node that vouches; absent for an account.
    #[serde(skip_serializing_if = "Option::is_none")]
    local_user: Option<Uuid>,
}

/// See who one is at the centre.
#[utoipa::path(get, path = "/api/global/users/me", tag = "users",
    responses((status = 200, body = Answer<Oneself>)), security(("token" = [])))]
async fn read_own(
    State(state): State<AppState>,
    speaks: Speaks,
    May { user, .. }: May<OwnAccount>,
) -> Result<Response, Failed> {
    let found = async {
        match user.claims {
            HubClaims::Account { .. } => {
                let account = users::find(&mut *state.connection().await?, user.id).await?;
                Ok(Oneself { id: user.id, account, local_user: None })
            }
            HubClaims::Identity { local_user, .. } => {
                Ok(Oneself { id: user.id, account: None, local_user: Some(local_user) })
            }
        }
    };
    speaks.answer(StatusCode::OK, "user-found", found.await)
}

/// Everything is text here, so that each field is refused by name.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Users on a page: 1 to 200, 50 unless told.
    limit: Option<String>,
    /// The nextCursor of the page before.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GlobalUserPage)]
struct Page {
    users: Vec<User>,
    /// Pass it as `cursor` for the next page; null on the last.
    next_cursor: Option<Uuid>,
}

/// List people of the centre, oldest first.
#[utoipa::path(get, path = "/api/global/users", tag = "users", params(ListQuery),
    responses((status = 200, body = Answer<Page>), (status = 422)), security(("token" = [])))]
async fn list(
    State(state): State<AppState>,
    speaks: Speaks,
    _: May<ManageUsers>,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Response, Failed> {
    let page = async {
        let cursor = query.cursor.as_deref().map(Uuid::parse_str).transpose();
        let mut problems = Problems::default();
        let limit = Limit::parse(query.limit.as_deref(), &mut problems);
        problems.unless(cursor.is_ok(), "cursor", "field-cursor");
        problems.refuse()?;
        let mut connection = state.connection().await?;
        let users = users::list(&mut connection, cursor.unwrap_or(None), limit.in_sql()).await?;
        let (users, next_cursor) = limit.cut(users, |user| user.id);
        Ok(Page { users, next_cursor })
    };
    speaks.answer(StatusCode::OK, "users-listed", page.await)
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewGlobalUser)]
struct Creation {
    /// Name for people.
    display_name: String,
    email: String,
    /// 12 to 256 characters.
    password: String,
    /// platform-admin, content-manager, finance or support; none for a partner.
    #[schema(example = "finance")]
    role: Option<String>,
}

/// Make an account at the centre.
#[utoipa::path(post, path = "/api/global/users", tag = "users", request_body = Creation,
    responses((status = 201, body = Answer<User>), (status = 409)), security(("token" = [])))]
async fn create(
    State(state): State<AppState>,
    speaks: Speaks,
    ClientAddress(address): ClientAddress,
    May { user, .. }: May<ManageUsers>,
    Body(creation): Body<Creation>,
) -> Result<Response, Failed> {
    speaks.answer(StatusCode::CREATED, "user-created", make(&state, &user, address, creation).await)
}

async fn make(
    state: &AppState,
    admin: &SignedIn,
    address: Option<IpAddr>,
    creation: Creation,
) -> Result<User, ApiError> {
    let role = creation.role.as_deref().map(CentralRole::parse);
    let mut problems = Problems::default();
    problems.unless(is_display_name(&creation.display_name), "displayName", "field-display-name");
    problems.unless(is_email(&creation.email), "email", "field-email");
    problems.unless(is_password(&creation.password), "password", "field-password");
    problems.unless(role != Some(None), "role", "field-central-role");
    problems.refuse()?;
    let password_hash = state.identity.hash(creation.password).await?;
    let new = NewUser {
        display_name: &creation.display_name,
        email: &creation.email,
        password_hash: &password_hash,
        role: role.flatten(),
    };
    let now = state.clock.now();
    let mut connection = state.connection().await?;
    let mut transaction = connection.begin().await?;
    let user = users::insert(&mut transaction, &new, now).await?;
    let (actor, detail) = (format!("user:{}", admin.id), json!({"role": creation.role}));
    audit::add(&mut transaction, &actor, "create-user", &user.id.to_string(), address, &detail, now).await?;
    transaction.commit().await?;
    Ok(user)
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = GlobalUserAlteration)]
struct Alteration {
    /// active or suspended
    #[schema(example = "suspended")]
    status: String,
}

/// Suspend an account, or let it in again.
#[utoipa::path(patch, path = "/api/global/users/{id}", tag = "users", params(("id" = Uuid, Path)),
    request_body = Alteration,
    responses((status = 200, body = Answer<User>), (status = 404), (status = 409)), security(("token" = [])))]
async fn change(
    State(state): State<AppState>,
    speaks: Speaks,
    ClientAddress(address): ClientAddress,
    May { user, .. }: May<ManageUsers>,
    Id(id): Id,
    Body(alteration): Body<Alteration>,
) -> Result<Response, Failed> {
    speaks.answer(StatusCode::OK, "user-changed", alter(&state, &user, address, id, &alteration.status).await)
}

async fn alter(
    state: &AppState,
    admin: &SignedIn,
    address: Option<IpAddr>,
    id: Uuid,
    status: &str,
) -> Result<User, ApiError> {
    let mut problems = Problems::default();
    problems.unless(matches!(status, "active" | "suspended"), "status", "field-status");
    problems.refuse()?;
    let now = state.clock.now();
    let mut connection = state.connection().await?;
    let mut transaction = connection.begin().await?;
    if status == "suspended" && users::other_active_admins(&mut transaction, id).await? == 0 {
        return Err(LAST_ADMIN);
    }
    let user = users::set_status(&mut transaction, id, status, now).await?.ok_or(NOT_FOUND)?;
    if status == "suspended" {
        state.identity.end_sessions(&mut transaction, id).await?;
    }
    let (actor, detail) = (format!("user:{}", admin.id), json!({"status": status}));
    audit::add(&mut transaction, &actor, "change-user", &id.to_string(), address, &detail, now).await?;
    transaction.commit().await?;
    state.identity.revoke(user.security());
    Ok(user)
}
