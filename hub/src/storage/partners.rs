//! `global_partners` and `partner_shares`.

use fateh_common::{
    hub::PartnerRole,
    service::validation::key,
    sql::{from_sql, new_id, to_sql},
};
use jiff::{Timestamp, civil::Date};
use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, PgConnection};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::shares::Share;

/// Who has a part in a node by contract.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GlobalPartner)]
pub struct Partner {
    /// Identifier.
    pub id: Uuid,
    /// Name of the node.
    pub node: String,
    /// The node itself: another one of its name is another node.
    #[serde(skip)]
    pub node_uid: Uuid,
    /// The account that the partner signs in with at the hub; null: none.
    pub user_id: Option<Uuid>,
    /// Name for people.
    pub display_name: String,
    /// For letters; it is not signed in with.
    pub email: String,
    /// owner, manager, instructor or support
    pub role: String,
    /// active, suspended or ended
    pub status: String,
    /// What was agreed on, as the centre keeps it.
    #[schema(value_type = Object)]
    pub contract: Value,
    /// Share of the node's net today, in hundredths of a percent.
    pub share_basis_points: i32,
    /// When the partner was made.
    pub created_at: Timestamp,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    node: String,
    node_uid: Uuid,
    global_user: Option<Uuid>,
    display_name: String,
    email: String,
    role: String,
    status: String,
    contract: Value,
    share: Option<i32>,
    created_at: OffsetDateTime,
}

impl From<Row> for Partner {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            node: row.node,
            node_uid: row.node_uid,
            user_id: row.global_user,
            display_name: row.display_name,
            email: row.email,
            role: row.role,
            status: row.status,
            contract: row.contract,
            share_basis_points: row.share.unwrap_or(0),
            created_at: from_sql(row.created_at),
        }
    }
}

/// `$1` is today.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT p.id, p.node, p.node_uid, p.global_user, p.display_name, p.email, p.role, p.status, p.contract,
                    (SELECT s.basis_points FROM global_platform.partner_shares s
                     WHERE s.partner = p.id AND s.valid_from <= $1::text::date
                     ORDER BY s.valid_from DESC, s.id DESC LIMIT 1) AS share, p.created_at
             FROM global_platform.global_partners p ",
            $rest
        )
    };
}

/// What a partner is to be.
pub struct Wanted<'a> {
    /// The account; none: none.
    pub user_id: Option<Uuid>,
    /// Name for people.
    pub display_name: &'a str,
    /// E-mail, as typed.
    pub email: &'a str,
    /// What the partner is at the node.
    pub role: &'a str,
    /// active or suspended
    pub status: &'a str,
    /// An object.
    pub contract: &'a Value,
}

/// Makes a partner of a node.
///
/// # Errors
/// A taken e-mail, or an account that does not exist, violates a constraint of that name.
pub async fn insert(
    connection: &mut PgConnection,
    (node, node_uid): (&str, Uuid),
    wanted: &Wanted<'_>,
    now: Timestamp,
) -> Result<Uuid, sqlx::Error> {
    sqlx::query_scalar(
        "INSERT INTO global_platform.global_partners
             (id, node_uid, node, global_user, display_name, email, email_key, role, status, contract, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11) RETURNING id",
    )
    .bind(new_id(now))
    .bind(node_uid)
    .bind(node)
    .bind(wanted.user_id)
    .bind(wanted.display_name.trim())
    .bind(wanted.email.trim())
    .bind(key(wanted.email))
    .bind(wanted.role)
    .bind(wanted.status)
    .bind(wanted.contract)
    .bind(to_sql(now))
    .fetch_one(connection)
    .await
}

/// Changes a partner whose contract has not ended; whether there is one.
///
/// # Errors
/// As [`insert`].
pub async fn update(
    connection: &mut PgConnection,
    id: Uuid,
    wanted: &Wanted<'_>,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let changed = sqlx::query(
        "UPDATE global_platform.global_partners
         SET global_user = $2, display_name = $3, email = $4, email_key = $5, role = $6, status = $7, contract = $8,
             updated_at = $9
         WHERE id = $1 AND status <> 'ended'",
    )
    .bind(id)
    .bind(wanted.user_id)
    .bind(wanted.display_name.trim())
    .bind(wanted.email.trim())
    .bind(key(wanted.email))
    .bind(wanted.role)
    .bind(wanted.status)
    .bind(wanted.contract)
    .bind(to_sql(now))
    .execute(connection)
    .await?;
    Ok(changed.rows_affected() == 1)
}

