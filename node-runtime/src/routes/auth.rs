//! Signing in and out, refreshing, the first admin's invitation, and setting a forgotten password anew.

use std::net::IpAddr;

use axum::{extract::State, http::StatusCode, response::Response};
use fateh_common::{
    identity::{self, INVITATION_INVALID, TOKEN_VALIDITY, invitations},
    service::{
        client_address::ClientAddress,
        error::{ApiError, FORBIDDEN, Failed, NOT_FOUND, UNAUTHENTICATED},
        extract::{Body, Speaks},
        validation::{Problems, is_password, is_username},
    },
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::Connection;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Answer, Nothing};
use crate::{
    centre::{self, GlobalToken},
    hub_client::HUB_AWAY,
    permissions::{May, OwnAccount},
    state::AppState,
    storage::users::{self, NewUser, Role, User},
};

const HUB_REFUSES: ApiError = ApiError::Refused(StatusCode::FORBIDDEN, "hub-refuses");

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(login))
        .routes(routes!(refresh))
        .routes(routes!(logout))
        .routes(routes!(global_token))
        .routes(routes!(accept_invitation))
        .routes(routes!(reset_password))
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Login {
    /// E-mail or user name.
    login: String,
    password: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Refresh {
    /// The newest one of the session.
    refresh_token: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Acceptance {
    /// From the Secret `node-invitation`.
    token: String,
    username: String,
    password: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Reset {
    /// The one-time token that an admin handed over.
    token: String,
    password: String,
}

/// What a client goes on with.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    access_token: String,
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
    /// Good for one refresh; used again within 10 s it is answered with the same successor, later the session ends.
    refresh_token: String,
    /// End of the session, however often it is refreshed.
    refresh_expires_at: Timestamp,
    user: User,
    /// For the centre; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    global_token: Option<GlobalToken>,
}

/// Sign in with e-mail or user name.
#[utoipa::path(post, path = "/api/local/auth/login", tag = "auth", request_body = Login,
    responses((status = 200, body = Answer<Session>), (status = 401), (status = 403), (status = 429)))]
async fn login(
    State(state): State<AppState>,
    speaks: Speaks,
    ClientAddress(address): ClientAddress,
    Body(login): Body<Login>,
) -> Result<Response, Failed> {
    speaks.answer(StatusCode::OK, "signed-in", sign_in(&state, address, login).await)
}

async fn sign_in(state: &AppState, address: Option<IpAddr>, login: Login) -> Result<Session, ApiError> {
    let proved = state.identity.authenticate(&login.login, login.password, address).await?;
    let mut session = {
        let mut connection = state.connection().await?;
        let begun = state.identity.begin_session(&mut connection, &proved).await?;
        session(state, &mut connection, begun).await?
    };
    // No connection is held while the centre is asked.
    session.global_token = centre::token_for(state, &session.user).await;
    Ok(session)
}

/// Begin the next ten minutes of a session.
#[utoipa::path(post, path = "/api/local/auth/refresh", tag = "auth", request_body = Refresh,
    responses((status = 200, body = Answer<Session>), (status = 401), (status = 403)))]
async fn refresh(
    State(state): State<AppState>,
    speaks: Speaks,
    Body(refresh): Body<Refresh>,
) -> Result<Response, Failed> {
    speaks.answer(StatusCode::OK, "session-refreshed", go_on(&state, &refresh.refresh_token).await)
}

async fn go_on(state: &AppState, token: &str) -> Result<Session, ApiError> {
    let mut connection = state.connection().await?;
    let refreshed = state.identity.refresh(&mut connection, token).await?;
    session(state, &mut connection, refreshed).await
}

/// Get the token for the centre that a sign-in could not bring.
#[utoipa::path(post, path = "/api/local/auth/global-token", tag = "auth",
    responses((status = 200, body = Answer<GlobalToken>), (status = 404)), security(("token" = [])))]
async fn global_token(
    State(state): State<AppState>,
    speaks: Speaks,
    May { user, .. }: May<OwnAccount>,
) -> Result<Response, Failed> {
    let issued = async {
        // Or one token of the centre would bring the next, for ever.
        if user.by_centre {
            return Err(FORBIDDEN);
        }
        let user = users::find(&mut *state.connection().await?, user.id).await?.ok_or(GONE)?;
        match centre::token_for(&state, &user).await.ok_or(NOT_FOUND)? {
            GlobalToken::Pending => Err(HUB_AWAY),
            GlobalToken::Refused => Err(HUB_REFUSES),
            issued @ GlobalToken::Issued { .. } => Ok(issued),
        }
    };
    speaks.answer(StatusCode::OK, "global-token-issued", issued.await)
}

