//! A node's role and database: looked at in one query, made step by step.

use fateh_crds::Slug;
use sha2::{Digest, Sha256};
use sqlx::{Connection, FromRow, PgConnection};

use super::{
    Mark,
    mark::fingerprint,
    server::Server,
    sql::{identifier, literal, statement},
};
use crate::failure::Failure;

const RUNTIME_ROLE: &str = "fateh_runtime";
/// `CREATE DATABASE` or `CREATE ROLE` of a run that was killed may still be at work, or have won.
const LOOK_AGAIN: [&str; 4] = ["23505", "42P04", "42710", "55006"];

/// What a node's database is to be.
pub struct NodeDatabase<'a> {
    /// Names database and role.
    pub slug: &'a Slug,
    /// Marks both.
    pub mark: &'a Mark,
    /// Password of the role, in clear; only its SCRAM verifier is sent.
    pub password: &'a str,
    /// Connections that the role may hold.
    pub connection_limit: i32,
    /// Whether the role may sign in; if not, its sessions are ended too.
    pub may_sign_in: bool,
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
}

/// What the catalog says of a node's role and database.
#[expect(clippy::struct_excessive_bools, reason = "a row of the catalog, each column a fact of its own")]
#[derive(Debug, Default, FromRow)]
pub(super) struct Catalog {
    pub role_exists: bool,
    pub role_comment: Option<String>,
    pub role_can_login: bool,
    pub role_limit: i32,
    pub database_exists: bool,
    pub database_comment: Option<String>,
    pub database_open: bool,
    pub database_ours: bool,
    pub role_may_connect: bool,
    pub size_bytes: i64,
}

impl Catalog {
    /// A closed, unmarked database of ours was never open to anyone: it is ours to finish or to drop.
    pub(super) const fn is_unfinished(&self) -> bool {
        self.database_ours && !self.database_open && self.database_comment.is_none()
    }
}

impl Server {
    pub(super) async fn catalog(&self, name: &str) -> Result<Catalog, Failure> {
        sqlx::query_as(
            "SELECT r.oid IS NOT NULL AS role_exists,
                    shobj_description(r.oid, 'pg_authid') AS role_comment,
                    coalesce(r.rolcanlogin, false) AS role_can_login,
                    coalesce(r.rolconnlimit, 0) AS role_limit,
                    d.oid IS NOT NULL AS database_exists,
                    shobj_description(d.oid, 'pg_database') AS database_comment,
                    coalesce(d.datallowconn, false) AS database_open,
                    coalesce(d.datdba = (SELECT oid FROM pg_roles WHERE rolname = current_user), false) AS database_ours,
                    coalesce(has_database_privilege(r.oid, d.oid, 'CONNECT'), false) AS role_may_connect,
                    CASE WHEN d.datallowconn THEN pg_database_size(d.oid) ELSE 0 END AS size_bytes
             FROM (VALUES ($1)) AS wanted(name)
             LEFT JOIN pg_roles r ON r.rolname = wanted.name
             LEFT JOIN pg_database d ON d.datname = wanted.name",
        )
        .bind(name)
        .fetch_one(&self.pool)
        .await
        .map_err(self.failed("look at the node's database"))
    }

    /// Makes sure that the node has a role and a database of its own, open to that role only.
    ///
    /// # Errors
    /// `DatabaseTaken` when a role or database of that name is not this node's: nothing is touched then.
    pub async fn ensure_database(&self, node: &NodeDatabase<'_>) -> Result<Provisioned, Failure> {
        let name = node.slug.database();
        let mut found = self.catalog(&name).await?;
        self.refuse_strangers(node, &name, &found)?;
        self.ensure_role(node, &name, &found).await?;
        let opened_now = !(found.database_open && found.role_may_connect);
        if opened_now {
            if !found.database_exists {
                self.create_database(&name).await?;
            }
            self.open_database(node, &name).await?;
            found = self.catalog(&name).await?;
            self.refuse_strangers(node, &name, &found)?;
        }
        Ok(Provisioned { name, size_bytes: found.size_bytes, opened_now })
    }

    fn refuse_strangers(&self, node: &NodeDatabase<'_>, name: &str, found: &Catalog) -> Result<(), Failure> {
        if found.database_exists && !found.is_unfinished() && !node.mark.is_on(found.database_comment.as_deref()) {
            return Err(taken("database", name, &self.name));
        }
        if found.role_exists && !node.mark.is_on(found.role_comment.as_deref()) {
            return Err(taken("role", name, &self.name));
        }
        Ok(())
    }

