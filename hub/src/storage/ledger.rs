//! What nodes tell: `received_items`, the ledger behind them and its sums. Rows are added, never changed.

use std::collections::{HashMap, HashSet};

use fateh_common::{
    hub::{Event, SyncItem},
    sql::{new_id, to_sql},
};
use jiff::{Timestamp, civil::Date};
use sha2::{Digest, Sha256};
use sqlx::{Connection, FromRow, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::node_caller::NodeCaller;

/// An item that may take effect, and the hash by which a repetition is known.
#[derive(Clone, Debug)]
pub struct Told<'a> {
    /// The item.
    pub item: &'a SyncItem,
    /// Of all that it says.
    pub hash: [u8; 32],
}

impl<'a> Told<'a> {
    /// An item as it was sent.
    #[must_use]
    pub fn new(item: &'a SyncItem) -> Self {
        // The order of fields is that of the type, so equal items have equal texts.
        let text = serde_json::to_vec(item).unwrap_or_default();
        Self { item, hash: Sha256::digest(text).into() }
    }
}

/// The columns of a batch, one entry for each item.
#[derive(Default)]
struct Columns {
    ids: Vec<Uuid>,
    hashes: Vec<Vec<u8>>,
    kinds: Vec<&'static str>,
    about: Vec<Uuid>,
    types: Vec<Option<String>>,
    currencies: Vec<Option<String>>,
    amounts: Vec<i64>,
    fees: Vec<i64>,
    nets: Vec<i64>,
    times: Vec<OffsetDateTime>,
    roles: Vec<Option<String>>,
    identities: Vec<Uuid>,
}

impl Columns {
    fn push(&mut self, told: &Told<'_>, now: Timestamp) {
        let (kind, about, money, at) = match &told.item.event {
            Event::UserCreated(user) => ("user", user.user_id, None, told.item.at),
            Event::Revenue(it) => {
                let money = (&it.currency, it.amount_minor, it.fee_minor, it.net_minor);
                ("revenue", it.id, Some(money), it.transaction_date)
            }
            Event::Refund(it) => {
                let money = (&it.currency, it.amount_minor, it.fee_minor, it.net_minor);
                ("refund", it.revenue_id, Some(money), told.item.at)
            }
        };
        self.ids.push(told.item.id);
        self.hashes.push(told.hash.to_vec());
        self.kinds.push(kind);
        self.about.push(about);
        self.types.push(if let Event::Revenue(it) = &told.item.event { Some(it.kind.clone()) } else { None });
        self.currencies.push(money.map(|(currency, ..)| currency.clone()));
        self.amounts.push(money.map_or(0, |(_, amount, ..)| amount));
        self.fees.push(money.map_or(0, |(.., fee, _)| fee));
        self.nets.push(money.map_or(0, |(.., net)| net));
        self.times.push(to_sql(at));
        self.roles.push(if let Event::UserCreated(user) = &told.item.event { Some(user.role.clone()) } else { None });
        self.identities.push(new_id(now));
    }
}

/// One statement: what was not told before takes effect, whole.
const TAKE: &str = "
WITH sent AS (
    SELECT * FROM unnest($4::uuid[], $5::bytea[], $6::text[], $7::uuid[], $8::text[], $9::text[], $10::bigint[],
                         $11::bigint[], $12::bigint[], $13::timestamptz[], $14::text[], $15::uuid[])
        AS sent (id, hash, kind, about, type, currency, amount, fee, net, at, role, identity)),
new AS (
    INSERT INTO global_platform.received_items (node_uid, id, request_hash, received_at)
    SELECT $1, id, hash, $16 FROM sent ON CONFLICT DO NOTHING RETURNING id),
fresh AS (SELECT sent.* FROM sent JOIN new USING (id)),
known AS (
    INSERT INTO global_platform.global_identities (id, node_uid, local_user, node, local_role, created_at)
    SELECT identity, $1, about, $2, role, $16 FROM fresh WHERE kind = 'user' ON CONFLICT DO NOTHING),
entered AS (
    INSERT INTO global_platform.ledger_entries (node_uid, id, node, country, kind, revenue_id, type, currency,
        amount_minor, fee_minor, net_minor, happened_at, received_at)
    SELECT $1, id, $2, $3, kind, about, type, currency, amount, fee, net, at, $16 FROM fresh WHERE kind <> 'user'),
