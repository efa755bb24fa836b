//! `GET /.well-known/jwks.json`: the keys of the centre's tokens.

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::state::AppState;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(jwks))
}

/// The keys that the centre's tokens are signed with (RFC 7517).
// Cached for less than the operator waits between publishing a key and using it.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "identity", responses((status = 200, body = Object)))]
async fn jwks(State(state): State<AppState>) -> Response {
    ([(header::CACHE_CONTROL, "public, max-age=20")], Json(state.keys.current().verifier.jwks(state.clock.now())))
        .into_response()
}
