//! Who asks: the signed-in user, by a token of this node or of the centre.

use axum::{extract::FromRequestParts, http::request::Parts};
use fateh_common::{
    envelope::Language,
    service::{
        error::{ApiError, Failed, TOKEN_EXPIRED, UNAUTHENTICATED},
        extract::bearer,
        permissions::Allowed,
    },
    tokens::TokenError,
};
use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    centre,
    permissions::{Permission, Rights},
    state::{AppState, LocalClaims},
    storage::users,
};

/// Who is signed in, by a token that was checked in full.
pub struct SignedIn {
    /// The user of this node; or, by the centre's word alone, the global identity.
    pub id: Uuid,
    /// What the user may do.
    pub rights: Rights,
    /// Whether the centre says so, and not this node itself.
    pub by_centre: bool,
}

impl SignedIn {
    /// Whether drafts, and what the centre has instead, are for this user.
    #[must_use]
    pub fn may_edit_content(&self) -> bool {
        self.rights.may(Permission::EditContent)
    }

    /// The user of this node; none for one who is known to the centre alone.
    #[must_use]
    pub fn local(&self) -> Option<Uuid> {
        matches!(self.rights, Rights::Local(_)).then_some(self.id)
    }

    /// Whom a token of this node, or else one of the centre, speaks of.
    async fn by_token(state: &AppState, token: &str) -> Result<Self, ApiError> {
        let keys = state.keys.current();
        let claims = match keys.verifier.verify::<LocalClaims>(token, state.clock.now()) {
            Ok(claims) => claims,
            Err(TokenError::UnknownKey) => return Self::by_central_token(state, token).await,
            Err(TokenError::Expired) => return Err(TOKEN_EXPIRED),
            Err(TokenError::Invalid) => return Err(UNAUTHENTICATED),
        };
        let id = claims.sub.parse().map_err(|_| UNAUTHENTICATED)?;
        state.identity.check_revocation(id, claims.extra.version).await?;
        Ok(Self { id, rights: Rights::Local(claims.extra.role), by_centre: false })
    }

    /// A user of this node has the rights that this node gives; the centre's roles are for the others.
    async fn by_central_token(state: &AppState, token: &str) -> Result<Self, ApiError> {
        let claims = centre::verify(state, token).await?;
        let Some(id) = claims.extra.local_user else {
            let id = claims.sub.parse().map_err(|_| UNAUTHENTICATED)?;
            return Ok(Self { id, rights: Rights::Centre(claims.extra.roles), by_centre: true });
        };
        let issued_at = Timestamp::from_second(claims.iat).map_err(|_| UNAUTHENTICATED)?;
        let role = users::role_since(&mut *state.connection().await?, id, issued_at).await?;
        Ok(Self { id, rights: Rights::Local(role.ok_or(UNAUTHENTICATED)?), by_centre: true })
    }
}

impl Allowed<Permission> for SignedIn {
    fn may(&self, permission: Permission) -> bool {
        self.rights.may(permission)
    }
}

impl FromRequestParts<AppState> for SignedIn {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Self::Rejection> {
        let refuse = |error| Failed(error, Language::negotiate(&parts.headers));
        let signed_in = async { Self::by_token(state, bearer(parts)?).await };
        signed_in.await.map_err(refuse)
    }
}