    async fn ensure_role(&self, node: &NodeDatabase<'_>, name: &str, found: &Catalog) -> Result<(), Failure> {
        let wanted = password_fingerprint(node.password);
        let current = found.role_exists
            && found.role_can_login == node.may_sign_in
            && found.role_limit == node.connection_limit
            && fingerprint(found.role_comment.as_deref()) == Some(&wanted);
        if current {
            return Ok(());
        }
        self.may_act("make the node's role")?;
        if !found.role_exists {
            // Before the transaction: the role of the template is granted in it, and one connection must not wait for another.
            self.ensure_template().await?;
        }
        let failed = self.failed("make the node's role");
        let role = identifier(name);
        let verifier = literal(&postgres_protocol::password::scram_sha_256(node.password.as_bytes()));
        let login = if node.may_sign_in { "LOGIN" } else { "NOLOGIN" };
        let with = format!("{login} CONNECTION LIMIT {} PASSWORD {verifier}", node.connection_limit);
        let comment = format!("COMMENT ON ROLE {role} IS {}", literal(&node.mark.role_comment(&wanted)));
        let mut transaction = self.pool.begin().await.map_err(&failed)?;
        let mut statements = Vec::new();
        if found.role_exists {
            statements.push(format!("ALTER ROLE {role} {with}"));
            statements.push(comment);
        } else {
            let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::int")
                .fetch_one(&mut *transaction)
                .await
                .map_err(&failed)?;
            // From 16 on the creator of a role holds ADMIN already, and may not grant it to itself.
            let admin = if version < 160_000 { " WITH ADMIN OPTION" } else { "" };
            statements.extend([
                format!("CREATE ROLE {role} {with}"),
                comment,
                format!("GRANT {} TO {role}", identifier(RUNTIME_ROLE)),
                format!("GRANT {role} TO CURRENT_USER{admin}"),
                format!("ALTER ROLE {role} SET statement_timeout = '5s'"),
                format!("ALTER ROLE {role} SET lock_timeout = '2s'"),
                format!("ALTER ROLE {role} SET idle_in_transaction_session_timeout = '10s'"),
            ]);
        }
        for text in statements {
            match sqlx::query(statement(text)).execute(&mut *transaction).await {
                Err(error) if looks_again(&error) => return Err(failed(error)),
                other => other.map_err(&failed)?,
            };
        }
        transaction.commit().await.map_err(&failed)?;
        if node.may_sign_in { Ok(()) } else { self.end_sessions(name).await }
    }

    async fn create_database(&self, name: &str) -> Result<(), Failure> {
        let template = self.ensure_template().await?;
        let _turn = self.creates.acquire().await;
        self.may_act("create the node's database")?;
        let text =
            format!("CREATE DATABASE {} TEMPLATE {} ALLOW_CONNECTIONS false", identifier(name), identifier(&template));
        match sqlx::query(statement(text)).execute(&self.pool).await {
            // A run before this one is making it: what follows finds it, or fails and looks again.
            Err(error) if looks_again(&error) => Ok(()),
            other => other.map(drop).map_err(self.failed("create the node's database")),
        }
    }

    /// Opens the database, marked and closed to PUBLIC in the same transaction, and then to the node's
    /// role: CONNECT comes last, so whoever holds it finds everything else done.
    async fn open_database(&self, node: &NodeDatabase<'_>, name: &str) -> Result<(), Failure> {
        self.may_act("open the node's database")?;
        let failed = self.failed("open the node's database");
        let quoted = identifier(name);
        let mut connection = self.pool.acquire().await.map_err(&failed)?;
        let path = format!("ALTER ROLE {quoted} IN DATABASE {quoted} SET search_path = local_node, pg_catalog");
        execute(&mut connection, path).await.map_err(&failed)?;
        let mut transaction = connection.begin().await.map_err(&failed)?;
        for text in [
            format!("REVOKE ALL ON DATABASE {quoted} FROM PUBLIC"),
            format!("COMMENT ON DATABASE {quoted} IS {}", literal(&node.mark.comment())),
            format!("ALTER DATABASE {quoted} ALLOW_CONNECTIONS true"),
        ] {
            execute(&mut transaction, text).await.map_err(&failed)?;
        }
        transaction.commit().await.map_err(&failed)?;
        let mut inside = self.session(name).await?;
        execute(&mut inside, format!("GRANT USAGE ON SCHEMA local_node TO {quoted}")).await.map_err(&failed)?;
        inside.close().await.map_err(&failed)?;
        execute(&mut connection, format!("GRANT CONNECT ON DATABASE {quoted} TO {quoted}")).await.map_err(&failed)
    }
}

pub(super) async fn execute(connection: &mut PgConnection, text: String) -> Result<(), sqlx::Error> {
    sqlx::query(statement(text)).execute(connection).await.map(drop)
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

/// Tells one generated password from another, and nothing about either: they hold 256 random bits.
fn password_fingerprint(password: &str) -> String {
    hex::encode(&Sha256::digest(password)[..8])
}
