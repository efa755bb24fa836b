//! `global_identities`: users of nodes, as their nodes vouch for them.

use fateh_common::sql::{new_id, to_sql};
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::node_caller::NodeCaller;

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
