//! `password_resets`.

use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Tables;
use crate::sql::to_sql;

/// Keeps the hash of a user's one-time token, in place of one before.
///
/// # Errors
/// When the statement fails.
pub async fn replace(
    tables: &Tables,
    connection: &mut PgConnection,
    user: Uuid,
    token_hash: &[u8],
    expires_at: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(tables.sql(
        "INSERT INTO {schema}.password_resets (user_id, token_hash, expires_at) VALUES ($1, $2, $3)
         ON CONFLICT (user_id) DO UPDATE SET token_hash = excluded.token_hash, expires_at = excluded.expires_at",
    ))
    .bind(user)
    .bind(token_hash)
    .bind(to_sql(expires_at))
    .execute(connection)
    .await
    .map(drop)
}

/// Whether this token of this user still holds.
///
/// # Errors
/// When the statement fails.
pub async fn holds(
    tables: &Tables,
    connection: &mut PgConnection,
    user: Uuid,
    token_hash: &[u8],
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(tables.sql("SELECT EXISTS (SELECT FROM {schema}.password_resets WHERE user_id = $1 AND token_hash = $2 AND expires_at > $3)"))
    .bind(user)
    .bind(token_hash)
    .bind(to_sql(now))
    .fetch_one(connection)
    .await
}

/// Takes the token, if it still holds: once.
///
/// # Errors
/// When the statement fails.
pub async fn take(
    tables: &Tables,
    connection: &mut PgConnection,
    user: Uuid,
    token_hash: &[u8],
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let taken = sqlx::query(
        tables.sql("DELETE FROM {schema}.password_resets WHERE user_id = $1 AND token_hash = $2 AND expires_at > $3"),
    )
    .bind(user)
    .bind(token_hash)
    .bind(to_sql(now))
    .execute(connection)
    .await?;
    Ok(taken.rows_affected() == 1)
}
