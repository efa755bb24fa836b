//! What the runtime is told: arguments, and the files that its pod mounts.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;
use fateh_common::{
    service::files::{self, FileError},
    telemetry::Telemetry,
};
use ipnet::IpNet;
use serde::Deserialize;

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
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: Telemetry,
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

/// Reads the node's description.
///
/// # Errors
/// Names the file.
pub fn read_node(mounts: &Path) -> Result<NodeConfig, FileError> {
    files::read_json(mounts.join("config/node.json"))
}
