//! Which node asks, or whether the operator does: by the projected token of its ServiceAccount, which the API server
//! knows.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use axum::{extract::FromRequestParts, http::request::Parts};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use fateh_common::{
    envelope::Language,
    service::{
        error::{ApiError, FORBIDDEN, Failed, OVERLOADED, UNAUTHENTICATED, UNAVAILABLE},
        extract::bearer,
    },
};
use fateh_crds::{LocalNode, Slug, node_of};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::authentication::v1::{TokenReview, TokenReviewSpec},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, ResourceExt,
    api::{ObjectMeta, PostParams},
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::state::AppState;

/// How long an answer of the API server is believed.
const BELIEVED: SignedDuration = SignedDuration::from_secs(60);
/// Tokens that are asked about at once: whoever brings forged ones keeps neither the API server nor the hub busy.
const AT_ONCE: usize = 8;
/// Answers that are kept at most.
const KEPT: usize = 10_000;
/// No honest token is longer.
const MAX_TOKEN: usize = 8 * 1024;

/// A node that has shown who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCaller {
    /// Its name.
    pub name: String,
    /// The LocalNode's UID: another node of the same name is another node.
    pub uid: Uuid,
    /// The only currency that it records.
    pub currency: String,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
}

impl NodeCaller {
    /// Refuses a request that names another node than the one that asks.
    ///
    /// # Errors
    /// Forbidden.
    pub fn is(&self, named: &str) -> Result<(), ApiError> {
        if self.name == named { Ok(()) } else { Err(FORBIDDEN) }
    }
}

/// The nodes that have signed in a moment ago.
pub struct Callers {
    audience: String,
    cluster_issuer: Option<String>,
    /// By the hash of the token: whose it is, and since when that is known.
    known: Mutex<HashMap<[u8; 32], (Known, Timestamp)>>,
    asking: Semaphore,
}

/// A ServiceAccount that has shown who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    username: String,
    /// The node that it was then: another one of the same name is another node.
    node: Option<Uuid>,
}

/// What a ServiceAccount's token says of itself, before anyone has checked it.
#[derive(Deserialize)]
struct Claimed {
    iss: String,
    aud: Vec<String>,
    exp: i64,
}

impl Callers {
    /// Nobody yet. `audience` is the hub's; with `cluster_issuer` tokens of others are not even asked about.
    #[must_use]
    pub fn new(audience: String, cluster_issuer: Option<String>) -> Self {
        Self { audience, cluster_issuer, known: Mutex::default(), asking: Semaphore::new(AT_ONCE) }
    }

    /// Whether the token could be one for us: what others were given for other purposes never reaches the API server.
    fn could_be_ours(&self, token: &str, now: Timestamp) -> bool {
        if token.len() > MAX_TOKEN {
            return false;
        }
        let mut parts = token.split('.');
        let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return false;
        };
        let payload = URL_SAFE_NO_PAD.decode(payload).ok();
        let claimed: Option<Claimed> = payload.and_then(|payload| serde_json::from_slice(&payload).ok());
        claimed.is_some_and(|claimed| {
            claimed.aud.contains(&self.audience)
                && claimed.exp > now.as_second()
                && self.cluster_issuer.as_ref().is_none_or(|issuer| *issuer == claimed.iss)
        })
    }

    fn recall(&self, hash: &[u8; 32], now: Timestamp) -> Option<Known> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(hash).filter(|(_, since)| now.duration_since(*since) < BELIEVED).map(|(node, _)| node.clone())
    }

    fn remember(&self, hash: [u8; 32], node: Known, now: Timestamp) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT {
            known.retain(|_, (_, since)| now.duration_since(*since) < BELIEVED);
        }
        if known.len() < KEPT {
            known.insert(hash, (node, now));
        }
    }
}

