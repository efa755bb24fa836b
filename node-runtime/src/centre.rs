//! Tokens of the centre: those that people bring are checked with its keys, which the database keeps; and those that
//! this node's own users are to take there are asked for at the hub, without ever making a sign-in wait for long.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use fateh_common::{
    hub::{CentralClaims, IdentityRequest},
    service::error::{ApiError, TOKEN_EXPIRED, UNAUTHENTICATED, UNAVAILABLE},
    tokens::{Claims, TokenError, Verifier, keys_from_jwks},
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    hub_client::HubError,
    state::AppState,
    storage::{centre_keys, users::User},
};

/// A key that is not known makes the centre be asked this often at most, by all replicas together.
const ASK_INTERVAL: SignedDuration = SignedDuration::from_secs(30);
/// And the database by one replica: another may have asked.
const LOOK_INTERVAL: SignedDuration = SignedDuration::from_secs(2);
/// Keys that were fetched longer ago are fetched again, so that one that was withdrawn is not believed for ever.
const FRESH: SignedDuration = SignedDuration::from_hours(1);
/// A sign-in waits no longer for the hub, nor a request for another one's look at the keys.
const PATIENCE: Duration = Duration::from_millis(500);
/// The keys must come within this: whoever brings a token of a key that nobody knows keeps a request open meanwhile.
const FETCH_PATIENCE: Duration = Duration::from_secs(2);

/// The centre's keys, as this process knows them.
pub struct Centre {
    /// Issuer of the centre's tokens; none: they are not accepted.
    issuer: Option<String>,
    /// Where this node answers: the one audience that its tokens may have.
    audience: String,
    known: RwLock<Known>,
    /// One looks for all.
    looking: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Known {
    keys: Option<(Arc<Verifier>, Timestamp)>,
    looked_at: Option<Timestamp>,
}

impl Centre {
    /// A centre whose keys are still to be read.
    #[must_use]
    pub fn new(issuer: Option<String>, audience: String) -> Self {
        Self { issuer, audience, known: RwLock::default(), looking: Arc::default() }
    }

    fn keys(&self) -> Option<(Arc<Verifier>, Timestamp)> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).keys.clone()
    }

    fn has_looked_since(&self, time: Timestamp) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).looked_at.is_some_and(|at| at > time)
    }

    fn check(&self, token: &str, now: Timestamp) -> Result<Claims<CentralClaims>, TokenError> {
        self.keys().ok_or(TokenError::UnknownKey)?.0.verify(token, now)
    }

    /// Takes the keys of `jwks`; those before stay, and it is false, when there are none in it.
    fn learn(&self, jwks: &str, fetched_at: Timestamp) -> bool {
        let Some(issuer) = &self.issuer else { return false };
        let keys = keys_from_jwks(jwks);
        if keys.is_empty() {
            tracing::warn!("the centre publishes no key that tokens can be checked with; those before stay in use");
            return false;
        }
        let verifier = Arc::new(Verifier::new(keys, issuer, &self.audience));
        self.known.write().unwrap_or_else(PoisonError::into_inner).keys = Some((verifier, fetched_at));
        true
    }
}

/// Checks a token of the centre in full.
///
/// # Errors
/// Unauthenticated when it does not hold; unavailable when it is not known whether it does.
pub async fn verify(state: &AppState, token: &str) -> Result<Claims<CentralClaims>, ApiError> {
    let centre = &state.centre;
    if centre.issuer.is_none() {
        return Err(UNAUTHENTICATED);
    }
    let now = state.clock.now();
    let mut checked = centre.check(token, now);
    let fresh = centre.keys().is_some_and(|(_, at)| at >= ago(now, FRESH));
    if checked == Err(TokenError::UnknownKey) || (checked.is_ok() && !fresh) {
        let renewed = renew(state).await;
        checked = centre.check(token, state.clock.now());
        if checked == Err(TokenError::UnknownKey) {
            renewed?;
        }
    }
    checked.map_err(|error| match error {
        TokenError::Expired => TOKEN_EXPIRED,
        TokenError::Invalid | TokenError::UnknownKey => UNAUTHENTICATED,
    })
}

