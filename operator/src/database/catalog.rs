//! What a server's catalog says of roles and databases, the nodes' and the hub's, and how that differs from what it should say.
//! One query reads it, for one node or for all of a server.

use std::fmt;

use futures::TryStreamExt;
use sqlx::{Connection, FromRow};

use super::{
    mark::{Mark, fingerprint},
    schema::Family,
    server::Server,
};
use crate::failure::Failure;

/// What every role of a node is set to, sorted as PostgreSQL writes it.
pub(super) const ROLE_SETTINGS: [(&str, &str); 3] =
    [("idle_in_transaction_session_timeout", "10s"), ("lock_timeout", "2s"), ("statement_timeout", "5s")];

/// `$1`: one name, or NULL for all nodes; `$2`: whether sizes are wanted, which cost a look at every file; `$3`: the
/// search path that the role is to have.
const CATALOG: &str = "
SELECT coalesce(d.datname, r.rolname)::text AS name,
       r.oid IS NOT NULL AS role_exists,
       shobj_description(r.oid, 'pg_authid') AS role_comment,
       coalesce(r.rolcanlogin, false) AS role_can_login,
       coalesce(r.rolconnlimit, 0) AS role_limit,
       coalesce(r.rolcreatedb OR r.rolcreaterole, false) AS role_may_create,
       coalesce(r.rolsuper OR r.rolreplication OR r.rolbypassrls, false) AS role_is_raised,
       ARRAY(SELECT s FROM unnest(r.rolconfig) s ORDER BY s COLLATE \"C\") AS role_settings,
       ARRAY(SELECT DISTINCT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
             WHERE m.member = r.oid ORDER BY 1) AS member_of,
       ARRAY(SELECT DISTINCT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.member
             WHERE m.roleid = r.oid AND g.rolname <> current_user ORDER BY 1) AS lent_to,
       d.oid IS NOT NULL AS database_exists,
       shobj_description(d.oid, 'pg_database') AS database_comment,
       coalesce(d.datallowconn, false) AS database_open,
       coalesce(d.datconnlimit, -1) AS database_limit,
       coalesce(pg_get_userbyid(d.datdba) = current_user, false) AS database_ours,
       coalesce(has_database_privilege(r.oid, d.oid, 'CONNECT'), false) AS role_may_connect,
       EXISTS (SELECT FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) acl
               WHERE acl.grantee = 0) AS public_has_rights,
       ARRAY(SELECT DISTINCT g.rolname::text
             FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) acl JOIN pg_roles g ON g.oid = acl.grantee
             WHERE acl.grantee <> d.datdba
               AND NOT (acl.grantee = r.oid AND acl.privilege_type = 'CONNECT' AND NOT acl.is_grantable)
             ORDER BY 1) AS strangers,
       EXISTS (SELECT FROM pg_db_role_setting s WHERE s.setdatabase = d.oid AND s.setrole = r.oid
               AND s.setconfig = ARRAY['search_path=' || $3::text]) AS path_is_set,
       CASE WHEN $2 AND d.datallowconn THEN coalesce(pg_database_size(d.oid), 0) ELSE 0 END AS size_bytes
FROM (SELECT * FROM pg_database
      WHERE CASE WHEN $1::text IS NULL THEN datname LIKE 'node\\_%' ELSE datname = $1 END) d
FULL JOIN (SELECT * FROM pg_roles
      WHERE CASE WHEN $1::text IS NULL THEN rolname LIKE 'node\\_%' ELSE rolname = $1 END) r ON r.rolname = d.datname";

/// What the catalog says of a node's role and database.
#[expect(clippy::struct_excessive_bools, reason = "a row of the catalog, each column a fact of its own")]
#[derive(Clone, Debug, Default, FromRow)]
pub struct Catalog {
    /// Of role and database.
    pub name: String,
    pub(super) role_exists: bool,
    pub(super) role_comment: Option<String>,
    pub(super) role_can_login: bool,
    pub(super) role_limit: i32,
    pub(super) role_may_create: bool,
    pub(super) role_is_raised: bool,
    pub(super) role_settings: Vec<String>,
    pub(super) member_of: Vec<String>,
    pub(super) lent_to: Vec<String>,
    pub(super) database_exists: bool,
    pub(super) database_comment: Option<String>,
    pub(super) database_open: bool,
    pub(super) database_limit: i32,
    pub(super) database_ours: bool,
    pub(super) role_may_connect: bool,
    pub(super) public_has_rights: bool,
    pub(super) strangers: Vec<String>,
    pub(super) path_is_set: bool,
    pub(super) size_bytes: i64,
}

