//! `POST /api/global/v1/identity/token`: the token that a node's user takes to the centre. For nodes.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use fateh_common::{
    hub::{IDENTITY_PATH, IdentityAnswer, IdentityRequest},
    identity::TOKEN_VALIDITY,
    service::{
        error::{ApiError, Failed},
        extract::{Body, Speaks},
        validation::Problems,
    },
};
use utoipa_axum::router::OpenApiRouter;

use crate::{node_caller::NodeCaller, signed_in::HubClaims, state::AppState, storage::identities};

pub fn routes() -> OpenApiRouter<AppState> {
    // Not described: it is between programs of one release, and versioned by its path.
    OpenApiRouter::new().route(IDENTITY_PATH, axum::routing::post(issue))
}

async fn issue(
    State(state): State<AppState>,
    speaks: Speaks,
    node: NodeCaller,
    Body(request): Body<IdentityRequest>,
) -> Result<Response, Failed> {
    let issued = vouched(&state, &node, &request).await.map_err(|error| Failed(error, speaks.0))?;
    Ok((StatusCode::OK, Json(issued)).into_response())
}

/// The roles are those that the centre holds for this identity; what the user is on the node counts for nothing here.
async fn vouched(state: &AppState, node: &NodeCaller, request: &IdentityRequest) -> Result<IdentityAnswer, ApiError> {
    node.is(&request.node)?;
    let mut problems = Problems::default();
    problems.unless(matches!(request.role.as_str(), "student" | "instructor" | "admin"), "role", "field-role");
    problems.refuse()?;
    let now = state.clock.now();
    let mut connection = state.connection().await?;
    let identity = identities::ensure(&mut connection, node, request.user_id, &request.role, now).await?;
    let claims = HubClaims::Identity { roles: Vec::new(), local_user: request.user_id };
    Ok(IdentityAnswer {
        access_token: state.sign(identity, &state.issuer, claims)?,
        expires_in: TOKEN_VALIDITY.as_secs(),
    })
}
