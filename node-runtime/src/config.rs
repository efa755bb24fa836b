//! What the runtime is told: arguments, and the files that its pod mounts.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;
use fateh_common::telemetry::LogFormat;
use ipnet::IpNet;
use jiff::Timestamp;
use serde::Deserialize;
use sqlx::{
    ConnectOptions,
    postgres::{PgConnectOptions, PgSslMode},
};

/// Serves one local node.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// Directory with `config/`, `database/` and `signing-key/`, and `hub-token/` where there is a hub.
    #[arg(long, env = "FATEH_MOUNTS", default_value = "/run/fateh")]
    pub mounts: PathBuf,
    /// Address that users reach.
    #[arg(long, env = "FATEH_HTTP_ADDRESS", default_value = "0.0.0.0:8080")]
    pub http_address: SocketAddr,
    /// Address of /livez, /readyz and /metrics.
    #[arg(long, env = "FATEH_MANAGEMENT_ADDRESS", default_value = "0.0.0.0:8081")]
    pub management_address: SocketAddr,
    /// `json` or `text`.
    #[arg(long, env = "FATEH_LOG_FORMAT", default_value = "json")]
    pub log_format: LogFormat,
}

/// The node, as the operator describes it in the ConfigMap `node`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeConfig {
    /// Name of the node.
    pub slug: String,
    /// Name for people.
    pub display_name: String,
    /// Default language, BCP 47.
    pub language: String,
    /// ISO 4217.
    pub currency: String,
    /// IANA.
    pub timezone: String,
    /// Where the node answers; also the issuer and audience of its tokens.
    pub url: String,
    /// Namespace of the pods.
    pub namespace: String,
    /// Connections of one pod to its database.
    pub pool_size: u32,
    /// Seconds between two reports.
    pub report_interval_seconds: u64,
    /// Address ranges of proxies whose word on a client's address is believed.
    #[serde(default)]
    pub trusted_proxies: Vec<IpNet>,
    /// Where the hub answers; none: there is none.
    #[serde(default)]
    pub hub_url: Option<String>,
    /// Issuer of the centre's tokens; none: they are not accepted.
    #[serde(default)]
    pub hub_issuer: Option<String>,
}

impl NodeConfig {
    /// Time between two reports.
    #[must_use]
    pub const fn report_interval(&self) -> Duration {
        Duration::from_secs(self.report_interval_seconds)
    }
}

/// Why a mounted file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
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

/// Reads the node's description.
///
/// # Errors
/// Names the file.
pub fn read_node(mounts: &Path) -> Result<NodeConfig, ConfigError> {
    let path = mounts.join("config/node.json");
    let text = read(&path)?;
    serde_json::from_str(&text).map_err(|source| ConfigError::Parse { path, source })
}

/// The node's signing keys, PEM, as they are mounted.
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
pub fn read_signing_keys(mounts: &Path) -> Result<KeyFiles, ConfigError> {
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

fn read_key_files(mounts: &Path) -> Result<KeyFiles, ConfigError> {
    let directory = mounts.join("signing-key");
    let previous = read_optional(&directory.join("previous.pub.pem"))?;
    let until = read_optional(&directory.join("previousUntil"))?;
    Ok(KeyFiles {
        current: read(&directory.join("key.pem"))?,
        next: read_optional(&directory.join("next.pem"))?,
        previous: previous.map(|pem| (pem, until.and_then(|until| until.trim().parse().ok()))),
    })
}

/// Reads how to connect to the node's database: with the password that holds, and, while it is being changed,
/// with the next one too. Passwords stay in memory only.
///
/// # Errors
/// Names the file.
pub fn read_database(mounts: &Path) -> Result<Vec<PgConnectOptions>, ConfigError> {
    let directory = mounts.join("database");
    let value = |key: &str| read(&directory.join(key)).map(|text| text.trim_end().to_owned());
    let invalid = |key: &str, problem| ConfigError::Invalid { path: directory.join(key), problem };
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
        .application_name("node-runtime")
        .log_statements(tracing::log::LevelFilter::Off);
    let ca = directory.join("ca.crt");
    if ca.exists() {
        options = options.ssl_root_cert_from_pem(read(&ca)?.into_bytes());
    }
    let next = read_optional(&directory.join("nextPassword"))?;
    let passwords = [Some(value("password")?), next.map(|text| text.trim_end().to_owned())];
    Ok(passwords.into_iter().flatten().map(|password| options.clone().password(&password)).collect())
}

fn read_optional(path: &Path) -> Result<Option<String>, ConfigError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::Read { path: path.to_owned(), source }),
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}
