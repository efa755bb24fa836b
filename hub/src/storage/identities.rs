//! `global_identities`: users of nodes, as their nodes vouch for them.

use fateh_common::sql::{new_id, to_sql};
use jiff::Timestamp;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::node_caller::NodeCaller;

/// A user of a node, and the account that this person has joined to it.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Identity {
    /// The node that vouches.
    pub node_uid: Uuid,
    /// The user there.
    pub local_user: Uuid,
    /// The account; none: none.
    #[sqlx(rename = "global_user")]
    pub account: Option<Uuid>,
}

/// A global identity.
///
/// # Errors
/// When the statement fails.
pub async fn find(connection: &mut PgConnection, id: Uuid) -> Result<Option<Identity>, sqlx::Error> {
    sqlx::query_as("SELECT node_uid, local_user, global_user FROM global_platform.global_identities WHERE id = $1")
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// Joins an identity to an account, unless it belongs to another one; whether it is joined to this one now.
///
/// # Errors
/// When the statement fails.
pub async fn join(connection: &mut PgConnection, id: Uuid, account: Uuid) -> Result<bool, sqlx::Error> {
    let joined = sqlx::query(
        "UPDATE global_platform.global_identities SET global_user = $2
         WHERE id = $1 AND (global_user IS NULL OR global_user = $2)",
    )
    .bind(id)
    .bind(account)
    .execute(connection)
    .await?;
    Ok(joined.rows_affected() == 1)
}

/// The global identity of a node's user, made when there is none. Its role on the node is noted as it is now.
///
/// # Errors
/// When the statement fails.
pub async fn ensure(
    connection: &mut PgConnection,
    node: &NodeCaller,
    local_user: Uuid,
    local_role: &str,
    now: Timestamp,
) -> Result<Uuid, sqlx::Error> {
    sqlx::query_scalar(
        "INSERT INTO global_platform.global_identities (id, node_uid, local_user, node, local_role, created_at)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (node_uid, local_user) DO UPDATE SET local_role = excluded.local_role RETURNING id",
    )
    .bind(new_id(now))
    .bind(node.uid)
    .bind(local_user)
    .bind(&node.name)
    .bind(local_role)
    .bind(to_sql(now))
    .fetch_one(connection)
    .await
}
