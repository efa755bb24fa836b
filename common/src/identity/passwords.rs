//! Passwords: Argon2id on a bounded pool of its own, so that a flood of sign-ins leaves other requests alone.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use argon2::{
    Algorithm, Argon2, Block, Params, PasswordHash, PasswordHasher, Version,
    password_hash::{Error, Output, Salt, SaltString},
};
use tokio::sync::Semaphore;

use crate::service::error::{ApiError, OVERLOADED};

/// One hash at a time takes 20 ms of one core and 19 MiB.
const AT_ONCE: usize = 1;
/// More than these waiting are refused at once.
const QUEUE: usize = 24;

/// Checked when there is no such user, so that the answer takes as long. Made once with the parameters of all others.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$HdhM2foAfO5HJNiiQECi1Q$e7YbxTdgB4ETVg7NgQWGiSJh4KHepxCgzqlDirEgwgM";

/// Hashes and checks passwords.
#[derive(Clone)]
pub struct Passwords(Arc<Inner>);

struct Inner {
    turns: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    memory: Arc<Mutex<Memory>>,
}

/// What a check is done in. Getting 19 MiB anew for each would take as long as half a check; with nobody waiting they
/// are given back.
type Memory = Vec<Block>;

/// Counts one request in the queue for as long as it lives.
pub struct Place {
    waiting: Arc<AtomicUsize>,
    memory: Arc<Mutex<Memory>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        // The last one to leave gives the memory back; one that comes meanwhile has it in use, or gets its own.
        if self.waiting.fetch_sub(1, Ordering::Relaxed) == 1
            && let Ok(mut memory) = self.memory.try_lock()
        {
            *memory = Memory::new();
        }
    }
}

impl Passwords {
    /// A pool with an empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Arc::default(),
            memory: Arc::default(),
        }))
    }

    /// A place in the queue, before anything is done for the one who asks.
    ///
    /// # Errors
    /// Overloaded when the queue is full.
    pub fn place(&self) -> Result<Place, ApiError> {
        if self.0.waiting.fetch_add(1, Ordering::Relaxed) >= QUEUE {
            self.0.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(OVERLOADED);
        }
        Ok(Place { waiting: Arc::clone(&self.0.waiting), memory: Arc::clone(&self.0.memory) })
    }

    /// The PHC string of a password.
    ///
    /// # Errors
    /// When the hash cannot be made.
    pub async fn hash(&self, place: Place, password: String) -> Result<String, ApiError> {
        self.in_turn(place, move || hash(&password)).await?
    }

    /// Whether `password` belongs to `stored`; as slow, and false, when there is none.
    ///
    /// # Errors
    /// When the stored hash is none.
    pub async fn verify(&self, place: Place, password: String, stored: Option<String>) -> Result<bool, ApiError> {
        let exists = stored.is_some();
        let stored = stored.unwrap_or_else(|| NOBODY.to_owned());
        let memory = Arc::clone(&self.0.memory);
        let check = move || {
            // Whatever a check that failed has left in it is written over.
            let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
            verify(&password, &stored, &mut memory)
        };
        Ok(self.in_turn(place, check).await?? && exists)
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        place: Place,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
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

fn verify(password: &str, stored: &str, memory: &mut Memory) -> Result<bool, ApiError> {
    let stored = PasswordHash::new(stored).map_err(internal)?;
    let (Some(salt), Some(expected)) = (stored.salt, stored.hash) else { return Err(internal(Error::PhcStringField)) };
    let algorithm = Algorithm::try_from(stored.algorithm).map_err(internal)?;
    let version =
        stored.version.map_or(Ok(Version::default()), Version::try_from).map_err(|error| internal(error.into()))?;
    let params = Params::try_from(&stored).map_err(internal)?;
    let mut bytes = [0; Salt::MAX_LENGTH];
    let salt = salt.decode_b64(&mut bytes).map_err(internal)?;
    memory.resize(params.block_count(), Block::default());
    let mut bytes = [0; Output::MAX_LENGTH];
    let output = bytes.get_mut(..expected.len()).ok_or_else(|| internal(Error::PhcStringField))?;
    Argon2::new(algorithm, version, params)
        .hash_password_into_with_memory(password.as_bytes(), salt, output, memory.as_mut_slice())
        .map_err(|error| internal(error.into()))?;
    // Compared in constant time.
    Ok(Output::new(output).map_err(internal)? == expected)
}

fn internal(error: Error) -> ApiError {
    ApiError::Internal(format!("password hash: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_verified_against_its_own_hash_only() {
        let passwords = Passwords::new();
        let stored = passwords.hash(passwords.place().unwrap(), "correct horse battery".into()).await.unwrap();
        let parameters = |phc: &str| phc.rsplitn(3, '$').last().map(str::to_owned);
        assert_eq!(parameters(&stored).as_deref(), Some("$argon2id$v=19$m=19456,t=2,p=1"));
        assert_eq!(parameters(&stored), parameters(NOBODY), "a user who is not there takes as long");
        assert!(
            passwords
                .verify(passwords.place().unwrap(), "correct horse battery".into(), Some(stored.clone()))
                .await
                .unwrap()
        );
        assert!(
            !passwords.verify(passwords.place().unwrap(), "correct horse batterz".into(), Some(stored)).await.unwrap()
        );
        assert!(!passwords.verify(passwords.place().unwrap(), "nobody has this password".into(), None).await.unwrap());
    }

    /// Whatever was checked before in the same memory, and with which parameters.
    #[test]
    fn a_check_is_what_the_library_s_own_check_is() {
        use argon2::PasswordVerifier;
        let mut memory = Memory::new();
        let other = Argon2::new(Algorithm::Argon2i, Version::V0x10, Params::new(64, 3, 2, Some(20)).unwrap());
        for (index, argon2) in [Argon2::default(), other, Argon2::default()].iter().enumerate() {
            let salt = SaltString::encode_b64(&[7; 16]).unwrap();
            let password = format!("password {index}");
            let stored = argon2.hash_password(password.as_bytes(), &salt).unwrap().to_string();
            for tried in [password.as_str(), "password 9", ""] {
                let library = argon2.verify_password(tried.as_bytes(), &PasswordHash::new(&stored).unwrap()).is_ok();
                assert_eq!(verify(tried, &stored, &mut memory).unwrap(), library, "{tried} against {stored}");
                assert_eq!(library, tried == password);
            }
        }
        for broken in [
            "",
            "$argon2id$v=19$m=19456,t=2,p=1",
            "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
        ] {
            assert!(verify("password 1", broken, &mut memory).is_err(), "{broken}");
        }
    }

    #[tokio::test]
    async fn a_client_that_hangs_up_does_not_free_the_turn_of_a_hash_under_way() {
        let passwords = Passwords::new();
        let (begun, has_begun) = std::sync::mpsc::channel();
        let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
        let work = {
            let passwords = passwords.clone();
            tokio::spawn(async move {
                passwords
                    .in_turn(passwords.place().unwrap(), move || {
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

    #[test]
    fn a_full_queue_refuses_at_once() {
        let passwords = Passwords::new();
        passwords.0.waiting.store(QUEUE, Ordering::Relaxed);
        assert!(matches!(passwords.place(), Err(ApiError::Later(status, ..)) if status == 503));
        assert_eq!(passwords.0.waiting.load(Ordering::Relaxed), QUEUE);
    }
}
