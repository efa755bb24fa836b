//! `local_revenues`, `local_refunds` and the ledger behind them. Rows are added, never changed.

use fateh_common::sql::{from_sql, to_sql};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{Connection, FromRow, PgConnection};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::outbox;

/// What was paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[schema(as = RevenueType)]
pub enum Kind {
    /// A subscription to the node.
    Subscription,
    /// A course.
    Course,
    /// Advice.
    Consulting,
    /// A workshop.
    Workshop,
}

/// Whose request it is, by which key, and what it asks for.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The user who asks.
    pub caller: String,
    /// The key that the caller chose.
    pub key: &'a str,
    /// Hash of what is asked for.
    pub hash: [u8; 32],
}

/// A revenue to be recorded.
pub struct NewRevenue<'a> {
    /// What was paid for.
    pub kind: Kind,
    /// Minor units, 1 to 10^15.
    pub amount: i64,
    /// ISO 4217.
    pub currency: &'a str,
    /// When it was paid.
    pub date: Timestamp,
    /// The user who paid, if it is one of the node.
    pub user: Option<Uuid>,
    /// A JSON object.
    pub metadata: &'a Value,
}

/// A revenue as it was recorded; money in minor units.
#[derive(Clone, Debug)]
pub struct Revenue {
    /// Identifier.
    pub id: Uuid,
    /// What was paid for.
    pub kind: Kind,
    /// What was paid.
    pub amount: i64,
    /// ISO 4217.
    pub currency: String,
    /// The platform's share.
    pub fee: i64,
    /// What is left to the node.
    pub net: i64,
    /// What was given back since.
    pub refunded: i64,
    /// When it was paid.
    pub date: Timestamp,
    /// The user who paid.
    pub user: Option<Uuid>,
    /// What the node keeps beside.
    pub metadata: Value,
    /// Whether the centre has it.
    pub synced: bool,
    /// When it was recorded.
    pub created_at: Timestamp,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    kind: Kind,
    amount_minor: i64,
    currency: String,
    fee_minor: i64,
    net_minor: i64,
    refunded_minor: i64,
    transaction_date: OffsetDateTime,
    user_id: Option<Uuid>,
    metadata: Value,
    synced_to_global: bool,
    created_at: OffsetDateTime,
    request_hash: Option<Vec<u8>>,
}

impl From<Row> for Revenue {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            kind: row.kind,
            amount: row.amount_minor,
            currency: row.currency,
            fee: row.fee_minor,
            net: row.net_minor,
            refunded: row.refunded_minor,
            date: from_sql(row.transaction_date),
            user: row.user_id,
            metadata: row.metadata,
            synced: row.synced_to_global,
            created_at: from_sql(row.created_at),
        }
    }
}

/// What came of a request with a key.
#[derive(Debug)]
pub enum Once<T> {
    /// It was carried out, now or by the same request before.
    Done(T),
    /// The key was used for another request.
    KeyReused,
}

macro_rules! columns {
    ($table:literal, $refunded:literal) => {
        concat!(
            "SELECT r.id, r.type AS kind, r.amount_minor, r.currency, r.fee_minor, r.net_minor, ",
            $refunded,
            " AS refunded_minor, r.transaction_date, r.user_id, r.metadata, r.synced_to_global, r.created_at,
              r.request_hash FROM ",
            $table,
            " r "
        )
    };
}