/// The node's name in `system:serviceaccount:fateh-node-<slug>:node`.
fn slug_of(username: &str) -> Option<Slug> {
    let rest = username.strip_prefix("system:serviceaccount:")?;
    let (namespace, account) = rest.split_once(':')?;
    let slug = Slug::parse(node_of(namespace)?).ok()?;
    (account == fateh_crds::CHILD_NAME && slug.namespace() == namespace).then_some(slug)
}

/// The node of this name, once the operator has made its namespace and opened its database: a namespace that merely
/// looks like a node's is nobody's, though a LocalNode of that name exists.
fn caller(node: &LocalNode) -> Option<NodeCaller> {
    let status = node.status.as_ref()?;
    status.database.as_ref()?.schema_version?;
    node.metadata.deletion_timestamp.is_none().then_some(())?;
    let taken = |condition: &Condition| condition.type_ == "Ready" && condition.reason == "NamespaceTaken";
    (!status.conditions.iter().any(taken)).then_some(())?;
    Some(NodeCaller {
        name: node.name_any(),
        uid: node.uid()?.parse().ok()?,
        currency: node.spec.currency.clone(),
        country: node.spec.country.clone(),
    })
}

/// Asks the API server whose token it is.
async fn review(state: &AppState, token: &str) -> Result<Option<String>, ApiError> {
    let Ok(_turn) = state.callers.asking.try_acquire() else { return Err(OVERLOADED) };
    let audience = &state.callers.audience;
    let asked = TokenReview {
        metadata: ObjectMeta::default(),
        spec: TokenReviewSpec { audiences: Some(vec![audience.clone()]), token: Some(token.to_owned()) },
        status: None,
    };
    let answer = Api::<TokenReview>::all(state.client.clone()).create(&PostParams::default(), &asked).await;
    let status = match answer {
        Ok(answer) => answer.status.unwrap_or_default(),
        Err(error) => {
            state.metrics.reviews.with_label_values(&["failed"]).inc();
            tracing::warn!(%error, "a ServiceAccount's token cannot be reviewed");
            return Err(UNAVAILABLE);
        }
    };
    let accepted =
        status.authenticated == Some(true) && status.audiences.is_some_and(|audiences| audiences.contains(audience));
    let username = status.user.filter(|_| accepted).and_then(|user| user.username);
    state.metrics.reviews.with_label_values(&[if username.is_some() { "accepted" } else { "refused" }]).inc();
    Ok(username)
}

/// Whether a token is one that a cluster gives its ServiceAccounts, for the hub: those of the hub's own have one audience.
#[must_use]
pub fn could_be_an_account_of_the_cluster(state: &AppState, token: &str) -> bool {
    state.callers.could_be_ours(token, state.clock.now())
}

/// The ServiceAccount that a token belongs to, as Kubernetes writes it.
///
/// # Errors
/// Unauthenticated when it is none for the hub.
pub async fn account(state: &AppState, token: &str) -> Result<String, ApiError> {
    let now = state.clock.now();
    if !state.callers.could_be_ours(token, now) {
        return Err(UNAUTHENTICATED);
    }
    let hash: [u8; 32] = Sha256::digest(token).into();
    if let Some(known) = state.callers.recall(&hash, now) {
        return Ok(known.username);
    }
    let username = review(state, token).await?.ok_or(UNAUTHENTICATED)?;
    state.callers.remember(hash, Known { username: username.clone(), node: None }, now);
    Ok(username)
}

impl FromRequestParts<AppState> for NodeCaller {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Self::Rejection> {
        let known = async {
            let token = bearer(parts)?;
            let now = state.clock.now();
            if !state.callers.could_be_ours(token, now) {
                return Err(UNAUTHENTICATED);
            }
            let hash: [u8; 32] = Sha256::digest(token).into();
            // Looked up each time: a node may be gone, or another have taken its name.
            let find = |username: &str| caller(&*state.fleet.node(slug_of(username)?.as_str())?);
            if let Some(known) = state.callers.recall(&hash, now)
                && let Some(node) = find(&known.username).filter(|node| known.node == Some(node.uid))
            {
                return Ok(node);
            }
            let username = review(state, token).await?.ok_or(UNAUTHENTICATED)?;
            let node = find(&username).ok_or(UNAUTHENTICATED)?;
            state.callers.remember(hash, Known { username, node: Some(node.uid) }, now);
            Ok(node)
        };
        known.await.map_err(|error| Failed(error, Language::negotiate(&parts.headers)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token(payload: &serde_json::Value) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload.to_string()))
    }

