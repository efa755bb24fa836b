//! Who someone is, wherever people sign in: passwords, sessions, one-time tokens, throttling, and rights that end.
//!
//! A service brings its database and names its tables; those beside the users are called the same everywhere:
//! `sessions`, `attempts`, `password_resets` and `first_admin_invitation`.

mod attempts;
pub mod invitations;
pub mod new_password;
mod one_time;
mod passwords;
mod refresh_token;
mod revocations;
mod sessions;
mod throttle;

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use sqlx::{AssertSqlSafe, FromRow, PgConnection};
use uuid::Uuid;

use passwords::Passwords;
use refresh_token::{RefreshToken, SESSION_VALIDITY};
use revocations::Revocations;
use sessions::Claimed;
use throttle::{ACCOUNT, Attempt, Seen};

use crate::{
    clock::Clock,
    service::{
        database::Database,
        error::ApiError,
        validation::{is_password, key},
    },
    sql::to_sql,
};

/// How long an access token holds.
pub const TOKEN_VALIDITY: Duration = Duration::from_secs(600);

/// Bytes of the longest e-mail.
const MAX_LOGIN: usize = 254;
const WRONG_CREDENTIALS: ApiError = ApiError::Refused(StatusCode::UNAUTHORIZED, "wrong-credentials");
const WRONG_PASSWORD: ApiError = ApiError::Refused(StatusCode::FORBIDDEN, "wrong-password");
/// The account may not be used for now.
pub const SUSPENDED: ApiError = ApiError::Refused(StatusCode::FORBIDDEN, "account-suspended");
/// The one-time invitation does not hold.
pub const INVITATION_INVALID: ApiError = ApiError::Refused(StatusCode::FORBIDDEN, "invitation-invalid");
/// The one-time token for another password does not hold.
pub const RESET_INVALID: ApiError = ApiError::Refused(StatusCode::FORBIDDEN, "reset-invalid");
const SESSION_ENDED: ApiError = ApiError::Refused(StatusCode::UNAUTHORIZED, "session-ended");

/// Where a service keeps its people.
#[derive(Clone, Copy, Debug)]
pub struct Tables {
    /// Schema of all of them.
    pub schema: &'static str,
    /// The users: id, email_key, password_hash, status, security_version, security_changed_at, last_sign_in, updated_at.
    pub users: &'static str,
    /// The columns that a login is looked for in, besides `email_key`.
    pub other_logins: &'static [&'static str],
}

impl Tables {
    /// A statement in which `{schema}` and `{users}` stand for these names, which are constants of the program.
    pub(crate) fn sql(&self, text: &str) -> AssertSqlSafe<String> {
        AssertSqlSafe(text.replace("{schema}", self.schema).replace("{users}", self.users))
    }
}

/// Which of a user's tokens hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Security {
    /// The user.
    pub user: Uuid,
    /// The version that a token must carry.
    pub version: i32,
    /// Whether any holds.
    pub active: bool,
}

/// Someone who has proved who it is, a moment ago.
pub struct Proved {
    /// The user as it was then.
    pub security: Security,
    attempt: Attempt,
}

/// A session as a client goes on with it.
pub struct Session {
    /// Whose it is.
    pub user: Uuid,
    /// Good for one refresh.
    pub refresh_token: String,
    /// End of the session, however often it is refreshed.
    pub expires_at: Timestamp,
}

/// The people of one service.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

/// The parts of [`Identity`].
pub struct Inner {
    tables: Tables,
    database: Database,
    clock: Clock,
    passwords: Passwords,
    revocations: Revocations,
    attempts: Seen,
}