moved AS (
    INSERT INTO global_platform.ledger_transfers (node_uid, entry_id, debit, credit, amount_minor)
    SELECT $1, id, move.debit, move.credit, move.minor
    FROM fresh, LATERAL (VALUES ('revenue', 'received', 'net', net), ('revenue', 'received', 'fee', fee),
                                ('refund', 'net', 'received', net), ('refund', 'fee', 'received', fee))
        AS move (kind, debit, credit, minor)
    WHERE move.kind = fresh.kind AND move.minor > 0),
sums AS (
    SELECT currency, (at AT TIME ZONE 'UTC')::date AS day,
           count(*) FILTER (WHERE kind = 'revenue') AS revenues,
           coalesce(sum(amount) FILTER (WHERE kind = 'revenue'), 0) AS gross,
           coalesce(sum(fee) FILTER (WHERE kind = 'revenue'), 0) AS fee,
           coalesce(sum(net) FILTER (WHERE kind = 'revenue'), 0) AS net,
           count(*) FILTER (WHERE kind = 'refund') AS refunds,
           coalesce(sum(amount) FILTER (WHERE kind = 'refund'), 0) AS refunded,
           coalesce(sum(fee) FILTER (WHERE kind = 'refund'), 0) AS refunded_fee,
           coalesce(sum(net) FILTER (WHERE kind = 'refund'), 0) AS refunded_net
    FROM fresh WHERE kind <> 'user' GROUP BY currency, day),
days AS (
    INSERT INTO global_platform.ledger_days AS d
    SELECT $1, currency, day, revenues, gross, fee, net, refunds, refunded, refunded_fee, refunded_net FROM sums
    ON CONFLICT (node_uid, currency, day) DO UPDATE SET
        revenues = d.revenues + excluded.revenues, gross_minor = d.gross_minor + excluded.gross_minor,
        fee_minor = d.fee_minor + excluded.fee_minor, net_minor = d.net_minor + excluded.net_minor,
        refunds = d.refunds + excluded.refunds, refunded_minor = d.refunded_minor + excluded.refunded_minor,
        refunded_fee_minor = d.refunded_fee_minor + excluded.refunded_fee_minor,
        refunded_net_minor = d.refunded_net_minor + excluded.refunded_net_minor),
totals AS (
    INSERT INTO global_platform.ledger_totals AS t
    SELECT $1, currency, $2, $3, sum(revenues), sum(gross), sum(fee), sum(net), sum(refunds), sum(refunded),
           sum(refunded_fee), sum(refunded_net)
    FROM sums GROUP BY currency
    ON CONFLICT (node_uid, currency) DO UPDATE SET country = excluded.country,
        revenues = t.revenues + excluded.revenues, gross_minor = t.gross_minor + excluded.gross_minor,
        fee_minor = t.fee_minor + excluded.fee_minor, net_minor = t.net_minor + excluded.net_minor,
        refunds = t.refunds + excluded.refunds, refunded_minor = t.refunded_minor + excluded.refunded_minor,
        refunded_fee_minor = t.refunded_fee_minor + excluded.refunded_fee_minor,
        refunded_net_minor = t.refunded_net_minor + excluded.refunded_net_minor)
SELECT id FROM new";

