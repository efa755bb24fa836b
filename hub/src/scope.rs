//! Which nodes someone sees: the centre's people all of them, a partner those of the contract.

use std::marker::PhantomData;

use axum::{extract::FromRequestParts, http::request::Parts};
use fateh_common::{
    envelope::Language,
    hub::PartnerRole,
    service::{
        error::{ApiError, FORBIDDEN, Failed},
        permissions::{Allowed, Requires},
    },
};
use uuid::Uuid;

use crate::{
    permissions::{Permission, partner_may},
    signed_in::{HubClaims, SignedIn},
    state::AppState,
    storage::{identities, partners},
};

/// Nodes, by their UIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All there are, and those that are gone.
    All,
    /// These.
    Nodes(Vec<Uuid>),
}

impl Scope {
    /// Whether a node is seen. One without a UID was never made.
    #[must_use]
    pub fn sees(&self, node: Option<Uuid>) -> bool {
        match self {
            Self::All => true,
            Self::Nodes(nodes) => node.is_some_and(|node| nodes.contains(&node)),
        }
    }

    /// The nodes, as SQL takes them: none for all.
    #[must_use]
    pub fn in_sql(&self) -> Option<&[Uuid]> {
        match self {
            Self::All => None,
            Self::Nodes(nodes) => Some(nodes),
        }
    }
}

/// Someone signed in who may do what `P` names, for some nodes at least.
pub struct Sees<P> {
    /// Who it is.
    pub user: SignedIn,
    /// For which nodes.
    pub scope: Scope,
    permission: PhantomData<P>,
}

impl<P: Requires<Permission = Permission>> FromRequestParts<AppState> for Sees<P> {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Self::Rejection> {
        let user = SignedIn::from_request_parts(parts, state).await?;
        let scope = async { of(state, &user, P::PERMISSION).await?.ok_or(FORBIDDEN) };
        let scope = scope.await.map_err(|error| Failed(error, Language::negotiate(&parts.headers)))?;
        Ok(Self { user, scope, permission: PhantomData })
    }
}

/// The nodes for which someone may do this; none when there is no such node.
///
/// # Errors
/// When a statement fails.
pub async fn of(state: &AppState, user: &SignedIn, permission: Permission) -> Result<Option<Scope>, ApiError> {
    if user.may(permission) {
        return Ok(Some(Scope::All));
    }
    let roles = roles(state, user).await?;
    let nodes: Vec<_> =
        roles.into_iter().filter(|(_, role)| partner_may(*role, permission)).map(|(node, _)| node).collect();
    Ok((!nodes.is_empty()).then_some(Scope::Nodes(nodes)))
}

/// What someone is at which nodes by the centre's word. A node's user is what the account is that this person has
/// joined to it, and only at that node: the node vouches for nothing elsewhere.
///
/// # Errors
/// When a statement fails.
pub async fn roles(state: &AppState, user: &SignedIn) -> Result<Vec<(Uuid, PartnerRole)>, ApiError> {
    let mut connection = state.connection().await?;
    match user.claims {
        HubClaims::Account { .. } => Ok(partners::roles_of(&mut connection, user.id).await?),
        HubClaims::Identity { .. } => {
            let Some(identity) = identities::find(&mut connection, user.id).await? else { return Ok(Vec::new()) };
            let Some(account) = identity.account else { return Ok(Vec::new()) };
            let roles = partners::roles_of(&mut connection, account).await?;
            Ok(roles.into_iter().filter(|(node, _)| *node == identity.node_uid).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_of_nodes_sees_those_and_no_other() {
        let [one, other] = [1, 2].map(Uuid::from_u128);
        let scope = Scope::Nodes(vec![one]);
        assert!(scope.sees(Some(one)) && !scope.sees(Some(other)) && !scope.sees(None));
        assert!(Scope::All.sees(Some(other)) && Scope::All.sees(None));
        assert_eq!((scope.in_sql(), Scope::All.in_sql()), (Some(&[one][..]), None));
    }
}