/// Records a revenue with the fee at the rate in force when it was paid, its movements in the ledger and what the
/// centre is told, in one statement.
///
/// # Errors
/// An unknown user violates a constraint of that name; another request with the same key that takes too long is a
/// lock that cannot be had (55P03).
pub async fn record(
    connection: &mut PgConnection,
    request: &Request<'_>,
    new: &NewRevenue<'_>,
    now: Timestamp,
) -> Result<Once<Revenue>, sqlx::Error> {
    let made: Option<Row> = sqlx::query_as(concat!(
        "WITH rate AS (
             SELECT coalesce(
                 (SELECT platform_basis_points FROM local_node.fee_rates WHERE valid_from <= $6 ORDER BY valid_from DESC LIMIT 1),
                 (SELECT platform_basis_points FROM local_node.fee_rates ORDER BY valid_from LIMIT 1)) AS points),
         priced AS (SELECT points, div($4::numeric * points + 5000, 10000)::bigint AS fee FROM rate),
         made AS (
             INSERT INTO local_node.local_revenues
                 (id, type, currency, amount_minor, fee_minor, net_minor, fee_basis_points, transaction_date, user_id,
                  metadata, synced_to_global, created_at, caller, idempotency_key, request_hash)
             SELECT $1, $2, $3, $4, fee, $4 - fee, points, $6, $5, $7, false, $8, $9, $10, $11 FROM priced
             ON CONFLICT (caller, idempotency_key) DO NOTHING RETURNING *),
         counted AS (INSERT INTO local_node.refund_totals SELECT id, 0 FROM made),
         moved AS (
             INSERT INTO local_node.ledger_transfers (id, revenue_id, debit, credit, amount_minor, created_at)
             SELECT share.id, made.id, 'received', share.account, share.minor, made.created_at
             FROM made, LATERAL (VALUES ($12::uuid, 'net', net_minor), ($13::uuid, 'fee', fee_minor)) AS share (id, account, minor)
             WHERE share.minor > 0),
         told AS (
             INSERT INTO local_node.outbox (id, kind, payload, created_at, next_attempt_at)
             SELECT id, $14, jsonb_build_object('id', id, 'type', type, 'currency', currency, 'amountMinor', amount_minor,
                 'feeMinor', fee_minor, 'netMinor', net_minor, 'transactionDate', transaction_date), created_at, created_at
             FROM made) ",
        columns!("made", "0::bigint")
    ))
    .bind(Uuid::new_v4())
    .bind(new.kind)
    .bind(new.currency)
    .bind(new.amount)
    .bind(new.user)
    .bind(to_sql(new.date))
    .bind(new.metadata)
    .bind(to_sql(now))
    .bind(&request.caller)
    .bind(request.key)
    .bind(request.hash)
    .bind(Uuid::new_v4())
    .bind(Uuid::new_v4())
    .bind(outbox::REVENUE)
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(made) = made {
        return Ok(Once::Done(made.into()));
    }
    // A statement of its own, which sees what the request before wrote. What was refunded since is no part of that answer.
    let before: Row = sqlx::query_as(concat!(
        columns!("local_node.local_revenues", "0::bigint"),
        "WHERE caller = $1 AND idempotency_key = $2"
    ))
    .bind(&request.caller)
    .bind(request.key)
    .fetch_one(connection)
    .await?;
    let same = before.request_hash.as_deref() == Some(request.hash.as_slice());
    Ok(if same { Once::Done(before.into()) } else { Once::KeyReused })
}

/// A refund as it was recorded; money in minor units.
#[derive(Clone, Debug)]
pub struct Refund {
    /// Identifier.
    pub id: Uuid,
    /// The revenue that it gives back of.
    pub revenue: Uuid,
    /// What was given back.
    pub amount: i64,
    /// ISO 4217, as of the revenue.
    pub currency: String,
    /// What the platform gives back of it.
    pub fee: i64,
    /// What the node gives back of it.
    pub net: i64,
    /// When it was recorded.
    pub created_at: Timestamp,
}

#[derive(FromRow)]
struct RefundRow {
    id: Uuid,
    revenue_id: Uuid,
    amount_minor: i64,
    currency: String,
    fee_minor: i64,
    net_minor: i64,
    created_at: OffsetDateTime,
    request_hash: Vec<u8>,
}

impl From<RefundRow> for Refund {
    fn from(row: RefundRow) -> Self {
        Self {
            id: row.id,
            revenue: row.revenue_id,
            amount: row.amount_minor,
            currency: row.currency,
            fee: row.fee_minor,
            net: row.net_minor,
            created_at: from_sql(row.created_at),
        }
    }
}

/// What came of a refund.
#[derive(Debug)]
pub enum Refunded {
    /// It was carried out, now or by the same request before.
    Done(Refund),
    /// The key was used for another request.
    KeyReused,
    /// There is no such revenue.
    Unknown,
    /// More than is left of the revenue.
    TooMuch {
        /// What is left, minor units.
        left: i64,
    },
}

