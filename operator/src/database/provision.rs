//! A role and its database, a node's or the hub's: looked at in one query, made and put right step by step.

use sha2::{Digest, Sha256};
use sqlx::Connection;

use super::{
    Mark,
    catalog::{Catalog, Drift, ROLE_SETTINGS, Wanted},
    schema::Schema,
    server::Server,
    sql::{execute, identifier, literal},
};
use crate::failure::Failure;

/// `CREATE DATABASE` or `CREATE ROLE` of a run that was killed may still be at work, or have won.
const LOOK_AGAIN: [&str; 4] = ["23505", "42P04", "42710", "55006"];

/// What a node's database, or the hub's, is to be.
pub struct NodeDatabase<'a> {
    /// Of database and role.
    pub name: &'a str,
    /// What a new one is copied from.
    pub schema: &'a Schema,
    /// Marks both.
    pub mark: &'a Mark,
    /// Password of the role, in clear; only its SCRAM verifier is sent.
    pub password: &'a str,
    /// The password that it is about to be given: a role that has it already is left alone.
    pub next_password: Option<&'a str>,
    /// Connections that the role may hold.
    pub connection_limit: i32,
    /// Whether the role may sign in; if not, its sessions are ended too.
    pub may_sign_in: bool,
    /// Whether there may be no database yet. If not, an empty one in its place would hide a loss.
    pub may_be_missing: bool,
}

impl NodeDatabase<'_> {
    const fn wanted(&self) -> Wanted<'_> {
        Wanted {
            family: self.schema.family,
            mark: self.mark,
            connection_limit: self.connection_limit,
            may_sign_in: self.may_sign_in,
        }
    }

    /// Whether the role was last given one of the two passwords.
    fn has_password(&self, found: &Catalog) -> bool {
        let known = [Some(self.password), self.next_password].into_iter().flatten().map(password_fingerprint);
        known.into_iter().any(|fingerprint| found.password() == Some(&fingerprint))
    }
}

/// A database that its node can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provisioned {
    /// Name of database and role.
    pub name: String,
    /// Size on disk in bytes.
    pub size_bytes: i64,
    /// Whether this pass opened the database to its role.
    pub opened_now: bool,
    /// Whether the role has the next password already.
    pub has_next_password: bool,
}

impl Server {
    /// Makes sure that there is the role and its database, open to that role only; what differs
    /// from that is put right.
    ///
    /// # Errors
    /// `DatabaseTaken` when a role or database of that name is not this node's, `DatabaseMissing` when it had one
    /// that is gone, `DatabaseDrifted` when only an administrator can put it right: nothing is touched then.
    pub async fn ensure_database(&self, node: &NodeDatabase<'_>) -> Result<Provisioned, Failure> {
        let name = node.name;
        let mut found = self.catalog(name, node.schema.family).await?;
        self.refuse(node, name, &found)?;
        let drift = found.drift(&node.wanted());
        let role_drifted = drift.iter().any(|drift| drift.is_of_role()) || !node.has_password(&found);
        let database_drifted = drift.iter().any(|drift| !drift.is_of_role());
        if role_drifted {
            self.put_role_right(node, name, &found, &drift).await?;
        }
        if database_drifted {
            if !found.database_exists {
                self.create_database(node).await?;
            }
            self.put_database_right(node, name, &found).await?;
        }
        if !node.may_sign_in {
            // In every pass: one that was killed after NOLOGIN left the open sessions.
            self.end_sessions(name).await?;
        }
        if role_drifted || database_drifted {
            let before = found;
            found = self.catalog(name, node.schema.family).await?;
            self.refuse(node, name, &found)?;
            let left = found.drift(&node.wanted());
            if !left.is_empty() {
                return Err(self.drifted(node, &left, &found));
            }
            if before.role_exists && before.database_exists && !before.is_unfinished() {
                tracing::info!(server = self.name, database = name, ?drift, "role and database were put right");
            }
        }
        let next = node.next_password.map(password_fingerprint);
        Ok(Provisioned {
            has_next_password: next.is_some() && found.password() == next.as_deref(),
            size_bytes: found.size_bytes,
            opened_now: database_drifted,
            name: name.to_owned(),
        })
    }

    /// Gives the role another password.
    ///
    /// # Errors
    /// When a statement fails; the next pass finds the password it was given before, or this one.
    pub async fn change_password(&self, role: &str, mark: &Mark, password: &str) -> Result<(), Failure> {
        let act = "change the role's password";
        let failed = self.failed(act);
        let role = identifier(role);
        let mut transaction = self.pool.begin().await.map_err(&failed)?;
        self.may_act(act)?;
        for text in [
            format!("ALTER ROLE {role} PASSWORD {}", verifier(password)),
            format!("COMMENT ON ROLE {role} IS {}", literal(&mark.role_comment(&password_fingerprint(password)))),
        ] {
            execute(&mut transaction, text).await.map_err(&failed)?;
        }
        transaction.commit().await.map_err(&failed)
    }

