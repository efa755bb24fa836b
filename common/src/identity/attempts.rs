//! `attempts`: the shared count of tries at signing in.

use jiff::Timestamp;
use sqlx::PgConnection;

use super::{
    Tables,
    throttle::{Attempt, Limit},
};
use crate::sql::to_sql;

/// Takes an attempt from both buckets, in one statement.
///
/// # Errors
/// When the statement fails.
pub async fn take(
    tables: &Tables,
    connection: &mut PgConnection,
    attempt: &Attempt,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let buckets = attempt.buckets();
    let (mut keys, mut bursts, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for (key, Limit { burst, per_second }) in &buckets {
        keys.push(key.to_vec());
        bursts.push(*burst);
        rates.push(*per_second);
    }
    let taken = sqlx::query(tables.sql("INSERT INTO {schema}.attempts AS held (key, level, taken_at)
         SELECT key, burst - 1, $4 FROM unnest($1::bytea[], $2::float8[], $3::float8[]) AS bucket (key, burst, rate)
         ON CONFLICT (key) DO UPDATE SET
             level = least(excluded.level + 1, held.level + greatest(0, extract(epoch FROM $4 - held.taken_at)) *
                 (SELECT rate FROM unnest($1::bytea[], $3::float8[]) AS bucket (key, rate) WHERE bucket.key = held.key)) - 1,
             taken_at = greatest(held.taken_at, $4)
         WHERE least(excluded.level + 1, held.level + greatest(0, extract(epoch FROM $4 - held.taken_at)) *
                 (SELECT rate FROM unnest($1::bytea[], $3::float8[]) AS bucket (key, rate) WHERE bucket.key = held.key)) >= 1"))
    .bind(keys)
    .bind(bursts)
    .bind(rates)
    .bind(to_sql(now))
    .execute(connection)
    .await?;
    Ok(usize::try_from(taken.rows_affected()) == Ok(buckets.len()))
}
