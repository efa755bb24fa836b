//! The centre's public keys, and whose turn it is to ask for them.

use fateh_common::sql::{from_sql, to_sql};
use jiff::Timestamp;
use sqlx::PgConnection;
use time::OffsetDateTime;

/// The JWKS as it was fetched last, and when; none when it never was.
///
/// # Errors
/// When the statement fails.
pub async fn read(connection: &mut PgConnection) -> Result<Option<(String, Timestamp)>, sqlx::Error> {
    let found: Option<(String, OffsetDateTime)> =
        sqlx::query_as("SELECT jwks, fetched_at FROM local_node.centre_keys WHERE jwks IS NOT NULL")
            .fetch_optional(connection)
            .await?;
    Ok(found.map(|(jwks, at)| (jwks, from_sql(at))))
}

/// Takes the turn to ask the centre, unless a replica took it since `earliest`.
///
/// # Errors
/// When the statement fails.
pub async fn take_turn(
    connection: &mut PgConnection,
    now: Timestamp,
    earliest: Timestamp,
) -> Result<bool, sqlx::Error> {
    let taken = sqlx::query("UPDATE local_node.centre_keys SET asked_at = $1 WHERE asked_at <= $2")
        .bind(to_sql(now))
        .bind(to_sql(earliest))
        .execute(connection)
        .await?;
    Ok(taken.rows_affected() == 1)
}

/// Keeps what was fetched.
///
/// # Errors
/// When the statement fails.
pub async fn keep(connection: &mut PgConnection, jwks: &str, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE local_node.centre_keys SET jwks = $1, fetched_at = $2")
        .bind(jwks)
        .bind(to_sql(now))
        .execute(connection)
        .await
        .map(drop)
}
