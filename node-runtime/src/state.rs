//! What every request needs.

use std::{sync::Arc, time::Duration};

use fateh_common::{clock::Clock, tokens::Claims};
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, pool::PoolConnection};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{
    centre::Centre,
    config::NodeConfig,
    database::Database,
    error::ApiError,
    hub_client::Hub,
    keys::KeyRing,
    passwords::Passwords,
    revocations::Revocations,
    storage::users::{Role, User},
    throttle::Seen,
};

/// How long an access token holds.
pub const TOKEN_VALIDITY: Duration = Duration::from_secs(600);

/// Shared by all requests.
#[derive(Clone)]
pub struct AppState(Arc<Inner>);

/// The parts of [`AppState`].
pub struct Inner {
    /// The node.
    pub node: NodeConfig,
    /// Its database.
    pub database: Database,
    /// The time.
    pub clock: Clock,
    /// Hashes passwords.
    pub passwords: Passwords,
    /// Signs and checks tokens.
    pub keys: KeyRing,
    /// Tokens that no longer hold.
    pub revocations: Revocations,
    /// Attempts at signing in that this process has seen.
    pub attempts: Seen,
    /// The centre.
    pub hub: Hub,
    /// The keys of the centre's tokens.
    pub centre: Centre,
    /// Rung when there is something to tell the centre.
    pub told: Notify,
    /// This process, among the replicas.
    pub replica: Uuid,
}

/// What a local token adds to the registered claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalClaims {
    /// Role of the user.
    pub role: Role,
    /// The version of the user's rights that the token speaks of.
    #[serde(rename = "ver")]
    pub version: i32,
}

impl std::ops::Deref for AppState {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl AppState {
    /// The state of one process.
    #[must_use]
    pub fn new(
        node: NodeConfig,
        database: Database,
        clock: Clock,
        passwords: Passwords,
        keys: KeyRing,
        hub: Hub,
    ) -> Self {
        let centre = Centre::new(node.hub_issuer.clone(), node.url.clone());
        Self(Arc::new(Inner {
            node,
            centre,
            database,
            clock,
            passwords,
            keys,
            hub,
            revocations: Revocations::default(),
            attempts: Seen::default(),
            told: Notify::new(),
            replica: Uuid::new_v4(),
        }))
    }
}

impl Inner {
    /// A connection for one request.
    ///
    /// # Errors
    /// When none comes free in time.
    pub async fn connection(&self) -> Result<PoolConnection<Postgres>, ApiError> {
        Ok(self.database.acquire().await?)
    }

    /// An access token for `user`.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn issue_token(&self, user: &User) -> Result<String, ApiError> {
        let iat = self.clock.now().as_second();
        let claims = Claims {
            iss: self.node.url.clone(),
            sub: user.id.to_string(),
            aud: self.node.url.clone(),
            exp: iat + i64::try_from(TOKEN_VALIDITY.as_secs()).unwrap_or(0),
            iat,
            jti: Uuid::new_v4().to_string(),
            extra: LocalClaims { role: user.role, version: user.security_version },
        };
        self.keys.current().signing.sign(&claims).map_err(|error| ApiError::Internal(format!("sign a token: {error}")))
    }
}
