//! `global_users`.

use fateh_common::{
    identity::Security,
    service::validation::key,
    sql::{from_sql, new_id, to_sql},
};
use jiff::Timestamp;
use serde::Serialize;
use sqlx::{FromRow, PgConnection};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::permissions::CentralRole;

/// Someone with an account at the centre, without the password's hash.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GlobalUser)]
pub struct User {
    /// Identifier.
    pub id: Uuid,
    /// Name for people.
    pub display_name: String,
    /// E-mail, good for sign-in.
    pub email: String,
    /// Role at the centre; null: none.
    pub role: Option<CentralRole>,
    /// active or suspended
    pub status: String,
    /// When the user last signed in.
    pub last_sign_in: Option<Timestamp>,
    /// When the user was made.
    pub created_at: Timestamp,
    /// What the user's tokens must agree with.
    #[serde(skip)]
    pub security_version: i32,
}

impl User {
    /// What the user's tokens must agree with.
    #[must_use]
    pub fn security(&self) -> Security {
        Security { user: self.id, version: self.security_version, active: self.status == "active" }
    }
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    display_name: String,
    email: String,
    role: Option<CentralRole>,
    status: String,
    last_sign_in: Option<OffsetDateTime>,
    created_at: OffsetDateTime,
    security_version: i32,
}

impl From<Row> for User {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            display_name: row.display_name,
            email: row.email,
            role: row.role,
            status: row.status,
            last_sign_in: row.last_sign_in.map(from_sql),
            created_at: from_sql(row.created_at),
            security_version: row.security_version,
        }
    }
}

macro_rules! columns {
    () => {
        "id, display_name, email, role, status, last_sign_in, created_at, security_version"
    };
}

/// A user to be made.
pub struct NewUser<'a> {
    /// Name for people.
    pub display_name: &'a str,
    /// E-mail, as typed.
    pub email: &'a str,
    /// Argon2id, PHC string.
    pub password_hash: &'a str,
    /// Role at the centre.
    pub role: Option<CentralRole>,
}

/// Makes a user.
///
/// # Errors
/// A taken e-mail violates a constraint of that name.
pub async fn insert(connection: &mut PgConnection, new: &NewUser<'_>, now: Timestamp) -> Result<User, sqlx::Error> {
    let row: Row = sqlx::query_as(concat!(
        "INSERT INTO global_platform.global_users
             (id, display_name, email, email_key, password_hash, role, status, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, 'active', $7, $7) RETURNING ",
        columns!()
    ))
    .bind(new_id(now))
    .bind(new.display_name.trim())
    .bind(new.email.trim())
    .bind(key(new.email))
    .bind(new.password_hash)
    .bind(new.role)
    .bind(to_sql(now))
    .fetch_one(connection)
    .await?;
    Ok(row.into())
}

/// A user who was not deleted.
///
/// # Errors
/// When the statement fails.
pub async fn find(connection: &mut PgConnection, id: Uuid) -> Result<Option<User>, sqlx::Error> {
    let row: Option<Row> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM global_platform.global_users WHERE id = $1 AND status <> 'deleted'"
    ))
    .bind(id)
    .fetch_optional(connection)
    .await?;
    Ok(row.map(User::from))
}

/// Users after one, oldest first.
///
/// # Errors
/// When the statement fails.
pub async fn list(connection: &mut PgConnection, after: Option<Uuid>, limit: i64) -> Result<Vec<User>, sqlx::Error> {
    let rows: Vec<Row> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM global_platform.global_users WHERE status <> 'deleted' AND ($1::uuid IS NULL OR id > $1)
         ORDER BY id LIMIT $2"
    ))
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(User::from).collect())
}

/// Suspends a user, or lets the user in again; a new status ends what tokens of before allow.
///
/// # Errors
/// When the statement fails.
pub async fn set_status(
    connection: &mut PgConnection,
    id: Uuid,
    status: &str,
    now: Timestamp,
) -> Result<Option<User>, sqlx::Error> {
    let row: Option<Row> = sqlx::query_as(concat!(
        "UPDATE global_platform.global_users SET status = $2, updated_at = $3,
             security_version = security_version + (status <> $2)::integer,
             security_changed_at = CASE WHEN status <> $2 THEN $3 ELSE security_changed_at END
         WHERE id = $1 AND status <> 'deleted' RETURNING ",
        columns!()
    ))
    .bind(id)
    .bind(status)
    .bind(to_sql(now))
    .fetch_optional(connection)
    .await?;
    Ok(row.map(User::from))
}

/// Locks the active platform admins, so that of two who take the last ones away together one waits, and counts those
/// beside this user.
///
/// # Errors
/// When the statement fails.
pub async fn other_active_admins(connection: &mut PgConnection, id: Uuid) -> Result<usize, sqlx::Error> {
    let admins: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM global_platform.global_users WHERE role = 'platform-admin' AND status = 'active'
         ORDER BY id FOR UPDATE",
    )
    .fetch_all(connection)
    .await?;
    Ok(admins.into_iter().filter(|admin| *admin != id).count())
}
