//! `global_content`, its versions, and bytes by their digest.

use std::collections::BTreeMap;

use fateh_common::{
    catalogue::{Digest, Manifest},
    sql::{from_sql, to_sql},
};
use jiff::Timestamp;
use serde::Serialize;
use sqlx::{FromRow, PgConnection, types::Json};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// Something that can be taught, by its versions.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GlobalContent)]
pub struct Content {
    /// Identifier, chosen by the people who publish it.
    pub id: String,
    /// Course, Lesson, Quiz or Resource
    #[serde(rename = "type")]
    pub kind: String,
    /// By language.
    pub title: BTreeMap<String, String>,
    /// By language.
    pub description: BTreeMap<String, String>,
    /// Languages that it is meant to be had in.
    pub target_languages: Vec<String>,
    /// Whether it may be sent to nodes.
    pub is_distributable: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

#[derive(FromRow)]
struct ContentRow {
    id: String,
    r#type: String,
    title: Json<BTreeMap<String, String>>,
    description: Json<BTreeMap<String, String>>,
    target_languages: Vec<String>,
    is_distributable: bool,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

impl From<ContentRow> for Content {
    fn from(row: ContentRow) -> Self {
        Self {
            id: row.id,
            kind: row.r#type,
            title: row.title.0,
            description: row.description.0,
            target_languages: row.target_languages,
            is_distributable: row.is_distributable,
            created_at: from_sql(row.created_at),
            updated_at: from_sql(row.updated_at),
        }
    }
}

macro_rules! columns {
    () => {
        "id, type, title, description, target_languages, is_distributable, created_at, updated_at"
    };
}

/// What content is to be, beside its id and type, which are never changed.
pub struct Wanted {
    /// By language.
    pub title: BTreeMap<String, String>,
    /// By language.
    pub description: BTreeMap<String, String>,
    /// Languages that it is meant to be had in.
    pub target_languages: Vec<String>,
    /// Whether it may be sent to nodes.
    pub is_distributable: bool,
}

/// Makes content; none if there is some of that id.
///
/// # Errors
/// When the statement fails.
pub async fn insert(
    connection: &mut PgConnection,
    id: &str,
    kind: &str,
    wanted: &Wanted,
    now: Timestamp,
) -> Result<Option<Content>, sqlx::Error> {
    let row: Option<ContentRow> = sqlx::query_as(concat!(
        "INSERT INTO global_platform.global_content (",
        columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT DO NOTHING RETURNING ",
        columns!()
    ))
    .bind(id)
    .bind(kind)
    .bind(Json(&wanted.title))
    .bind(Json(&wanted.description))
    .bind(&wanted.target_languages)
    .bind(wanted.is_distributable)
    .bind(to_sql(now))
    .fetch_optional(connection)
    .await?;
    Ok(row.map(Content::from))
}

/// Changes content.
///
/// # Errors
/// When the statement fails.
pub async fn update(
    connection: &mut PgConnection,
    id: &str,
    wanted: &Wanted,
    now: Timestamp,
) -> Result<Option<Content>, sqlx::Error> {
    let row: Option<ContentRow> = sqlx::query_as(concat!(
        "UPDATE global_platform.global_content SET title = $2, description = $3, target_languages = $4,
             is_distributable = $5, updated_at = $6 WHERE id = $1 RETURNING ",
        columns!()
    ))
    .bind(id)
    .bind(Json(&wanted.title))
    .bind(Json(&wanted.description))
    .bind(&wanted.target_languages)
    .bind(wanted.is_distributable)
    .bind(to_sql(now))
    .fetch_optional(connection)
    .await?;
    Ok(row.map(Content::from))
}

/// Content of an id.
///
/// # Errors
/// When the statement fails.
pub async fn find(connection: &mut PgConnection, id: &str) -> Result<Option<Content>, sqlx::Error> {
    let row: Option<ContentRow> =
        sqlx::query_as(concat!("SELECT ", columns!(), " FROM global_platform.global_content WHERE id = $1"))
            .bind(id)
            .fetch_optional(connection)
            .await?;
    Ok(row.map(Content::from))
}

/// Content by id, after one; of a type, or of all.
///
/// # Errors
/// When the statement fails.
pub async fn list(
    connection: &mut PgConnection,
    kind: Option<&str>,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Content>, sqlx::Error> {
    let rows: Vec<ContentRow> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM global_platform.global_content
         WHERE ($1::text IS NULL OR type = $1) AND ($2::text IS NULL OR id > $2) ORDER BY id LIMIT $3"
    ))
    .bind(kind)
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Content::from).collect())
}

/// A version as it is stored.
#[derive(Clone, Debug)]
pub struct Version {
    /// For people, for example 1.2.
    pub name: String,
    /// Digest of its manifest.
    pub digest: Digest,
    /// The manifest.
    pub manifest: Manifest,
    /// When it was released; none for a draft.
    pub released_at: Option<Timestamp>,
}

#[derive(FromRow)]
struct VersionRow {
    version: String,
    manifest: Vec<u8>,
    body: Vec<u8>,
    released_at: Option<OffsetDateTime>,
}

impl TryFrom<VersionRow> for Version {
    type Error = sqlx::Error;

