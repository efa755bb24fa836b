//! The node's tables: one file a family, functions over a connection.

pub mod centre_keys;
pub mod contents;
pub mod distributions;
pub mod outbox;
pub mod replaced;
pub mod reports;
pub mod revenues;
pub mod turns;
pub mod users;

/// The newest migration that this runtime was written for.
pub const SCHEMA_VERSION: i64 = 9;

/// Version of the schema in the database.
///
/// # Errors
/// When the database does not answer.
pub async fn schema_version(connection: &mut sqlx::PgConnection) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar("SELECT max(version) FROM local_node._sqlx_migrations WHERE success").fetch_one(connection).await
}
