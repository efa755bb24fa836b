//! The routes that users reach, one file a group.

mod auth;
mod content;
mod node;
mod replaced;
mod revenue;
mod statistics;
mod sync;
mod users;

use axum::Router;
use fateh_common::service::layers;
pub use fateh_common::{envelope::Envelope as Answer, service::openapi::Nothing};
use utoipa_axum::router::OpenApiRouter;

use crate::{metrics::Metrics, state::AppState};

/// The service that users reach.
pub fn router(state: AppState, metrics: &Metrics) -> Router {
    layers::layered(described(), metrics.requests.clone(), state)
}

fn described() -> OpenApiRouter<AppState> {
    layers::describing("Fateh node", env!("CARGO_PKG_VERSION"))
        .merge(node::routes())
        .merge(auth::routes())
        .merge(users::routes())
        .merge(content::routes())
        .merge(replaced::routes())
        .merge(revenue::routes())
        .merge(sync::routes())
        .merge(statistics::routes())
}
