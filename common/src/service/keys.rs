//! The keys of a service's tokens: read from the mounted files, and read again when they change.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use crate::tokens::{AcceptedKey, KeyError, SigningKey, Verifier, public_key_from_pem};
use tokio_util::sync::CancellationToken;

use super::files::{self, FileError, KeyFiles};

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(5);

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file cannot be read.
    #[error("read the signing keys")]
    Read(#[from] FileError),
    /// A file holds no key.
    #[error("use the signing keys")]
    Use(#[from] KeyError),
}

/// The key that signs, and all that are accepted.
pub struct Keys {
    /// Signs tokens.
    pub signing: SigningKey,
    /// Checks them.
    pub verifier: Verifier,
}

/// The keys in use. Reading them never waits for a change.
pub struct KeyRing {
    mounts: PathBuf,
    /// Issuer and audience of the tokens.
    url: String,
    current: RwLock<(KeyFiles, Arc<Keys>)>,
}

impl KeyRing {
    /// The keys under `mounts`, for the service that answers at `url`.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn read(mounts: PathBuf, url: &str) -> Result<Self, KeysError> {
        let files = files::read_signing_keys(&mounts)?;
        let keys = Arc::new(parse(&files, url)?);
        Ok(Self { mounts, url: url.to_owned(), current: RwLock::new((files, keys)) })
    }

    /// The keys as they are now.
    #[must_use]
    pub fn current(&self) -> Arc<Keys> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).1)
    }

    /// Follows the files until `stop`. Files that cannot be used change nothing.
    pub async fn follow(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = stop.cancelled() => return,
            }
            match self.refresh() {
                Ok(true) => tracing::info!("the signing keys were changed; the new ones are in use"),
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the signing keys cannot be read anew; those before stay in use"),
            }
        }
    }

    /// True when the files had changed.
    fn refresh(&self) -> Result<bool, KeysError> {
        let files = files::read_signing_keys(&self.mounts)?;
        if self.current.read().unwrap_or_else(PoisonError::into_inner).0 == files {
            return Ok(false);
        }
        let keys = Arc::new(parse(&files, &self.url)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (files, keys);
        Ok(true)
    }
}

fn parse(files: &KeyFiles, url: &str) -> Result<Keys, KeyError> {
    let signing = SigningKey::from_pem(&files.current)?;
    let mut accepted = vec![AcceptedKey::from(signing.public().clone())];
    if let Some(next) = &files.next {
        accepted.push(SigningKey::from_pem(next)?.public().clone().into());
    }
    if let Some((previous, until)) = &files.previous {
        accepted.push(AcceptedKey { public: public_key_from_pem(previous)?, until: *until });
    }
    Ok(Keys { signing, verifier: Verifier::new(accepted, url, url) })
}
