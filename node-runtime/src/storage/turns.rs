//! Whose turn it is, of several replicas, to do what only one is to do: a lease in a row. Not an advisory lock, which would
//! keep a connection for as long as others take to answer, and a small node has but one.

use std::time::Duration;

use fateh_common::sql::to_sql;
use jiff::Timestamp;
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

/// What there is a turn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Telling the centre what happened.
    Sync,
    /// Carrying out what the centre tells.
    Distribution,
}

impl Turn {
    const fn table(self) -> &'static str {
        match self {
            Self::Sync => "sync_turn",
            Self::Distribution => "distribution_turn",
        }
    }
}

/// Takes the turn, or keeps it; false when another holds it.
///
/// # Errors
/// When the statement fails.
pub async fn take(
    connection: &mut PgConnection,
    turn: Turn,
    holder: Uuid,
    lease: Duration,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let until = now.saturating_add(lease).unwrap_or(now);
    let table = turn.table();
    let taken = format!("UPDATE local_node.{table} SET holder = $1, until = $2 WHERE holder = $1 OR until < $3");
    let taken = sqlx::query(AssertSqlSafe(taken))
        .bind(holder)
        .bind(to_sql(until))
        .bind(to_sql(now))
        .execute(connection)
        .await?;
    Ok(taken.rows_affected() == 1)
}

/// Gives the turn back.
///
/// # Errors
/// When the statement fails.
pub async fn give(connection: &mut PgConnection, turn: Turn, holder: Uuid) -> Result<(), sqlx::Error> {
    let given = format!("UPDATE local_node.{} SET holder = NULL, until = 'epoch' WHERE holder = $1", turn.table());
    sqlx::query(AssertSqlSafe(given)).bind(holder).execute(connection).await.map(drop)
}
