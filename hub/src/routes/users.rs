//! `/api/global/users`: people with an account at the centre, and oneself.

use std::net::IpAddr;

use axum::{extract::State, http::StatusCode, response::Response};
use fateh_common::{
    identity::new_password::ResetToken,
    service::{
        client_address::ClientAddress,
        error::{ApiError, FORBIDDEN, Failed, NOT_FOUND},
        extract::{Body, Id, Parameters, Speaks},
        paging::Limit,
        validation::{Problems, is_email, is_password},
    },
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{Answer, Nothing, auth};
use crate::{
    permissions::{CentralRole, ManageUsers, May, OwnAccount},
    signed_in::{HubClaims, SignedIn},
    state::AppState,
    storage::{
        audit,
        users::{self, Change, NewUser, RoleChange, User},
    },
};

const LAST_ADMIN: ApiError = ApiError::Refused(StatusCode::CONFLICT, "last-platform-admin");

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(read_own))
        .routes(routes!(change_own_password))
        .routes(routes!(list, create))
        .routes(routes!(change, remove))
        .routes(routes!(begin_reset))
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
    let (actor, detail) = (audit::person(admin.id), json!({"role": creation.role}));
    audit::add(&mut transaction, &actor, "create-user", &user.id.to_string(), address, &detail, now).await?;
    transaction.commit().await?;
    Ok(user)
}

/// What is absent stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = GlobalUserAlteration)]
struct Alteration {
    /// Name for people.
    display_name: Option<String>,
    email: Option<String>,
    /// platform-admin, content-manager, finance or support; `none` takes it away.
    #[schema(example = "finance")]
    role: Option<String>,
    /// active or suspended
    #[schema(example = "suspended")]
    status: Option<String>,
}

/// Change an account: name, e-mail, role; suspend it, or let it in again.
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
    speaks.answer(StatusCode::OK, "user-changed", alter(&state, &user, address, id, alteration).await)
}

async fn alter(
    state: &AppState,
    admin: &SignedIn,
    address: Option<IpAddr>,
    id: Uuid,
    alteration: Alteration,
) -> Result<User, ApiError> {
    let Alteration { display_name, email, role, status } = alteration;
    let role_change = role.as_deref().map(RoleChange::parse);
    let mut problems = Problems::default();
    problems.unless(display_name.as_deref().is_none_or(is_display_name), "displayName", "field-display-name");
    problems.unless(email.as_deref().is_none_or(is_email), "email", "field-email");
    problems.unless(role_change != Some(None), "role", "field-central-role-or-none");
    problems.unless(matches!(status.as_deref(), None | Some("active" | "suspended")), "status", "field-status");
    problems.refuse()?;
    let wanted = Change {
        display_name: display_name.as_deref(),
        email: email.as_deref(),
        role: role_change.flatten(),
        status: status.as_deref(),
    };
    let now = state.clock.now();
    let mut connection = state.connection().await?;
    let mut transaction = connection.begin().await?;
    let keeps_role = wanted.role.is_none_or(|role| role == RoleChange::Give(CentralRole::PlatformAdmin));
    let stays_admin = keeps_role && wanted.status != Some("suspended");
    if !stays_admin {
        keep_an_admin(&mut transaction, id).await?;
    }
    let user = users::change(&mut transaction, id, &wanted, now).await?.ok_or(NOT_FOUND)?;
    if status.as_deref() == Some("suspended") {
        state.identity.end_sessions(&mut transaction, id).await?;
    }
    // Who it is called stays out of a log that nothing is ever taken from.
    let renamed: Vec<_> = [("displayName", display_name.is_some()), ("email", email.is_some())]
        .into_iter()
        .filter_map(|(field, given)| given.then_some(field))
        .collect();
    let detail = json!({"status": status, "role": role, "fields": renamed});
    let actor = audit::person(admin.id);
    audit::add(&mut transaction, &actor, "change-user", &id.to_string(), address, &detail, now).await?;
    transaction.commit().await?;
    state.identity.revoke(user.security());
    Ok(user)
}

/// Refuses what would leave the centre without a platform admin.
async fn keep_an_admin(connection: &mut PgConnection, without: Uuid) -> Result<(), ApiError> {
    if users::other_active_admins(connection, without).await? == 0 { Err(LAST_ADMIN) } else { Ok(()) }
}