impl std::ops::Deref for Identity {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

#[derive(FromRow)]
struct Account {
    id: Uuid,
    password_hash: String,
    security_version: i32,
    active: bool,
}

impl Account {
    const fn security(&self) -> Security {
        Security { user: self.id, version: self.security_version, active: self.active }
    }
}

impl Identity {
    /// The people in these tables.
    #[must_use]
    pub fn new(tables: Tables, database: Database, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            tables,
            database,
            clock,
            passwords: Passwords::new(),
            revocations: Revocations::default(),
            attempts: Seen::default(),
        }))
    }

    /// Who it is that signs in with this login and password.
    ///
    /// # Errors
    /// Wrong credentials, without a word on which; suspended; too many attempts; overloaded.
    pub async fn authenticate(
        &self,
        login: &str,
        password: String,
        address: Option<IpAddr>,
    ) -> Result<Proved, ApiError> {
        // What no user can be called is not looked for, nor even folded, which takes its time.
        if login.len() > MAX_LOGIN || login.chars().any(char::is_control) {
            return Err(WRONG_CREDENTIALS);
        }
        let attempt = Attempt::new(&key(login), address);
        let now = self.clock.now();
        // Cheapest first: this process's count, then a place in the queue, and only then the database.
        self.attempts.take(&attempt, now).map_err(throttled)?;
        let place = self.passwords.place()?;
        // No connection is held while the password waits for its turn to be hashed.
        let found = {
            let mut connection = self.database.acquire().await?;
            if !attempts::take(&self.tables, &mut connection, &attempt, now).await? {
                return Err(throttled(ACCOUNT.wait()));
            }
            self.find_by_login(&mut connection, login).await?
        };
        let (security, hash) = found.map(|account| (account.security(), account.password_hash)).unzip();
        let password = if is_password(&password) { password } else { String::new() };
        if !self.passwords.verify(place, password, hash).await? {
            return Err(WRONG_CREDENTIALS);
        }
        let security = security.ok_or(WRONG_CREDENTIALS)?;
        if !security.active {
            return Err(SUSPENDED);
        }
        self.attempts.give_back(&attempt);
        Ok(Proved { security, attempt })
    }

    /// Whether one who is signed in knows the password in use; a stolen token is no licence to guess. The user's
    /// rights as they were then.
    ///
    /// # Errors
    /// Wrong password, too many attempts, overloaded.
    pub async fn prove_again(&self, user: Uuid, password: String) -> Result<Security, ApiError> {
        let attempt = Attempt::own(user);
        self.attempts.take(&attempt, self.clock.now()).map_err(throttled)?;
        let account = {
            let mut connection = self.database.acquire().await?;
            if !attempts::take(&self.tables, &mut connection, &attempt, self.clock.now()).await? {
                return Err(throttled(ACCOUNT.wait()));
            }
            let account: Option<Account> = sqlx::query_as(self.tables.sql(
                "SELECT id, password_hash, security_version, status = 'active' AS active FROM {schema}.{users}
                 WHERE id = $1 AND status <> 'deleted'",
            ))
            .bind(user)
            .fetch_optional(&mut *connection)
            .await?;
            account.ok_or(crate::service::error::UNAUTHENTICATED)?
        };
        let security = account.security();
        if !self.passwords.verify(self.passwords.place()?, password, Some(account.password_hash)).await? {
            return Err(WRONG_PASSWORD);
        }
        self.attempts.give_back(&attempt);
        Ok(security)
    }

    /// The PHC string of a password.
    ///
    /// # Errors
    /// Overloaded.
    pub async fn hash(&self, password: String) -> Result<String, ApiError> {
        self.passwords.hash(self.passwords.place()?, password).await
    }

    /// Begins the session of one who has proved who it is.
    ///
    /// # Errors
    /// Wrong credentials when the user's rights have changed since.
    pub async fn begin_session(&self, connection: &mut PgConnection, proved: &Proved) -> Result<Session, ApiError> {
        self.begin(connection, &proved.security, Some(&proved.attempt)).await
    }

    /// Begins the session of a user who was made, or given another password, in the same transaction.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn begin_first_session(
        &self,
        connection: &mut PgConnection,
        security: &Security,
    ) -> Result<Session, ApiError> {
        self.begin(connection, security, None).await
    }

    async fn begin(
        &self,
        connection: &mut PgConnection,
        security: &Security,
        attempt: Option<&Attempt>,
    ) -> Result<Session, ApiError> {
        let now = self.clock.now();
        let token = RefreshToken::new(Uuid::new_v4(), rand::random());
        let expires_at = now.saturating_add(SESSION_VALIDITY).unwrap_or(now);
        if !sessions::begin(&self.tables, connection, security, &token, expires_at, attempt, now).await? {
            return Err(WRONG_CREDENTIALS);
        }
        Ok(Session { user: security.user, refresh_token: token.text(), expires_at })
    }

    /// Takes a refresh token, and gives the next one.
    ///
    /// # Errors
    /// The session has ended, or the user is suspended, which ends it.
    pub async fn refresh(&self, connection: &mut PgConnection, token: &str) -> Result<Session, ApiError> {
        let token = RefreshToken::parse(token).ok_or(SESSION_ENDED)?;
        let successor = RefreshToken::new(token.session, rand::random());
        match sessions::claim(&self.tables, connection, &token, successor, self.clock.now()).await? {
            Claimed::Token { user, token, expires_at } => {
                let status: Option<String> = sqlx::query_scalar(
                    self.tables.sql("SELECT status FROM {schema}.{users} WHERE id = $1 AND status <> 'deleted'"),
                )
                .bind(user)
                .fetch_optional(&mut *connection)
                .await?;
                match status.as_deref() {
                    None => Err(SESSION_ENDED),
                    Some("active") => Ok(Session { user, refresh_token: token.text(), expires_at }),
                    Some(_) => {
                        sessions::end(&self.tables, connection, token.session).await?;
                        Err(SUSPENDED)
                    }
                }
            }
            Claimed::Reused => {
                tracing::warn!(session = %token.session, "a refresh token was used a second time; its session is ended");
                Err(SESSION_ENDED)
            }
            Claimed::Unknown => Err(SESSION_ENDED),
        }
    }

    /// Ends the session of a refresh token. One that is no session of ours has ended already.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn end_session(&self, connection: &mut PgConnection, token: &str) -> Result<(), ApiError> {
        let Some(token) = RefreshToken::parse(token) else { return Ok(()) };
        let successor = RefreshToken::new(token.session, rand::random());
        if let Claimed::Token { token, .. } =
            sessions::claim(&self.tables, connection, &token, successor, self.clock.now()).await?
        {
            sessions::end(&self.tables, connection, token.session).await?;
        }
        Ok(())
    }

    /// Ends all sessions of a user.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn end_sessions(&self, connection: &mut PgConnection, user: Uuid) -> Result<(), sqlx::Error> {
        sessions::end_all(&self.tables, connection, user).await
    }

    /// Notes, after it was committed, that a user's tokens of before no longer hold.
    pub fn revoke(&self, security: Security) {
        self.revocations.note(security);
    }

    /// The tables, for what is done by function: [`invitations`].
    #[must_use]
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Deletes what no longer holds: sessions and one-time tokens past their end, and attempts that no longer count.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn clean_up(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let now = self.clock.now();
        // Every bucket is full again long before.
        let hour_ago = now.saturating_sub(SignedDuration::from_hours(1)).unwrap_or(now);
        for (statement, before) in [
            ("DELETE FROM {schema}.sessions WHERE expires_at < $1", now),
            ("DELETE FROM {schema}.password_resets WHERE expires_at < $1", now),
            ("DELETE FROM {schema}.attempts WHERE taken_at < $1", hour_ago),
        ] {
            sqlx::query(self.tables.sql(statement)).bind(to_sql(before)).execute(&mut *connection).await?;
        }
        Ok(())
    }

    async fn find_by_login(&self, connection: &mut PgConnection, login: &str) -> Result<Option<Account>, sqlx::Error> {
        let columns = self.tables.other_logins.iter().map(|column| format!("{column} = $1 OR "));
        let text = format!(
            "SELECT id, password_hash, security_version, status = 'active' AS active FROM {{schema}}.{{users}}
             WHERE ({}email_key = $1) AND status <> 'deleted'",
            columns.collect::<String>()
        );
        sqlx::query_as(self.tables.sql(&text)).bind(key(login)).fetch_optional(connection).await
    }
}

fn throttled(wait: Duration) -> ApiError {
    ApiError::Later(StatusCode::TOO_MANY_REQUESTS, "too-many-attempts", wait)
}
