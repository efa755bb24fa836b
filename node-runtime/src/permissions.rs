//! What each role may do: one table, which an extractor enforces on every route.

use fateh_common::{hub::PartnerRole, requires, service::permissions};

use crate::{signed_in::SignedIn, storage::users::Role};

/// Something that not everyone may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// See and change one's own profile and password.
    OwnAccount,
    /// See other users.
    ReadUsers,
    /// Make, change, suspend and delete users.
    ManageUsers,
    /// Read what is taught; what is not published only with [`Self::EditContent`].
    ReadContent,
    /// Make and change what is taught.
    EditContent,
    /// See what was received.
    ReadRevenue,
    /// Record what was received and given back.
    RecordRevenue,
    /// Tell the centre now.
    RunSync,
    /// See how the node is doing.
    ReadStatistics,
}

impl Role {
    /// The table: whether this role may do that.
    #[must_use]
    pub const fn may(self, permission: Permission) -> bool {
        use Permission::{
            EditContent, ManageUsers, OwnAccount, ReadContent, ReadRevenue, ReadStatistics, ReadUsers, RecordRevenue,
            RunSync,
        };
        match permission {
            OwnAccount | ReadContent => true,
            ReadUsers | EditContent => matches!(self, Self::Instructor | Self::Admin),
            ManageUsers | ReadRevenue | RecordRevenue | RunSync | ReadStatistics => matches!(self, Self::Admin),
        }
    }
}

/// What the centre's word makes of a person at this node. Without an account here there is none to look after.
const fn partner_may(role: PartnerRole, permission: Permission) -> bool {
    use Permission::{OwnAccount, ReadContent, ReadStatistics, ReadUsers};
    match role {
        PartnerRole::Owner | PartnerRole::Manager => !matches!(permission, OwnAccount),
        PartnerRole::Instructor => !matches!(permission, OwnAccount) && Role::Instructor.may(permission),
        PartnerRole::Support => matches!(permission, ReadUsers | ReadContent | ReadStatistics),
        PartnerRole::Unknown => false,
    }
}

/// Where a person's rights come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rights {
    /// A user of this node.
    Local(Role),
    /// One whom the centre knows at this node.
    Centre(Vec<PartnerRole>),
}

impl Rights {
    /// Whether they allow that.
    #[must_use]
    pub fn may(&self, permission: Permission) -> bool {
        match self {
            Self::Local(role) => role.may(permission),
            Self::Centre(roles) => roles.iter().any(|role| partner_may(*role, permission)),
        }
    }
}

requires!(
    OwnAccount,
    ReadUsers,
    ManageUsers,
    ReadContent,
    EditContent,
    ReadRevenue,
    RecordRevenue,
    RunSync,
    ReadStatistics
);

/// Someone signed in who may do what `P` names.
pub type May<P> = permissions::May<SignedIn, P>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        use Permission::{
            EditContent, ManageUsers, OwnAccount, ReadContent, ReadRevenue, ReadStatistics, ReadUsers, RecordRevenue,
            RunSync,
        };
        for (permission, [student, instructor, admin]) in [
            (OwnAccount, [true, true, true]),
            (ReadUsers, [false, true, true]),
            (ManageUsers, [false, false, true]),
            (ReadContent, [true, true, true]),
            (EditContent, [false, true, true]),
            (ReadRevenue, [false, false, true]),
            (RecordRevenue, [false, false, true]),
            (RunSync, [false, false, true]),
            (ReadStatistics, [false, false, true]),
        ] {
            assert_eq!(
                [Role::Student, Role::Instructor, Role::Admin].map(|role| role.may(permission)),
                [student, instructor, admin],
                "{permission:?}"
            );
        }
    }

    #[test]
    fn the_table_for_those_whom_the_centre_knows() {
        use Permission::{
            EditContent, ManageUsers, OwnAccount, ReadContent, ReadRevenue, ReadStatistics, ReadUsers, RecordRevenue,
            RunSync,
        };
        let roles = [PartnerRole::Owner, PartnerRole::Manager, PartnerRole::Instructor, PartnerRole::Support];
        for (permission, expected) in [
            (OwnAccount, [false, false, false, false]),
            (ReadUsers, [true, true, true, true]),
            (ManageUsers, [true, true, false, false]),
            (ReadContent, [true, true, true, true]),
            (EditContent, [true, true, true, false]),
            (ReadRevenue, [true, true, false, false]),
            (RecordRevenue, [true, true, false, false]),
            (RunSync, [true, true, false, false]),
            (ReadStatistics, [true, true, false, true]),
        ] {
            assert_eq!(roles.map(|role| Rights::Centre(vec![role]).may(permission)), expected, "{permission:?}");
            let nobody = [Rights::Centre(Vec::new()), Rights::Centre(vec![PartnerRole::Unknown])];
            assert!(nobody.iter().all(|rights| !rights.may(permission)), "{permission:?}");
        }
        let both = Rights::Centre(vec![PartnerRole::Support, PartnerRole::Instructor]);
        assert!(both.may(EditContent) && both.may(ReadStatistics) && !both.may(ManageUsers));
    }
}
