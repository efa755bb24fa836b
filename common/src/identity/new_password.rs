//! Another password: by the one in use, or by a one-time token that an admin hands over.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Identity, RESET_INVALID, Security, one_time};
use crate::{
    service::error::{ApiError, UNAUTHENTICATED},
    sql::to_sql,
};

const RESET_VALIDITY: SignedDuration = SignedDuration::from_hours(24);

/// By which a user sets another password, once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResetToken {
    /// Shown this once; hand it to the user.
    pub token: String,
    /// When it no longer holds.
    pub expires_at: Timestamp,
}

/// A password that a user may have from now on.
pub struct NewPassword {
    user: Uuid,
    hash: String,
    right: Right,
}

/// What it is set by.
enum Right {
    /// The password of before, proved while the user's rights were of this version.
    Before(i32),
    /// The hash of a one-time token.
    Token([u8; 32]),
}

impl Identity {
    /// Makes a user's one-time token, in place of one before.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn offer_reset(&self, connection: &mut PgConnection, user: Uuid) -> Result<ResetToken, sqlx::Error> {
        let (token, hash) = one_time::make(user, rand::random());
        let now = self.clock.now();
        let expires_at = now.saturating_add(RESET_VALIDITY).unwrap_or(now);
        sqlx::query(self.tables.sql(
            "INSERT INTO {schema}.password_resets (user_id, token_hash, expires_at) VALUES ($1, $2, $3)
             ON CONFLICT (user_id) DO UPDATE SET token_hash = excluded.token_hash, expires_at = excluded.expires_at",
        ))
        .bind(user)
        .bind(&hash[..])
        .bind(to_sql(expires_at))
        .execute(connection)
        .await?;
        Ok(ResetToken { token, expires_at })
    }

    /// What one who is signed in and knows the password in use wants in its place.
    ///
    /// # Errors
    /// Wrong password, too many attempts, overloaded.
    pub async fn replace_password(&self, user: Uuid, current: String, new: String) -> Result<NewPassword, ApiError> {
        let before = self.prove_again(user, current).await?;
        Ok(NewPassword { user, hash: self.hash(new).await?, right: Right::Before(before.version) })
    }

    /// What the holder of a one-time token wants. The token is taken only when the password is set.
    ///
    /// # Errors
    /// The token does not hold, which costs no hash; overloaded.
    pub async fn forgotten_password(&self, token: &str, new: String) -> Result<NewPassword, ApiError> {
        let (user, token_hash) = one_time::parse(token).ok_or(RESET_INVALID)?;
        let holds: bool = sqlx::query_scalar(self.tables.sql(
            "SELECT EXISTS (SELECT FROM {schema}.password_resets
             WHERE user_id = $1 AND token_hash = $2 AND expires_at > $3)",
        ))
        .bind(user)
        .bind(&token_hash[..])
        .bind(to_sql(self.clock.now()))
        .fetch_one(&mut *self.database.acquire().await?)
        .await?;
        if !holds {
            return Err(RESET_INVALID);
        }
        Ok(NewPassword { user, hash: self.hash(new).await?, right: Right::Token(token_hash) })
    }

    /// Sets it. Sessions, tokens and one-time tokens of before hold no longer: [`Identity::revoke`] what is returned
    /// when the transaction is committed.
    ///
    /// # Errors
    /// When what it is set by holds no longer.
    pub async fn set_password(&self, connection: &mut PgConnection, new: &NewPassword) -> Result<Security, ApiError> {
        let now = to_sql(self.clock.now());
        let (read_at, refused) = match &new.right {
            Right::Before(version) => (Some(*version), UNAUTHENTICATED),
            Right::Token(hash) => {
                let taken = sqlx::query(self.tables.sql(
                    "DELETE FROM {schema}.password_resets WHERE user_id = $1 AND token_hash = $2 AND expires_at > $3",
                ))
                .bind(new.user)
                .bind(&hash[..])
                .bind(now)
                .execute(&mut *connection)
                .await?;
                if taken.rows_affected() != 1 {
                    return Err(RESET_INVALID);
                }
                (None, RESET_INVALID)
            }
        };
        let set: Option<(i32, bool)> = sqlx::query_as(self.tables.sql(
            "WITH dropped AS (DELETE FROM {schema}.password_resets WHERE user_id = $1)
             UPDATE {schema}.{users} SET password_hash = $2, security_version = security_version + 1,
                 security_changed_at = $3, updated_at = $3
             WHERE id = $1 AND status <> 'deleted' AND ($4::integer IS NULL OR security_version = $4)
             RETURNING security_version, status = 'active'",
        ))
        .bind(new.user)
        .bind(&new.hash)
        .bind(now)
        .bind(read_at)
        .fetch_optional(&mut *connection)
        .await?;
        let (version, active) = set.ok_or(refused)?;
        self.end_sessions(connection, new.user).await?;
        Ok(Security { user: new.user, version, active })
    }
}
