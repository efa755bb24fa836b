//! What routes share: the signed-in user, the body, and the answer in the envelope.

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Request},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use fateh_common::{
    envelope::{Envelope, Language},
    tokens::TokenError,
};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{
    error::{ApiError, FORBIDDEN, Failed, UNAUTHENTICATED},
    messages,
    state::{AppState, LocalClaims},
    storage::users::Role,
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
    /// The user.
    pub id: Uuid,
    /// The user's role when the token was issued.
    pub role: Role,
}

impl SignedIn {
    /// Refuses all but admins.
    ///
    /// # Errors
    /// Forbidden.
    pub const fn must_be_admin(&self) -> Result<(), ApiError> {
        match self.role {
            Role::Admin => Ok(()),
            Role::Student | Role::Instructor => Err(FORBIDDEN),
        }
    }
}

impl FromRequestParts<AppState> for SignedIn {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Self::Rejection> {
        let refuse = |error| Failed(error, Language::negotiate(&parts.headers));
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(|| refuse(UNAUTHENTICATED))?;
        let claims = state.verifier.verify::<LocalClaims>(token, state.clock.now()).map_err(|error| {
            refuse(match error {
                TokenError::Expired => ApiError::Refused(StatusCode::UNAUTHORIZED, "token-expired"),
                TokenError::Invalid => UNAUTHENTICATED,
            })
        })?;
        let id = claims.sub.parse().map_err(|_| refuse(UNAUTHENTICATED))?;
        Ok(Self { id, role: claims.extra.role })
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
