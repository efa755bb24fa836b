//! What the operator is told at its start: flags, or the environment.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;
use fateh_common::telemetry::Telemetry;

use crate::gateway::GatewayRef;

/// What the operator is told at its start.
#[derive(Clone, Debug, Parser)]
pub struct Settings {
    /// How nodes are reached.
    #[command(flatten)]
    pub routing: RoutingSettings,
    /// The pods of nodes.
    #[command(flatten)]
    pub runtime: RuntimeSettings,
    /// What nodes may reach and be reached by.
    #[command(flatten)]
    pub network: NetworkSettings,
    /// The hub's database and Secrets.
    #[command(flatten)]
    pub hub: HubSettings,
    /// Namespace of the operator: the Secrets of DatabaseServers lie here.
    #[arg(long, env = "FATEH_NAMESPACE", default_value = "fateh-system")]
    pub namespace: String,
    /// Address of /livez, /readyz and /metrics.
    #[arg(long, env = "FATEH_MANAGEMENT_ADDRESS", default_value = "0.0.0.0:8081")]
    pub management_address: SocketAddr,
    /// Reconciles of LocalNodes at once.
    #[arg(long, env = "FATEH_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,
    /// Whether several operators elect a leader; without it there must be only one.
    #[arg(long, env = "FATEH_LEADER_ELECTION", default_value_t = true, action = clap::ArgAction::Set)]
    pub leader_election: bool,
    /// Seconds between two looks at a database server and all nodes' databases on it.
    #[arg(long, env = "FATEH_PROBE_INTERVAL", default_value = "30", value_parser = seconds)]
    pub probe_interval: Duration,
    /// Seconds between two full listings, which find what a watch has missed.
    #[arg(long, env = "FATEH_RESYNC_INTERVAL", default_value = "1800", value_parser = seconds)]
    pub resync_interval: Duration,
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: Telemetry,
}

/// How nodes are reached.
#[derive(Clone, Debug, clap::Args)]
pub struct RoutingSettings {
    /// A node answers at `<slug>.<base domain>`.
    #[arg(long, env = "FATEH_BASE_DOMAIN", default_value = "fateh-platform.com")]
    pub base_domain: String,
    /// Port at which users reach the ingress controller.
    #[arg(long, env = "FATEH_PUBLIC_PORT", default_value_t = 443)]
    pub public_port: u16,
    /// Ingress class of nodes that name none; unset: the cluster's default.
    #[arg(long, env = "FATEH_INGRESS_CLASS")]
    pub ingress_class: Option<String>,
    /// cert-manager's ClusterIssuer of certificates for extra hosts of nodes that bring no Secret; unset: none.
    #[arg(long, env = "FATEH_CLUSTER_ISSUER")]
    pub cluster_issuer: Option<String>,
    /// Gateway at which each node's hosts are routed by an HTTPRoute, as `namespace/name` or `namespace/name/listener`;
    /// unset: each node has an Ingress.
    #[arg(long, env = "FATEH_GATEWAY")]
    pub gateway: Option<GatewayRef>,
}

/// The pods of nodes.
#[derive(Clone, Debug, clap::Args)]
pub struct RuntimeSettings {
    /// Image of the node runtime, for nodes that name none.
    #[arg(long, env = "FATEH_NODE_IMAGE")]
    pub node_image: String,
    /// How pods get it: Always, IfNotPresent or Never.
    #[arg(long, env = "FATEH_NODE_IMAGE_PULL_POLICY", default_value = "IfNotPresent")]
    pub node_image_pull_policy: String,
    /// Seconds between two reports of a node.
    #[arg(long, env = "FATEH_REPORT_INTERVAL", default_value = "60", value_parser = seconds)]
    pub report_interval: Duration,
    /// Where nodes reach the hub, for example `http://fateh-hub.fateh-system:8080`; unset: there is none.
    #[arg(long, env = "FATEH_HUB_URL")]
    pub hub_url: Option<String>,
    /// File with the operator's own token for the hub, to which it publishes inline content.
    #[arg(long, env = "FATEH_HUB_TOKEN", default_value = "/run/fateh/hub-token/token")]
    pub hub_token: PathBuf,
}

