//! Who may put content: the centre's content people, and the operator by its ServiceAccount's token.

use axum::{extract::FromRequestParts, http::request::Parts};
use fateh_common::{
    envelope::Language,
    service::{
        error::{ApiError, FORBIDDEN, Failed},
        extract::bearer,
        permissions::Allowed,
    },
};

use crate::{node_caller, permissions::Permission, signed_in::SignedIn, state::AppState, storage::audit};

/// Someone who may put content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publisher {
    /// Someone with an account at the centre.
    Person(SignedIn),
    /// The operator, which publishes inline content.
    Operator,
}

impl Publisher {
    /// Who it is, as logs name it.
    #[must_use]
    pub fn actor(&self) -> String {
        match self {
            Self::Person(user) => audit::person(user.id),
            Self::Operator => "operator".to_owned(),
        }
    }

    /// Refuses people.
    ///
    /// # Errors
    /// Forbidden.
    pub fn must_be_the_operator(&self) -> Result<(), ApiError> {
        if *self == Self::Operator { Ok(()) } else { Err(FORBIDDEN) }
    }
}

impl FromRequestParts<AppState> for Publisher {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Self::Rejection> {
        let known = async {
            let token = bearer(parts)?;
            if node_caller::could_be_an_account_of_the_cluster(state, token) {
                let account = node_caller::account(state, token).await?;
                return if account == state.operator_account { Ok(Self::Operator) } else { Err(FORBIDDEN) };
            }
            let user = SignedIn::by_token(state, token).await?;
            if user.may(Permission::ManageContent) { Ok(Self::Person(user)) } else { Err(FORBIDDEN) }
        };
        known.await.map_err(|error| Failed(error, Language::negotiate(&parts.headers)))
    }
}
