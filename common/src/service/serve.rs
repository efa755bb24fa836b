//! Serving until the end: requests are still taken for a while after the signal, and then drained.

use std::{net::SocketAddr, time::Duration};

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// After the signal, requests are still taken for as long as routers need to learn of it: those that gather changes for
/// 2 s before they take them up, on a machine that is busy.
const LAST_REQUESTS: Duration = Duration::from_secs(6);

/// Serves `router` until a while after `stop`, and until the open requests are answered.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let last_request = async move {
        stop.cancelled().await;
        tokio::time::sleep(LAST_REQUESTS).await;
    };
    if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(last_request).await {
        tracing::error!(%error, "no more connections can be accepted");
    }
}
