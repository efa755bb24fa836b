//! Serving until the end: requests are still taken for a while after the signal, and then drained.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, ServiceExt, extract::Request};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::Layer;

use super::{admission::Admission, metrics::Requests};

/// Eight times what saturates two cores: of more, each would only wait for the others.
const MAX_IN_FLIGHT: usize = 128;

/// After the signal, requests are still taken for as long as routers need to learn of it: those that gather changes for
/// 2 s before they take them up, on a machine that is busy.
const LAST_REQUESTS: Duration = Duration::from_secs(6);

/// Serves `router` until a while after `stop`, and until the open requests are answered. Of too many at once those beyond
/// are refused.
pub async fn serve(listener: TcpListener, router: Router, requests: Requests, stop: CancellationToken) {
    let service = Admission::new(MAX_IN_FLIGHT, requests).layer(router);
    let service = ServiceExt::<Request>::into_make_service_with_connect_info::<SocketAddr>(service);
    let last_request = async move {
        stop.cancelled().await;
        tokio::time::sleep(LAST_REQUESTS).await;
    };
    if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(last_request).await {
        tracing::error!(%error, "no more connections can be accepted");
    }
}
