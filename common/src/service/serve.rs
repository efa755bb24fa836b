//! Serving until the end: requests are still taken for a while after the signal, and then drained.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, ServiceExt, extract::Request};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tower::Layer;

use super::{admission::Admission, metrics::Requests};

/// Eight times what saturates two cores: of more, each would only wait for the others.
const MAX_IN_FLIGHT: usize = 128;
/// Connections that may wait to be taken. A proxy opens many in a moment, and one for which there is no room is not
/// tried again for a second; there are 128 unless told.
const BACKLOG: u32 = 1024;

/// After the signal, requests are still taken for as long as routers need to learn of it: those that gather changes for
/// 2 s before they take them up, on a machine that is busy.
const LAST_REQUESTS: Duration = Duration::from_secs(6);

/// Listens at `address`.
///
/// # Errors
/// When the address is taken or not this machine's.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // One that ended just now is no hindrance.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

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

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn many_connections_can_be_opened_before_one_is_taken() {
        let listener = listen(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let open = || TcpStream::connect_timeout(&address, Duration::from_millis(900));
        let connections: Result<Vec<_>, _> = (0..500).map(|_| open()).collect();
        assert_eq!(connections.unwrap().len(), 500);
    }
}