/// Lets what was not told before take effect, in one transaction. Of all items the hash under which they were first
/// told, and whether that was now. Each id may be there once.
///
/// # Errors
/// When a statement fails: nothing has taken effect then.
pub async fn take(
    connection: &mut PgConnection,
    node: &NodeCaller,
    told: &[Told<'_>],
    now: Timestamp,
) -> Result<HashMap<Uuid, (Vec<u8>, bool)>, sqlx::Error> {
    if told.len() == 1 {
        // One row at most that others write as well, in each table, and those in one order: it stands in nobody's way, and
        // is a transaction by itself.
        return enter(connection, node, told, now).await;
    }
    let mut transaction = connection.begin().await?;
    // The batches of one node one after the other: they meet at the same sums.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))")
        .bind(node.uid)
        .execute(&mut *transaction)
        .await?;
    let known = enter(&mut transaction, node, told, now).await?;
    transaction.commit().await?;
    Ok(known)
}

async fn enter(
    connection: &mut PgConnection,
    node: &NodeCaller,
    told: &[Told<'_>],
    now: Timestamp,
) -> Result<HashMap<Uuid, (Vec<u8>, bool)>, sqlx::Error> {
    let mut columns = Columns::default();
    for told in told {
        columns.push(told, now);
    }
    let fresh = sqlx::query_scalar(TAKE)
        .bind(node.uid)
        .bind(&node.name)
        .bind(&node.country)
        .bind(&columns.ids)
        .bind(&columns.hashes)
        .bind(&columns.kinds)
        .bind(&columns.about)
        .bind(&columns.types)
        .bind(&columns.currencies)
        .bind(&columns.amounts)
        .bind(&columns.fees)
        .bind(&columns.nets)
        .bind(&columns.times)
        .bind(&columns.roles)
        .bind(&columns.identities)
        .bind(to_sql(now))
        .fetch_all(&mut *connection)
        .await?;
    let fresh: HashSet<Uuid> = fresh.into_iter().collect();
    let mut known: HashMap<_, _> = told
        .iter()
        .filter(|told| fresh.contains(&told.item.id))
        .map(|told| (told.item.id, (told.hash.to_vec(), true)))
        .collect();
    if known.len() < told.len() {
        let before: Vec<(Uuid, Vec<u8>)> = sqlx::query_as(
            "SELECT id, request_hash FROM global_platform.received_items WHERE node_uid = $1 AND id = ANY ($2)",
        )
        .bind(node.uid)
        .bind(&columns.ids)
        .fetch_all(connection)
        .await?;
        for (id, hash) in before {
            known.entry(id).or_insert((hash, false));
        }
    }
    Ok(known)
}

/// What was received and given back in one currency; minor units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums {
    /// ISO 4217.
    pub currency: String,
    /// How often money was received.
    pub revenues: i64,
    /// What was received.
    pub gross: i128,
    /// The platform's share of that.
    pub fee: i128,
    /// The nodes' share.
    pub net: i128,
    /// How often money was given back.
    pub refunds: i64,
    /// What was given back.
    pub refunded: i128,
}

impl Sums {
    /// Nothing yet.
    #[must_use]
    pub const fn none(currency: String) -> Self {
        Self { currency, revenues: 0, gross: 0, fee: 0, net: 0, refunds: 0, refunded: 0 }
    }

    /// Adds what is of the same currency.
    pub const fn add(&mut self, other: &Self) {
        self.revenues += other.revenues;
        self.gross += other.gross;
        self.fee += other.fee;
        self.net += other.net;
        self.refunds += other.refunds;
        self.refunded += other.refunded;
    }
}

/// As PostgreSQL gives them: money as text, because a sum may be larger than a bigint.
#[derive(FromRow)]
struct SumsRow {
    currency: String,
    revenues: i64,
    gross: String,
    fee: String,
    net: String,
    refunds: i64,
    refunded: String,
}

impl TryFrom<SumsRow> for Sums {
    type Error = sqlx::Error;

    fn try_from(row: SumsRow) -> Result<Self, sqlx::Error> {
        let whole = |text: &str| text.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)));
        Ok(Self {
            gross: whole(&row.gross)?,
            fee: whole(&row.fee)?,
            net: whole(&row.net)?,
            refunded: whole(&row.refunded)?,
            currency: row.currency,
            revenues: row.revenues,
            refunds: row.refunds,
        })
    }
}

#[derive(FromRow)]
struct TotalRow {
    node_uid: Uuid,
    #[sqlx(flatten)]
    sums: SumsRow,
}

/// What each of these nodes, or of all, has received and given back, by its UID and currency.
///
/// # Errors
/// When the statement fails.
pub async fn totals(connection: &mut PgConnection, nodes: Option<&[Uuid]>) -> Result<Vec<(Uuid, Sums)>, sqlx::Error> {
    let rows: Vec<TotalRow> = sqlx::query_as(
        "SELECT node_uid, currency, revenues, gross_minor::text AS gross, fee_minor::text AS fee,
                net_minor::text AS net, refunds, refunded_minor::text AS refunded
         FROM global_platform.ledger_totals WHERE $1::uuid[] IS NULL OR node_uid = ANY ($1)
         ORDER BY node, node_uid, currency",
    )
    .bind(nodes)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| Ok((row.node_uid, row.sums.try_into()?))).collect()
}

#[derive(FromRow)]
struct NameRow {
    node: String,
    #[sqlx(flatten)]
    sums: SumsRow,
}

