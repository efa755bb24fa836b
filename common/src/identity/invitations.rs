//! `first_admin_invitation`.

use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Tables;
use crate::sql::to_sql;

/// The e-mail that the invitation with this token is for, if it still holds. The row stays locked
/// until the transaction ends, so that of two who hold the token one wins.
///
/// # Errors
/// When the statement fails.
pub async fn claim(
    tables: &Tables,
    connection: &mut PgConnection,
    token_hash: &[u8],
    now: Timestamp,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar(tables.sql(
        "SELECT email FROM {schema}.first_admin_invitation
         WHERE token_hash = $1 AND accepted_at IS NULL AND expires_at > $2 FOR UPDATE",
    ))
    .bind(token_hash)
    .bind(to_sql(now))
    .fetch_optional(connection)
    .await
}

/// Marks the claimed invitation as accepted.
///
/// # Errors
/// When the statement fails.
pub async fn accept(
    tables: &Tables,
    connection: &mut PgConnection,
    user: Uuid,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let accepted = sqlx::query(tables.sql(
        "UPDATE {schema}.first_admin_invitation SET accepted_at = $1, accepted_by = $2 WHERE accepted_at IS NULL",
    ))
    .bind(to_sql(now))
    .bind(user)
    .execute(connection)
    .await?;
    if accepted.rows_affected() == 1 { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
}

/// Whether the first admin has accepted.
///
/// # Errors
/// When the statement fails.
pub async fn is_accepted(tables: &Tables, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        tables.sql("SELECT EXISTS (SELECT FROM {schema}.first_admin_invitation WHERE accepted_at IS NOT NULL)"),
    )
    .fetch_one(connection)
    .await
}
