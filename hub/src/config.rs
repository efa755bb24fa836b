//! What the hub is told: arguments, and the files that its pod mounts.

use std::{net::SocketAddr, path::PathBuf};

use clap::Parser;
use fateh_common::telemetry::Telemetry;
use ipnet::IpNet;

/// Serves the centre's API.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// Directory with `database/` and `signing-key/`.
    #[arg(long, env = "FATEH_MOUNTS", default_value = "/run/fateh")]
    pub mounts: PathBuf,
    /// Nodes answer at `<slug>.<base domain>`; the hub is `hub.<base domain>`, and its tokens are issued by
    /// `https://hub.<base domain>`.
    #[arg(long, env = "FATEH_BASE_DOMAIN", default_value = "fateh-platform.com")]
    pub base_domain: String,
    /// Port at which users reach the ingress controller.
    #[arg(long, env = "FATEH_PUBLIC_PORT", default_value_t = 443)]
    pub public_port: u16,
    /// Address ranges of proxies whose word on a client's address is believed.
    #[arg(long, env = "FATEH_TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<IpNet>,
    /// Connections to the database.
    #[arg(long, env = "FATEH_POOL_SIZE", default_value_t = 8)]
    pub pool_size: u32,
    /// The operator's ServiceAccount, which publishes inline content.
    #[arg(long, env = "FATEH_OPERATOR_ACCOUNT", default_value = "system:serviceaccount:fateh-system:fateh-operator")]
    pub operator_account: String,
    /// Issuer of the cluster's ServiceAccount tokens; without it any issuer is asked about at the API server.
    #[arg(long, env = "FATEH_CLUSTER_ISSUER")]
    pub cluster_issuer: Option<String>,
    /// Address that people and nodes reach.
    #[arg(long, env = "FATEH_HTTP_ADDRESS", default_value = "0.0.0.0:8080")]
    pub http_address: SocketAddr,
    /// Address of /livez, /readyz and /metrics.
    #[arg(long, env = "FATEH_MANAGEMENT_ADDRESS", default_value = "0.0.0.0:8081")]
    pub management_address: SocketAddr,
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: Telemetry,
}

impl Arguments {
    /// Issuer and audience of the hub's tokens: the same wherever it is reached.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("https://hub.{}", self.base_domain)
    }
}
