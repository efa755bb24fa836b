//! `local_users`.

use fateh_common::{
    identity::Security,
    service::validation::key,
    sql::{from_sql, new_id, to_sql},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{FromRow, PgConnection};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::outbox;

/// What a user is on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
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

impl Role {
    /// The word for it, everywhere.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Student => "student",
            Self::Instructor => "instructor",
            Self::Admin => "admin",
        }
    }
}

/// Whether a user may sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema, sqlx::Type)]
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
#[derive(Clone, Debug, Serialize, ToSchema)]
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
    /// What the node keeps of the user beside.
    #[schema(value_type = Object)]
    pub profile: Value,
    /// When the user last signed in.
    pub last_sign_in: Option<Timestamp>,
    /// When the user was made.
    pub created_at: Timestamp,
    /// When the user was last changed.
    pub updated_at: Timestamp,
    /// What the user's tokens must agree with.
    #[serde(skip)]
    pub security_version: i32,
}

impl User {
    /// What the user's tokens must agree with.
    #[must_use]
    pub fn security(&self) -> Security {
        Security { user: self.id, version: self.security_version, active: self.status == Status::Active }
    }
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
    /// A JSON object.
    pub profile: &'a Value,
}

/// What of a user is to be another; what is none stays.
#[derive(Debug, Default)]
pub struct Change {
    /// Name at sign-in.
    pub username: Option<String>,
    /// E-mail.
    pub email: Option<String>,
    /// Role.
    pub role: Option<Role>,
    /// Status.
    pub status: Option<Status>,
    /// A JSON object, in place of the one before.
    pub profile: Option<Value>,
}

/// Which users are listed.
#[derive(Debug, Default)]
pub struct Filter {
    /// Of this role.
    pub role: Option<Role>,
    /// Of this status; deleted ones never.
    pub status: Option<Status>,
    /// Whose name or e-mail begins so, as a key.
    pub search: Option<String>,
    /// Made after this one.
    pub after: Option<Uuid>,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    username: String,
    email: String,
    role: Role,
    status: Status,
    profile: Value,
    last_sign_in: Option<OffsetDateTime>,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
    security_version: i32,
}

macro_rules! columns {
    () => {
        "id, username, email, role, status, profile, last_sign_in, created_at, updated_at, security_version"
    };
}

impl From<Row> for User {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            username: row.username,
            email: row.email,
            role: row.role,
            status: row.status,
            profile: row.profile,
            last_sign_in: row.last_sign_in.map(from_sql),
            created_at: from_sql(row.created_at),
            updated_at: from_sql(row.updated_at),
            security_version: row.security_version,
        }
    }
}

/// Makes a user, and what the centre is told of it, in one statement.
///
/// # Errors
/// A taken name or e-mail violates a constraint of that name.
pub async fn insert(connection: &mut PgConnection, user: &NewUser<'_>, now: Timestamp) -> Result<User, sqlx::Error> {
    let row: Row = sqlx::query_as(concat!(
        "WITH made AS (
             INSERT INTO local_node.local_users
                 (id, username, username_key, email, email_key, password_hash, role, status, profile, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, 'active', $8, $9, $9)
             RETURNING *),
         told AS (
             INSERT INTO local_node.outbox (id, kind, payload, created_at, next_attempt_at)
             SELECT $10, $11, jsonb_build_object('userId', id, 'role', role), created_at, created_at FROM made)
         SELECT ",
        columns!(),
        " FROM made"
    ))
    .bind(new_id(now))
    .bind(user.username.trim())
    .bind(key(user.username))
    .bind(user.email.trim())
    .bind(key(user.email))
    .bind(user.password_hash)
    .bind(user.role)
    .bind(user.profile)
    .bind(to_sql(now))
    .bind(Uuid::new_v4())
    .bind(outbox::USER_CREATED)
    .fetch_one(connection)
    .await?;
    Ok(row.into())
}

/// The user who signs in with this e-mail or name, and the hash of the password.
///
/// # Errors
/// When the statement fails.
pub async fn find_by_login(connection: &mut PgConnection, login: &str) -> Result<Option<(User, String)>, sqlx::Error> {
    // A user name holds no '@', so at most one row matches.
    let found: Option<WithHash> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        ", password_hash FROM local_node.local_users
         WHERE (username_key = $1 OR email_key = $1) AND status <> 'deleted'"
    ))
    .bind(key(login))
    .fetch_optional(connection)
    .await?;
    Ok(found.map(|found| (found.row.into(), found.password_hash)))
}

#[derive(FromRow)]
struct WithHash {
    #[sqlx(flatten)]
    row: Row,
    password_hash: String,
}

/// A user and the hash of the password.
///
/// # Errors
/// When the statement fails.
pub async fn find_with_hash(connection: &mut PgConnection, id: Uuid) -> Result<Option<(User, String)>, sqlx::Error> {
    let found: Option<WithHash> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        ", password_hash FROM local_node.local_users WHERE id = $1 AND status <> 'deleted'"
    ))
    .bind(id)
    .fetch_optional(connection)
    .await?;
    Ok(found.map(|found| (found.row.into(), found.password_hash)))
}

