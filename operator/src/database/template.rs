//! The template that databases of one schema are copied from: built once per version of it,
//! under an advisory lock, and renamed into place when it is complete.

use std::collections::HashSet;

use sqlx::{Connection, PgConnection, migrate::Migrator};

use super::{
    retire::drop_by_force,
    schema::Schema,
    server::Server,
    sql::{execute, identifier, literal, statement},
};
use crate::failure::Failure;

/// Key of the advisory lock in the maintenance database ("fateh" in ASCII).
const LOCK: i64 = 0x66_61_74_65_68;
/// Comment of a template, before its version.
const TEMPLATE: &str = "fateh-platform.com/template=";

impl Server {
    /// Makes sure that the template of `schema` exists, and returns its name.
    pub(super) async fn ensure_template(&self, schema: &Schema) -> Result<String, Failure> {
        let name = schema.template_name();
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
        self.build_template(&mut admin, schema, &name).await?;
        self.drop_old_templates(&mut admin, schema, &name).await;
        Ok(name)
    }

    async fn build_template(&self, admin: &mut PgConnection, schema: &Schema, name: &str) -> Result<(), Failure> {
        self.may_act("build the template")?;
        tracing::info!(server = self.name, template = name, "building a template of databases");
        let building = format!("{name}_building");
        let (quoted, quoted_name) = (identifier(&building), identifier(name));
        let runtime_role = schema.family.runtime_role;
        let failed = self.failed("build the template");
        let role_exists = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)";
        if !sqlx::query_scalar(role_exists).bind(runtime_role).fetch_one(&mut *admin).await.map_err(&failed)? {
            execute(&mut *admin, format!("CREATE ROLE {} NOLOGIN", identifier(runtime_role))).await.map_err(&failed)?;
        }
        drop_by_force(&mut *admin, &building).await.map_err(&failed)?;
        let create = format!("CREATE DATABASE {quoted} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'");
        execute(&mut *admin, create).await.map_err(&failed)?;
        let mut inside = self.session(&building).await?;
        for text in
            ["DROP SCHEMA IF EXISTS public".to_owned(), format!("CREATE SCHEMA {}", identifier(schema.family.schema))]
        {
            execute(&mut inside, text).await.map_err(&failed)?;
        }
        self.migrate(&mut inside, schema, schema.all()).await?;
        inside.close().await.map_err(&failed)?;

        // One of this very version that was half dropped by a release after it, before that was rolled back.
        let left = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND NOT datistemplate
                    AND starts_with(shobj_description(oid, 'pg_database'), $2) AND pg_get_userbyid(datdba) = current_user)";
        if sqlx::query_scalar(left).bind(name).bind(TEMPLATE).fetch_one(&mut *admin).await.map_err(&failed)? {
            execute(&mut *admin, format!("DROP DATABASE {quoted_name}")).await.map_err(&failed)?;
        }
        let mut placed = admin.begin().await.map_err(&failed)?;
        for text in [
            format!("REVOKE ALL ON DATABASE {quoted} FROM PUBLIC"),
            format!("COMMENT ON DATABASE {quoted} IS {}", literal(&format!("{TEMPLATE}{}", schema.version()))),
            format!("ALTER DATABASE {quoted} RENAME TO {quoted_name}"),
            format!("ALTER DATABASE {quoted_name} IS_TEMPLATE true"),
            format!("ALTER DATABASE {quoted_name} CONNECTION LIMIT 0"),
        ] {
            execute(&mut placed, text).await.map_err(&failed)?;
        }
        placed.commit().await.map_err(&failed)
    }

    /// Drops the templates of other versions of the schema, which no new node is copied from. One that is in use stays until
    /// the next template is built; so does one that an earlier attempt left as a database of no use.
    async fn drop_old_templates(&self, admin: &mut PgConnection, schema: &Schema, current: &str) {
        let old = "SELECT datname::text FROM pg_database
                   WHERE starts_with(datname, $3) AND datname <> $1
                     AND starts_with(shobj_description(oid, 'pg_database'), $2)
                     AND pg_get_userbyid(datdba) = current_user";
        let dropped = async {
            let templates = sqlx::query_scalar(old).bind(current).bind(TEMPLATE).bind(schema.family.templates);
            let names: Vec<String> = templates.fetch_all(&mut *admin).await?;
            for name in names {
                let quoted = identifier(&name);
                for text in [format!("ALTER DATABASE {quoted} IS_TEMPLATE false"), format!("DROP DATABASE {quoted}")] {
                    execute(&mut *admin, text).await?;
                }
                tracing::info!(server = self.name, template = name, "dropped the template of another version");
            }
            Ok::<_, sqlx::Error>(())
        };
        if let Err(error) = dropped.await {
            tracing::warn!(server = self.name, %error, "an old template could not be dropped");
        }
    }

    /// Numbers of the migrations that the connected database has.
    pub(super) async fn applied_migrations(
        &self,
        connection: &mut PgConnection,
        schema: &Schema,
    ) -> Result<HashSet<i64>, Failure> {
        let table = identifier(schema.family.schema);
        let applied = statement(format!("SELECT version FROM {table}._sqlx_migrations WHERE success"));
        let applied: Vec<i64> = sqlx::query_scalar(applied)
            .fetch_all(connection)
            .await
            .map_err(self.failed("read the schema's version"))?;
        Ok(applied.into_iter().collect())
    }

    /// Carries those of `migrations` out that the connected database does not have.
    pub(super) async fn migrate(
        &self,
        connection: &mut PgConnection,
        schema: &Schema,
        migrations: &Migrator,
    ) -> Result<(), Failure> {
        let failed = |source| Failure::Migrate { server: self.name.clone(), source };
        let path = |path: &str| format!("SET search_path = {}", identifier(path));
        // The table of applied migrations lies in the schema itself; migrations qualify every name.
        execute(&mut *connection, path(schema.family.schema)).await.map_err(self.failed("migrate"))?;
        // Not `run`: its bound on the connection is too general for a caller that must be Send.
        migrations.run_direct(None, &mut *connection, false).await.map_err(failed)?;
        execute(connection, path("pg_catalog")).await.map_err(self.failed("migrate"))
    }
}
