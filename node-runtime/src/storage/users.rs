//! `local_users`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{from_sql, to_sql};
use crate::validation::key;

/// What a user is on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Role {
    /// Learns.
    Student,
    /// Teaches.
    Instructor,
    /// Runs the node.
    Admin,
}

/// Whether a user may sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Status {
    /// Yes.
    Active,
    /// Not for now.
    Suspended,
    /// Never again.
    Deleted,
}

/// A user, without the password's hash.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Identifier.
    pub id: Uuid,
    /// Name at sign-in.
    pub username: String,
    /// E-mail, also good for sign-in.
    pub email: String,
    /// Role.
    pub role: Role,
    /// Status.
    pub status: Status,
    /// When the user was made.
    pub created_at: Timestamp,
}

/// A user to be made.
pub struct NewUser<'a> {
    /// Name at sign-in, as typed.
    pub username: &'a str,
    /// E-mail, as typed.
    pub email: &'a str,
    /// Argon2id, PHC string.
    pub password_hash: &'a str,
    /// Role.
    pub role: Role,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    username: String,
    email: String,
    role: Role,
    status: Status,
    created_at: OffsetDateTime,
}

impl From<Row> for User {
    fn from(row: Row) -> Self {
        let Row { id, username, email, role, status, created_at } = row;
        Self { id, username, email, role, status, created_at: from_sql(created_at) }
    }
}

/// Makes a user.
///
/// # Errors
/// A taken name or e-mail violates a constraint of that name.
pub async fn insert(connection: &mut PgConnection, user: &NewUser<'_>, now: Timestamp) -> Result<User, sqlx::Error> {
    let row: Row = sqlx::query_as(
        "INSERT INTO local_node.local_users
             (id, username, username_key, email, email_key, password_hash, role, status, profile, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'active', '{}', $8, $8)
         RETURNING id, username, email, role, status, created_at",
    )
    .bind(new_id(now))
    .bind(user.username.trim())
    .bind(key(user.username))
    .bind(user.email.trim())
    .bind(key(user.email))
    .bind(user.password_hash)
    .bind(user.role)
    .bind(to_sql(now))
    .fetch_one(connection)
    .await?;
    Ok(row.into())
}

/// The user who signs in with this e-mail or name, and the hash of the password.
///
/// # Errors
/// When the statement fails.
pub async fn find_by_login(connection: &mut PgConnection, login: &str) -> Result<Option<(User, String)>, sqlx::Error> {
    #[derive(FromRow)]
    struct WithHash {
        #[sqlx(flatten)]
        row: Row,
        password_hash: String,
    }
    // A user name holds no '@', so at most one row matches.
    let found: Option<WithHash> = sqlx::query_as(
        "SELECT id, username, email, role, status, created_at, password_hash FROM local_node.local_users
         WHERE (username_key = $1 OR email_key = $1) AND status <> 'deleted'",
    )
    .bind(key(login))
    .fetch_optional(connection)
    .await?;
    Ok(found.map(|found| (found.row.into(), found.password_hash)))
}

/// Notes a sign-in.
///
/// # Errors
/// When the statement fails.
pub async fn signed_in(connection: &mut PgConnection, id: Uuid, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE local_node.local_users SET last_sign_in = $2 WHERE id = $1")
        .bind(id)
        .bind(to_sql(now))
        .execute(connection)
        .await
        .map(drop)
}

/// Users after `after`, oldest first.
///
/// # Errors
/// When the statement fails.
pub async fn list(
    connection: &mut PgConnection,
    role: Option<Role>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<User>, sqlx::Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, username, email, role, status, created_at FROM local_node.local_users
         WHERE status <> 'deleted' AND ($1::text IS NULL OR role = $1) AND ($2::uuid IS NULL OR id > $2)
         ORDER BY id LIMIT $3",
    )
    .bind(role)
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(User::from).collect())
}

/// Version 7, so that identifiers sort by the time of their making.
fn new_id(now: Timestamp) -> Uuid {
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let nanoseconds = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanoseconds))
}
