//! The hub's catalogue as the operator publishes to it, for tests that run without a hub: it keeps nothing, and takes
//! every body and manifest. What the hub itself does is tested with the hub.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
};
use fateh_common::catalogue::{CONTENT_PATH, MANIFEST_PATH};
use futures::future::BoxFuture;

use crate::variable;

/// Is told of each write before it is answered: the method, and the body.
pub type Taker = Arc<dyn Fn(String, Bytes) -> BoxFuture<'static, ()> + Send + Sync>;

/// Starts it; the operator's arguments that lead there.
pub async fn start(taker: Taker) -> [String; 2] {
    let router = Router::new()
        .route(CONTENT_PATH, axum::routing::put(take))
        .route(MANIFEST_PATH, axum::routing::post(take))
        .with_state(taker);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.unwrap_or_else(|error| panic!("bind a free port: {error}"));
    let address = listener.local_addr().unwrap_or_else(|error| panic!("a bound port: {error}"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let token = std::path::PathBuf::from(variable("FATEH_STATE")).join(format!("catalogue-token-{}", address.port()));
    std::fs::write(&token, "nobody looks at it").unwrap_or_else(|error| panic!("write {}: {error}", token.display()));
    [format!("--hub-url=http://{address}"), format!("--hub-token={}", token.display())]
}

async fn take(State(taker): State<Taker>, request: Request) {
    let method = request.method().to_string();
    let body = axum::body::to_bytes(request.into_body(), 2 << 20).await.unwrap_or_default();
    taker(method, body).await;
}
