//! The end of a node's database: kept under a retired name, or dropped; and of its role.

use fateh_crds::Slug;
use jiff::Timestamp;
use sqlx::{Connection, PgConnection};

use super::{
    Mark,
    server::Server,
    sql::{execute, identifier, literal},
};
use crate::failure::Failure;

/// SQLSTATE `insufficient_privilege`.
const NOT_ALLOWED: &str = "42501";

impl Server {
    /// Takes access away and renames the database `deleted_<slug>_<stamp>`; its data stays as it is.
    /// Returns the retired name, or none when there was nothing left to retire.
    ///
    /// # Errors
    /// When a statement fails; the next pass goes on from there.
    pub async fn retire_database(&self, slug: &Slug, mark: &Mark, now: Timestamp) -> Result<Option<String>, Failure> {
        let name = slug.database();
        let failed = self.failed("retire the node's database");
        let found = self.catalog(&name, self.schema.family).await?;
        let role_is_ours = found.role_exists && mark.is_on(found.role_comment.as_deref());
        let database_is_ours = found.database_exists && mark.is_on(found.database_comment.as_deref());
        let mut retired = None;
        if role_is_ours {
            self.lock_out(&name, database_is_ours).await?;
        }
        if database_is_ours {
            let stamp = now.strftime("%Y%m%d%H%M%S").to_string();
            let new_name = slug.retired_database(&stamp);
            if role_is_ours {
                self.drop_owned(&name, &name).await?;
            }
            let (old, new) = (identifier(&name), identifier(&new_name));
            let comment = format!("{} fateh-platform.com/retired={now}", mark.comment());
            let mut connection = self.pool.acquire().await.map_err(&failed)?;
            self.may_act("retire the node's database")?;
            let mut transaction = connection.begin().await.map_err(&failed)?;
            for text in [
                format!("ALTER DATABASE {old} RENAME TO {new}"),
                format!("COMMENT ON DATABASE {new} IS {}", literal(&comment)),
                format!("ALTER DATABASE {new} CONNECTION LIMIT 0"),
            ] {
                execute(&mut transaction, text).await.map_err(&failed)?;
            }
            transaction.commit().await.map_err(&failed)?;
            retired = Some(new_name);
        } else if found.is_unfinished() && role_is_ours {
            self.drop_named(&name).await?;
        }
        if role_is_ours {
            self.drop_role(&name).await?;
        }
        Ok(retired)
    }

    /// Drops the database and its role.
    ///
    /// # Errors
    /// When a statement fails; the next pass goes on from there.
    pub async fn drop_database(&self, slug: &Slug, mark: &Mark) -> Result<(), Failure> {
        let name = slug.database();
        let found = self.catalog(&name, self.schema.family).await?;
        let role_is_ours = found.role_exists && mark.is_on(found.role_comment.as_deref());
        if role_is_ours {
            self.lock_out(&name, false).await?;
        }
        if found.database_exists
            && (mark.is_on(found.database_comment.as_deref()) || (found.is_unfinished() && role_is_ours))
        {
            self.drop_named(&name).await?;
        }
        if role_is_ours {
            self.drop_role(&name).await?;
        }
        Ok(())
    }

    /// No new sessions, and an end to the open ones.
    async fn lock_out(&self, name: &str, revoke: bool) -> Result<(), Failure> {
        self.may_act("lock the node's role")?;
        let failed = self.failed("lock the node's role");
        let quoted = identifier(name);
        let mut transaction = self.pool.begin().await.map_err(&failed)?;
        execute(&mut transaction, format!("ALTER ROLE {quoted} NOLOGIN")).await.map_err(&failed)?;
        if revoke {
            execute(&mut transaction, format!("REVOKE ALL ON DATABASE {quoted} FROM {quoted}"))
                .await
                .map_err(&failed)?;
        }
        transaction.commit().await.map_err(&failed)?;
        self.end_sessions(name).await
    }

    /// Ends the open sessions of a role: NOLOGIN alone ends none.
    pub(super) async fn end_sessions(&self, name: &str) -> Result<(), Failure> {
        let text =
            format!("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = {}", literal(name));
        let failed = self.failed("end the node's sessions");
        let mut connection = self.pool.acquire().await.map_err(&failed)?;
        execute(&mut connection, text).await.map_err(failed)
    }

    async fn drop_named(&self, name: &str) -> Result<(), Failure> {
        let mut connection = self.pool.acquire().await.map_err(self.failed("drop the node's database"))?;
        self.may_act("drop the node's database")?;
        drop_by_force(&mut connection, name).await.map_err(self.failed("drop the node's database"))
    }

    /// What a role left behind (default privileges, large objects) would keep it from being dropped.
    async fn drop_owned(&self, database: &str, role: &str) -> Result<(), Failure> {
        let mut inside = self.session(database).await?;
        self.may_act("drop what the node's role owns")?;
        execute(&mut inside, format!("DROP OWNED BY {}", identifier(role)))
            .await
            .map_err(self.failed("drop what the node's role owns"))?;
        inside.close().await.map_err(self.failed("drop what the node's role owns"))
    }

    async fn drop_role(&self, name: &str) -> Result<(), Failure> {
        for open in self.facts().await?.open_databases {
            // One that the operator may not enter, or that is not PUBLIC's after all, cannot be cleared from here.
            if let Err(error) = self.drop_owned(&open, name).await {
                tracing::warn!(server = self.name, database = open, %error, "could not clear what the role left there");
            }
        }
        let mut connection = self.pool.acquire().await.map_err(self.failed("drop the node's role"))?;
        self.may_act("drop the node's role")?;
        execute(&mut connection, format!("DROP ROLE IF EXISTS {}", identifier(name)))
            .await
            .map_err(self.failed("drop the node's role"))
    }
}

/// Drops a database, if it is there, and ends the sessions in it.
///
/// # Errors
/// When a session is in it that the operator may not end: that of a superuser.
pub(super) async fn drop_by_force(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    let quoted = identifier(name);
    let forced = execute(connection, format!("DROP DATABASE IF EXISTS {quoted} WITH (FORCE)")).await;
    let Err(refused) = forced else { return Ok(()) };
    if refused.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref() != Some(NOT_ALLOWED) {
        return Err(refused);
    }
    // FORCE takes an autovacuum worker for a session of somebody else's. Without it the server ends the worker by itself.
    let ours = format!(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = {} AND pg_has_role(usesysid, 'MEMBER')",
        literal(name)
    );
    execute(connection, ours).await?;
    execute(connection, format!("DROP DATABASE IF EXISTS {quoted}")).await
}
