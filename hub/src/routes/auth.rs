//! Signing in and out, refreshing, the first platform admin's invitation, and setting a forgotten password anew.

use std::net::IpAddr;

use axum::{extract::State, http::StatusCode, response::Response};
use fateh_common::{
    identity::{self, INVITATION_INVALID, TOKEN_VALIDITY, invitations},
    service::{
        client_address::ClientAddress,
        error::{ApiError, Failed, UNAUTHENTICATED},
        extract::{Body, Speaks},
        validation::{Problems, is_password},
    },
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::{Connection, PgConnection};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Answer, Nothing,
    users::{audit_password, is_display_name},
};
use crate::{
    permissions::CentralRole,
    signed_in::HubClaims,
    state::AppState,
    storage::{
        audit,
        users::{self, NewUser, User},
    },
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(login))
        .routes(routes!(refresh))
        .routes(routes!(logout))
        .routes(routes!(accept_invitation))
        .routes(routes!(reset_password))
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Login {
    email: String,
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
    /// From the Secret `hub-invitation`.
    token: String,
    /// Name for people.
    display_name: String,
    /// 12 to 256 characters.
    password: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = GlobalPasswordReset)]
struct Reset {
    /// The one-time token that a platform admin handed over.
    token: String,
    /// 12 to 256 characters.
    password: String,
}

/// What a client goes on with.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// For the hub alone.
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
}

/// Sign in at the centre.
#[utoipa::path(post, path = "/api/global/auth/login", tag = "auth", request_body = Login,
    responses((status = 200, body = Answer<Session>), (status = 401), (status = 403), (status = 429)))]
async fn login(
    State(state): State<AppState>,
    speaks: Speaks,
    ClientAddress(address): ClientAddress,
    Body(login): Body<Login>,
) -> Result<Response, Failed> {
    let signed_in = async {
        let proved = state.identity.authenticate(&login.email, login.password, address).await?;
        let mut connection = state.connection().await?;
        let begun = state.identity.begin_session(&mut connection, &proved).await?;
        session(&state, &mut connection, begun).await
    };
    speaks.answer(StatusCode::OK, "signed-in", signed_in.await)
}

/// Begin the next ten minutes of a session.
#[utoipa::path(post, path = "/api/global/auth/refresh", tag = "auth", request_body = Refresh,
    responses((status = 200, body = Answer<Session>), (status = 401), (status = 403)))]
async fn refresh(
    State(state): State<AppState>,
    speaks: Speaks,
    Body(refresh): Body<Refresh>,
) -> Result<Response, Failed> {
    let refreshed = async {
        let mut connection = state.connection().await?;
        let went_on = state.identity.refresh(&mut connection, &refresh.refresh_token).await?;
        session(&state, &mut connection, went_on).await
    };
    speaks.answer(StatusCode::OK, "session-refreshed", refreshed.await)
}

/// End a session. Its last access token holds until it expires.
#[utoipa::path(post, path = "/api/global/auth/logout", tag = "auth", request_body = Refresh,
    responses((status = 200, body = Answer<Nothing>)))]
async fn logout(
    State(state): State<AppState>,
    speaks: Speaks,
    Body(refresh): Body<Refresh>,
) -> Result<Response, Failed> {
    let ended = async { state.identity.end_session(&mut *state.connection().await?, &refresh.refresh_token).await };
    speaks.answer(StatusCode::OK, "signed-out", ended.await)
}

/// Become the first platform admin by the one-time invitation.
#[utoipa::path(post, path = "/api/global/auth/invitation", tag = "auth", request_body = Acceptance,
    responses((status = 201, body = Answer<Session>), (status = 403), (status = 409)))]
async fn accept_invitation(
    State(state): State<AppState>,
    speaks: Speaks,
    ClientAddress(address): ClientAddress,
    Body(acceptance): Body<Acceptance>,
) -> Result<Response, Failed> {
    speaks.answer(StatusCode::CREATED, "invitation-accepted", become_admin(&state, address, acceptance).await)
}

async fn become_admin(state: &AppState, address: Option<IpAddr>, acceptance: Acceptance) -> Result<Session, ApiError> {
    let mut problems = Problems::default();
    problems.unless(is_display_name(&acceptance.display_name), "displayName", "field-display-name");
    problems.unless(is_password(&acceptance.password), "password", "field-password");
    problems.refuse()?;
    let token_hash = Sha256::digest(&acceptance.token);
    let (now, tables) = (state.clock.now(), state.identity.tables());
    // Looked at first, so that a wrong token costs no hash; claimed again below.
    if invitations::claim(tables, &mut *state.connection().await?, &token_hash, now).await?.is_none() {
        return Err(INVITATION_INVALID);
    }
    let password_hash = state.identity.hash(acceptance.password).await?;
    let mut connection = state.connection().await?;
    let mut transaction = connection.begin().await?;
    let email = invitations::claim(tables, &mut transaction, &token_hash, now).await?.ok_or(INVITATION_INVALID)?;
    let new = NewUser {
        display_name: &acceptance.display_name,
        email: &email,
        password_hash: &password_hash,
        role: Some(CentralRole::PlatformAdmin),
    };
    let user = users::insert(&mut transaction, &new, now).await?;
    invitations::accept(tables, &mut transaction, user.id, now).await?;
    let id = user.id.to_string();
    let actor = audit::person(user.id);
    audit::add(&mut transaction, &actor, "accept-invitation", &id, address, &json!({}), now).await?;
    let begun = state.identity.begin_first_session(&mut transaction, &user.security()).await?;
    let session = session(state, &mut transaction, begun).await?;
    transaction.commit().await?;
    Ok(session)
}

/// Set another password by the one-time token that a platform admin handed over.
#[utoipa::path(post, path = "/api/global/auth/password-reset", tag = "auth", request_body = Reset,
    responses((status = 200, body = Answer<Nothing>), (status = 403)))]
async fn reset_password(
    State(state): State<AppState>,
    speaks: Speaks,
    ClientAddress(address): ClientAddress,
    Body(reset): Body<Reset>,
) -> Result<Response, Failed> {
    let set = async {
        let mut problems = Problems::default();
        problems.unless(is_password(&reset.password), "password", "field-password");
        problems.refuse()?;
        let new = state.identity.forgotten_password(&reset.token, reset.password).await?;
        let mut connection = state.connection().await?;
        let mut transaction = connection.begin().await?;
        let security = state.identity.set_password(&mut transaction, &new).await?;
        audit_password(&mut transaction, &state, security.user, address).await?;
        transaction.commit().await?;
        state.identity.revoke(security);
        Ok(())
    };
    speaks.answer(StatusCode::OK, "password-changed", set.await)
}

/// What a client is told of a session that was begun or went on.
pub async fn session(
    state: &AppState,
    connection: &mut PgConnection,
    session: identity::Session,
) -> Result<Session, ApiError> {
    let user = users::find(connection, session.user).await?.ok_or(UNAUTHENTICATED)?;
    let claims = HubClaims::Account { role: user.role, ver: user.security_version };
    Ok(Session {
        access_token: state.sign(user.id, &state.issuer, claims)?,
        token_type: "Bearer",
        expires_in: TOKEN_VALIDITY.as_secs(),
        refresh_token: session.refresh_token,
        refresh_expires_at: session.expires_at,
        user,
    })
}
