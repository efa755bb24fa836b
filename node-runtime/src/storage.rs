//! The node's tables: one file a family, functions over a connection.

pub mod invitations;
pub mod reports;
pub mod users;

use jiff::Timestamp;
use time::OffsetDateTime;

/// The newest migration that this runtime was written for.
pub const SCHEMA_VERSION: i64 = 1;

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
