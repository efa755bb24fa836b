//! `GET /`, `GET /api/local/node`: what this node is. `GET /.well-known/jwks.json`: the keys of its tokens.

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;

use crate::{error::Failed, http::Speaks, state::AppState};

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/", get(describe))
        .route("/api/local/node", get(describe))
        .route("/.well-known/jwks.json", get(jwks))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    slug: String,
    display_name: String,
    language: String,
    currency: String,
    timezone: String,
    url: String,
}

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

async fn jwks(State(state): State<AppState>) -> Response {
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(state.verifier.jwks())).into_response()
}
