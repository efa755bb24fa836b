//! What every request needs.

use std::sync::Arc;

use axum::extract::FromRef;
use fateh_common::{
    clock::Clock,
    identity::{Identity, TOKEN_VALIDITY},
    service::{client_address::TrustedProxies, database::Database, error::ApiError, keys::KeyRing},
    tokens::Claims,
};
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, pool::PoolConnection};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{
    PEOPLE,
    centre::Centre,
    config::NodeConfig,
    hub_client::Hub,
    storage::users::{Role, User},
};

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
    /// Its people.
    pub identity: Identity,
    /// Signs and checks tokens.
    pub keys: KeyRing,
    /// The centre.
    pub hub: Hub,
    /// The keys of the centre's tokens.
    pub centre: Centre,
    /// Rung when there is something to tell the centre.
    pub told: Notify,
    /// Rung when distributed content was edited, or a conflict settled.
    pub edited: Notify,
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

impl FromRef<AppState> for TrustedProxies {
    fn from_ref(state: &AppState) -> Self {
        Self(state.node.trusted_proxies.clone().into())
    }
}

impl AppState {
    /// The state of one process.
    #[must_use]
    pub fn new(node: NodeConfig, database: Database, clock: Clock, keys: KeyRing, hub: Hub) -> Self {
        let centre = Centre::new(node.hub_issuer.clone(), node.url.clone());
        Self(Arc::new(Inner {
            node,
            centre,
            identity: Identity::new(PEOPLE, database.clone(), clock.clone()),
            database,
            clock,
            keys,
            hub,
            told: Notify::new(),
            edited: Notify::new(),
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
