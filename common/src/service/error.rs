//! One error for all routes: what happened, as a status and the envelope. The text of a 5xx goes to the log only.

use std::time::Duration;

use super::words;
use crate::envelope::{Envelope, FieldError, Language};
use axum::{
    Json,
    body::Bytes,
    extract::rejection::JsonRejection,
    http::{HeaderMap, HeaderValue, StatusCode, header, response::Parts},
    response::{IntoResponse, Response},
};

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Fields are not as they should be; each with the key of its message.
    #[error("invalid fields")]
    Invalid(Vec<(&'static str, &'static str)>),
    /// Refused, with a word that is both the code and the key of the message.
    #[error("{1}")]
    Refused(StatusCode, &'static str),
    /// Refused, with a word as in [`Self::Refused`], and what its message is to name.
    #[error("{1}")]
    Because(StatusCode, &'static str, Vec<(&'static str, String)>),
    /// Refused for now, with a word as in [`Self::Refused`], and how long to wait.
    #[error("{1}")]
    Later(StatusCode, &'static str, Duration),
    /// The body could not be read.
    #[error("body")]
    Body(#[from] JsonRejection),
    /// The database did not do its part.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// Something that should not happen did.
    #[error("internal: {0}")]
    Internal(String),
}

/// Nobody is signed in.
pub const UNAUTHENTICATED: ApiError = ApiError::Refused(StatusCode::UNAUTHORIZED, "unauthenticated");
/// The token held once.
pub const TOKEN_EXPIRED: ApiError = ApiError::Refused(StatusCode::UNAUTHORIZED, "token-expired");
/// The one who is signed in may not.
pub const FORBIDDEN: ApiError = ApiError::Refused(StatusCode::FORBIDDEN, "forbidden");
/// More is asked than can be done now.
pub const OVERLOADED: ApiError = ApiError::Later(StatusCode::SERVICE_UNAVAILABLE, "overloaded", Duration::from_secs(1));
/// A part that is needed does not answer.
pub const UNAVAILABLE: ApiError =
    ApiError::Later(StatusCode::SERVICE_UNAVAILABLE, "unavailable", Duration::from_secs(1));
/// There is nothing of that name.
pub const NOT_FOUND: ApiError = ApiError::Refused(StatusCode::NOT_FOUND, "not-found");

impl ApiError {
    /// The answer, in the language that `headers` ask for.
    #[must_use]
    pub fn respond(self, headers: &HeaderMap) -> Response {
        self.into_answer(Language::negotiate(headers))
    }

    /// The same in parts, for one that is answered thousands of times over.
    pub(super) fn written(self, language: Language) -> (Parts, Bytes) {
        let (mut parts, envelope) = self.take_apart(language);
        let body = serde_json::to_vec(&envelope).unwrap_or_default().into();
        parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        (parts, body)
    }

    fn into_answer(self, language: Language) -> Response {
        let (parts, envelope) = self.take_apart(language);
        (parts, Json(envelope)).into_response()
    }

    fn take_apart(self, language: Language) -> (Parts, Envelope<()>) {
        let (status, code) = self.classify();
        let later = matches!(self, Self::Later(..));
        let wait = match &self {
            Self::Later(_, _, wait) => *wait,
            _ => Duration::from_secs(1),
        };
        let mut message = words::text(language, code);
        let mut fields = Vec::new();
        match self {
            Self::Invalid(invalid) => {
                let worded = |(field, key)| FieldError { field, message: words::text(language, key) };
                fields = invalid.into_iter().map(worded).collect();
            }
            Self::Because(_, _, named) => message = words::naming(language, code, &named),
            _ => {}
        }
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.status = status;
        if status == StatusCode::UNAUTHORIZED {
            parts.headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if later || status == StatusCode::SERVICE_UNAVAILABLE {
            parts.headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        (parts, Envelope::failure(code, message, fields))
    }

    fn classify(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-request"),
            Self::Refused(status, code) | Self::Because(status, code, _) | Self::Later(status, code, _) => {
                (*status, code)
            }
            Self::Body(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                (StatusCode::PAYLOAD_TOO_LARGE, "payload-too-large")
            }
            Self::Body(_) => (StatusCode::BAD_REQUEST, "invalid-json"),
            Self::Database(error) => classify_database(error),
            Self::Internal(detail) => {
                tracing::error!(detail, "a request failed");
                (StatusCode::INTERNAL_SERVER_ERROR, "internal")
            }
        }
    }
}

/// SQLSTATEs of a server that starts, stops, is full, took too long, or does not let the role in until the operator has
/// put it right; and of requests that stood in each other's way.
const PASSING: [&str; 11] =
    ["57P01", "57P02", "57P03", "53300", "57014", "55P03", "28P01", "28000", "40001", "40P01", "08006"];

/// Named constraints are the client's to mend; a server out of reach passes; the rest is ours.
fn classify_database(error: &sqlx::Error) -> (StatusCode, &'static str) {
    match error {
        sqlx::Error::Database(database) => {
            if let Some(refusal) = database.constraint().and_then(words::of_constraint) {
                return refusal;
            }
            if database.code().is_some_and(|code| PASSING.contains(&&*code)) {
                tracing::warn!(%error, "the database could not carry a request out now");
                return (StatusCode::SERVICE_UNAVAILABLE, "unavailable");
            }
        }
        sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_) => {
            tracing::warn!(%error, "the database cannot be reached");
            return (StatusCode::SERVICE_UNAVAILABLE, "unavailable");
        }
        _ => {}
    }
    tracing::error!(%error, "the database failed a request");
    (StatusCode::INTERNAL_SERVER_ERROR, "internal")
}

/// An error together with the language of the request that met it.
pub struct Failed(pub ApiError, pub Language);

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        self.0.into_answer(self.1)
    }
}