    fn refuse(&self, node: &NodeDatabase<'_>, name: &str, found: &Catalog) -> Result<(), Failure> {
        if found.database_exists && !found.is_unfinished() && !node.mark.is_on(found.database_comment.as_deref()) {
            return Err(taken("database", name, &self.name));
        }
        if found.role_exists && !node.mark.is_on(found.role_comment.as_deref()) {
            return Err(taken("role", name, &self.name));
        }
        if !found.database_exists && !node.may_be_missing {
            return Err(Failure::stalled(
                "DatabaseMissing",
                format!(
                    "database {name} is gone from server {}; restore it under that name, or let the node start with an empty one by giving the annotation {} a new value",
                    self.name,
                    fateh_crds::RECREATE_ANNOTATION
                ),
            ));
        }
        if found.role_is_raised || (found.database_exists && !found.database_ours) {
            return Err(self.drifted(node, &found.drift(&node.wanted()), found));
        }
        Ok(())
    }

    /// What this operator may not put right, and the statements by which an administrator does.
    fn drifted(&self, node: &NodeDatabase<'_>, drift: &[Drift], found: &Catalog) -> Failure {
        let name = node.name;
        let quoted = identifier(name);
        let mut repair = Vec::new();
        if drift.contains(&Drift::DatabaseOwner) {
            repair.push(format!("ALTER DATABASE {quoted} OWNER TO <the operator's role>;"));
        }
        if drift.contains(&Drift::DatabaseAccess) {
            let strangers = found.strangers.iter().map(|role| identifier(role)).chain(["PUBLIC".to_owned()]);
            repair.push(format!(
                "REVOKE ALL ON DATABASE {quoted} FROM {} CASCADE;",
                strangers.collect::<Vec<_>>().join(", ")
            ));
        }
        if drift.contains(&Drift::RoleRaised) {
            repair.push(format!("ALTER ROLE {quoted} NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;"));
        }
        if drift.contains(&Drift::RoleMembership) {
            let strange = found.member_of.iter().filter(|role| *role != node.schema.family.runtime_role);
            repair.extend(strange.map(|role| format!("REVOKE {} FROM {quoted};", identifier(role))));
            repair.extend(found.lent_to.iter().map(|role| format!("REVOKE {quoted} FROM {};", identifier(role))));
        }
        if drift.contains(&Drift::RoleSettings) {
            repair.push(format!("ALTER ROLE {quoted} RESET ALL;"));
        }
        if drift.contains(&Drift::DatabasePath) {
            repair.push(format!("ALTER ROLE {quoted} IN DATABASE {quoted} RESET ALL;"));
        }
        let words: Vec<_> = drift.iter().map(|drift| drift.reason()).collect();
        Failure::stalled(
            "DatabaseDrifted",
            format!(
                "role or database {name} on server {} was changed in a way that the operator may not put right ({}); as the server's administrator: {}",
                self.name,
                words.join(", "),
                repair.join(" ")
            ),
        )
    }

    async fn put_role_right(
        &self,
        node: &NodeDatabase<'_>,
        name: &str,
        found: &Catalog,
        drift: &[Drift],
    ) -> Result<(), Failure> {
        let act = "make the node's role";
        self.may_act(act)?;
        if !found.role_exists {
            // Before the transaction: the role of the template is granted in it, and one connection must not wait for another.
            self.ensure_template(node.schema).await?;
        }
        let failed = self.failed(act);
        let role = identifier(name);
        let mut with = vec![
            if node.may_sign_in { "LOGIN" } else { "NOLOGIN" }.to_owned(),
            format!("CONNECTION LIMIT {}", node.connection_limit),
        ];
        if drift.contains(&Drift::RoleRaised) {
            with.push("NOCREATEDB NOCREATEROLE".to_owned());
        }
        let new_password = !node.has_password(found);
        if new_password {
            with.push(format!("PASSWORD {}", verifier(node.password)));
        }
        let verb = if found.role_exists { "ALTER" } else { "CREATE" };
        let mut statements = vec![format!("{verb} ROLE {role} {}", with.join(" "))];
        if new_password {
            let comment = node.mark.role_comment(&password_fingerprint(node.password));
            statements.push(format!("COMMENT ON ROLE {role} IS {}", literal(&comment)));
        }
        let mut transaction = self.pool.begin().await.map_err(&failed)?;
        if !found.role_exists {
            let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::int")
                .fetch_one(&mut *transaction)
                .await
                .map_err(&failed)?;
            // From 16 on the creator of a role holds ADMIN already, and may not grant it to itself.
            let admin = if version < 160_000 { " WITH ADMIN OPTION" } else { "" };
            statements.push(format!("GRANT {role} TO CURRENT_USER{admin}"));
        }
        let runtime = node.schema.family.runtime_role.to_owned();
        if !found.member_of.contains(&runtime) {
            statements.push(format!("GRANT {} TO {role}", identifier(&runtime)));
        }
        let strange = found.member_of.iter().filter(|group| **group != runtime);
        statements.extend(strange.map(|group| format!("REVOKE {} FROM {role}", identifier(group))));
        statements.extend(found.lent_to.iter().map(|member| format!("REVOKE {role} FROM {}", identifier(member))));
        if !found.role_exists || drift.contains(&Drift::RoleSettings) {
            statements.push(format!("ALTER ROLE {role} RESET ALL"));
            statements
                .extend(ROLE_SETTINGS.map(|(key, value)| format!("ALTER ROLE {role} SET {key} = {}", literal(value))));
        }
        self.may_act(act)?;
        for text in statements {
            execute(&mut transaction, text).await.map_err(&failed)?;
        }
        transaction.commit().await.map_err(&failed)
    }

