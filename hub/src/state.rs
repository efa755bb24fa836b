//! What every request needs.

use std::sync::Arc;

use axum::extract::FromRef;
use fateh_common::{
    clock::Clock,
    identity::{Identity, TOKEN_VALIDITY},
    service::{client_address::TrustedProxies, database::Database, error::ApiError, keys::KeyRing},
    tokens::Claims,
};
use kube::Client;
use serde::Serialize;
use sqlx::{Postgres, pool::PoolConnection};
use uuid::Uuid;

use crate::{
    PEOPLE, config::Arguments, fleet::Fleet, metrics::Metrics, node_caller::Callers, released_bodies::ReleasedBodies,
    totals::Totals,
};

/// What the hub writes to Kubernetes is its own by this name; what another manager owns it leaves alone.
pub const FIELD_MANAGER: &str = "fateh-hub";

/// Shared by all requests.
#[derive(Clone)]
pub struct AppState(Arc<Inner>);

/// The parts of [`AppState`].
pub struct Inner {
    /// Issuer of the hub's tokens, and their audience when they are for the hub itself.
    pub issuer: String,
    /// Nodes answer at hosts under it.
    pub base_domain: String,
    /// Where users reach the ingress controller.
    public_port: u16,
    /// Ranges of proxies that are believed.
    trusted_proxies: TrustedProxies,
    /// The database `global_platform`.
    pub database: Database,
    /// The time.
    pub clock: Clock,
    /// People with an account at the centre.
    pub identity: Identity,
    /// Signs and checks tokens.
    pub keys: KeyRing,
    /// The API server.
    pub client: Client,
    /// The nodes, as the API server has them.
    pub fleet: Fleet,
    /// The operator's ServiceAccount, as Kubernetes writes it.
    pub operator_account: String,
    /// Nodes that have signed in a moment ago.
    pub callers: Callers,
    /// What nodes have received and given back, as it was a moment ago.
    pub totals: Totals,
    /// Content that was asked for a moment ago.
    pub released_bodies: ReleasedBodies,
    /// What is counted.
    pub metrics: Metrics,
}

impl std::ops::Deref for AppState {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl FromRef<AppState> for TrustedProxies {
    fn from_ref(state: &AppState) -> Self {
        state.trusted_proxies.clone()
    }
}

impl AppState {
    /// The state of one process.
    #[must_use]
    pub fn new(
        arguments: &Arguments,
        database: Database,
        keys: KeyRing,
        client: Client,
        fleet: Fleet,
        metrics: Metrics,
    ) -> Self {
        let clock = Clock::system();
        let issuer = arguments.issuer();
        Self(Arc::new(Inner {
            operator_account: arguments.operator_account.clone(),
            callers: Callers::new(issuer.clone(), arguments.cluster_issuer.clone()),
            issuer,
            public_port: arguments.public_port,
            base_domain: arguments.base_domain.to_ascii_lowercase(),
            trusted_proxies: TrustedProxies(arguments.trusted_proxies.clone().into()),
            identity: Identity::new(PEOPLE, database.clone(), clock.clone()),
            database,
            clock,
            keys,
            client,
            fleet,
            totals: Totals::default(),
            released_bodies: ReleasedBodies::default(),
            metrics,
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

    /// Where a node answers, which is also the audience of tokens for it.
    #[must_use]
    pub fn node_url(&self, slug: &str) -> String {
        match self.public_port {
            443 => format!("https://{slug}.{}", self.base_domain),
            port => format!("https://{slug}.{}:{port}", self.base_domain),
        }
    }

    /// A token of the centre for one audience.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn sign<T: Serialize>(&self, subject: Uuid, audience: &str, extra: T) -> Result<String, ApiError> {
        let iat = self.clock.now().as_second();
        let claims = Claims {
            iss: self.issuer.clone(),
            sub: subject.to_string(),
            aud: audience.to_owned(),
            exp: iat + i64::try_from(TOKEN_VALIDITY.as_secs()).unwrap_or(0),
            iat,
            jti: Uuid::new_v4().to_string(),
            extra,
        };
        self.keys.current().signing.sign(&claims).map_err(|error| ApiError::Internal(format!("sign a token: {error}")))
    }
}
