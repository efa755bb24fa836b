//! A small hub for tests: it takes what nodes send, and can be made to do so badly.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use fateh_common::{
    catalogue::CONTENT_PATH,
    hub::{
        Event, IDENTITY_PATH, IdentityAnswer, IdentityRequest, JWKS_PATH, Outcome, SYNC_PATH, SyncAnswer, SyncBatch,
        SyncItem, SyncResult,
    },
};
use futures::{StreamExt, stream};
use serde_json::Value;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// The token that nodes must bear.
pub const TOKEN: &str = "a token of a ServiceAccount";

#[derive(Default)]
pub struct Peer {
    /// What took effect, by id.
    pub applied: Mutex<HashMap<Uuid, SyncItem>>,
    /// Batches that came in.
    pub batches: AtomicU64,
    /// Whether it answers badly at random.
    pub bad: AtomicBool,
    /// Whether it answers at all.
    pub away: AtomicBool,
    /// The token that was borne last.
    pub token_seen: Mutex<String>,
    /// Whether it takes any token: its test looks at it more closely.
    pub takes_any_token: AtomicBool,
    /// Whether it takes requests and says nothing.
    pub silent: AtomicBool,
    /// The keys that it publishes.
    pub jwks: Mutex<Value>,
    /// How often it was asked for them.
    pub jwks_asked: AtomicU64,
    /// Whether it refuses what concerns users.
    pub refuses_users: AtomicBool,
    /// What it sends for a digest, whether that is what the digest names or not.
    pub content: Mutex<HashMap<String, Vec<u8>>>,
    /// How many of its answers with content break off in the middle.
    pub breaks: AtomicU64,
    /// Where those began that were asked to go on.
    pub resumed_at: Mutex<Vec<usize>>,
    chance: AtomicU64,
}

impl Peer {
    /// A number below `sides`; the same sequence in each run.
    fn roll(&self, sides: u64) -> u64 {
        // A linear congruential generator (Knuth's MMIX): quick, and even enough for a die.
        let step = |state: u64| state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let before = self.chance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| Some(step(state))).unwrap();
        (step(before) >> 33) % sides
    }

    fn knows(&self, headers: &HeaderMap) -> bool {
        let header = headers.get("authorization").and_then(|value| value.to_str().ok());
        let Some(token) = header.and_then(|value| value.strip_prefix("Bearer ")) else { return false };
        token.clone_into(&mut self.token_seen.lock().unwrap());
        token == TOKEN || self.takes_any_token.load(Ordering::Relaxed)
    }

    /// What the nodes' money adds up to here: received, fee and net, less what was given back.
    pub fn sums(&self) -> (i64, i64, i64) {
        let applied = self.applied.lock().unwrap();
        applied.values().fold((0, 0, 0), |(amount, fee, net), item| match &item.event {
            Event::Revenue(it) => (amount + it.amount_minor, fee + it.fee_minor, net + it.net_minor),
            Event::Refund(it) => (amount - it.amount_minor, fee - it.fee_minor, net - it.net_minor),
            Event::UserCreated(_) => (amount, fee, net),
        })
    }

    fn apply(&self, batch: SyncBatch) -> Vec<SyncResult> {
        let mut applied = self.applied.lock().unwrap();
        let mut results: Vec<_> = batch
            .items
            .into_iter()
            .map(|item| {
                let id = item.id;
                if self.refuses_users.load(Ordering::Relaxed) && matches!(item.event, Event::UserCreated(_)) {
                    return SyncResult { id, outcome: Outcome::Refused { reason: "no users \0 today".into() } };
                }
                if let Some(before) = applied.get(&id) {
                    assert_eq!(*before, item, "an item is the same each time that it is sent");
                    return SyncResult { id, outcome: Outcome::Repeated };
                }
                applied.insert(id, item);
                SyncResult { id, outcome: Outcome::Applied }
            })
            .collect();
        results.reverse();
        results
    }
}