    async fn create_database(&self, node: &NodeDatabase<'_>) -> Result<(), Failure> {
        let template = self.ensure_template(node.schema).await?;
        let _turn = self.creates.acquire().await;
        let failed = self.failed("create the node's database");
        let mut connection = self.pool.acquire().await.map_err(&failed)?;
        self.may_act("create the node's database")?;
        let text = format!(
            "CREATE DATABASE {} TEMPLATE {} ALLOW_CONNECTIONS false",
            identifier(node.name),
            identifier(&template)
        );
        match execute(&mut connection, text).await {
            // A run before this one is making it: what follows finds it, or fails and looks again.
            Err(error) if looks_again(&error) => Ok(()),
            other => other.map_err(failed),
        }
    }

    /// Opens the database, marked and closed to all others in the same transaction, and then to the node's
    /// role: CONNECT comes last, so whoever holds it finds everything else done.
    async fn put_database_right(&self, node: &NodeDatabase<'_>, name: &str, found: &Catalog) -> Result<(), Failure> {
        let act = "open the node's database";
        self.may_act(act)?;
        let failed = self.failed(act);
        let quoted = identifier(name);
        // Before the connection of the pool, which others need who wait for no turn.
        let _turn = self.sessions.acquire().await;
        let mut connection = self.pool.acquire().await.map_err(&failed)?;
        let in_database = format!("ALTER ROLE {quoted} IN DATABASE {quoted}");
        if found.database_exists && !found.path_is_set {
            // A role may set more for itself, which is not to stay.
            execute(&mut connection, format!("{in_database} RESET ALL")).await.map_err(&failed)?;
        }
        let family = node.schema.family;
        let path = format!("{in_database} SET search_path = {}", family.search_path());
        execute(&mut connection, path).await.map_err(&failed)?;
        let mut transaction = connection.begin().await.map_err(&failed)?;
        let mut statements = vec![
            format!("REVOKE ALL ON DATABASE {quoted} FROM PUBLIC CASCADE"),
            format!("COMMENT ON DATABASE {quoted} IS {}", literal(&node.mark.comment())),
            format!("ALTER DATABASE {quoted} ALLOW_CONNECTIONS true"),
        ];
        statements.extend(
            found
                .strangers
                .iter()
                .map(|role| format!("REVOKE ALL ON DATABASE {quoted} FROM {} CASCADE", identifier(role))),
        );
        if found.database_exists && found.database_limit != -1 {
            statements.push(format!("ALTER DATABASE {quoted} CONNECTION LIMIT -1"));
        }
        for text in statements {
            execute(&mut transaction, text).await.map_err(&failed)?;
        }
        transaction.commit().await.map_err(&failed)?;
        let mut inside = self.session(name).await?;
        self.may_act(act)?;
        execute(&mut inside, format!("GRANT USAGE ON SCHEMA {} TO {quoted}", family.schema)).await.map_err(&failed)?;
        inside.close().await.map_err(&failed)?;
        self.may_act(act)?;
        execute(&mut connection, format!("GRANT CONNECT ON DATABASE {quoted} TO {quoted}")).await.map_err(&failed)
    }
}

fn looks_again(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| LOOK_AGAIN.contains(&&*code))
}

fn taken(what: &str, name: &str, server: &str) -> Failure {
    Failure::stalled(
        "DatabaseTaken",
        format!(
            "{what} {name} on server {server} exists and does not bear this node's mark; nothing was touched: rename or drop it, or choose another name for the node"
        ),
    )
}

/// The literal of a password's SCRAM verifier, which is all that PostgreSQL is sent of it.
fn verifier(password: &str) -> String {
    literal(&postgres_protocol::password::scram_sha_256(password.as_bytes()))
}

/// Tells one generated password from another, and nothing about either: they hold 256 random bits.
fn password_fingerprint(password: &str) -> String {
    hex::encode(&Sha256::digest(password)[..8])
}