/// Gives back part of a revenue. Of what the platform took it gives back the share of all that was refunded so far,
/// rounded half up, less what it gave back before: together the parts give back what one refund would.
///
/// # Errors
/// When a statement fails.
pub async fn refund(
    connection: &mut PgConnection,
    request: &Request<'_>,
    revenue: Uuid,
    amount: i64,
    now: Timestamp,
) -> Result<Refunded, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    // The guarded UPDATE comes first: refunds of one revenue wait for each other there.
    let made: Option<RefundRow> = sqlx::query_as(
        "WITH of AS (SELECT id, amount_minor, fee_minor, currency FROM local_node.local_revenues WHERE id = $1),
         guarded AS (
             UPDATE local_node.refund_totals t SET amount_minor = t.amount_minor + $2 FROM of
             WHERE t.revenue_id = of.id AND t.amount_minor + $2 <= of.amount_minor RETURNING t.amount_minor AS total),
         shares AS (
             SELECT div(2::numeric * fee_minor * total + amount_minor, 2::numeric * amount_minor)::bigint
                  - div(2::numeric * fee_minor * (total - $2) + amount_minor, 2::numeric * amount_minor)::bigint AS fee
             FROM of, guarded),
         made AS (
             INSERT INTO local_node.local_refunds
                 (id, revenue_id, amount_minor, fee_minor, net_minor, caller, idempotency_key, request_hash,
                  synced_to_global, created_at)
             SELECT $3, $1, $2, fee, $2 - fee, $4, $5, $6, false, $7 FROM shares
             ON CONFLICT (caller, idempotency_key) DO NOTHING RETURNING *),
         moved AS (
             INSERT INTO local_node.ledger_transfers (id, revenue_id, refund_id, debit, credit, amount_minor, created_at)
             SELECT share.id, made.revenue_id, made.id, share.account, 'received', share.minor, made.created_at
             FROM made, LATERAL (VALUES ($8::uuid, 'net', net_minor), ($9::uuid, 'fee', fee_minor)) AS share (id, account, minor)
             WHERE share.minor > 0),
         told AS (
             INSERT INTO local_node.outbox (id, kind, payload, created_at, next_attempt_at)
             SELECT made.id, $10, jsonb_build_object('id', made.id, 'revenueId', made.revenue_id, 'currency', of.currency,
                 'amountMinor', made.amount_minor, 'feeMinor', made.fee_minor, 'netMinor', made.net_minor),
                 made.created_at, made.created_at
             FROM made, of)
         SELECT made.id, made.revenue_id, made.amount_minor, of.currency, made.fee_minor, made.net_minor, made.created_at,
                made.request_hash
         FROM made, of",
    )
    .bind(revenue)
    .bind(amount)
    .bind(Uuid::new_v4())
    .bind(&request.caller)
    .bind(request.key)
    .bind(request.hash)
    .bind(to_sql(now))
    .bind(Uuid::new_v4())
    .bind(Uuid::new_v4())
    .bind(outbox::REFUND)
    .fetch_optional(&mut *transaction)
    .await?;
    if let Some(made) = made {
        transaction.commit().await?;
        return Ok(Refunded::Done(made.into()));
    }
    // The total was moved for nothing when only the key stood in the way.
    transaction.rollback().await?;
    let before: Option<RefundRow> = sqlx::query_as(
        "SELECT f.id, f.revenue_id, f.amount_minor, r.currency, f.fee_minor, f.net_minor, f.created_at, f.request_hash
         FROM local_node.local_refunds f JOIN local_node.local_revenues r ON r.id = f.revenue_id
         WHERE f.caller = $1 AND f.idempotency_key = $2",
    )
    .bind(&request.caller)
    .bind(request.key)
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(before) = before {
        let same = before.request_hash == request.hash;
        return Ok(if same { Refunded::Done(before.into()) } else { Refunded::KeyReused });
    }
    let left: Option<i64> = sqlx::query_scalar(
        "SELECT r.amount_minor - t.amount_minor FROM local_node.local_revenues r
         JOIN local_node.refund_totals t ON t.revenue_id = r.id WHERE r.id = $1",
    )
    .bind(revenue)
    .fetch_optional(connection)
    .await?;
    Ok(left.map_or(Refunded::Unknown, |left| Refunded::TooMuch { left }))
}

