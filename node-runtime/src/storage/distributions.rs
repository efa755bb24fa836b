//! `distributions`: what the centre has told the node to hold and what came of it, and the pieces that it brought.

use std::collections::HashMap;

use fateh_common::sql::to_sql;
use fateh_crds::{ContentAcknowledgement, ContentPlan, ContentState, Removal};
use jiff::Timestamp;
use sqlx::{FromRow, PgConnection, types::Json};

use super::{
    contents::{self, Content},
    replaced,
};

/// What came of one thing that the node was told, or asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// What is said about it.
    pub said: ContentAcknowledgement,
    /// The content that it is about, once that is known.
    pub content_id: Option<String>,
    /// Fields that the node may not edit.
    pub locked_fields: Vec<String>,
}

#[derive(FromRow)]
struct Row {
    distribution: String,
    dry_run: bool,
    content_id: Option<String>,
    revision: String,
    attempt: i32,
    state: String,
    digest: Option<String>,
    message: Option<String>,
    plan: Option<Json<ContentPlan>>,
    locked_fields: Json<Vec<String>>,
}

impl From<Row> for Known {
    fn from(row: Row) -> Self {
        let state = match row.state.as_str() {
            "Applied" => ContentState::Applied,
            "Merged" => ContentState::Merged,
            "Conflicted" => ContentState::Conflicted,
            "Removed" => ContentState::Removed,
            _ => ContentState::Failed,
        };
        let said = ContentAcknowledgement {
            distribution: row.distribution,
            revision: row.revision,
            attempt: row.attempt,
            state,
            active_digest: row.digest,
            message: row.message,
            dry_run: row.dry_run,
            plan: row.plan.map(|plan| plan.0),
        };
        Self { said, content_id: row.content_id, locked_fields: row.locked_fields.0 }
    }
}

/// Everything that is known, sorted.
///
/// # Errors
/// When the statement fails.
pub async fn all(connection: &mut PgConnection) -> Result<Vec<Known>, sqlx::Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT distribution, dry_run, content_id, revision, attempt, state, digest, message, plan, locked_fields
         FROM local_node.distributions ORDER BY distribution, dry_run",
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Known::from).collect())
}

/// Notes what came of something.
///
/// # Errors
/// When the statement fails.
pub async fn note(connection: &mut PgConnection, known: &Known, now: Timestamp) -> Result<(), sqlx::Error> {
    let said = &known.said;
    let state = match said.state {
        ContentState::Applied => "Applied",
        ContentState::Merged => "Merged",
        ContentState::Conflicted => "Conflicted",
        ContentState::Removed => "Removed",
        ContentState::Failed | ContentState::Pending => "Failed",
    };
    sqlx::query(
        "INSERT INTO local_node.distributions
             (distribution, dry_run, content_id, revision, attempt, state, digest, message, plan, locked_fields, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (distribution, dry_run) DO UPDATE SET content_id = excluded.content_id, revision = excluded.revision,
             attempt = excluded.attempt, state = excluded.state, digest = excluded.digest, message = excluded.message,
             plan = excluded.plan, locked_fields = excluded.locked_fields, updated_at = excluded.updated_at",
    )
    .bind(&said.distribution)
    .bind(said.dry_run)
    .bind(&known.content_id)
    .bind(&said.revision)
    .bind(said.attempt)
    .bind(state)
    .bind(&said.active_digest)
    .bind(&said.message)
    .bind(said.plan.as_ref().map(Json))
    .bind(Json(&known.locked_fields))
    .bind(to_sql(now))
    .execute(connection)
    .await
    .map(drop)
}

/// Forgets what nobody speaks of any more.
///
/// # Errors
/// When the statement fails.
pub async fn forget(connection: &mut PgConnection, distribution: &str, dry_run: bool) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM local_node.distributions WHERE distribution = $1 AND dry_run = $2")
        .bind(distribution)
        .bind(dry_run)
        .execute(connection)
        .await
        .map(drop)
}

/// Fields of some content that the node may not edit.
///
/// # Errors
/// When the statement fails.
pub async fn locked_fields(connection: &mut PgConnection, content_id: &str) -> Result<Vec<String>, sqlx::Error> {
    let found: Option<Json<Vec<String>>> = sqlx::query_scalar(
        "SELECT locked_fields FROM local_node.distributions WHERE content_id = $1 AND NOT dry_run AND state <> 'Removed'
         ORDER BY updated_at DESC LIMIT 1",
    )
    .bind(content_id)
    .fetch_optional(connection)
    .await?;
    Ok(found.map(|found| found.0).unwrap_or_default())
}

