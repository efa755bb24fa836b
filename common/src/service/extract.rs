//! What handlers take in and give back: language, body, query, identifiers, the bearer's token, and the answer in the
//! envelope.

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{
    error::{ApiError, Failed, NOT_FOUND, UNAUTHENTICATED},
    words,
};
use crate::envelope::{Envelope, Language};

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
        Ok((status, Json(Envelope::success(data, words::text(self.0, key)))).into_response())
    }
}

/// The token that a request bears.
///
/// # Errors
/// Unauthenticated when it bears none.
pub fn bearer(parts: &Parts) -> Result<&str, ApiError> {
    let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    header.and_then(|value| value.strip_prefix("Bearer ")).ok_or(UNAUTHENTICATED)
}

/// A JSON body; what cannot be read is refused in the envelope.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failed;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let language = Language::negotiate(request.headers());
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(Failed(rejection.into(), language)),
        }
    }
}

/// A body as it comes; one that is too large is refused in the envelope.
pub struct Raw(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Failed;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let language = Language::negotiate(request.headers());
        Bytes::from_request(request, state).await.map(Self).map_err(|rejection| {
            let too_large = rejection.status() == StatusCode::PAYLOAD_TOO_LARGE;
            let code = if too_large { "payload-too-large" } else { "invalid-json" };
            Failed(ApiError::Refused(rejection.status(), code), language)
        })
    }
}

/// The query of a request; one that cannot be read is refused in the envelope.
pub struct Parameters<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(_) => Err(Failed(ApiError::Invalid(Vec::new()), Language::negotiate(&parts.headers))),
        }
    }
}

/// The identifier in a path; what is none names nothing.
pub struct Id(pub Uuid);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let refuse = |parts: &Parts| Failed(NOT_FOUND, Language::negotiate(&parts.headers));
        let Path(id) = Path::<Uuid>::from_request_parts(parts, state).await.map_err(|_| refuse(parts))?;
        Ok(Self(id))
    }
}
