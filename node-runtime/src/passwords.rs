//! Passwords: Argon2id on a bounded pool of its own, so that a flood of sign-ins leaves other requests alone.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use argon2::{
    Argon2, PasswordHash, PasswordHasher, PasswordVerifier,
    password_hash::{Error, SaltString},
};
use tokio::sync::Semaphore;

use crate::error::{ApiError, OVERLOADED};

/// One hash at a time takes 20 ms of one core and 19 MiB.
const AT_ONCE: usize = 1;
/// More than these waiting are refused at once.
const QUEUE: usize = 32;

/// Hashes and checks passwords.
#[derive(Clone)]
pub struct Passwords(Arc<Inner>);

struct Inner {
    turns: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    /// Checked when there is no such user, so that the answer takes as long.
    nobody: String,
}

/// Counts one request in the queue for as long as it lives.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Passwords {
    /// A pool with an empty queue.
    ///
    /// # Errors
    /// When the parameters of Argon2 are refused, which a test rules out.
    pub fn new() -> Result<Self, ApiError> {
        let nobody = hash("nobody has this password")?;
        Ok(Self(Arc::new(Inner { turns: Arc::new(Semaphore::new(AT_ONCE)), waiting: Arc::default(), nobody })))
    }

    /// The PHC string of a password.
    ///
    /// # Errors
    /// Overloaded when the queue is full.
    pub async fn hash(&self, password: String) -> Result<String, ApiError> {
        self.in_turn(move || hash(&password)).await?
    }

    /// Whether `password` belongs to `stored`; as slow, and false, when there is none.
    ///
    /// # Errors
    /// Overloaded when the queue is full.
    pub async fn verify(&self, password: String, stored: Option<String>) -> Result<bool, ApiError> {
        let exists = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.0.nobody.clone());
        Ok(self.in_turn(move || verify(&password, &stored)).await?? && exists)
    }

    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
        if self.0.waiting.fetch_add(1, Ordering::Relaxed) >= QUEUE {
            self.0.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(OVERLOADED);
        }
        let place = Place(Arc::clone(&self.0.waiting));
        let turn = Arc::clone(&self.0.turns).acquire_owned().await.map_err(|_| OVERLOADED)?;
        // The turn goes with the work: a client that hangs up does not end a hash that has begun.
        let work = move || {
            let _held = (place, turn);
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| ApiError::Internal(error.to_string()))
    }
}

fn hash(password: &str) -> Result<String, ApiError> {
    let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>()).map_err(internal)?;
    // The crate's default is OWASP's: Argon2id, 19 MiB, two passes, one lane.
    Ok(Argon2::default().hash_password(password.as_bytes(), &salt).map_err(internal)?.to_string())
}

fn verify(password: &str, stored: &str) -> Result<bool, ApiError> {
    let stored = PasswordHash::new(stored).map_err(internal)?;
    match Argon2::default().verify_password(password.as_bytes(), &stored) {
        Ok(()) => Ok(true),
        Err(Error::Password) => Ok(false),
        Err(error) => Err(internal(error)),
    }
}

fn internal(error: Error) -> ApiError {
    ApiError::Internal(format!("password hash: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_verified_against_its_own_hash_only() {
        let passwords = Passwords::new().unwrap();
        let stored = passwords.hash("correct horse battery".into()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(passwords.verify("correct horse battery".into(), Some(stored.clone())).await.unwrap());
        assert!(!passwords.verify("correct horse batterz".into(), Some(stored)).await.unwrap());
        assert!(!passwords.verify("nobody has this password".into(), None).await.unwrap());
    }

    #[tokio::test]
    async fn a_client_that_hangs_up_does_not_free_the_turn_of_a_hash_under_way() {
        let passwords = Passwords::new().unwrap();
        let (begun, has_begun) = std::sync::mpsc::channel();
        let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
        let work = {
            let passwords = passwords.clone();
            tokio::spawn(async move {
                passwords
                    .in_turn(move || {
                        begun.send(()).unwrap();
                        let _ = may_go_on.recv();
                    })
                    .await
            })
        };
        tokio::task::spawn_blocking(move || has_begun.recv().unwrap()).await.unwrap();
        work.abort();
        let _ = work.await;
        assert_eq!(passwords.0.turns.available_permits(), 0);
        assert_eq!(passwords.0.waiting.load(Ordering::Relaxed), 1);
        go_on.send(()).unwrap();
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let passwords = Passwords::new().unwrap();
        passwords.0.waiting.store(QUEUE, Ordering::Relaxed);
        assert!(matches!(passwords.hash("x".into()).await, Err(ApiError::Refused(status, _)) if status == 503));
        assert_eq!(passwords.0.waiting.load(Ordering::Relaxed), QUEUE);
    }
}
