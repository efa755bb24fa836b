//! Who asks: someone with an account at the centre, or a user of a node whom that node vouches for.

use axum::{extract::FromRequestParts, http::request::Parts};
use fateh_common::{
    envelope::Language,
    hub::PartnerRole,
    service::{
        error::{ApiError, Failed, TOKEN_EXPIRED, UNAUTHENTICATED},
        extract::bearer,
        permissions::Allowed,
    },
    tokens::TokenError,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    permissions::{CentralRole, Permission},
    state::AppState,
};

/// What a token for the hub adds to the registered claims: of an account its role and the version of its rights; of a
/// node's user what [`fateh_common::hub::CentralClaims`] have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum HubClaims {
    /// Someone with an account at the centre.
    Account {
        /// Role at the centre.
        #[serde(rename = "centralRole")]
        role: Option<CentralRole>,
        /// The version of the account's rights that the token speaks of.
        ver: i32,
    },
    /// A user of a node.
    Identity {
        /// The user there: an account's token has none, so neither can pass for the other.
        #[serde(rename = "localUser")]
        local_user: Uuid,
        /// What the centre says that the user is at the node.
        roles: Vec<PartnerRole>,
    },
}

/// Who is signed in, by a token that was checked in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedIn {
    /// The account, or the global identity.
    pub id: Uuid,
    /// What the token says beside.
    pub claims: HubClaims,
}

impl SignedIn {
    /// Checks a token in full.
    ///
    /// # Errors
    /// Unauthenticated when it is none of the hub's for the hub, or holds no longer.
    pub async fn by_token(state: &AppState, token: &str) -> Result<Self, ApiError> {
        let keys = state.keys.current();
        let claims = keys.verifier.verify::<HubClaims>(token, state.clock.now()).map_err(|error| match error {
            TokenError::Expired => TOKEN_EXPIRED,
            TokenError::Invalid | TokenError::UnknownKey => UNAUTHENTICATED,
        })?;
        let id = claims.sub.parse().map_err(|_| UNAUTHENTICATED)?;
        if let HubClaims::Account { ver, .. } = claims.extra {
            state.identity.check_revocation(id, ver).await?;
        }
        Ok(Self { id, claims: claims.extra })
    }
}

impl Allowed<Permission> for SignedIn {
    /// A node's user has no role of the centre, whoever it is there.
    fn may(&self, permission: Permission) -> bool {
        match &self.claims {
            HubClaims::Account { role, .. } => {
                permission == Permission::OwnAccount || role.is_some_and(|role| role.may(permission))
            }
            HubClaims::Identity { .. } => permission == Permission::OwnAccount,
        }
    }
}

impl FromRequestParts<AppState> for SignedIn {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Self::Rejection> {
        let signed_in = async { Self::by_token(state, bearer(parts)?).await };
        signed_in.await.map_err(|error| Failed(error, Language::negotiate(&parts.headers)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(claims: serde_json::Value) -> SignedIn {
        SignedIn { id: Uuid::nil(), claims: serde_json::from_value(claims).unwrap() }
    }

    #[test]
    fn a_node_s_user_never_has_a_role_of_the_centre() {
        let admin = read(json!({"centralRole": "platform-admin", "ver": 1}));
        assert!(admin.may(Permission::ManageNodes));
        let partner = read(json!({"centralRole": null, "ver": 1}));
        assert!(partner.may(Permission::OwnAccount) && !partner.may(Permission::ReadNodes));
        let vouched = read(json!({"roles": ["owner"], "localUser": Uuid::nil(), "centralRole": "platform-admin"}));
        assert!(vouched.may(Permission::OwnAccount) && !vouched.may(Permission::ReadNodes), "{vouched:?}");
        for neither in [
            json!({}),
            json!({"roles": []}),
            json!({"centralRole": "platform-admin"}),
            json!({"centralRole": "a role of a later release", "ver": 1}),
        ] {
            assert!(serde_json::from_value::<HubClaims>(neither.clone()).is_err(), "{neither}");
        }
    }
}
