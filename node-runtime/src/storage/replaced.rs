//! `replaced_content`: what the node had changed, where the centre's took its place or it was deleted.

use fateh_common::sql::{from_sql, new_id, to_sql};
use jiff::Timestamp;
use serde_json::Value;
use sqlx::{FromRow, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

/// A document that is served no more.
#[derive(Clone, Debug, PartialEq)]
pub struct Replaced {
    /// Identifier of what was kept; sorts by time.
    pub id: Uuid,
    /// The centre's identifier of the content.
    pub content_id: String,
    /// BCP 47.
    pub language: String,
    /// The document; of a list only its title.
    pub document: Value,
    /// Since when it is served no more.
    pub replaced_at: Timestamp,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    content_id: String,
    language: String,
    document: Value,
    replaced_at: OffsetDateTime,
}

impl From<Row> for Replaced {
    fn from(row: Row) -> Self {
        let Row { id, content_id, language, document, replaced_at } = row;
        Self { id, content_id, language, document, replaced_at: from_sql(replaced_at) }
    }
}

/// Keeps a document.
///
/// # Errors
/// When the statement fails.
pub async fn keep(
    connection: &mut PgConnection,
    content_id: &str,
    language: &str,
    document: &Value,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO local_node.replaced_content (id, content_id, language, document, replaced_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(new_id(now))
    .bind(content_id)
    .bind(language)
    .bind(document)
    .bind(to_sql(now))
    .execute(connection)
    .await
    .map(drop)
}

/// What was replaced of some content, or of any, from the newest; `after` is the last of the page before.
///
/// # Errors
/// When the statement fails.
pub async fn list(
    connection: &mut PgConnection,
    content_id: Option<&str>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Replaced>, sqlx::Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, content_id, language, jsonb_build_object('title', document->'title') AS document, replaced_at
         FROM local_node.replaced_content
         WHERE ($1::text IS NULL OR content_id = $1) AND ($2::uuid IS NULL OR id < $2)
         ORDER BY id DESC LIMIT $3",
    )
    .bind(content_id)
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Replaced::from).collect())
}

/// One document, whole.
///
/// # Errors
/// When the statement fails.
pub async fn find(connection: &mut PgConnection, id: Uuid) -> Result<Option<Replaced>, sqlx::Error> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT id, content_id, language, document, replaced_at FROM local_node.replaced_content WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(connection)
    .await?;
    Ok(row.map(Replaced::from))
}