/// A user who was not deleted.
///
/// # Errors
/// When the statement fails.
pub async fn find(connection: &mut PgConnection, id: Uuid) -> Result<Option<User>, sqlx::Error> {
    let row: Option<Row> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM local_node.local_users WHERE id = $1 AND status <> 'deleted'"
    ))
    .bind(id)
    .fetch_optional(connection)
    .await?;
    Ok(row.map(User::from))
}

/// Role of an active user of whose rights and password nothing has changed since a token was issued.
///
/// # Errors
/// When the statement fails.
pub async fn role_since(
    connection: &mut PgConnection,
    id: Uuid,
    issued_at: Timestamp,
) -> Result<Option<Role>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT role FROM local_node.local_users WHERE id = $1 AND status = 'active' AND security_changed_at < $2",
    )
    .bind(id)
    .bind(to_sql(issued_at))
    .fetch_optional(connection)
    .await
}

/// Users who match, oldest first.
///
/// # Errors
/// When the statement fails.
pub async fn list(connection: &mut PgConnection, filter: &Filter, limit: i64) -> Result<Vec<User>, sqlx::Error> {
    let prefix = filter.search.as_ref().map(|search| format!("{}%", escaped(search)));
    let rows: Vec<Row> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM local_node.local_users
         WHERE status <> 'deleted' AND ($1::text IS NULL OR role = $1) AND ($2::text IS NULL OR status = $2)
           AND ($3::text IS NULL OR username_key LIKE $3 OR email_key LIKE $3) AND ($4::uuid IS NULL OR id > $4)
         ORDER BY id LIMIT $5"
    ))
    .bind(filter.role)
    .bind(filter.status)
    .bind(prefix)
    .bind(filter.after)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(User::from).collect())
}

/// Changes a user; none when there is none. A new role or status ends what the user's tokens of before allow.
///
/// # Errors
/// A taken name or e-mail violates a constraint of that name.
pub async fn change(
    connection: &mut PgConnection,
    id: Uuid,
    change: &Change,
    now: Timestamp,
) -> Result<Option<User>, sqlx::Error> {
    let row: Option<Row> = sqlx::query_as(concat!(
        "UPDATE local_node.local_users SET
             username = coalesce($2, username), username_key = coalesce($3, username_key),
             email = coalesce($4, email), email_key = coalesce($5, email_key),
             role = coalesce($6, role), status = coalesce($7, status), profile = coalesce($8, profile),
             security_version = security_version + (coalesce($6, role) <> role OR coalesce($7, status) <> status)::integer,
             security_changed_at = CASE WHEN coalesce($6, role) <> role OR coalesce($7, status) <> status
                                        THEN $9 ELSE security_changed_at END,
             updated_at = $9
         WHERE id = $1 AND status <> 'deleted' RETURNING ",
        columns!()
    ))
    .bind(id)
    .bind(change.username.as_deref().map(str::trim))
    .bind(change.username.as_deref().map(key))
    .bind(change.email.as_deref().map(str::trim))
    .bind(change.email.as_deref().map(key))
    .bind(change.role)
    .bind(change.status)
    .bind(&change.profile)
    .bind(to_sql(now))
    .fetch_optional(connection)
    .await?;
    Ok(row.map(User::from))
}

/// Deletes a user for good: what tells who it was is gone, and name and e-mail are free again. The row stays, because
/// money may refer to it.
///
/// # Errors
/// When the statement fails.
pub async fn delete(connection: &mut PgConnection, id: Uuid, now: Timestamp) -> Result<Option<User>, sqlx::Error> {
    let row: Option<Row> = sqlx::query_as(concat!(
        "WITH dropped AS (DELETE FROM local_node.password_resets WHERE user_id = $1)
         UPDATE local_node.local_users SET username = 'deleted', username_key = 'deleted@' || id, email = 'deleted',
             email_key = 'deleted@' || id, password_hash = '', profile = '{}', status = 'deleted', last_sign_in = NULL,
             security_version = security_version + 1, security_changed_at = $2, updated_at = $2
         WHERE id = $1 AND status <> 'deleted' RETURNING ",
        columns!()
    ))
    .bind(id)
    .bind(to_sql(now))
    .fetch_optional(connection)
    .await?;
    Ok(row.map(User::from))
}

/// Locks the active admins, so that of two who take the last ones away together one waits, and counts those beside
/// this user.
///
/// # Errors
/// When the statement fails.
pub async fn other_active_admins(connection: &mut PgConnection, id: Uuid) -> Result<usize, sqlx::Error> {
    let admins: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM local_node.local_users WHERE role = 'admin' AND status = 'active' ORDER BY id FOR UPDATE",
    )
    .fetch_all(connection)
    .await?;
    Ok(admins.into_iter().filter(|admin| *admin != id).count())
}

/// What is looked for, letter by letter, in a pattern.
fn escaped(text: &str) -> String {
    text.chars().flat_map(|c| matches!(c, '%' | '_' | '\\').then_some('\\').into_iter().chain([c])).collect()
}
