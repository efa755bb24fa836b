//! `sessions`.

use jiff::Timestamp;
use sqlx::{FromRow, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Security, Tables,
    refresh_token::{GRACE, RefreshToken},
    throttle::Attempt,
};
use crate::sql::{from_sql, to_sql};

/// A sign-in that was right: begins the session, notes the time, and gives the attempt back. False
/// when the user's rights are no longer those that were read: a password may have been changed while it was verified.
///
/// # Errors
/// When the statement fails.
pub async fn begin(
    tables: &Tables,
    connection: &mut PgConnection,
    user: &Security,
    token: &RefreshToken,
    expires_at: Timestamp,
    attempt: Option<&Attempt>,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let (keys, bursts): (Vec<_>, Vec<_>) =
        attempt.into_iter().flat_map(Attempt::buckets).map(|(key, limit)| (key.to_vec(), limit.burst)).unzip();
    let begun = sqlx::query(tables.sql(
        "WITH signed_in AS (UPDATE {schema}.{users} SET last_sign_in = $4
                            WHERE id = $2 AND security_version = $8 AND status = 'active' RETURNING id),
              held AS (SELECT key FROM {schema}.attempts WHERE key = ANY ($6) ORDER BY key FOR UPDATE),
              given_back AS (UPDATE {schema}.attempts a SET level = least(bucket.burst, a.level + 1)
                             FROM held JOIN unnest($6::bytea[], $7::float8[]) AS bucket (key, burst) USING (key)
                             WHERE a.key = held.key AND EXISTS (SELECT FROM signed_in))
         INSERT INTO {schema}.sessions (id, user_id, token_hash, rotated_at, created_at, expires_at)
         SELECT $1, id, $3, $4, $4, $5 FROM signed_in",
    ))
    .bind(token.session)
    .bind(user.user)
    .bind(token.hash())
    .bind(to_sql(now))
    .bind(to_sql(expires_at))
    .bind(keys)
    .bind(bursts)
    .bind(user.version)
    .execute(connection)
    .await?;
    Ok(begun.rows_affected() == 1)
}

/// What came of a refresh token.
pub enum Claimed {
    /// This token, or the one that another request was given for the same token a moment ago.
    Token {
        /// Whose session it is.
        user: Uuid,
        /// The token to go on with.
        token: RefreshToken,
        /// End of the session.
        expires_at: Timestamp,
    },
    /// It was used before; the session is ended.
    Reused,
    /// It belongs to no session.
    Unknown,
}

#[derive(FromRow)]
struct Row {
    user_id: Uuid,
    previous_hash: Option<Vec<u8>>,
    successor: Option<[u8; 32]>,
    rotated_at: OffsetDateTime,
    expires_at: OffsetDateTime,
}

/// Claims `token` and puts `successor` in its place. Of several who hold the token one wins, and the others are given
/// the winner's successor.
///
/// # Errors
/// When a statement fails.
pub async fn claim(
    tables: &Tables,
    connection: &mut PgConnection,
    token: &RefreshToken,
    successor: RefreshToken,
    now: Timestamp,
) -> Result<Claimed, sqlx::Error> {
    let won: Option<(Uuid, OffsetDateTime)> = sqlx::query_as(tables.sql(
        "UPDATE {schema}.sessions
         SET previous_hash = token_hash, token_hash = $3, successor = $4, rotated_at = $5
         WHERE id = $1 AND token_hash = $2 AND expires_at > $5 RETURNING user_id, expires_at",
    ))
    .bind(token.session)
    .bind(token.hash())
    .bind(successor.hash())
    .bind(token.seal(&successor))
    .bind(to_sql(now))
    .fetch_optional(&mut *connection)
    .await?;
    if let Some((user, expires_at)) = won {
        return Ok(Claimed::Token { user, token: successor, expires_at: from_sql(expires_at) });
    }
    // A statement of its own, which sees what the winner wrote.
    let found: Option<Row> =
        sqlx::query_as(tables.sql(
            "SELECT user_id, previous_hash, successor, rotated_at, expires_at FROM {schema}.sessions WHERE id = $1",
        ))
        .bind(token.session)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = found else { return Ok(Claimed::Unknown) };
    let expires_at = from_sql(row.expires_at);
    if expires_at > now
        && row.previous_hash.as_deref() == Some(token.hash().as_slice())
        && now.duration_since(from_sql(row.rotated_at)) <= GRACE
        && let Some(sealed) = row.successor
    {
        return Ok(Claimed::Token { user: row.user_id, token: token.unseal(&sealed), expires_at });
    }
    end(tables, connection, token.session).await?;
    Ok(if expires_at > now { Claimed::Reused } else { Claimed::Unknown })
}

/// Ends a session.
///
/// # Errors
/// When the statement fails.
pub async fn end(tables: &Tables, connection: &mut PgConnection, session: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query(tables.sql("DELETE FROM {schema}.sessions WHERE id = $1"))
        .bind(session)
        .execute(connection)
        .await
        .map(drop)
}

/// Ends all sessions of a user.
///
/// # Errors
/// When the statement fails.
pub async fn end_all(tables: &Tables, connection: &mut PgConnection, user: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query(tables.sql("DELETE FROM {schema}.sessions WHERE user_id = $1"))
        .bind(user)
        .execute(connection)
        .await
        .map(drop)
}