/// What came under each name of a node, whichever nodes bore it.
///
/// # Errors
/// When the statement fails.
pub async fn totals_by_name(connection: &mut PgConnection) -> Result<Vec<(String, Sums)>, sqlx::Error> {
    let rows: Vec<NameRow> = sqlx::query_as(
        "SELECT node, currency, sum(revenues)::bigint AS revenues, sum(gross_minor)::text AS gross,
                sum(fee_minor)::text AS fee, sum(net_minor)::text AS net, sum(refunds)::bigint AS refunds,
                sum(refunded_minor)::text AS refunded
         FROM global_platform.ledger_totals GROUP BY node, currency",
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| Ok((row.node, row.sums.try_into()?))).collect()
}

/// What a report adds up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Each node.
    Node,
    /// Each country.
    Country,
    /// Each month (UTC).
    Month,
    /// Each day (UTC).
    Day,
}

/// What was left to a node on one day (UTC), less what of it was given back; minor units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayNet {
    /// The node.
    pub node_uid: Uuid,
    /// Its name.
    pub node: String,
    /// ISO 4217.
    pub currency: String,
    /// The day.
    pub day: Date,
    /// The net.
    pub net: i128,
}

#[derive(FromRow)]
struct DayNetRow {
    node_uid: Uuid,
    node: String,
    currency: String,
    day: String,
    net: String,
}

/// The net of these nodes, or of all, on each day from `from` to before `to`, in the order of nodes and currencies.
///
/// # Errors
/// When the statement fails.
pub async fn net_by_day(
    connection: &mut PgConnection,
    nodes: Option<&[Uuid]>,
    (from, to): (OffsetDateTime, OffsetDateTime),
) -> Result<Vec<DayNet>, sqlx::Error> {
    let rows: Vec<DayNetRow> = sqlx::query_as(
        "SELECT d.node_uid, t.node, d.currency, d.day::text, (d.net_minor - d.refunded_net_minor)::text AS net
         FROM global_platform.ledger_days d JOIN global_platform.ledger_totals t USING (node_uid, currency)
         WHERE d.day >= ($1 AT TIME ZONE 'UTC')::date AND d.day < ($2 AT TIME ZONE 'UTC')::date
           AND ($3::uuid[] IS NULL OR d.node_uid = ANY ($3))
         ORDER BY t.node, d.node_uid, d.currency, d.day",
    )
    .bind(from)
    .bind(to)
    .bind(nodes)
    .fetch_all(connection)
    .await?;
    let read = |row: DayNetRow| {
        Ok(DayNet {
            node_uid: row.node_uid,
            node: row.node,
            currency: row.currency,
            day: row.day.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
            net: row.net.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        })
    };
    rows.into_iter().map(read).collect()
}

#[derive(FromRow)]
struct LineRow {
    key: String,
    #[sqlx(flatten)]
    sums: SumsRow,
}

/// Sums of these nodes, or of all, of the days from `from` to before `to`, each with its node, country, month or day; empty for nodes without a
/// country.
///
/// # Errors
/// When the statement fails.
pub async fn report(
    connection: &mut PgConnection,
    nodes: Option<&[Uuid]>,
    by: By,
    (from, to): (OffsetDateTime, OffsetDateTime),
) -> Result<Vec<(String, Sums)>, sqlx::Error> {
    let by = match by {
        By::Node => "node",
        By::Country => "country",
        By::Month => "month",
        By::Day => "day",
    };
    let rows: Vec<LineRow> = sqlx::query_as(
        "SELECT CASE $1 WHEN 'node' THEN t.node WHEN 'country' THEN coalesce(t.country, '')
                        WHEN 'month' THEN to_char(d.day, 'YYYY-MM') ELSE d.day::text END AS key,
                d.currency, sum(d.revenues)::bigint AS revenues, sum(d.gross_minor)::text AS gross,
                sum(d.fee_minor)::text AS fee, sum(d.net_minor)::text AS net, sum(d.refunds)::bigint AS refunds,
                sum(d.refunded_minor)::text AS refunded
         FROM global_platform.ledger_days d JOIN global_platform.ledger_totals t USING (node_uid, currency)
         WHERE d.day >= ($2 AT TIME ZONE 'UTC')::date AND d.day < ($3 AT TIME ZONE 'UTC')::date
           AND ($4::uuid[] IS NULL OR d.node_uid = ANY ($4))
         GROUP BY 1, 2 ORDER BY 1, 2",
    )
    .bind(by)
    .bind(from)
    .bind(to)
    .bind(nodes)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| Ok((row.key, row.sums.try_into()?))).collect()
}