/// Reads the keys anew, from the database or from the centre, unless that was done a moment ago.
///
/// # Errors
/// When the database does not answer, or another request is still at it.
async fn renew(state: &AppState) -> Result<(), ApiError> {
    let looking = Arc::clone(&state.centre.looking);
    let turn = tokio::time::timeout(PATIENCE, looking.lock_owned()).await.map_err(|_| UNAVAILABLE)?;
    if state.centre.has_looked_since(ago(state.clock.now(), LOOK_INTERVAL)) {
        return Ok(());
    }
    let state = state.clone();
    // A client that hangs up does not end it: the turn to ask the centre may be taken already.
    let look = tokio::spawn(async move {
        let _turn = turn;
        look(&state).await
    });
    look.await.map_err(|error| ApiError::Internal(format!("look for the centre's keys: {error}")))?
}

async fn look(state: &AppState) -> Result<(), ApiError> {
    let centre = &state.centre;
    let now = state.clock.now();
    if is_to_ask(state, now).await? {
        match tokio::time::timeout(FETCH_PATIENCE, state.hub.jwks()).await {
            Ok(Ok(jwks)) => {
                if centre.learn(&jwks, now) {
                    centre_keys::keep(&mut *state.connection().await?, &jwks, now).await?;
                }
            }
            Ok(Err(error)) => tracing::warn!(%error, "the centre's keys cannot be fetched; those before stay in use"),
            Err(_) => tracing::warn!("the centre does not send its keys in time; those before stay in use"),
        }
    }
    centre.known.write().unwrap_or_else(PoisonError::into_inner).looked_at = Some(state.clock.now());
    Ok(())
}

/// Learns what the database has; true when it is this replica's turn to ask the centre for more.
async fn is_to_ask(state: &AppState, now: Timestamp) -> Result<bool, ApiError> {
    let centre = &state.centre;
    let mut connection = state.connection().await?;
    let before = centre.keys().map(|(_, at)| at);
    if let Some((jwks, fetched_at)) = centre_keys::read(&mut connection).await?
        && before.is_none_or(|before| before < fetched_at)
        && centre.learn(&jwks, fetched_at)
        && fetched_at >= ago(now, FRESH)
    {
        return Ok(false);
    }
    Ok(centre_keys::take_turn(&mut connection, now, ago(now, ASK_INTERVAL)).await?)
}

fn ago(now: Timestamp, time: SignedDuration) -> Timestamp {
    now.saturating_sub(time).unwrap_or(now)
}

/// The token that a user of this node takes to the centre.
#[derive(Serialize, ToSchema)]
#[serde(tag = "state", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub enum GlobalToken {
    /// Here it is.
    Issued {
        /// For the centre alone.
        access_token: String,
        /// Seconds.
        expires_in: u64,
    },
    /// The centre did not answer in time; ask for it by itself.
    Pending,
    /// The centre gives none for this user.
    Refused,
}

/// Asks the centre for a user's token; none when there is no centre.
pub async fn token_for(state: &AppState, user: &User) -> Option<GlobalToken> {
    let request =
        IdentityRequest { node: state.node.slug.clone(), user_id: user.id, role: user.role.as_str().to_owned() };
    match tokio::time::timeout(PATIENCE, state.hub.identity(&request)).await {
        Ok(Ok(answer)) => {
            Some(GlobalToken::Issued { access_token: answer.access_token, expires_in: answer.expires_in })
        }
        Ok(Err(HubError::None)) => None,
        Ok(Err(HubError::Status(status))) if matches!(status.as_u16(), 403 | 404 | 409 | 422) => {
            tracing::warn!(%status, "the centre refused a token");
            Some(GlobalToken::Refused)
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "the centre gave no token");
            Some(GlobalToken::Pending)
        }
        Err(_) => Some(GlobalToken::Pending),
    }
}
