//! The routes that people and nodes reach, one file a group.

mod audit;
mod auth;
mod identity;
mod keys;
mod nodes;
mod revenue;
mod statistics;
mod sync;
mod users;

use axum::Router;
use fateh_common::service::layers;
pub use fateh_common::{envelope::Envelope as Answer, service::openapi::Nothing};
use utoipa_axum::router::OpenApiRouter;

use crate::state::AppState;

/// The service that people and nodes reach.
pub fn router(state: AppState) -> Router {
    let requests = state.metrics.requests.clone();
    layers::layered(described(), requests, state)
}

fn described() -> OpenApiRouter<AppState> {
    layers::describing("Fateh hub", env!("CARGO_PKG_VERSION"))
        .merge(keys::routes())
        .merge(auth::routes())
        .merge(users::routes())
        .merge(identity::routes())
        .merge(nodes::routes())
        .merge(sync::routes())
        .merge(revenue::routes())
        .merge(statistics::routes())
        .merge(audit::routes())
}