    fn try_from(row: VersionRow) -> Result<Self, sqlx::Error> {
        let decode = |error: Box<dyn std::error::Error + Send + Sync>| sqlx::Error::Decode(error);
        Ok(Self {
            digest: Digest::try_from(&*row.manifest).map_err(|error| decode(Box::new(error)))?,
            manifest: serde_json::from_slice(&row.body).map_err(|error| decode(Box::new(error)))?,
            name: row.version,
            released_at: row.released_at.map(from_sql),
        })
    }
}

/// Versions of content, in the order in which they were made: one, or all up to a hundred of the newest.
///
/// # Errors
/// When the statement fails.
pub async fn versions(
    connection: &mut PgConnection,
    content: &str,
    version: Option<&str>,
) -> Result<Vec<Version>, sqlx::Error> {
    let rows: Vec<VersionRow> = sqlx::query_as(
        "SELECT v.version, v.manifest, b.body, v.released_at
         FROM global_platform.content_versions v JOIN global_platform.content_bodies b ON b.digest = v.manifest
         WHERE v.content = $1 AND ($2::text IS NULL OR v.version = $2)
         ORDER BY v.created_at DESC, v.version LIMIT 100",
    )
    .bind(content)
    .bind(version)
    .fetch_all(connection)
    .await?;
    rows.into_iter().rev().map(Version::try_from).collect()
}

/// Keeps bytes under their digest; whether they were not there before.
///
/// # Errors
/// When the statement fails.
pub async fn put(
    connection: &mut PgConnection,
    digest: &Digest,
    body: &[u8],
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let put = sqlx::query(
        "INSERT INTO global_platform.content_bodies (digest, body, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind(digest.as_bytes().as_slice())
    .bind(body)
    .bind(to_sql(now))
    .execute(connection)
    .await?;
    Ok(put.rows_affected() == 1)
}

/// Released bytes.
///
/// # Errors
/// When the statement fails.
pub async fn released(connection: &mut PgConnection, digest: &Digest) -> Result<Option<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar("SELECT body FROM global_platform.content_bodies WHERE digest = $1 AND released_at IS NOT NULL")
        .bind(digest.as_bytes().as_slice())
        .fetch_optional(connection)
        .await
}

/// Those of the digests that nobody has put.
///
/// # Errors
/// When the statement fails.
pub async fn missing(connection: &mut PgConnection, digests: &[Digest]) -> Result<Vec<Digest>, sqlx::Error> {
    let wanted: Vec<&[u8]> = digests.iter().map(|digest| digest.as_bytes().as_slice()).collect();
    let there: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT digest FROM global_platform.content_bodies WHERE digest = ANY ($1)")
            .bind(&wanted)
            .fetch_all(connection)
            .await?;
    Ok(digests.iter().copied().filter(|digest| !there.iter().any(|one| one == digest.as_bytes())).collect())
}

/// Makes a draft, or changes it; false if the version was released.
///
/// # Errors
/// When the statement fails.
pub async fn draft(
    connection: &mut PgConnection,
    manifest: &Manifest,
    digest: &Digest,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let drafted = sqlx::query(
        "INSERT INTO global_platform.content_versions AS v (content, version, manifest, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (content, version) DO UPDATE SET manifest = excluded.manifest WHERE v.released_at IS NULL",
    )
    .bind(&manifest.content_id)
    .bind(&manifest.version)
    .bind(digest.as_bytes().as_slice())
    .bind(to_sql(now))
    .execute(connection)
    .await?;
    Ok(drafted.rows_affected() == 1)
}

/// Releases a manifest and its bodies; false if that version was released with other bodies. Again it changes nothing.
///
/// # Errors
/// When a statement fails.
pub async fn release(
    connection: &mut PgConnection,
    manifest: &Manifest,
    digest: &Digest,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    sqlx::query(
        "INSERT INTO global_platform.released_versions (content, version, languages, released_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING",
    )
    .bind(&manifest.content_id)
    .bind(&manifest.version)
    .bind(Json(&manifest.languages))
    .bind(to_sql(now))
    .execute(&mut *connection)
    .await?;
    let same: bool = sqlx::query_scalar(
        "SELECT languages = $3 FROM global_platform.released_versions WHERE content = $1 AND version = $2",
    )
    .bind(&manifest.content_id)
    .bind(&manifest.version)
    .bind(Json(&manifest.languages))
    .fetch_one(&mut *connection)
    .await?;
    if !same {
        return Ok(false);
    }
    let digests: Vec<&[u8]> =
        manifest.languages.values().chain([digest]).map(|digest| digest.as_bytes().as_slice()).collect();
    sqlx::query(
        "UPDATE global_platform.content_bodies SET released_at = $2 WHERE digest = ANY ($1) AND released_at IS NULL",
    )
    .bind(&digests)
    .bind(to_sql(now))
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "UPDATE global_platform.content_versions SET released_at = $4
         WHERE content = $1 AND version = $2 AND manifest = $3 AND released_at IS NULL",
    )
    .bind(&manifest.content_id)
    .bind(&manifest.version)
    .bind(digest.as_bytes().as_slice())
    .bind(to_sql(now))
    .execute(connection)
    .await?;
    Ok(true)
}
