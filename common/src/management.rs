//! The management port: `/livez`, `/readyz` and `/metrics`, kept off the port that faces users.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus::{Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Says what is still missing before the program is ready; empty: it is ready.
pub trait Readiness: Send + Sync + 'static {
    /// What is missing, in a few words each.
    fn missing(&self) -> impl Future<Output = Vec<String>> + Send;
}

/// Kubelet waits for two seconds: what is missing is to be told before.
const PATIENCE: Duration = Duration::from_millis(1500);

struct Management<R> {
    registry: Registry,
    readiness: R,
    stop: CancellationToken,
}

/// The routes of the management port. Once `stop` is cancelled the program is no longer ready.
pub fn router<R: Readiness>(registry: Registry, readiness: R, stop: CancellationToken) -> Router {
    Router::new()
        // Touches nothing: a program that answers is alive, whatever its neighbours do.
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz::<R>))
        .route("/metrics", get(metrics::<R>))
        .with_state(Arc::new(Management { registry, readiness, stop }))
}

/// Serves `router` until `stop` is cancelled and the open requests are answered.
///
/// # Errors
/// When accepting connections fails for good.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> std::io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn readyz<R: Readiness>(State(management): State<Arc<Management<R>>>) -> Response {
    let missing = tokio::time::timeout(PATIENCE, management.readiness.missing()).await;
    let mut missing = missing.unwrap_or_else(|_| vec![format!("what is needed did not answer within {PATIENCE:?}")]);
    if management.stop.is_cancelled() {
        missing.push("stopping".to_owned());
    }
    if missing.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", missing.join("\n"))).into_response()
}

async fn metrics<R: Readiness>(State(management): State<Arc<Management<R>>>) -> Response {
    match TextEncoder::new().encode_to_string(&management.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics could not be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
