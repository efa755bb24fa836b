//! The routes that users reach, one file a group, and the layers around them.

mod auth;
mod node;
mod users;

use std::time::Duration;

use axum::{
    Router,
    error_handling::HandleErrorLayer,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware,
    response::Response,
};
use tower::{
    BoxError, ServiceBuilder, limit::GlobalConcurrencyLimitLayer, load_shed::LoadShedLayer, timeout::TimeoutLayer,
};
use tower_http::set_header::SetResponseHeaderLayer;

use crate::{
    error::{ApiError, OVERLOADED},
    metrics::{self, Metrics},
    state::AppState,
};

const MAX_BODY: usize = 64 * 1024;
const MAX_IN_FLIGHT: usize = 256;
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// The service that users reach.
pub fn router(state: AppState, metrics: Metrics) -> Router {
    Router::new()
        .merge(node::routes())
        .merge(auth::routes())
        .merge(users::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(
            ServiceBuilder::new()
                .layer(HandleErrorLayer::new(refuse))
                .layer(LoadShedLayer::new())
                .layer(GlobalConcurrencyLimitLayer::new(MAX_IN_FLIGHT))
                .layer(TimeoutLayer::new(REQUEST_DEADLINE)),
        )
        // Answers are for the one who asked; a route that can be cached says so itself.
        .layer(SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .layer(SetResponseHeaderLayer::if_not_present(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        .layer(middleware::from_fn_with_state(metrics, metrics::count))
        .with_state(state)
}

async fn not_found(request: Request) -> Response {
    ApiError::Refused(StatusCode::NOT_FOUND, "not-found").respond(request.headers())
}

async fn method_not_allowed(request: Request) -> Response {
    ApiError::Refused(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed").respond(request.headers())
}

/// What the layers refuse before a handler is reached.
async fn refuse(headers: HeaderMap, error: BoxError) -> Response {
    if error.is::<tower::timeout::error::Elapsed>() {
        return ApiError::Refused(StatusCode::GATEWAY_TIMEOUT, "timeout").respond(&headers);
    }
    OVERLOADED.respond(&headers)
}