/// Writes a piece that came from the centre, whatever it was before.
///
/// # Errors
/// When the statement fails.
pub async fn put(connection: &mut PgConnection, piece: &Content) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO local_node.local_content AS c (id, global_content_id, type, title, content, is_customized, customization,
             language, status, upstream, base, conflicts, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
         ON CONFLICT (global_content_id, language) DO UPDATE SET type = excluded.type, title = excluded.title,
             content = excluded.content, is_customized = excluded.is_customized, customization = excluded.customization,
             status = excluded.status, upstream = excluded.upstream, base = excluded.base, conflicts = excluded.conflicts,
             updated_at = excluded.updated_at, revision = c.revision + 1",
    )
    .bind(piece.id)
    .bind(&piece.global_id)
    .bind(piece.kind)
    .bind(&piece.title)
    .bind(&piece.content)
    .bind(piece.is_customized)
    .bind(&piece.customization)
    .bind(&piece.language)
    .bind(piece.state)
    .bind(&piece.upstream)
    .bind(&piece.base)
    .bind(Json(&piece.conflicts))
    .bind(to_sql(piece.created_at))
    .bind(to_sql(piece.updated_at))
    .execute(connection)
    .await
    .map(drop)
}

/// Removes the pieces of some content as asked, unless another distribution has brought it meanwhile.
///
/// # Errors
/// When a statement fails.
pub async fn remove(
    connection: &mut PgConnection,
    distribution: &str,
    content_id: &str,
    how: Removal,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let others: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM local_node.distributions
             WHERE content_id = $1 AND distribution <> $2 AND NOT dry_run AND state NOT IN ('Removed', 'Failed'))",
    )
    .bind(content_id)
    .bind(distribution)
    .fetch_one(&mut *connection)
    .await?;
    match how {
        _ if others => Ok(()),
        Removal::Keep => Ok(()),
        Removal::Archive => hide_all_but(connection, content_id, &[], now).await,
        Removal::Delete => {
            for piece in contents::of_content(connection, content_id).await?.iter().filter(|piece| piece.is_customized)
            {
                let document = crate::content::edit::document(&piece.title, &piece.content);
                replaced::keep(connection, content_id, &piece.language, &document, now).await?;
            }
            let statement = "DELETE FROM local_node.local_content WHERE global_content_id = $1";
            sqlx::query(statement).bind(content_id).execute(connection).await.map(drop)
        }
    }
}

/// Archives the pieces of some content in all languages but these.
///
/// # Errors
/// When the statement fails.
pub async fn hide_all_but(
    connection: &mut PgConnection,
    content_id: &str,
    languages: &[String],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE local_node.local_content
         SET status = 'archived', hidden_by_centre = true, revision = revision + 1, updated_at = $3
         WHERE global_content_id = $1 AND language <> ALL ($2) AND status <> 'archived'",
    )
    .bind(content_id)
    .bind(languages)
    .bind(to_sql(now))
    .execute(connection)
    .await
    .map(drop)
}

/// Publishes what [`hide_all_but`] has archived in these languages.
///
/// # Errors
/// When the statement fails.
pub async fn show(connection: &mut PgConnection, content_id: &str, languages: &[String]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE local_node.local_content SET status = 'published', hidden_by_centre = false
         WHERE global_content_id = $1 AND language = ANY ($2) AND status = 'archived' AND hidden_by_centre",
    )
    .bind(content_id)
    .bind(languages)
    .execute(connection)
    .await
    .map(drop)
}

/// Whether places of some content wait for a decision, and whether any of it was edited.
///
/// # Errors
/// When the statement fails.
pub async fn standing(connection: &mut PgConnection, content_id: &str) -> Result<ContentState, sqlx::Error> {
    let found = standings(connection, Some(content_id)).await?;
    Ok(found.get(content_id).copied().unwrap_or(ContentState::Applied))
}

/// The same of some content, or of all that the centre has brought.
///
/// # Errors
/// When the statement fails.
pub async fn standings(
    connection: &mut PgConnection,
    content_id: Option<&str>,
) -> Result<HashMap<String, ContentState>, sqlx::Error> {
    let rows: Vec<(String, bool, bool)> = sqlx::query_as(
        "SELECT global_content_id, bool_or(jsonb_array_length(conflicts) > 0), bool_or(is_customized)
         FROM local_node.local_content
         WHERE global_content_id IS NOT NULL AND ($1::text IS NULL OR global_content_id = $1)
         GROUP BY global_content_id",
    )
    .bind(content_id)
    .fetch_all(connection)
    .await?;
    let state = |conflicted, customized| match (conflicted, customized) {
        (true, _) => ContentState::Conflicted,
        (false, true) => ContentState::Merged,
        (false, false) => ContentState::Applied,
    };
    Ok(rows.into_iter().map(|(id, conflicted, customized)| (id, state(conflicted, customized))).collect())
}
