//! `POST /api/local/auth/login` and `POST /api/local/auth/invitation`.

use axum::{Router, extract::State, http::StatusCode, response::Response, routing::post};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::Connection;

use crate::{
    error::{ApiError, Failed},
    http::{Body, Speaks},
    state::{AppState, TOKEN_VALIDITY},
    storage::{
        invitations,
        users::{self, NewUser, Role, Status, User},
    },
    validation::{Problems, is_password, is_username},
};

const WRONG_CREDENTIALS: ApiError = ApiError::Refused(StatusCode::UNAUTHORIZED, "wrong-credentials");
/// Bytes of the longest e-mail.
const MAX_LOGIN: usize = 254;
const SUSPENDED: ApiError = ApiError::Refused(StatusCode::FORBIDDEN, "account-suspended");
const INVITATION_INVALID: ApiError = ApiError::Refused(StatusCode::FORBIDDEN, "invitation-invalid");

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/local/auth/login", post(login))
        .route("/api/local/auth/invitation", post(accept_invitation))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Login {
    /// E-mail or user name.
    login: String,
    password: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Acceptance {
    token: String,
    username: String,
    password: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Session {
    access_token: String,
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
    user: User,
}

async fn login(State(state): State<AppState>, speaks: Speaks, Body(login): Body<Login>) -> Result<Response, Failed> {
    speaks.answer(StatusCode::OK, "signed-in", sign_in(&state, login).await)
}

async fn sign_in(state: &AppState, login: Login) -> Result<Session, ApiError> {
    // What no user can be called is not looked for.
    if login.login.len() > MAX_LOGIN || login.login.chars().any(char::is_control) {
        return Err(WRONG_CREDENTIALS);
    }
    // No connection is held while the password waits for its turn to be hashed.
    let found = users::find_by_login(&mut *state.connection().await?, &login.login).await?;
    let (user, hash) = found.unzip();
    if !is_password(&login.password) || !state.passwords.verify(login.password, hash).await? {
        return Err(WRONG_CREDENTIALS);
    }
    let user = user.ok_or(WRONG_CREDENTIALS)?;
    if user.status != Status::Active {
        return Err(SUSPENDED);
    }
    users::signed_in(&mut *state.connection().await?, user.id, state.clock.now()).await?;
    session(state, user)
}

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
    if invitations::claim(&mut *state.connection().await?, &token_hash, now).await?.is_none() {
        return Err(INVITATION_INVALID);
    }
    let password_hash = state.passwords.hash(acceptance.password).await?;
    let mut connection = state.connection().await?;
    let mut transaction = connection.begin().await?;
    let email = invitations::claim(&mut transaction, &token_hash, now).await?.ok_or(INVITATION_INVALID)?;
    let new =
        NewUser { username: &acceptance.username, email: &email, password_hash: &password_hash, role: Role::Admin };
    let user = users::insert(&mut transaction, &new, now).await?;
    users::signed_in(&mut transaction, user.id, now).await?;
    invitations::accept(&mut transaction, user.id, now).await?;
    transaction.commit().await?;
    session(state, user)
}

fn session(state: &AppState, user: User) -> Result<Session, ApiError> {
    let access_token = state.issue_token(&user)?;
    Ok(Session { access_token, token_type: "Bearer", expires_in: TOKEN_VALIDITY.as_secs(), user })
}
