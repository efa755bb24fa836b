//! The template that nodes' databases are copied from: built once per version of the schema,
//! under an advisory lock, and renamed into place when it is complete.

use sha2::{Digest, Sha256};
use sqlx::{Connection, PgConnection, migrate::Migrator};

use super::{
    server::Server,
    sql::{identifier, literal, statement},
};
use crate::failure::Failure;

static MIGRATOR: Migrator = sqlx::migrate!("../node-runtime/migrations");

/// Key of the advisory lock in the maintenance database ("fateh" in ASCII).
const LOCK: i64 = 0x66_61_74_65_68;
/// The shared role that holds the rights on tables.
const RUNTIME_ROLE: &str = "fateh_runtime";

/// Version of the schema that this operator makes: the number of the newest migration.
#[must_use]
pub fn schema_version() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// `fateh_t<version>_<first 8 hex digits of the digest of all migrations>`.
fn template_name() -> String {
    let mut digest = Sha256::new();
    for migration in MIGRATOR.iter() {
        digest.update(migration.version.to_be_bytes());
        digest.update(&migration.checksum);
    }
    format!("fateh_t{:04}_{}", schema_version(), &hex::encode(digest.finalize())[..8])
}

impl Server {
    /// Makes sure that the template of this operator's schema exists, and returns its name.
    pub(super) async fn ensure_template(&self) -> Result<String, Failure> {
        let name = template_name();
        let failed = self.failed("look for the template");
        let exists = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datistemplate)";
        if sqlx::query_scalar(exists).bind(&name).fetch_one(&self.pool).await.map_err(&failed)? {
            return Ok(name);
        }
        // A connection of its own: the lock is the session's, and goes with it however this ends.
        let mut admin = self.pool.acquire().await.map_err(&failed)?.detach();
        let locked = async {
            sqlx::query("SET lock_timeout = '25s'").execute(&mut admin).await?;
            sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut admin).await?;
            sqlx::query_scalar(exists).bind(&name).fetch_one(&mut admin).await
        };
        if locked.await.map_err(self.failed("lock the template"))? {
            return Ok(name);
        }
        self.build_template(&mut admin, &name).await?;
        Ok(name)
    }

    async fn build_template(&self, admin: &mut PgConnection, name: &str) -> Result<(), Failure> {
        self.may_act("build the template")?;
        tracing::info!(server = self.name, template = name, "building the template of nodes' databases");
        let building = format!("{name}_building");
        let (quoted, quoted_name) = (identifier(&building), identifier(name));
        let role = identifier(RUNTIME_ROLE);
        let failed = self.failed("build the template");
        let role_exists = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)";
        if !sqlx::query_scalar(role_exists).bind(RUNTIME_ROLE).fetch_one(&mut *admin).await.map_err(&failed)? {
            sqlx::query(statement(format!("CREATE ROLE {role} NOLOGIN")))
                .execute(&mut *admin)
                .await
                .map_err(&failed)?;
        }
        for text in [
            format!("DROP DATABASE IF EXISTS {quoted} WITH (FORCE)"),
            format!("CREATE DATABASE {quoted} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'"),
        ] {
            sqlx::query(statement(text)).execute(&mut *admin).await.map_err(&failed)?;
        }
        let mut inside = self.session(&building).await?;
        for text in ["DROP SCHEMA IF EXISTS public", "CREATE SCHEMA local_node"] {
            sqlx::query(text).execute(&mut inside).await.map_err(&failed)?;
        }
        self.migrate(&mut inside).await?;
        inside.close().await.map_err(&failed)?;

        let mut placed = admin.begin().await.map_err(&failed)?;
        for text in [
            format!("REVOKE ALL ON DATABASE {quoted} FROM PUBLIC"),
            format!(
                "COMMENT ON DATABASE {quoted} IS {}",
                literal(&format!("fateh-platform.com/template={}", schema_version()))
            ),
            format!("ALTER DATABASE {quoted} RENAME TO {quoted_name}"),
            format!("ALTER DATABASE {quoted_name} IS_TEMPLATE true"),
            format!("ALTER DATABASE {quoted_name} CONNECTION LIMIT 0"),
        ] {
            sqlx::query(statement(text)).execute(&mut *placed).await.map_err(&failed)?;
        }
        placed.commit().await.map_err(&failed)
    }

    /// Brings the schema of the connected database up to this operator's version.
    pub(super) async fn migrate(&self, connection: &mut PgConnection) -> Result<(), Failure> {
        let failed = |source| Failure::Migrate { server: self.name.clone(), source };
        let path = |path: &'static str| sqlx::query(path);
        // The table of applied migrations lies in the node's schema; migrations themselves qualify every name.
        path("SET search_path = local_node").execute(&mut *connection).await.map_err(self.failed("migrate"))?;
        // Not `run`: its bound on the connection is too general for a caller that must be Send.
        MIGRATOR.run_direct(None, &mut *connection, false).await.map_err(failed)?;
        path("SET search_path = pg_catalog").execute(connection).await.map_err(self.failed("migrate"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_template_is_named_by_version_and_digest() {
        let name = super::template_name();
        assert!(name.starts_with(&format!("fateh_t{:04}_", super::schema_version())), "{name}");
        assert_eq!(name.len(), "fateh_t0001_ab12cd34".len());
    }
}
