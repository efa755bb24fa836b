//! `GET /`, `GET /api/local/node`: what this node is. `GET /.well-known/jwks.json`: the keys of its tokens.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use fateh_common::service::{error::Failed, extract::Speaks};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::Answer;

use crate::state::AppState;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().route("/", get(describe)).routes(routes!(describe)).routes(routes!(jwks))
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Description {
    slug: String,
    display_name: String,
    language: String,
    currency: String,
    timezone: String,
    url: String,
}

/// What this node is.
#[utoipa::path(get, path = "/api/local/node", tag = "node", responses((status = 200, body = Answer<Description>)))]
async fn describe(State(state): State<AppState>, speaks: Speaks) -> Result<Response, Failed> {
    let node = &state.node;
    let description = Description {
        slug: node.slug.clone(),
        display_name: node.display_name.clone(),
        language: node.language.clone(),
        currency: node.currency.clone(),
        timezone: node.timezone.clone(),
        url: node.url.clone(),
    };
    speaks.answer(StatusCode::OK, "node-described", Ok(description))
}

/// The keys that this node's tokens are signed with (RFC 7517).
// Cached for less than the operator waits between publishing a key and using it.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "node", responses((status = 200, body = Object)))]
async fn jwks(State(state): State<AppState>) -> Response {
    ([(header::CACHE_CONTROL, "public, max-age=20")], Json(state.keys.current().verifier.jwks(state.clock.now())))
        .into_response()
}
