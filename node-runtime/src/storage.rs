//! The node's tables: one file a family, functions over a connection.

pub mod attempts;
pub mod centre_keys;
pub mod contents;
pub mod invitations;
pub mod outbox;
pub mod password_resets;
pub mod reports;
pub mod revenues;
pub mod sessions;
pub mod users;

use jiff::Timestamp;
use time::OffsetDateTime;

/// The newest migration that this runtime was written for.
pub const SCHEMA_VERSION: i64 = 7;

/// A time as sqlx takes it: microseconds, like PostgreSQL.
pub(crate) fn to_sql(time: Timestamp) -> OffsetDateTime {
    let nanoseconds = i128::from(time.as_microsecond()) * 1000;
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// A time as sqlx gives it.
pub(crate) fn from_sql(time: OffsetDateTime) -> Timestamp {
    Timestamp::from_nanosecond(time.unix_timestamp_nanos()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Version of the schema in the database.
///
/// # Errors
/// When the database does not answer.
pub async fn schema_version(connection: &mut sqlx::PgConnection) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar("SELECT max(version) FROM local_node._sqlx_migrations WHERE success").fetch_one(connection).await
}

/// Deletes what no longer holds: sessions and one-time tokens past their end, and attempts that no longer count.
///
/// # Errors
/// When a statement fails.
pub async fn clean_up(connection: &mut sqlx::PgConnection, now: Timestamp) -> Result<(), sqlx::Error> {
    // Every bucket is full again long before.
    let hour_ago = now.saturating_sub(jiff::SignedDuration::from_hours(1)).unwrap_or(now);
    for (statement, before) in [
        ("DELETE FROM local_node.sessions WHERE expires_at < $1", now),
        ("DELETE FROM local_node.password_resets WHERE expires_at < $1", now),
        ("DELETE FROM local_node.attempts WHERE taken_at < $1", hour_ago),
    ] {
        sqlx::query(statement).bind(to_sql(before)).execute(&mut *connection).await?;
    }
    Ok(())
}
