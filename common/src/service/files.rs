//! What the operator mounts into the pods of a service: database, signing keys, and how to read them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use sqlx::{
    ConnectOptions,
    postgres::{PgConnectOptions, PgSslMode},
};

/// Why a mounted file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is missing or unreadable.
    #[error("read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what was expected.
    #[error("parse {path}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A value is out of range.
    #[error("{path}: {problem}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What would be accepted.
        problem: &'static str,
    },
}

/// Reads a JSON file.
///
/// # Errors
/// Names the file.
pub fn read_json<T: DeserializeOwned>(path: PathBuf) -> Result<T, FileError> {
    let text = read(&path)?;
    serde_json::from_str(&text).map_err(|source| FileError::Parse { path, source })
}

/// The signing keys, PEM, as they are mounted.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyFiles {
    /// The one that signs, PKCS #8.
    pub current: String,
    /// The one that will sign, PKCS #8.
    pub next: Option<String>,
    /// The public part of the one that signed before, and until when it is accepted.
    pub previous: Option<(String, Option<Timestamp>)>,
}

/// Reads the signing keys, all from one state of the mounted Secret: it may change between two files.
///
/// # Errors
/// Names the file.
pub fn read_signing_keys(mounts: &Path) -> Result<KeyFiles, FileError> {
    let mut before = read_key_files(mounts)?;
    for _ in 0..3 {
        let now = read_key_files(mounts)?;
        if now == before {
            break;
        }
        before = now;
    }
    Ok(before)
}

fn read_key_files(mounts: &Path) -> Result<KeyFiles, FileError> {
    let directory = mounts.join("signing-key");
    let previous = read_optional(&directory.join("previous.pub.pem"))?;
    let until = read_optional(&directory.join("previousUntil"))?;
    Ok(KeyFiles {
        current: read(&directory.join("key.pem"))?,
        next: read_optional(&directory.join("next.pem"))?,
        previous: previous.map(|pem| (pem, until.and_then(|until| until.trim().parse().ok()))),
    })
}

/// Reads how to connect to the database: with the password that holds, and, while it is being changed,
/// with the next one too. Passwords stay in memory only.
///
/// # Errors
/// Names the file.
pub fn read_database(mounts: &Path, application: &str) -> Result<Vec<PgConnectOptions>, FileError> {
    let directory = mounts.join("database");
    let value = |key: &str| read(&directory.join(key)).map(|text| text.trim_end().to_owned());
    let invalid = |key: &str, problem| FileError::Invalid { path: directory.join(key), problem };
    let mut options = PgConnectOptions::new_without_pgpass()
        .host(&value("host")?)
        .port(value("port")?.parse().map_err(|_| invalid("port", "expected a port number"))?)
        .database(&value("database")?)
        .username(&value("username")?)
        .ssl_mode(match value("sslmode")?.as_str() {
            "disable" => PgSslMode::Disable,
            "require" => PgSslMode::Require,
            "verify-full" => PgSslMode::VerifyFull,
            _ => return Err(invalid("sslmode", "expected disable, require or verify-full")),
        })
        .application_name(application)
        .log_statements(tracing::log::LevelFilter::Off);
    let ca = directory.join("ca.crt");
    if ca.exists() {
        options = options.ssl_root_cert_from_pem(read(&ca)?.into_bytes());
    }
    let next = read_optional(&directory.join("nextPassword"))?;
    let passwords = [Some(value("password")?), next.map(|text| text.trim_end().to_owned())];
    Ok(passwords.into_iter().flatten().map(|password| options.clone().password(&password)).collect())
}

fn read_optional(path: &Path) -> Result<Option<String>, FileError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError::Read { path: path.to_owned(), source }),
    }
}

fn read(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(|source| FileError::Read { path: path.to_owned(), source })
}
