//! The hub's tables: one file a family, functions over a connection.

pub mod audit;
pub mod content;
pub mod identities;
pub mod ledger;
pub mod partners;
pub mod users;

/// The newest migration that this hub was written for.
pub const SCHEMA_VERSION: i64 = 3;

/// Version of the schema in the database.
///
/// # Errors
/// When the database does not answer.
pub async fn schema_version(connection: &mut sqlx::PgConnection) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar("SELECT max(version) FROM global_platform._sqlx_migrations WHERE success")
        .fetch_one(connection)
        .await
}