    #[test]
    fn only_what_could_be_meant_for_the_hub_is_asked_about() {
        let now = Timestamp::from_second(1000).unwrap();
        let callers = Callers::new("https://hub.test".into(), Some("https://cluster.test".into()));
        let honest = json!({"iss": "https://cluster.test", "aud": ["https://hub.test"], "exp": 1001});
        assert!(callers.could_be_ours(&token(&honest), now));
        for (field, value) in [
            ("iss", json!("https://other.test")),
            ("aud", json!(["https://kubernetes.test"])),
            ("aud", json!("https://hub.test")),
            ("aud", json!([])),
            ("exp", json!(1000)),
            ("exp", json!("1001")),
        ] {
            let mut claims = honest.clone();
            claims[field] = value;
            assert!(!callers.could_be_ours(&token(&claims), now), "{claims}");
        }
        for text in ["", "a", "a.b", "a.b.c", "a.b.c.d", &"a".repeat(MAX_TOKEN + 1)] {
            assert!(!callers.could_be_ours(text, now), "{text}");
        }
    }

    #[test]
    fn only_a_node_s_own_account_speaks_for_it() {
        let slug = |username: &str| slug_of(username).map(|slug| slug.as_str().to_owned());
        assert_eq!(slug("system:serviceaccount:fateh-node-riyadh:node"), Some("riyadh".into()));
        for other in [
            "system:serviceaccount:fateh-node-riyadh:default",
            "system:serviceaccount:fateh-node-:node",
            "system:serviceaccount:fateh-node-Riyadh:node",
            "system:serviceaccount:fateh-system:node",
            "system:serviceaccount:fateh-node-riyadh:node:node",
            "fateh-node-riyadh:node",
            "admin",
        ] {
            assert_eq!(slug(other), None, "{other}");
        }
    }

    #[test]
    fn a_node_speaks_once_it_is_made_and_as_long_as_its_namespace_is_its_own() {
        let node = |status: serde_json::Value| {
            let spec = json!({"displayName": "x", "region": "mena", "adminEmail": "a@example.com"});
            let mut node = LocalNode::new("riyadh", serde_json::from_value(spec).unwrap());
            node.metadata.uid = Some(Uuid::nil().to_string());
            node.status = Some(serde_json::from_value(status).unwrap());
            node
        };
        let database = json!({"server": "s", "name": "n", "role": "n", "secret": "node-database", "schemaVersion": 7});
        let ready = |reason: &str| {
            json!([{"type": "Ready", "status": "False", "reason": reason, "message": "",
                    "lastTransitionTime": "2026-11-25T12:00:00Z"}])
        };
        assert!(caller(&node(json!({"database": database}))).is_some());
        assert!(caller(&node(json!({"database": database, "conditions": ready("PodsGone")}))).is_some());
        assert!(caller(&node(json!({"database": database, "conditions": ready("NamespaceTaken")}))).is_none());
        assert!(caller(&node(json!({"namespace": "fateh-node-riyadh"}))).is_none());
    }

    #[test]
    fn a_token_is_believed_for_a_minute() {
        let at = |seconds: i64| Timestamp::from_second(1000 + seconds).unwrap();
        let callers = Callers::new("a".into(), None);
        let node = Known { username: "riyadh".into(), node: Some(Uuid::nil()) };
        callers.remember([1; 32], node.clone(), at(0));
        assert_eq!(callers.recall(&[1; 32], at(59)), Some(node));
        assert_eq!(callers.recall(&[1; 32], at(60)), None);
        assert_eq!(callers.recall(&[2; 32], at(0)), None);
    }
}
