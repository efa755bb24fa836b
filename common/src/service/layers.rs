//! The layers around a service's routes, and the routes that every service has.

use std::time::Duration;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
    routing::get,
};
use tower::ServiceBuilder;
use tower_http::{
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer},
    trace::TraceLayer,
};
use tracing::{Span, field};
use utoipa::openapi::{OpenApi, OpenApiBuilder, info::InfoBuilder};
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use super::{
    deadline::Deadline,
    error::{ApiError, NOT_FOUND},
    metrics::Requests,
    openapi,
};
use crate::telemetry::traces;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A body is no larger, where a route does not say otherwise.
const MAX_BODY: usize = 64 * 1024;
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// Routes that describe themselves, to be merged into.
#[must_use]
pub fn describing<S: Clone + Send + Sync + 'static>(title: &str, version: &str) -> OpenApiRouter<S> {
    let info = InfoBuilder::new().title(title).version(version);
    OpenApiRouter::with_openapi(OpenApiBuilder::new().info(info.build()).build())
}

/// The routes, and their description with what every operation has in common.
fn described<S: Clone + Send + Sync + 'static>(routes: OpenApiRouter<S>) -> (Router<S>, OpenApi) {
    let (routes, mut description) = routes.split_for_parts();
    openapi::complete(&mut description);
    (routes, description)
}

/// The service that people reach: the routes with `/api/openapi.json`, limits, request ids, metrics and the headers of
/// safety.
pub fn layered<S: Clone + Send + Sync + 'static>(routes: OpenApiRouter<S>, requests: Requests, state: S) -> Router {
    let (routes, description) = described(routes);
    // As text: the tree that it is made from is many times as large, and nobody looks at it again.
    let description = Bytes::from(serde_json::to_vec(&description).unwrap_or_default().into_boxed_slice());
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    routes
        .route("/api/openapi.json", get(async move || (json, description)))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(
            ServiceBuilder::new()
                .layer(
                    TraceLayer::new_for_http()
                        .make_span_with(span)
                        .on_request(())
                        .on_response(note_answer)
                        .on_failure(()),
                )
                .layer(DefaultBodyLimit::max(MAX_BODY)),
        )
        .layer(
            ServiceBuilder::new()
                .map_request(forget_strange_id)
                .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
                .layer(PropagateRequestIdLayer::x_request_id())
                .layer(requests)
                .map_response(secured)
                .layer(Deadline(REQUEST_DEADLINE)),
        )
        .with_state(state)
}

/// Headers that keep browsers from doing more with an answer than reading it.
const SECURITY_HEADERS: [(HeaderName, HeaderValue); 5] = [
    // Answers are for the one who asked; a route that can be cached says so itself.
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000")),
];

fn secured(mut response: Response) -> Response {
    secure(response.headers_mut());
    response
}

pub(super) fn secure(headers: &mut HeaderMap) {
    for (name, value) in SECURITY_HEADERS {
        headers.entry(name).or_insert(value);
    }
}

/// The id that a proxy gave the request.
pub(super) fn given_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(REQUEST_ID).filter(|id| id.to_str().is_ok_and(|id| Uuid::parse_str(id).is_ok()))
}

/// A request keeps the id that a proxy gave it; what is none is not written into logs.
fn forget_strange_id(mut request: Request) -> Request {
    if given_id(request.headers()).is_none() {
        request.headers_mut().remove(REQUEST_ID);
    }
    request
}

/// What every line of the log says of the request that it is about: nothing of the person.
fn span(request: &Request) -> Span {
    let id = request.extensions().get::<RequestId>().and_then(|id| id.header_value().to_str().ok());
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    let span = tracing::info_span!(
        "request", id, method = %request.method(), route, otel.name = field::Empty, otel.kind = field::Empty
    );
    traces::serves(&span, request.method(), route, request.headers());
    span
}

fn note_answer<B>(response: &Response<B>, _: Duration, span: &Span) {
    traces::answered(span, response.status());
}

async fn not_found(request: Request) -> Response {
    NOT_FOUND.respond(request.headers())
}

async fn method_not_allowed(request: Request) -> Response {
    ApiError::Refused(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed").respond(request.headers())
}