/// What a node's role and database should be.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What kind of database it is.
    pub family: &'static Family,
    /// Marks both.
    pub mark: &'a Mark,
    /// Connections that the role may hold.
    pub connection_limit: i32,
    /// Whether the role may sign in.
    pub may_sign_in: bool,
}

/// A way in which the catalog differs from what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Drift {
    /// There is no database.
    DatabaseMissing,
    /// The database does not bear the node's mark.
    DatabaseMark,
    /// The database belongs to another role.
    DatabaseOwner,
    /// Others than the node's role have rights on the database, or that role lacks its own.
    DatabaseAccess,
    /// The database is closed, or limits connections itself.
    DatabaseLimit,
    /// The search path of the role in the database.
    DatabasePath,
    /// There is no role.
    RoleMissing,
    /// The role does not bear the node's mark.
    RoleMark,
    /// The role may do what only an administrator may.
    RoleRaised,
    /// Whether the role may sign in, and how often at once.
    RoleLimit,
    /// What the role is a member of, or who is a member of it.
    RoleMembership,
    /// The role's settings.
    RoleSettings,
}

impl Drift {
    /// The difference in one word, for logs and metrics.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::DatabaseMissing => "DatabaseMissing",
            Self::DatabaseMark => "DatabaseMark",
            Self::DatabaseOwner => "DatabaseOwner",
            Self::DatabaseAccess => "DatabaseAccess",
            Self::DatabaseLimit => "DatabaseLimit",
            Self::DatabasePath => "DatabasePath",
            Self::RoleMissing => "RoleMissing",
            Self::RoleMark => "RoleMark",
            Self::RoleRaised => "RoleRaised",
            Self::RoleLimit => "RoleLimit",
            Self::RoleMembership => "RoleMembership",
            Self::RoleSettings => "RoleSettings",
        }
    }

    /// Whether it concerns the role, not the database.
    pub(super) const fn is_of_role(self) -> bool {
        matches!(
            self,
            Self::RoleMissing
                | Self::RoleMark
                | Self::RoleRaised
                | Self::RoleLimit
                | Self::RoleMembership
                | Self::RoleSettings
        )
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl Catalog {
    /// A closed, unmarked database of ours was never open to anyone: it is ours to finish or to drop.
    pub(super) const fn is_unfinished(&self) -> bool {
        self.database_ours && !self.database_open && self.database_comment.is_none()
    }

    /// How role and database differ from what is wanted; empty when they do not. Passwords are not looked at.
    #[must_use]
    pub fn drift(&self, wanted: &Wanted<'_>) -> Vec<Drift> {
        let settings = ROLE_SETTINGS.map(|(name, value)| format!("{name}={value}"));
        let database_access = self.public_has_rights || !self.strangers.is_empty() || !self.role_may_connect;
        let database = [
            (!wanted.mark.is_on(self.database_comment.as_deref()), Drift::DatabaseMark),
            (!self.database_ours, Drift::DatabaseOwner),
            (database_access, Drift::DatabaseAccess),
            (!self.database_open || self.database_limit != -1, Drift::DatabaseLimit),
            (!self.path_is_set, Drift::DatabasePath),
        ];
        let limit = self.role_limit != wanted.connection_limit || self.role_can_login != wanted.may_sign_in;
        let role = [
            (!wanted.mark.is_on(self.role_comment.as_deref()), Drift::RoleMark),
            (self.role_is_raised || self.role_may_create, Drift::RoleRaised),
            (limit, Drift::RoleLimit),
            (self.member_of != [wanted.family.runtime_role] || !self.lent_to.is_empty(), Drift::RoleMembership),
            (self.role_settings != settings, Drift::RoleSettings),
        ];
        let database = if self.database_exists { database.to_vec() } else { vec![(true, Drift::DatabaseMissing)] };
        let role = if self.role_exists { role.to_vec() } else { vec![(true, Drift::RoleMissing)] };
        database.into_iter().chain(role).filter_map(|(differs, drift)| differs.then_some(drift)).collect()
    }

    /// Fingerprint of the password that the role was last given.
    pub(super) fn password(&self) -> Option<&str> {
        fingerprint(self.role_comment.as_deref())
    }
}

impl Server {
    /// Role and database of this name.
    pub(super) async fn catalog(&self, name: &str, family: &Family) -> Result<Catalog, Failure> {
        let asked = sqlx::query_as(CATALOG).bind(name).bind(true).bind(family.search_path());
        let found = asked.fetch_optional(&self.pool).await;
        let found: Option<Catalog> = found.map_err(self.failed("look at the node's database"))?;
        Ok(found.unwrap_or_default())
    }

    /// Shows `look` the roles and databases of all nodes on the server, in one query, each as it comes: they are never
    /// held together. Sizes are left out.
    ///
    /// # Errors
    /// When the server cannot be asked, or does not answer to the end.
    pub async fn survey(&self, mut look: impl FnMut(&Catalog) + Send) -> Result<(), Failure> {
        let mut session = self.maintenance_session().await?;
        let path = self.schema.family.search_path();
        let mut rows = sqlx::query_as(CATALOG).bind(None::<String>).bind(false).bind(path).fetch(&mut session);
        while let Some(row) = rows.try_next().await.map_err(self.failed("look at the nodes' databases"))? {
            look(&row);
        }
        drop(rows);
        let _ = session.close().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Schema;

    fn mark() -> Mark {
        Mark { node: "n1".into(), cluster: "c1".into() }
    }

    /// As a node's role and database are when nothing is wrong.
    fn right() -> Catalog {
        Catalog {
            name: "node_a".into(),
            role_exists: true,
            role_comment: Some(mark().role_comment("ff")),
            role_can_login: true,
            role_limit: 20,
            role_settings: ROLE_SETTINGS.map(|(name, value)| format!("{name}={value}")).to_vec(),
            member_of: vec!["fateh_runtime".to_owned()],
            database_exists: true,
            database_comment: Some(mark().comment()),
            database_open: true,
            database_limit: -1,
            database_ours: true,
            role_may_connect: true,
            path_is_set: true,
            ..Catalog::default()
        }
    }

    #[test]
    fn each_difference_is_seen_and_named() {
        type Edit = fn(&mut Catalog);
        let cases: [(Edit, &[Drift]); 18] = [
            (|_| {}, &[]),
            (|row| row.database_exists = false, &[Drift::DatabaseMissing]),
            (|row| row.database_comment = None, &[Drift::DatabaseMark]),
            (|row| row.database_ours = false, &[Drift::DatabaseOwner]),
            (|row| row.public_has_rights = true, &[Drift::DatabaseAccess]),
            (|row| row.strangers = vec!["x".into()], &[Drift::DatabaseAccess]),
            (|row| row.role_may_connect = false, &[Drift::DatabaseAccess]),
            (|row| row.database_open = false, &[Drift::DatabaseLimit]),
            (|row| row.database_limit = 3, &[Drift::DatabaseLimit]),
            (|row| row.path_is_set = false, &[Drift::DatabasePath]),
            (|row| row.role_exists = false, &[Drift::RoleMissing]),
            (|row| row.role_comment = None, &[Drift::RoleMark]),
            (|row| row.role_is_raised = true, &[Drift::RoleRaised]),
            (|row| row.role_may_create = true, &[Drift::RoleRaised]),
            (|row| row.role_limit = 100, &[Drift::RoleLimit]),
            (|row| row.role_can_login = false, &[Drift::RoleLimit]),
            (|row| row.member_of.clear(), &[Drift::RoleMembership]),
            (|row| row.role_settings.clear(), &[Drift::RoleSettings]),
        ];
        let mark = mark();
        let family = Schema::of_nodes().family;
        let wanted = Wanted { family, mark: &mark, connection_limit: 20, may_sign_in: true };
        for (edit, expected) in cases {
            let mut row = right();
            edit(&mut row);
            assert_eq!(row.drift(&wanted), expected);
        }
        assert_eq!(Catalog::default().drift(&wanted), [Drift::DatabaseMissing, Drift::RoleMissing]);
        let lent = Catalog { lent_to: vec!["y".into()], ..right() };
        assert_eq!(lent.drift(&wanted), [Drift::RoleMembership]);
    }
}