/// Delete an account: who it was is forgotten, what it did stays in the audit log.
#[utoipa::path(delete, path = "/api/global/users/{id}", tag = "users", params(("id" = Uuid, Path)),
    responses((status = 200, body = Answer<Nothing>), (status = 404), (status = 409)), security(("token" = [])))]
async fn remove(
    State(state): State<AppState>,
    speaks: Speaks,
    ClientAddress(address): ClientAddress,
    May { user, .. }: May<ManageUsers>,
    Id(id): Id,
) -> Result<Response, Failed> {
    let removed = async {
        let now = state.clock.now();
        let mut connection = state.connection().await?;
        let mut transaction = connection.begin().await?;
        keep_an_admin(&mut transaction, id).await?;
        state.identity.end_sessions(&mut transaction, id).await?;
        let gone = users::delete(&mut transaction, id, now).await?.ok_or(NOT_FOUND)?;
        let actor = audit::person(user.id);
        audit::add(&mut transaction, &actor, "delete-user", &id.to_string(), address, &json!({}), now).await?;
        transaction.commit().await?;
        state.identity.revoke(gone.security());
        Ok(())
    };
    speaks.answer(StatusCode::OK, "user-deleted", removed.await)
}

/// Make a one-time token by which a user sets another password.
#[utoipa::path(post, path = "/api/global/users/{id}/password-reset", tag = "users", params(("id" = Uuid, Path)),
    responses((status = 201, body = Answer<ResetToken>), (status = 404)), security(("token" = [])))]
async fn begin_reset(
    State(state): State<AppState>,
    speaks: Speaks,
    ClientAddress(address): ClientAddress,
    May { user, .. }: May<ManageUsers>,
    Id(id): Id,
) -> Result<Response, Failed> {
    let made = async {
        let mut connection = state.connection().await?;
        let mut transaction = connection.begin().await?;
        users::find(&mut transaction, id).await?.ok_or(NOT_FOUND)?;
        let token = state.identity.offer_reset(&mut transaction, id).await?;
        let (actor, now) = (audit::person(user.id), state.clock.now());
        audit::add(&mut transaction, &actor, "offer-password-reset", &id.to_string(), address, &json!({}), now).await?;
        transaction.commit().await?;
        Ok(token)
    };
    speaks.answer(StatusCode::CREATED, "reset-made", made.await)
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewGlobalPassword)]
struct NewPassword {
    current_password: String,
    /// 12 to 256 characters.
    new_password: String,
}

/// Change one's own password. Every session ends; the answer begins another.
#[utoipa::path(post, path = "/api/global/users/me/password", tag = "users", request_body = NewPassword,
    responses((status = 200, body = Answer<auth::Session>), (status = 403), (status = 429)), security(("token" = [])))]
async fn change_own_password(
    State(state): State<AppState>,
    speaks: Speaks,
    ClientAddress(address): ClientAddress,
    May { user, .. }: May<OwnAccount>,
    Body(passwords): Body<NewPassword>,
) -> Result<Response, Failed> {
    let session = async {
        // A node's user has a password there, and none here.
        let HubClaims::Account { .. } = user.claims else { return Err(FORBIDDEN) };
        let mut problems = Problems::default();
        problems.unless(is_password(&passwords.new_password), "newPassword", "field-password");
        problems.refuse()?;
        let NewPassword { current_password, new_password } = passwords;
        let new = state.identity.replace_password(user.id, current_password, new_password).await?;
        let mut connection = state.connection().await?;
        let mut transaction = connection.begin().await?;
        let security = state.identity.set_password(&mut transaction, &new).await?;
        audit_password(&mut transaction, &state, user.id, address).await?;
        let begun = state.identity.begin_first_session(&mut transaction, &security).await?;
        let session = auth::session(&state, &mut transaction, begun).await?;
        transaction.commit().await?;
        state.identity.revoke(security);
        Ok(session)
    };
    speaks.answer(StatusCode::OK, "password-changed", session.await)
}

/// Notes that someone has another password.
pub async fn audit_password(
    connection: &mut PgConnection,
    state: &AppState,
    user: Uuid,
    address: Option<IpAddr>,
) -> Result<(), sqlx::Error> {
    let (actor, now) = (audit::person(user), state.clock.now());
    audit::add(connection, &actor, "change-password", &user.to_string(), address, &json!({}), now).await
}
