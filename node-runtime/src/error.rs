//! One error for all routes: what happened, as a status and the envelope. The text of a 5xx goes to the log only.

use axum::{
    Json,
    extract::rejection::JsonRejection,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use fateh_common::envelope::{Envelope, FieldError, Language};

use crate::messages;

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Fields are not as they should be; each with the key of its message.
    #[error("invalid fields")]
    Invalid(Vec<(&'static str, &'static str)>),
    /// Refused, with a word that is both the code and the key of the message.
    #[error("{1}")]
    Refused(StatusCode, &'static str),
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
/// The one who is signed in may not.
pub const FORBIDDEN: ApiError = ApiError::Refused(StatusCode::FORBIDDEN, "forbidden");
/// More is asked than can be done now.
pub const OVERLOADED: ApiError = ApiError::Refused(StatusCode::SERVICE_UNAVAILABLE, "overloaded");

impl ApiError {
    /// The answer, in the language that `headers` ask for.
    #[must_use]
    pub fn respond(self, headers: &HeaderMap) -> Response {
        self.into_answer(Language::negotiate(headers))
    }

    fn into_answer(self, language: Language) -> Response {
        let (status, code) = self.classify();
        let fields = match self {
            Self::Invalid(fields) => fields
                .into_iter()
                .map(|(field, key)| FieldError { field, message: messages::text(language, key) })
                .collect(),
            _ => Vec::new(),
        };
        let mut response =
            (status, Json(Envelope::failure(code, messages::text(language, code), fields))).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(axum::http::header::WWW_AUTHENTICATE, axum::http::HeaderValue::from_static("Bearer"));
        }
        response
    }

    fn classify(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-request"),
            Self::Refused(status, code) => (*status, code),
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

/// Named constraints are the client's to mend; a server out of reach passes; the rest is ours.
fn classify_database(error: &sqlx::Error) -> (StatusCode, &'static str) {
    match error {
        sqlx::Error::Database(database) => match database.constraint() {
            Some("local_users_username_unique") => return (StatusCode::CONFLICT, "username-taken"),
            Some("local_users_email_unique") => return (StatusCode::CONFLICT, "email-taken"),
            _ => {}
        },
        sqlx::Error::PoolTimedOut | sqlx::Error::Io(_) | sqlx::Error::Tls(_) => {
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
