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

/// What becomes of a user's role at the centre.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleChange {
    /// The user has this one.
    Give(CentralRole),
    /// The user has none.
    Take,
}

impl RoleChange {
    /// The change by the word of the role, or `none`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "none" { Some(Self::Take) } else { CentralRole::parse(text).map(Self::Give) }
    }

    const fn role(self) -> Option<CentralRole> {
        match self {
            Self::Give(role) => Some(role),
            Self::Take => None,
        }
    }
}

/// What of a user is to be another; none: as it is.
#[derive(Debug, Default)]
pub struct Change<'a> {
    /// Name for people.
    pub display_name: Option<&'a str>,
    /// E-mail, as typed.
    pub email: Option<&'a str>,
    /// Role at the centre.
    pub role: Option<RoleChange>,
    /// active or suspended
    pub status: Option<&'a str>,
}

/// Changes a user; none when there is none. A new role or status ends what the user's tokens of before allow.
///
/// # Errors
/// A taken e-mail violates a constraint of that name.
pub async fn change(
    connection: &mut PgConnection,
    id: Uuid,
    change: &Change<'_>,
    now: Timestamp,
) -> Result<Option<User>, sqlx::Error> {
    let row: Option<Row> = sqlx::query_as(concat!(
        "WITH wanted AS (
             SELECT id AS wanted_id, CASE WHEN $5 THEN $6 ELSE role END AS new_role, coalesce($7, status) AS new_status
             FROM global_platform.global_users WHERE id = $1 AND status <> 'deleted' FOR UPDATE)
         UPDATE global_platform.global_users SET
             display_name = coalesce($2, display_name), email = coalesce($3, email), email_key = coalesce($4, email_key),
             role = new_role, status = new_status,
             security_version = security_version + (new_role IS DISTINCT FROM role OR new_status <> status)::integer,
             security_changed_at = CASE WHEN new_role IS DISTINCT FROM role OR new_status <> status
                                        THEN $8 ELSE security_changed_at END,
             updated_at = $8
         FROM wanted WHERE id = wanted_id RETURNING ",
        columns!()
    ))
    .bind(id)
    .bind(change.display_name.map(str::trim))
    .bind(change.email.map(str::trim))
    .bind(change.email.map(key))
    .bind(change.role.is_some())
    .bind(change.role.and_then(RoleChange::role))
    .bind(change.status)
    .bind(to_sql(now))
    .fetch_optional(connection)
    .await?;
    Ok(row.map(User::from))
}

/// Deletes a user for good: what tells who it was is gone, the e-mail is free again, and who the user is at nodes, or a
/// partner in, may be joined to another account. The row stays, because the audit log refers to it.
///
/// # Errors
/// When the statement fails.
pub async fn delete(connection: &mut PgConnection, id: Uuid, now: Timestamp) -> Result<Option<User>, sqlx::Error> {
    let row: Option<Row> = sqlx::query_as(concat!(
        "WITH dropped AS (DELETE FROM global_platform.password_resets WHERE user_id = $1),
         parted AS (UPDATE global_platform.global_identities SET global_user = NULL WHERE global_user = $1),
         left_to_others AS (
             UPDATE global_platform.global_partners SET global_user = NULL, updated_at = $2 WHERE global_user = $1)
         UPDATE global_platform.global_users SET display_name = 'deleted', email = 'deleted',
             email_key = 'deleted@' || id, password_hash = '', role = NULL, status = 'deleted', last_sign_in = NULL,
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