async fn take(State(peer): State<Arc<Peer>>, headers: HeaderMap, Json(batch): Json<SyncBatch>) -> Response {
    peer.batches.fetch_add(1, Ordering::Relaxed);
    if peer.away.load(Ordering::Relaxed) {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    if !peer.knows(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if !peer.bad.load(Ordering::Relaxed) {
        return Json(SyncAnswer { results: peer.apply(batch) }).into_response();
    }
    match peer.roll(6) {
        // Not done; done and not said; half said, with an answer that nobody asked for; done late.
        0 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        1 => {
            peer.apply(batch);
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        2 => {
            let mut results = peer.apply(batch);
            results.truncate(results.len() / 2);
            results.push(SyncResult { id: Uuid::new_v4(), outcome: Outcome::Applied });
            Json(SyncAnswer { results }).into_response()
        }
        3 => {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Json(SyncAnswer { results: peer.apply(batch) }).into_response()
        }
        4 => "not what was asked for".into_response(),
        _ => Json(SyncAnswer { results: peer.apply(batch) }).into_response(),
    }
}

/// Refuses, or says nothing, when it is to.
async fn attend(peer: &Peer) -> Result<(), StatusCode> {
    if peer.silent.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    if peer.away.load(Ordering::Relaxed) { Err(StatusCode::BAD_GATEWAY) } else { Ok(()) }
}

async fn publish(State(peer): State<Arc<Peer>>) -> Result<Json<Value>, StatusCode> {
    peer.jwks_asked.fetch_add(1, Ordering::Relaxed);
    attend(&peer).await?;
    Ok(Json(peer.jwks.lock().unwrap().clone()))
}

async fn issue(
    State(peer): State<Arc<Peer>>,
    headers: HeaderMap,
    Json(asked): Json<IdentityRequest>,
) -> Result<Json<IdentityAnswer>, StatusCode> {
    attend(&peer).await?;
    if !peer.knows(&headers) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let access_token = format!("token of {} at {}, a {}", asked.user_id, asked.node, asked.role);
    Ok(Json(IdentityAnswer { access_token, expires_in: 300 }))
}

/// Content by its digest, from where it is asked to go on.
async fn send(State(peer): State<Arc<Peer>>, Path(digest): Path<String>, headers: HeaderMap) -> Response {
    if let Err(status) = attend(&peer).await {
        return status.into_response();
    }
    let Some(bytes) = peer.content.lock().unwrap().get(&digest).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let range = headers.get("range").and_then(|range| range.to_str().ok()?.strip_prefix("bytes=")?.strip_suffix('-'));
    let from: usize = range.map_or(0, |from| from.parse().unwrap());
    if range.is_some() {
        peer.resumed_at.lock().unwrap().push(from);
    }
    let rest = bytes[from..].to_vec();
    let length = rest.len();
    let breaks = peer.breaks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
    let sent = if breaks { rest[..length / 2].to_vec() } else { rest };
    // What waits is sent out first; what breaks at once would be lost with the connection.
    let end = stream::iter(breaks.then_some(())).then(|()| async {
        tokio::task::yield_now().await;
        Err(std::io::Error::other("the connection breaks"))
    });
    let body = Body::from_stream(stream::iter([Ok(sent)]).chain(end));
    let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    (status, [("content-length", length.to_string())], body).into_response()
}

/// Starts a hub; where it listens.
pub async fn start() -> (Arc<Peer>, String) {
    let peer = Arc::new(Peer::default());
    let (address, _) = serve(&peer, "127.0.0.1:0").await;
    (peer, format!("http://{address}"))
}

/// Lets a hub listen at an address, until the task is aborted.
pub async fn serve(peer: &Arc<Peer>, address: &str) -> (SocketAddr, JoinHandle<std::io::Result<()>>) {
    let router = Router::new()
        .route(SYNC_PATH, post(take))
        .route(JWKS_PATH, get(publish))
        .route(IDENTITY_PATH, post(issue))
        .route(CONTENT_PATH, get(send))
        .with_state(Arc::clone(peer));
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(async move { axum::serve(listener, router).await }))
}
