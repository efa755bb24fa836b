//! `local_content`: the node's own, and what was distributed to it. A document holds the title beside the body, so that
//! one merge covers both.

use fateh_common::sql::{from_sql, to_sql};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{FromRow, PgConnection, types::Json};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::content::merge::Conflict;

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[schema(as = ContentType)]
pub enum Kind {
    /// A course.
    Course,
    /// A lesson.
    Lesson,
    /// A quiz.
    Quiz,
    /// A file or link.
    Resource,
}

/// Who sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum State {
    /// Those who make it.
    Draft,
    /// Everyone.
    Published,
    /// Nobody any more, but those who make it.
    Archived,
}

/// One piece of content in one language.
#[derive(Clone, Debug)]
pub struct Content {
    /// Identifier on this node.
    pub id: Uuid,
    /// The centre's identifier; none for the node's own.
    pub global_id: Option<String>,
    /// What it is.
    pub kind: Kind,
    /// Its title, as served.
    pub title: String,
    /// Its body, as served.
    pub content: Value,
    /// BCP 47.
    pub language: String,
    /// Who sees it.
    pub state: State,
    /// Whether the node serves something else than was distributed.
    pub is_customized: bool,
    /// What of it was changed here, and by whom.
    pub customization: Option<Value>,
    /// Moves with each change.
    pub revision: i64,
    /// The document that was distributed last.
    pub upstream: Option<Value>,
    /// The document that the next merge begins with.
    pub base: Option<Value>,
    /// Places that both sides changed.
    pub conflicts: Vec<Conflict>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    global_content_id: Option<String>,
    #[sqlx(rename = "type")]
    kind: Kind,
    title: String,
    content: Value,
    language: String,
    status: State,
    is_customized: bool,
    customization: Option<Value>,
    revision: i64,
    upstream: Option<Value>,
    base: Option<Value>,
    conflicts: Json<Vec<Conflict>>,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

macro_rules! columns {
    () => {
        "id, global_content_id, type, title, content, language, status, is_customized, customization, revision, \
         upstream, base, conflicts, created_at, updated_at"
    };
}

impl From<Row> for Content {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            global_id: row.global_content_id,
            kind: row.kind,
            title: row.title,
            content: row.content,
            language: row.language,
            state: row.status,
            is_customized: row.is_customized,
            customization: row.customization,
            revision: row.revision,
            upstream: row.upstream,
            base: row.base,
            conflicts: row.conflicts.0,
            created_at: from_sql(row.created_at),
            updated_at: from_sql(row.updated_at),
        }
    }
}

/// Makes a piece of the node's own content.
///
/// # Errors
/// When the statement fails.
pub async fn insert(connection: &mut PgConnection, content: &Content, by: Option<Uuid>) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO local_node.local_content
             (id, type, title, content, is_customized, language, status, created_at, updated_at, created_by)
         VALUES ($1, $2, $3, $4, false, $5, $6, $7, $7, $8)",
    )
    .bind(content.id)
    .bind(content.kind)
    .bind(&content.title)
    .bind(&content.content)
    .bind(&content.language)
    .bind(content.state)
    .bind(to_sql(content.created_at))
    .bind(by)
    .execute(connection)
    .await
    .map(drop)
}

/// One piece.
///
/// # Errors
/// When the statement fails.
pub async fn find(connection: &mut PgConnection, id: Uuid) -> Result<Option<Content>, sqlx::Error> {
    let row: Option<Row> =
        sqlx::query_as(concat!("SELECT ", columns!(), " FROM local_node.local_content WHERE id = $1"))
            .bind(id)
            .fetch_optional(connection)
            .await?;
    Ok(row.map(Content::from))
}

/// The pieces of some content of the centre's, one for each language, kept from others until the transaction ends.
///
/// # Errors
/// When the statement fails.
pub async fn of_content(connection: &mut PgConnection, global_id: &str) -> Result<Vec<Content>, sqlx::Error> {
    let rows: Vec<Row> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM local_node.local_content WHERE global_content_id = $1 ORDER BY language FOR UPDATE"
    ))
    .bind(global_id)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Content::from).collect())
}

/// Writes all that can change of a piece, if it still has the revision that it was read with; false if not.
///
/// # Errors
/// When the statement fails.
pub async fn replace(connection: &mut PgConnection, content: &Content) -> Result<bool, sqlx::Error> {
    let written = sqlx::query(
        "UPDATE local_node.local_content SET title = $3, content = $4, status = $5, is_customized = $6,
             customization = $7, base = $8, conflicts = $9, updated_at = $10, revision = revision + 1
         WHERE id = $1 AND revision = $2",
    )
    .bind(content.id)
    .bind(content.revision)
    .bind(&content.title)
    .bind(&content.content)
    .bind(content.state)
    .bind(content.is_customized)
    .bind(&content.customization)
    .bind(&content.base)
    .bind(Json(&content.conflicts))
    .bind(to_sql(content.updated_at))
    .execute(connection)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// Deletes a piece of the node's own, if it still has this revision; false if not.
///
/// # Errors
/// When the statement fails.
pub async fn delete(connection: &mut PgConnection, id: Uuid, revision: i64) -> Result<bool, sqlx::Error> {
    let deleted = sqlx::query(
        "DELETE FROM local_node.local_content WHERE id = $1 AND revision = $2 AND global_content_id IS NULL",
    )
    .bind(id)
    .bind(revision)
    .execute(connection)
    .await?;
    Ok(deleted.rows_affected() == 1)
}

/// Which pieces are listed.
#[derive(Debug, Default)]
pub struct Filter {
    /// Seen by these.
    pub state: Option<State>,
    /// Of this kind.
    pub kind: Option<Kind>,
    /// Languages from the one wanted most; of what exists in several, the first of these is listed, or any. Empty: all.
    pub languages: Vec<String>,
    /// After this one.
    pub after: Option<Uuid>,
}

/// What a list shows of a piece.
#[derive(Clone, Debug, FromRow)]
pub struct Listed {
    /// Identifier on this node.
    pub id: Uuid,
    /// What it is.
    #[sqlx(rename = "type")]
    pub kind: Kind,
    /// Its title, as served.
    pub title: String,
    /// BCP 47.
    pub language: String,
    /// Who sees it.
    pub status: State,
    /// Whether the node serves something else than was distributed.
    pub is_customized: bool,
    /// How many places both sides changed.
    pub conflicts: i64,
    /// Moves with each change.
    pub revision: i64,
}

/// Pieces that match, by their identifiers.
///
/// # Errors
/// When the statement fails.
pub async fn list(connection: &mut PgConnection, filter: &Filter, limit: i64) -> Result<Vec<Listed>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, type, title, language, status, is_customized, jsonb_array_length(conflicts)::bigint AS conflicts, revision
         FROM local_node.local_content c
         WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR type = $2) AND ($3::uuid IS NULL OR id > $3)
           AND (cardinality($4::text[]) = 0 OR global_content_id IS NULL OR NOT EXISTS (
               SELECT FROM local_node.local_content other
               WHERE other.global_content_id = c.global_content_id AND ($1::text IS NULL OR other.status = $1)
                 AND (coalesce(array_position($4, other.language), 1000), other.language)
                   < (coalesce(array_position($4, c.language), 1000), c.language)))
         ORDER BY id LIMIT $5",
    )
    .bind(filter.state)
    .bind(filter.kind)
    .bind(filter.after)
    .bind(&filter.languages)
    .bind(limit)
    .fetch_all(connection)
    .await
}