/// Which revenues are meant.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Paid at this time or later.
    pub from: Timestamp,
    /// Paid before this time.
    pub until: Timestamp,
    /// Paid for this.
    pub kind: Option<Kind>,
}

/// Revenues that match, oldest first, after the one with this date and id.
///
/// # Errors
/// When the statement fails.
pub async fn list(
    connection: &mut PgConnection,
    filter: &Filter,
    after: Option<(Timestamp, Uuid)>,
    limit: i64,
) -> Result<Vec<Revenue>, sqlx::Error> {
    let (date, id) = after.unwrap_or((filter.from, Uuid::nil()));
    let rows: Vec<Row> = sqlx::query_as(concat!(
        columns!("local_node.local_revenues", "coalesce(t.amount_minor, 0)"),
        "LEFT JOIN local_node.refund_totals t ON t.revenue_id = r.id
         WHERE r.transaction_date >= $1 AND r.transaction_date < $2 AND ($3::text IS NULL OR r.type = $3)
           AND (r.transaction_date, r.id) > ($4, $5)
         ORDER BY r.transaction_date, r.id LIMIT $6"
    ))
    .bind(to_sql(filter.from))
    .bind(to_sql(filter.until))
    .bind(filter.kind)
    .bind(to_sql(date))
    .bind(id)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Revenue::from).collect())
}

/// One revenue.
///
/// # Errors
/// When the statement fails.
pub async fn find(connection: &mut PgConnection, id: Uuid) -> Result<Option<Revenue>, sqlx::Error> {
    let row: Option<Row> = sqlx::query_as(concat!(
        columns!("local_node.local_revenues", "coalesce(t.amount_minor, 0)"),
        "LEFT JOIN local_node.refund_totals t ON t.revenue_id = r.id WHERE r.id = $1"
    ))
    .bind(id)
    .fetch_optional(connection)
    .await?;
    Ok(row.map(Revenue::from))
}

/// Sums of the revenues of one period, minor units.
#[derive(Clone, Debug, FromRow)]
pub struct Sum {
    /// First day of the period, in the node's time zone: YYYY-MM-DD.
    pub period: String,
    /// What was paid for.
    pub kind: Kind,
    /// How many.
    pub count: i64,
    /// What was paid.
    pub gross: i64,
    /// The platform's share.
    pub fee: i64,
    /// What is left to the node.
    pub net: i64,
    /// What was given back of these since.
    pub refunded: i64,
}

/// Sums by `unit` (`day` or `month`) and kind, in the time zone.
///
/// # Errors
/// When the statement fails.
pub async fn sums(
    connection: &mut PgConnection,
    filter: &Filter,
    unit: &str,
    timezone: &str,
) -> Result<Vec<Sum>, sqlx::Error> {
    sqlx::query_as(
        "SELECT to_char(date_trunc($4, r.transaction_date AT TIME ZONE $5), 'YYYY-MM-DD') AS period, r.type AS kind,
                count(*) AS count, sum(r.amount_minor)::bigint AS gross, sum(r.fee_minor)::bigint AS fee,
                sum(r.net_minor)::bigint AS net, sum(coalesce(t.amount_minor, 0))::bigint AS refunded
         FROM local_node.local_revenues r LEFT JOIN local_node.refund_totals t ON t.revenue_id = r.id
         WHERE r.transaction_date >= $1 AND r.transaction_date < $2 AND ($3::text IS NULL OR r.type = $3)
         GROUP BY 1, 2 ORDER BY 1, 2",
    )
    .bind(to_sql(filter.from))
    .bind(to_sql(filter.until))
    .bind(filter.kind)
    .bind(unit)
    .bind(timezone)
    .fetch_all(connection)
    .await
}
