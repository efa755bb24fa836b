//! What each role of the centre may do: one table, which an extractor enforces on every route.

use fateh_common::{hub::PartnerRole, requires, service::permissions};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::signed_in::SignedIn;

/// What someone is at the centre.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "kebab-case")]
#[sqlx(type_name = "text", rename_all = "kebab-case")]
pub enum CentralRole {
    /// Runs the platform.
    PlatformAdmin,
    /// Publishes content.
    ContentManager,
    /// Looks after the money.
    Finance,
    /// Helps partners.
    Support,
}

impl CentralRole {
    /// The role by its word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "platform-admin" => Some(Self::PlatformAdmin),
            "content-manager" => Some(Self::ContentManager),
            "finance" => Some(Self::Finance),
            "support" => Some(Self::Support),
            _ => None,
        }
    }
}

/// Something that not everyone may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// See who one is.
    OwnAccount,
    /// See the nodes.
    ReadNodes,
    /// Make, change and delete nodes.
    ManageNodes,
    /// See how the platform is doing.
    ReadStatistics,
    /// See what nodes have received and given back.
    ReadLedger,
    /// See who has a part in a node.
    ReadPartners,
    /// Make, change and end partners, and set their shares.
    ManagePartners,
    /// See the catalogue.
    ReadContent,
    /// Publish content, and send it to nodes.
    ManageContent,
    /// Make, change and suspend people of the centre.
    ManageUsers,
    /// See who did what.
    ReadAudit,
}

impl CentralRole {
    /// The table: whether this role may do that.
    #[must_use]
    pub const fn may(self, permission: Permission) -> bool {
        use Permission::{
            ManageContent, ManageNodes, ManagePartners, ManageUsers, OwnAccount, ReadAudit, ReadContent, ReadLedger,
            ReadNodes, ReadPartners, ReadStatistics,
        };
        match permission {
            OwnAccount | ReadNodes | ReadStatistics | ReadContent => true,
            ManageContent => matches!(self, Self::PlatformAdmin | Self::ContentManager),
            ReadLedger => matches!(self, Self::PlatformAdmin | Self::Finance),
            ReadPartners => matches!(self, Self::PlatformAdmin | Self::Finance | Self::Support),
            ManageNodes | ManagePartners | ManageUsers | ReadAudit => matches!(self, Self::PlatformAdmin),
        }
    }
}

/// The table for partners: whether that role at a node may do this for that node.
#[must_use]
pub const fn partner_may(role: PartnerRole, permission: Permission) -> bool {
    use Permission::{OwnAccount, ReadLedger, ReadNodes, ReadPartners, ReadStatistics};
    match role {
        PartnerRole::Owner => {
            matches!(permission, OwnAccount | ReadNodes | ReadStatistics | ReadLedger | ReadPartners)
        }
        PartnerRole::Manager => matches!(permission, OwnAccount | ReadNodes | ReadStatistics),
        PartnerRole::Support => matches!(permission, OwnAccount | ReadNodes),
        PartnerRole::Instructor | PartnerRole::Unknown => matches!(permission, OwnAccount),
    }
}

requires!(
    OwnAccount,
    ReadNodes,
    ManageNodes,
    ReadStatistics,
    ReadLedger,
    ReadPartners,
    ManagePartners,
    ReadContent,
    ManageContent,
    ManageUsers,
    ReadAudit
);

/// Someone signed in who may do what `P` names.
pub type May<P> = permissions::May<SignedIn, P>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_this() {
        use CentralRole::{ContentManager, Finance, PlatformAdmin, Support};
        use PartnerRole::{Instructor, Manager, Owner, Unknown};
        for (permission, expected) in [
            (Permission::OwnAccount, [true, true, true, true]),
            (Permission::ReadNodes, [true, true, true, true]),
            (Permission::ManageNodes, [true, false, false, false]),
            (Permission::ReadStatistics, [true, true, true, true]),
            (Permission::ReadLedger, [true, false, true, false]),
            (Permission::ReadPartners, [true, false, true, true]),
            (Permission::ManagePartners, [true, false, false, false]),
            (Permission::ReadContent, [true, true, true, true]),
            (Permission::ManageContent, [true, true, false, false]),
            (Permission::ManageUsers, [true, false, false, false]),
            (Permission::ReadAudit, [true, false, false, false]),
        ] {
            let may = [PlatformAdmin, ContentManager, Finance, Support].map(|role| role.may(permission));
            assert_eq!(may, expected, "{permission:?}");
        }
        for (permission, expected) in [
            (Permission::OwnAccount, [true, true, true, true, true]),
            (Permission::ReadNodes, [true, true, false, true, false]),
            (Permission::ReadStatistics, [true, true, false, false, false]),
            (Permission::ReadLedger, [true, false, false, false, false]),
            (Permission::ReadPartners, [true, false, false, false, false]),
            (Permission::ManageNodes, [false; 5]),
            (Permission::ManagePartners, [false; 5]),
            (Permission::ReadContent, [false; 5]),
            (Permission::ManageContent, [false; 5]),
            (Permission::ManageUsers, [false; 5]),
            (Permission::ReadAudit, [false; 5]),
        ] {
            let may =
                [Owner, Manager, Instructor, PartnerRole::Support, Unknown].map(|role| partner_may(role, permission));
            assert_eq!(may, expected, "{permission:?}");
        }
    }
}