/// End a session. Its last access token holds until it expires.
#[utoipa::path(post, path = "/api/local/auth/logout", tag = "auth", request_body = Refresh,
    responses((status = 200, body = Answer<Nothing>)))]
async fn logout(
    State(state): State<AppState>,
    speaks: Speaks,
    Body(refresh): Body<Refresh>,
) -> Result<Response, Failed> {
    let ended = async { state.identity.end_session(&mut *state.connection().await?, &refresh.refresh_token).await };
    speaks.answer(StatusCode::OK, "signed-out", ended.await)
}

/// Become the first admin by the one-time invitation.
#[utoipa::path(post, path = "/api/local/auth/invitation", tag = "auth", request_body = Acceptance,
    responses((status = 201, body = Answer<Session>), (status = 403), (status = 409)))]
async fn accept_invitation(
    State(state): State<AppState>,
    speaks: Speaks,
    Body(acceptance): Body<Acceptance>,
) -> Result<Response, Failed> {
    speaks.answer(StatusCode::CREATED, "invitation-accepted", become_admin(&state, acceptance).await)
}

async fn become_admin(state: &AppState, acceptance: Acceptance) -> Result<Session, ApiError> {
    let mut problems = Problems::default();
    problems.unless(is_username(&acceptance.username), "username", "field-username");
    problems.unless(is_password(&acceptance.password), "password", "field-password");
    problems.refuse()?;
    let token_hash = Sha256::digest(&acceptance.token);
    let now = state.clock.now();
    // Looked at first, so that a wrong token costs no hash; claimed again below.
    if invitations::claim(state.identity.tables(), &mut *state.connection().await?, &token_hash, now).await?.is_none() {
        return Err(INVITATION_INVALID);
    }
    let password_hash = state.identity.hash(acceptance.password).await?;
    let mut connection = state.connection().await?;
    let mut transaction = connection.begin().await?;
    let email = invitations::claim(state.identity.tables(), &mut transaction, &token_hash, now)
        .await?
        .ok_or(INVITATION_INVALID)?;
    let new = NewUser {
        username: &acceptance.username,
        email: &email,
        password_hash: &password_hash,
        role: Role::Admin,
        profile: &serde_json::json!({}),
    };
    let user = users::insert(&mut transaction, &new, now).await?;
    invitations::accept(state.identity.tables(), &mut transaction, user.id, now).await?;
    let begun = state.identity.begin_first_session(&mut transaction, &user.security()).await?;
    let session = session(state, &mut transaction, begun).await?;
    transaction.commit().await?;
    Ok(session)
}

/// Set another password by the one-time token that an admin handed over.
#[utoipa::path(post, path = "/api/local/auth/password-reset", tag = "auth", request_body = Reset,
    responses((status = 200, body = Answer<Nothing>), (status = 403)))]
async fn reset_password(
    State(state): State<AppState>,
    speaks: Speaks,
    Body(reset): Body<Reset>,
) -> Result<Response, Failed> {
    speaks.answer(StatusCode::OK, "password-changed", set_forgotten(&state, reset).await)
}

async fn set_forgotten(state: &AppState, reset: Reset) -> Result<(), ApiError> {
    let mut problems = Problems::default();
    problems.unless(is_password(&reset.password), "password", "field-password");
    problems.refuse()?;
    let new = state.identity.forgotten_password(&reset.token, reset.password).await?;
    let mut connection = state.connection().await?;
    let mut transaction = connection.begin().await?;
    let security = state.identity.set_password(&mut transaction, &new).await?;
    transaction.commit().await?;
    state.identity.revoke(security);
    Ok(())
}

/// What a client is told of a session that was begun or went on.
pub async fn session(
    state: &AppState,
    connection: &mut sqlx::PgConnection,
    session: identity::Session,
) -> Result<Session, ApiError> {
    let user = users::find(connection, session.user).await?.ok_or(GONE)?;
    Ok(Session {
        access_token: state.issue_token(&user)?,
        token_type: "Bearer",
        expires_in: TOKEN_VALIDITY.as_secs(),
        refresh_token: session.refresh_token,
        refresh_expires_at: session.expires_at,
        user,
        // Only a sign-in asks the centre; the others can have it by its own route.
        global_token: state.hub.is_known().then_some(GlobalToken::Pending),
    })
}

/// A token that names no user who can be found is refused like one that does not hold.
pub const GONE: ApiError = UNAUTHENTICATED;
