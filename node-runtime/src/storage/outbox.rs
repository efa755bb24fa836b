//! `outbox`: what the centre is still to be told, written in the transaction that it tells of.

use fateh_common::{
    hub::{Event, Outcome, SyncItem, SyncResult},
    sql::{from_sql, to_sql},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{FromRow, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

/// A user was made.
pub const USER_CREATED: &str = "user_created";
/// Money was received.
pub const REVENUE: &str = "revenue";
/// Money was given back.
pub const REFUND: &str = "refund";

/// An item that was taken to be sent, and how often it was before.
pub struct Taken {
    /// The item.
    pub item: SyncItem,
    /// Attempts before this one.
    pub attempts: i32,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    kind: String,
    payload: Value,
    created_at: OffsetDateTime,
    attempts: i32,
}

/// Takes items that are due, or all that wait when `everything`, and puts them off until `again`: who fails to send
/// them has lost nothing. An item that cannot be read is returned by its id.
///
/// # Errors
/// When the statement fails.
pub async fn take(
    connection: &mut PgConnection,
    limit: usize,
    everything: bool,
    again: Timestamp,
    now: Timestamp,
) -> Result<Vec<Result<Taken, Uuid>>, sqlx::Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "UPDATE local_node.outbox SET attempts = attempts + 1, next_attempt_at = $1
         WHERE id IN (SELECT id FROM local_node.outbox
                      WHERE refused_at IS NULL AND next_attempt_at <= CASE WHEN $2 THEN 'infinity' ELSE $3 END
                      ORDER BY next_attempt_at LIMIT $4 FOR UPDATE SKIP LOCKED)
         RETURNING id, kind, payload, created_at, attempts - 1 AS attempts",
    )
    .bind(to_sql(again))
    .bind(everything)
    .bind(to_sql(now))
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await?;
    let read = |row: Row| {
        let event: Event =
            serde_json::from_value(json!({"kind": row.kind, "payload": row.payload})).map_err(|_| row.id)?;
        Ok(Taken { item: SyncItem { id: row.id, at: from_sql(row.created_at), event }, attempts: row.attempts })
    };
    Ok(rows.into_iter().map(read).collect())
}

/// Puts items off, each until its own time.
///
/// # Errors
/// When the statement fails.
pub async fn put_off(connection: &mut PgConnection, items: &[(Uuid, Timestamp)]) -> Result<(), sqlx::Error> {
    let (ids, times): (Vec<_>, Vec<_>) = items.iter().map(|(id, time)| (*id, to_sql(*time))).unzip();
    sqlx::query(
        "UPDATE local_node.outbox o SET next_attempt_at = t.time
         FROM unnest($1::uuid[], $2::timestamptz[]) AS t (id, time) WHERE o.id = t.id",
    )
    .bind(ids)
    .bind(times)
    .execute(connection)
    .await
    .map(drop)
}

/// Carries the centre's answers out in one statement: what took effect there is done with, and its money marked;
/// what was refused is set aside for people.
///
/// # Errors
/// When the statement fails.
pub async fn settle(connection: &mut PgConnection, results: &[SyncResult], now: Timestamp) -> Result<(), sqlx::Error> {
    let (mut done, mut refused, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
    for result in results {
        match &result.outcome {
            Outcome::Applied | Outcome::Repeated => done.push(result.id),
            Outcome::Refused { reason } => {
                refused.push(result.id);
                // NUL is the one character that PostgreSQL does not store.
                reasons.push(reason.replace('\0', "").chars().take(1000).collect::<String>());
            }
        }
    }
    sqlx::query(
        "WITH done AS (DELETE FROM local_node.outbox WHERE id = ANY ($1) RETURNING id),
              revenue AS (UPDATE local_node.local_revenues r SET synced_to_global = true FROM done WHERE r.id = done.id),
              refunds AS (UPDATE local_node.local_refunds f SET synced_to_global = true FROM done WHERE f.id = done.id)
         UPDATE local_node.outbox o SET refused_at = $4, refusal = t.reason
         FROM unnest($2::uuid[], $3::text[]) AS t (id, reason) WHERE o.id = t.id AND o.refused_at IS NULL",
    )
    .bind(done)
    .bind(refused)
    .bind(reasons)
    .bind(to_sql(now))
    .execute(connection)
    .await
    .map(drop)
}

/// What waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Items that are still to be sent.
    pub pending: i64,
    /// Items that the centre has refused.
    pub refused: i64,
    /// When the oldest of those still to be sent happened.
    pub oldest: Option<Timestamp>,
}

/// Counts what waits.
///
/// # Errors
/// When the statement fails.
pub async fn waiting(connection: &mut PgConnection) -> Result<Waiting, sqlx::Error> {
    let (pending, refused, oldest): (i64, i64, Option<OffsetDateTime>) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE refused_at IS NULL), count(*) FILTER (WHERE refused_at IS NOT NULL),
                min(created_at) FILTER (WHERE refused_at IS NULL)
         FROM local_node.outbox",
    )
    .fetch_one(connection)
    .await?;
    Ok(Waiting { pending, refused, oldest: oldest.map(from_sql) })
}
