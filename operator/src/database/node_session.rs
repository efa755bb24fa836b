//! A session of the operator inside one database of its making: schema upgrade, fee rate, invitation.

use std::collections::HashSet;

use jiff::Timestamp;
use sqlx::{Connection, FromRow, PgConnection};
use tokio::sync::SemaphorePermit;

use super::{schema::Schema, server::Server, sql::statement};
use crate::failure::Failure;

/// A session inside a node's database, or the hub's.
pub struct NodeSession<'a> {
    server: &'a Server,
    schema: &'a Schema,
    connection: PgConnection,
    applied: HashSet<i64>,
    _turn: Option<SemaphorePermit<'a>>,
}

/// The first admin's invitation, as it is to be stored.
pub struct AdminInvitation<'a> {
    /// Who is invited.
    pub email: &'a str,
    /// SHA-256 of the token.
    pub token_hash: [u8; 32],
    /// End of its validity.
    pub expires_at: Timestamp,
}

/// The first admin's invitation, as the database has it.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct InvitationRow {
    /// SHA-256 of the token.
    pub token_hash: Vec<u8>,
    /// Whether it was accepted.
    pub accepted: bool,
}

impl Server {
    /// Opens a session in the database `name`, and adds to its `schema` what this operator's release adds.
    ///
    /// # Errors
    /// When the server cannot be reached or a migration fails.
    pub async fn node_session<'a>(&'a self, name: &str, schema: &'a Schema) -> Result<NodeSession<'a>, Failure> {
        let turn = self.sessions.acquire().await.ok();
        let mut connection = self.session(name).await?;
        self.may_act("work in the node's database")?;
        let mut applied = self.applied_migrations(&mut connection, schema).await?;
        if schema.is_to_expand(&applied) {
            // A release upgrades all nodes at once; the server has others to serve.
            let _turn = self.upgrades.acquire().await;
            self.may_act("upgrade the node's schema")?;
            self.migrate(&mut connection, schema, schema.expanding()).await?;
            applied = self.applied_migrations(&mut connection, schema).await?;
        }
        Ok(NodeSession { server: self, schema, connection, applied, _turn: turn })
    }
}

impl NodeSession<'_> {
    /// The version up to which the schema is complete.
    #[must_use]
    pub fn schema_version(&self) -> i64 {
        self.schema.reached(&self.applied)
    }

    /// Takes away what no pod of this release needs. Only when none of a release before is left.
    ///
    /// # Errors
    /// When a migration fails.
    pub async fn contract(&mut self) -> Result<(), Failure> {
        if !self.schema.is_to_contract(&self.applied) {
            return Ok(());
        }
        let _turn = self.server.upgrades.acquire().await;
        self.server.may_act("contract the node's schema")?;
        self.server.migrate(&mut self.connection, self.schema, self.schema.all()).await?;
        self.applied = self.server.applied_migrations(&mut self.connection, self.schema).await?;
        Ok(())
    }

    /// Appends the platform's fee to the node's rate table, if it is not the newest rate there already.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn ensure_fee_rate(&mut self, basis_points: i32, now: Timestamp) -> Result<(), Failure> {
        sqlx::query(
            "INSERT INTO local_node.fee_rates (valid_from, platform_basis_points)
             SELECT $1::text::timestamptz, $2
             WHERE $2 IS DISTINCT FROM (
                 SELECT platform_basis_points FROM local_node.fee_rates ORDER BY valid_from DESC LIMIT 1)",
        )
        .bind(now.to_string())
        .bind(basis_points)
        .execute(&mut self.connection)
        .await
        .map(drop)
        .map_err(self.server.failed("append the fee rate"))
    }

    /// The first admin's invitation, if one was ever made.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn invitation(&mut self) -> Result<Option<InvitationRow>, Failure> {
        let table = format!("{}.first_admin_invitation", self.schema.family.schema);
        sqlx::query_as(statement(format!("SELECT token_hash, accepted_at IS NOT NULL AS accepted FROM {table}")))
            .fetch_optional(&mut self.connection)
            .await
            .map_err(self.server.failed("read the invitation"))
    }

    /// Stores an invitation in place of the one before it. False: that one was accepted meanwhile, and stays.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn replace_invitation(&mut self, invitation: &AdminInvitation<'_>) -> Result<bool, Failure> {
        let table = format!("{}.first_admin_invitation", self.schema.family.schema);
        let stored = sqlx::query(statement(format!(
            "INSERT INTO {table} AS i (singleton, email, token_hash, expires_at)
             VALUES (true, $1, $2, $3::text::timestamptz)
             ON CONFLICT (singleton) DO UPDATE SET email = $1, token_hash = $2, expires_at = $3::text::timestamptz
             WHERE i.accepted_at IS NULL"
        )))
        .bind(invitation.email)
        .bind(invitation.token_hash.as_slice())
        .bind(invitation.expires_at.to_string())
        .execute(&mut self.connection)
        .await
        .map_err(self.server.failed("store the invitation"))?;
        Ok(stored.rows_affected() == 1)
    }

    /// Ends the session.
    pub async fn close(self) {
        // The work is committed; a connection that will not say goodbye is dropped.
        let _ = self.connection.close().await;
    }
}
