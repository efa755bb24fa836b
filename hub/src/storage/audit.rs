//! `audit_log`: rows are added, never changed.

use std::net::IpAddr;

use fateh_common::sql::{from_sql, new_id, to_sql};
use jiff::Timestamp;
use serde_json::Value;
use sqlx::{FromRow, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

/// Something that was done.
#[derive(Clone, Debug)]
pub struct Record {
    /// Identifier.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// Who: `user:<id>` or `node:<name>`.
    pub actor: String,
    /// What, in one word.
    pub action: String,
    /// To whom or what.
    pub subject: String,
    /// Where from.
    pub address: Option<String>,
    /// What else is to be known; no secret and no personal data.
    pub detail: Value,
}

/// How someone with an account, or a node's user, is written as an actor.
#[must_use]
pub fn person(id: Uuid) -> String {
    format!("user:{id}")
}

/// Adds a row.
///
/// # Errors
/// When the statement fails.
pub async fn add(
    connection: &mut PgConnection,
    actor: &str,
    action: &str,
    subject: &str,
    address: Option<IpAddr>,
    detail: &Value,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO global_platform.audit_log (id, at, actor, action, subject, address, detail)
         VALUES ($1, $2, $3, $4, $5, $6::text::inet, $7)",
    )
    .bind(new_id(now))
    .bind(to_sql(now))
    .bind(actor)
    .bind(action)
    .bind(subject)
    .bind(address.map(|address| address.to_string()))
    .bind(detail)
    .execute(connection)
    .await
    .map(drop)
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    at: OffsetDateTime,
    actor: String,
    action: String,
    subject: String,
    address: Option<String>,
    detail: Value,
}

/// The newest rows, before one of them.
///
/// # Errors
/// When the statement fails.
pub async fn list(connection: &mut PgConnection, before: Option<Uuid>, limit: i64) -> Result<Vec<Record>, sqlx::Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, at, actor, action, subject, host(address) AS address, detail FROM global_platform.audit_log
         WHERE $1::uuid IS NULL OR (at, id) < (SELECT at, id FROM global_platform.audit_log WHERE id = $1)
         ORDER BY at DESC, id DESC LIMIT $2",
    )
    .bind(before)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    let record = |row: Row| Record {
        id: row.id,
        at: from_sql(row.at),
        actor: row.actor,
        action: row.action,
        subject: row.subject,
        address: row.address,
        detail: row.detail,
    };
    Ok(rows.into_iter().map(record).collect())
}
