//! Node's users at the centre: the token that a node asks for, which person a user is, and tokens for one node.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use fateh_common::{
    hub::{CentralClaims, IDENTITY_PATH, IdentityAnswer, IdentityRequest},
    identity::TOKEN_VALIDITY,
    service::{
        client_address::ClientAddress,
        error::{ApiError, FORBIDDEN, Failed, NOT_FOUND},
        extract::{Body, Speaks},
        validation::Problems,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::Connection;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Answer, Nothing};

use crate::{
    node_caller::NodeCaller,
    permissions::{May, OwnAccount},
    scope,
    signed_in::{HubClaims, SignedIn},
    state::AppState,
    storage::{audit, identities, partners},
};

pub fn routes() -> OpenApiRouter<AppState> {
    // Not described: it is between programs of one release, and versioned by its path.
    OpenApiRouter::new()
        .route(IDENTITY_PATH, axum::routing::post(issue))
        .routes(routes!(join))
        .routes(routes!(exchange))
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
    let account = identities::find(&mut connection, identity).await?.and_then(|identity| identity.account);
    let roles = match account {
        Some(account) => partners::roles_of(&mut connection, account).await?,
        None => Vec::new(),
    };
    let roles = roles.into_iter().filter(|(at, _)| *at == node.uid).map(|(_, role)| role).collect();
    let claims = HubClaims::Identity { roles, local_user: request.user_id };
    Ok(IdentityAnswer {
        access_token: state.sign(identity, &state.issuer, claims)?,
        expires_in: TOKEN_VALIDITY.as_secs(),
    })
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Joining {
    /// The token that one's node obtained for one at sign-in (`globalToken`).
    global_token: String,
}

/// Say that a user of a node is oneself: by one's own sign-in here, and a token of one's own sign-in there.
#[utoipa::path(post, path = "/api/global/identity/join", tag = "identity", request_body = Joining,
    responses((status = 200, body = Answer<Nothing>), (status = 409)), security(("token" = [])))]
async fn join(
    State(state): State<AppState>,
    speaks: Speaks,
    ClientAddress(address): ClientAddress,
    May { user, .. }: May<OwnAccount>,
    Body(joining): Body<Joining>,
) -> Result<Response, Failed> {
    let joined = async {
        let HubClaims::Account { .. } = user.claims else { return Err(FORBIDDEN) };
        let brought = SignedIn::by_token(&state, &joining.global_token).await.ok();
        let local = brought.filter(|brought| matches!(brought.claims, HubClaims::Identity { .. }));
        let mut problems = Problems::default();
        problems.unless(local.is_some(), "globalToken", "field-global-token");
        problems.refuse()?;
        let identity = local.ok_or(NOT_FOUND)?.id;
        let mut connection = state.connection().await?;
        let mut transaction = connection.begin().await?;
        if !identities::join(&mut transaction, identity, user.id).await? {
            return Err(JOINED_TO_ANOTHER);
        }
        let (actor, now) = (audit::person(user.id), state.clock.now());
        let (subject, detail) = (identity.to_string(), json!({}));
        audit::add(&mut transaction, &actor, "join-identity", &subject, address, &detail, now).await?;
        transaction.commit().await?;
        Ok(())
    };
    speaks.answer(StatusCode::OK, "identity-joined", joined.await)
}

const JOINED_TO_ANOTHER: ApiError = ApiError::Refused(StatusCode::CONFLICT, "identity-of-another");

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Exchange {
    /// Slug of the node.
    node: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NodeToken {
    /// For this node alone: neither the hub nor another node accepts it.
    access_token: String,
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
}

/// Exchange a token of the hub for one of a node that one is a partner of, or a user.
#[utoipa::path(post, path = "/api/global/auth/exchange", tag = "auth", request_body = Exchange,
    responses((status = 200, body = Answer<NodeToken>), (status = 404)), security(("token" = [])))]
async fn exchange(
    State(state): State<AppState>,
    speaks: Speaks,
    May { user, .. }: May<OwnAccount>,
    Body(exchange): Body<Exchange>,
) -> Result<Response, Failed> {
    speaks.answer(StatusCode::OK, "token-exchanged", for_node(&state, &user, &exchange.node).await)
}

async fn for_node(state: &AppState, user: &SignedIn, slug: &str) -> Result<NodeToken, ApiError> {
    // A node that someone has nothing to do with is none for them.
    let node = state.fleet.uid(slug).ok_or(NOT_FOUND)?;
    let roles: Vec<_> = scope::roles(state, user).await?.into_iter().filter(|(at, _)| *at == node).collect();
    let local_user = match user.claims {
        HubClaims::Account { .. } => None,
        HubClaims::Identity { local_user, .. } => {
            let identity = identities::find(&mut *state.connection().await?, user.id).await?;
            identity.filter(|identity| identity.node_uid == node).map(|_| local_user)
        }
    };
    if roles.is_empty() && local_user.is_none() {
        return Err(NOT_FOUND);
    }
    let claims = CentralClaims { roles: roles.into_iter().map(|(_, role)| role).collect(), local_user };
    let audience = state.node_url(slug);
    Ok(NodeToken {
        access_token: state.sign(user.id, &audience, claims)?,
        token_type: "Bearer",
        expires_in: TOKEN_VALIDITY.as_secs(),
    })
}
