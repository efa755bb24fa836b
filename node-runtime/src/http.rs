//! What routes share: the signed-in user, the body, and the answer in the envelope.

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use fateh_common::{
    envelope::{Envelope, Language},
    tokens::TokenError,
};
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{
    centre,
    error::{ApiError, Failed, NOT_FOUND, TOKEN_EXPIRED, UNAUTHENTICATED},
    messages,
    permissions::{Permission, Rights},
    revocations,
    state::{AppState, LocalClaims},
    storage::users,
};

/// The language of the request, and so of its answer.
pub struct Speaks(pub Language);

impl<S: Send + Sync> FromRequestParts<S> for Speaks {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(Language::negotiate(&parts.headers)))
    }
}

impl Speaks {
    /// Answers with `data`, and the message of this key; an error becomes its envelope.
    ///
    /// # Errors
    /// The error of `result`, together with the language.
    pub fn answer<T: Serialize>(
        &self,
        status: StatusCode,
        key: &str,
        result: Result<T, ApiError>,
    ) -> Result<Response, Failed> {
        let data = result.map_err(|error| Failed(error, self.0))?;
        Ok((status, Json(Envelope::success(data, messages::text(self.0, key)))).into_response())
    }
}

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
        revocations::check(state, id, claims.extra.version).await?;
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

impl FromRequestParts<AppState> for SignedIn {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Self::Rejection> {
        let refuse = |error| Failed(error, Language::negotiate(&parts.headers));
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(|| refuse(UNAUTHENTICATED))?;
        Self::by_token(state, token).await.map_err(refuse)
    }
}

/// A JSON body; what cannot be read is refused in the envelope.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for Body<T> {
    type Rejection = Failed;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Self::Rejection> {
        let language = Language::negotiate(request.headers());
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(Failed(rejection.into(), language)),
        }
    }
}

/// The query of a request; one that cannot be read is refused in the envelope.
pub struct Parameters<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<AppState> for Parameters<T> {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Self::Rejection> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(_) => Err(Failed(ApiError::Invalid(Vec::new()), Language::negotiate(&parts.headers))),
        }
    }
}

/// The identifier in a path; what is none names nothing.
pub struct Id(pub Uuid);

impl FromRequestParts<AppState> for Id {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Self::Rejection> {
        let refuse = |parts: &Parts| Failed(NOT_FOUND, Language::negotiate(&parts.headers));
        let Path(id) = Path::<Uuid>::from_request_parts(parts, state).await.map_err(|_| refuse(parts))?;
        Ok(Self(id))
    }
}