/// Ends a partner's contract: what was earned stays, and there is no share from today on.
///
/// # Errors
/// When a statement fails.
pub async fn end(connection: &mut PgConnection, id: Uuid, today: Date, now: Timestamp) -> Result<bool, sqlx::Error> {
    let ended = sqlx::query(
        "UPDATE global_platform.global_partners SET status = 'ended', global_user = NULL, updated_at = $2
         WHERE id = $1 AND status <> 'ended'",
    )
    .bind(id)
    .bind(to_sql(now))
    .execute(&mut *connection)
    .await?;
    if ended.rows_affected() == 1 {
        // Shares that were agreed on for later do not begin.
        let later: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT valid_from::text FROM global_platform.partner_shares
             WHERE partner = $1 AND valid_from > $2::text::date",
        )
        .bind(id)
        .bind(today.to_string())
        .fetch_all(&mut *connection)
        .await?;
        for day in later.into_iter().chain([today.to_string()]) {
            add_share(&mut *connection, id, &day, 0, now).await?;
        }
    }
    Ok(ended.rows_affected() == 1)
}

/// Adds a share from a day on.
///
/// # Errors
/// When the statement fails.
pub async fn add_share(
    connection: &mut PgConnection,
    partner: Uuid,
    from: &str,
    basis_points: i32,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO global_platform.partner_shares (id, partner, valid_from, basis_points, created_at)
         VALUES ($1, $2, $3::text::date, $4, $5)",
    )
    .bind(new_id(now))
    .bind(partner)
    .bind(from)
    .bind(basis_points)
    .bind(to_sql(now))
    .execute(connection)
    .await
    .map(drop)
}

/// A partner.
///
/// # Errors
/// When the statement fails.
pub async fn find(connection: &mut PgConnection, id: Uuid, today: Date) -> Result<Option<Partner>, sqlx::Error> {
    let row: Option<Row> =
        sqlx::query_as(select!("WHERE p.id = $2")).bind(today.to_string()).bind(id).fetch_optional(connection).await?;
    Ok(row.map(Partner::from))
}

/// Partners after one, oldest first: of these nodes, or of all.
///
/// # Errors
/// When the statement fails.
pub async fn list(
    connection: &mut PgConnection,
    nodes: Option<&[Uuid]>,
    after: Option<Uuid>,
    limit: i64,
    today: Date,
) -> Result<Vec<Partner>, sqlx::Error> {
    let rows: Vec<Row> = sqlx::query_as(select!(
        "WHERE ($2::uuid[] IS NULL OR p.node_uid = ANY ($2)) AND ($3::uuid IS NULL OR p.id > $3) ORDER BY p.id LIMIT $4"
    ))
    .bind(today.to_string())
    .bind(nodes)
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Partner::from).collect())
}

/// Lets the changes of one node's shares come one after the other, until the transaction ends.
///
/// # Errors
/// When the statement fails.
pub async fn lock_shares(connection: &mut PgConnection, node: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('shares ' || $1::text, 0))")
        .bind(node)
        .execute(connection)
        .await
        .map(drop)
}

#[derive(FromRow)]
struct ShareRow {
    node_uid: Uuid,
    partner: Uuid,
    valid_from: String,
    basis_points: i32,
}

/// All shares of these nodes, or of all nodes, each with its node, in the order in which they were made.
///
/// # Errors
/// When the statement fails.
pub async fn shares(connection: &mut PgConnection, nodes: Option<&[Uuid]>) -> Result<Vec<(Uuid, Share)>, sqlx::Error> {
    let rows: Vec<ShareRow> = sqlx::query_as(
        "SELECT p.node_uid, s.partner, s.valid_from::text, s.basis_points
         FROM global_platform.partner_shares s JOIN global_platform.global_partners p ON p.id = s.partner
         WHERE $1::uuid[] IS NULL OR p.node_uid = ANY ($1) ORDER BY s.id",
    )
    .bind(nodes)
    .fetch_all(connection)
    .await?;
    let share = |row: ShareRow| {
        let from = row.valid_from.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        Ok((row.node_uid, Share { partner: row.partner, from, basis_points: row.basis_points }))
    };
    rows.into_iter().map(share).collect()
}

/// What an account is at which nodes, by its contracts that hold.
///
/// # Errors
/// When the statement fails.
pub async fn roles_of(connection: &mut PgConnection, user: Uuid) -> Result<Vec<(Uuid, PartnerRole)>, sqlx::Error> {
    let rows: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT p.node_uid, p.role FROM global_platform.global_partners p
         JOIN global_platform.global_users u ON u.id = p.global_user
         WHERE p.global_user = $1 AND p.status = 'active' AND u.status = 'active'",
    )
    .bind(user)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|(node, role)| (node, PartnerRole::parse(&role))).collect())
}
