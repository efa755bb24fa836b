//! The routes that people and nodes reach, one file a group.

mod audit;
mod auth;
mod bodies;
mod content;
mod distributions;
mod identity;
mod keys;
mod nodes;
mod partners;
mod revenue;
mod statistics;
mod sync;
mod users;

use axum::{Router, middleware};
use fateh_common::service::layers;
pub use fateh_common::{envelope::Envelope as Answer, service::openapi::Nothing};
use utoipa_axum::router::OpenApiRouter;

use crate::{holding_page, state::AppState};

/// The service that people and nodes reach, and the page for hosts that no node serves.
pub fn router(state: AppState) -> Router {
    let requests = state.metrics.requests.clone();
    let held = middleware::from_fn_with_state(state.clone(), holding_page::answer);
    layers::layered(described(), requests, state).layer(held)
}

fn described() -> OpenApiRouter<AppState> {
    layers::describing("Fateh hub", env!("CARGO_PKG_VERSION"))
        .merge(keys::routes())
        .merge(auth::routes())
        .merge(users::routes())
        .merge(identity::routes())
        .merge(nodes::routes())
        .merge(partners::routes())
        .merge(content::routes())
        .merge(distributions::routes())
        .merge(bodies::routes())
        .merge(sync::routes())
        .merge(revenue::routes())
        .merge(statistics::routes())
        .merge(audit::routes())
}