impl RoutingSettings {
    /// Issuer of the hub's tokens, and the audience of those that nodes sign in with there.
    #[must_use]
    pub fn hub_issuer(&self) -> String {
        format!("https://hub.{}", self.base_domain)
    }

    /// Where people reach a host of the base domain.
    #[must_use]
    pub fn url(&self, host: &str) -> String {
        match self.public_port {
            443 => format!("https://{host}"),
            port => format!("https://{host}:{port}"),
        }
    }

    /// Where people reach the hub.
    #[must_use]
    pub fn hub_url(&self) -> String {
        self.url(&format!("hub.{}", self.base_domain))
    }
}

/// The hub's database and Secrets, which are the operator's to make.
#[derive(Clone, Debug, clap::Args)]
pub struct HubSettings {
    /// DatabaseServer on which the hub's database is made; unset: there is no hub here.
    #[arg(long = "hub-database-server", env = "FATEH_HUB_DATABASE_SERVER", requires = "admin_email")]
    pub database_server: Option<String>,
    /// Who is invited to be the first platform admin.
    #[arg(long = "hub-admin-email", env = "FATEH_HUB_ADMIN_EMAIL")]
    pub admin_email: Option<String>,
    /// Connections that the hub's role may hold: the pools of all its pods, one more than run while it is rolled out.
    #[arg(long = "hub-connection-limit", env = "FATEH_HUB_CONNECTION_LIMIT", default_value_t = 40,
          value_parser = clap::value_parser!(i32).range(1..=1000))]
    pub connection_limit: i32,
    /// Days for which a key signs the hub's tokens before it is replaced.
    #[arg(long = "hub-key-days", env = "FATEH_HUB_KEY_DAYS", default_value = "90", value_parser = days)]
    pub key_validity: Duration,
    /// Seconds that a changed Secret takes at most to reach the hub's pods.
    #[arg(long = "hub-key-lead", env = "FATEH_HUB_KEY_LEAD", default_value = "600", value_parser = seconds)]
    pub key_lead: Duration,
}

/// What nodes may reach and be reached by: the ground of their NetworkPolicies.
#[derive(Clone, Debug, clap::Args)]
pub struct NetworkSettings {
    /// Address ranges of the API server, comma-separated.
    #[arg(long, env = "FATEH_API_SERVER_CIDRS", value_delimiter = ',')]
    pub api_server_cidrs: Vec<String>,
    /// Namespace of the ingress controller's pods.
    #[arg(long, env = "FATEH_INGRESS_NAMESPACE")]
    pub ingress_namespace: Option<String>,
    /// Address ranges of an ingress controller outside the cluster, comma-separated.
    #[arg(long, env = "FATEH_INGRESS_CIDRS", value_delimiter = ',')]
    pub ingress_cidrs: Vec<String>,
    /// Namespace of the collector of traces, whose pods listen at its endpoint's port.
    #[arg(long, env = "FATEH_TRACING_NAMESPACE")]
    pub tracing_namespace: Option<String>,
    /// Namespace of those who gather metrics.
    #[arg(long, env = "FATEH_MONITORING_NAMESPACE")]
    pub monitoring_namespace: Option<String>,
}

fn days(text: &str) -> Result<Duration, String> {
    // A part of a day, for trials.
    match text.parse::<f64>() {
        Ok(days) if (0.0..=3660.0).contains(&days) => Ok(Duration::from_secs_f64(days * 86_400.0)),
        _ => Err("expected days, up to 3660".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=3600) => Ok(Duration::from_secs(seconds)),
        _ => Err("expected seconds, from 1 to 3600".to_owned()),
    }
}
