//! Which users' tokens of before no longer hold: a suspension, a new role or password reaches every replica within
//! seconds, without a look into the database for each request.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{Identity, Security, TOKEN_VALIDITY};
use crate::{
    service::error::{ApiError, UNAUTHENTICATED, UNAVAILABLE},
    sql::to_sql,
};

/// What was read longer ago is read anew. Only when someone asks: an idle node leaves the database alone.
const FRESH: SignedDuration = SignedDuration::from_secs(2);
/// What was read longer ago is not relied on.
const MAX_AGE: SignedDuration = SignedDuration::from_secs(5);
/// Transactions end and clocks differ within this.
const MARGIN: Duration = Duration::from_secs(60);

/// The users of whom something changed while tokens of before may still be about.
#[derive(Debug, Default)]
pub struct Revocations {
    read: RwLock<Read>,
    /// One reads for all.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Read {
    changed: HashMap<Uuid, Security>,
    /// What this replica has changed itself since it last began to read.
    noted: Vec<Security>,
    at: Option<Timestamp>,
    /// When the database last failed to answer.
    failed_at: Option<Timestamp>,
}

impl Revocations {
    fn check(&self, user: Uuid, version: i32, now: Timestamp) -> Result<(), ApiError> {
        let read = self.read.read().unwrap_or_else(PoisonError::into_inner);
        if read.at.is_none_or(|at| now.duration_since(at) > MAX_AGE) {
            return Err(UNAVAILABLE);
        }
        match read.changed.get(&user) {
            // A newer token speaks of a change that this replica is still to hear of.
            Some(security) if version < security.version || (version == security.version && !security.active) => {
                Err(UNAUTHENTICATED)
            }
            _ => Ok(()),
        }
    }

    /// Notes a change that this replica has made.
    pub fn note(&self, security: Security) {
        let mut read = self.read.write().unwrap_or_else(PoisonError::into_inner);
        read.changed.insert(security.user, security);
        read.noted.push(security);
    }

    /// Before the database is asked: what is noted from now on may be missing in its answer.
    fn begin(&self) {
        self.read.write().unwrap_or_else(PoisonError::into_inner).noted.clear();
    }

    fn is_older_than(&self, age: SignedDuration, now: Timestamp) -> bool {
        let read = self.read.read().unwrap_or_else(PoisonError::into_inner);
        read.at.is_none_or(|at| now.duration_since(at) > age)
    }

    fn fail(&self, at: Timestamp) {
        self.read.write().unwrap_or_else(PoisonError::into_inner).failed_at = Some(at);
    }

    fn failed_since(&self, time: Timestamp) -> bool {
        self.read.read().unwrap_or_else(PoisonError::into_inner).failed_at.is_some_and(|at| at >= time)
    }

    fn replace(&self, changed: Vec<Security>, at: Timestamp) {
        let mut read = self.read.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed: HashMap<_, _> = changed.into_iter().map(|security| (security.user, security)).collect();
        for noted in &read.noted {
            if changed.get(&noted.user).is_none_or(|listed| listed.version < noted.version) {
                changed.insert(noted.user, *noted);
            }
        }
        read.changed = changed;
        read.at = Some(at);
    }
}

impl Identity {
    /// Whether a token with this version of the user's rights still holds, by what was read within seconds.
    ///
    /// # Errors
    /// Unauthenticated when it does not; unavailable when it is not known.
    pub async fn check_revocation(&self, user: Uuid, version: i32) -> Result<(), ApiError> {
        let revocations = &self.revocations;
        let now = self.clock.now();
        if revocations.is_older_than(MAX_AGE, now) {
            let _turn = revocations.reading.lock().await;
            // Another may have read it meanwhile, or have waited in vain: the last would wait for all.
            if revocations.failed_since(now) {
                return Err(UNAVAILABLE);
            }
            if revocations.is_older_than(FRESH, now) {
                self.read_revocations().await?;
            }
        } else if revocations.is_older_than(FRESH, now) {
            let identity = self.clone();
            // What is known is recent enough for this request; the next ones are to have better.
            tokio::spawn(async move {
                let Ok(_turn) = identity.revocations.reading.try_lock() else { return };
                if let Err(error) = identity.read_revocations().await {
                    tracing::warn!(%error, "which tokens still hold cannot be read");
                }
            });
        }
        revocations.check(user, version, self.clock.now())
    }

    /// Asks the database, and notes whether it answered.
    async fn read_revocations(&self) -> Result<(), sqlx::Error> {
        let now = self.clock.now();
        self.revocations.begin();
        let changed = self.changed_lately(now).await.inspect_err(|_| self.revocations.fail(self.clock.now()))?;
        self.revocations.replace(changed, now);
        Ok(())
    }

    /// The users of whom something changed while tokens of before may still be about.
    async fn changed_lately(&self, now: Timestamp) -> Result<Vec<Security>, sqlx::Error> {
        let since = now.saturating_sub(TOKEN_VALIDITY + MARGIN).unwrap_or(now);
        let changed: Vec<(Uuid, i32, bool)> = sqlx::query_as(self.tables.sql(
            "SELECT id, security_version, status = 'active' FROM {schema}.{users} WHERE security_changed_at > $1",
        ))
        .bind(to_sql(since))
        .fetch_all(&mut *self.database.acquire().await?)
        .await?;
        Ok(changed.into_iter().map(|(user, version, active)| Security { user, version, active }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_holds_as_long_as_nothing_changed_and_that_is_known() {
        let at = |seconds: i64| Timestamp::from_second(1000 + seconds).unwrap();
        let user = Uuid::from_u128(1);
        let security = |version, active| Security { user, version, active };
        let revocations = Revocations::default();
        assert!(matches!(revocations.check(user, 1, at(0)), Err(ApiError::Later(..))), "nothing was read yet");
        revocations.replace(Vec::new(), at(0));
        assert!(revocations.check(user, 1, at(5)).is_ok());
        assert!(matches!(revocations.check(user, 1, at(6)), Err(ApiError::Later(..))), "that is too long ago");
        revocations.note(security(2, true));
        assert!(matches!(revocations.check(user, 1, at(1)), Err(ApiError::Refused(..))));
        assert!(revocations.check(user, 2, at(1)).is_ok());
        revocations.replace(vec![security(1, true)], at(2));
        assert!(revocations.check(user, 2, at(2)).is_ok(), "what was read before the change is older than it");
        revocations.replace(vec![security(2, false)], at(3));
        assert!(revocations.check(user, 2, at(3)).is_err(), "suspended");
    }

    #[test]
    fn those_who_waited_for_an_answer_that_failed_to_come_do_not_ask_again() {
        let at = |seconds: i64| Timestamp::from_second(1000 + seconds).unwrap();
        let revocations = Revocations::default();
        assert!(!revocations.failed_since(at(0)));
        revocations.fail(at(4));
        assert!(revocations.failed_since(at(1)) && revocations.failed_since(at(4)));
        assert!(!revocations.failed_since(at(5)), "who comes later asks");
    }
}
