//! A proxy before the API server that speaks plain HTTP to one of the platform's programs, and signs in as that program.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{self, Method, header},
    response::{IntoResponse, Response},
};
use futures::future::BoxFuture;
use kube::Client;

use crate::signed_in;

const OPERATOR: &str = "fateh-operator";

/// What the program asks for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// GET, or a write.
    pub method: Method,
    /// Path without the query.
    pub path: String,
    /// The request as it is to be sent on.
    pub parts: http::request::Parts,
    /// Its body.
    pub body: Bytes,
}

impl Asked {
    /// Whether it changes something.
    pub fn is_write(&self) -> bool {
        self.method != Method::GET
    }

    /// Whether it is a watch.
    pub fn is_watch(&self) -> bool {
        self.parts.uri.query().is_some_and(|query| query.contains("watch=true"))
    }
}

/// Answers the program, by [`forward`]ing or otherwise. One that never answers holds the connection.
pub type Handler = Arc<dyn Fn(Asked, Client) -> BoxFuture<'static, Response> + Send + Sync>;

/// Starts a proxy for the operator; returns where it listens.
pub async fn start(admin: &Client, handler: Handler) -> String {
    start_for(admin, OPERATOR, handler).await
}

/// Starts a proxy for the program with this ServiceAccount.
pub async fn start_for(admin: &Client, account: &str, handler: Handler) -> String {
    let upstream = client_of(admin, account).await;
    let router = Router::new().fallback(pass).with_state((upstream, handler));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind a free port");
    let address = listener.local_addr().expect("a bound port");
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// A client with the operator's own rights.
pub async fn operator(admin: &Client) -> Client {
    client_of(admin, OPERATOR).await
}

async fn client_of(admin: &Client, account: &str) -> Client {
    let mut config = signed_in(admin, "fateh-system", account).await;
    // Retries are the program's own to make.
    config.default_retry = false;
    Client::try_from(config).unwrap_or_else(|error| panic!("make a client: {error}"))
}

async fn pass(State((upstream, handler)): State<(Client, Handler)>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 16 << 20).await.unwrap_or_default();
    parts.headers.remove(header::AUTHORIZATION);
    parts.headers.remove(header::HOST);
    let asked = Asked { method: parts.method.clone(), path: parts.uri.path().to_owned(), parts, body };
    handler(asked, upstream).await
}

/// Sends the request on, and answers with what the API server says.
pub async fn forward(asked: Asked, upstream: Client) -> Response {
    let request = http::Request::from_parts(asked.parts, kube::client::Body::from(asked.body.to_vec()));
    match upstream.send(request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => (http::StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
