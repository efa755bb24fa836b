//! What every request needs.

use std::{sync::Arc, time::Duration};

use fateh_common::{
    clock::Clock,
    tokens::{Claims, SigningKey, Verifier},
};
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, Postgres, pool::PoolConnection};

use crate::{
    config::NodeConfig,
    error::ApiError,
    passwords::Passwords,
    storage::users::{Role, User},
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
    pub pool: PgPool,
    /// The time.
    pub clock: Clock,
    /// Hashes passwords.
    pub passwords: Passwords,
    signing_key: SigningKey,
    /// Checks tokens.
    pub verifier: Verifier,
}

/// What a local token adds to the registered claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalClaims {
    /// Role of the user.
    pub role: Role,
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
    pub fn new(node: NodeConfig, pool: PgPool, clock: Clock, passwords: Passwords, signing_key: SigningKey) -> Self {
        let verifier = Verifier::new(vec![signing_key.public().clone()], &node.url, &node.url);
        Self(Arc::new(Inner { node, pool, clock, passwords, signing_key, verifier }))
    }
}

impl Inner {
    /// A connection for one request.
    ///
    /// # Errors
    /// When none comes free in time.
    pub async fn connection(&self) -> Result<PoolConnection<Postgres>, ApiError> {
        Ok(self.pool.acquire().await?)
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
            extra: LocalClaims { role: user.role },
        };
        self.signing_key.sign(&claims).map_err(|error| ApiError::Internal(format!("sign a token: {error}")))
    }
}
