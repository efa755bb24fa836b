//! DatabaseServer: a PostgreSQL server that holds nodes' databases.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A PostgreSQL server (15 or later) on which the operator makes nodes' databases.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "fateh-platform.com",
    version = "v1alpha1",
    kind = "DatabaseServer",
    status = "DatabaseServerStatus",
    shortname = "dbs",
    category = "fateh",
    derive = "PartialEq",
    doc = "A PostgreSQL server, version 15 or later, on which the operator makes the nodes' databases.",
    selectable = ".spec.host",
    printcolumn(name = "REACHABLE", type_ = "string", json_path = ".status.conditions[?(@.type=='Reachable')].status"),
    printcolumn(name = "VERSION", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "NODES", type_ = "integer", json_path = ".status.nodes"),
    printcolumn(
        name = "CAPACITY",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='CapacityAvailable')].status"
    ),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "HOST", type_ = "string", json_path = ".spec.host", priority = 1),
    printcolumn(
        name = "MESSAGE",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Reachable')].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseServerSpec {
    /// Host name or address, as the nodes' pods and the operator reach it.
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$')").message("must be a host name or an address, for example postgres.example.com"))]
    pub host: String,
    /// Port.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Maintenance database that the operator connects to.
    #[serde(default = "default_database")]
    #[schemars(length(min = 1, max = 63))]
    pub database: String,
    /// Secret in the operator's namespace with the keys `username` and `password` of the operator's role:
    /// LOGIN, CREATEDB and CREATEROLE, not superuser.
    pub admin_secret_ref: SecretRef,
    /// How connections are protected.
    #[serde(default)]
    pub tls: DatabaseTls,
    /// How much the server may be given to hold.
    #[serde(default)]
    pub capacity: DatabaseCapacity,
    /// Regions of the nodes that the server is meant for; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63)))]
    pub regions: Vec<String>,
    /// Address ranges that the nodes' network policies open towards the server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 43)))]
    #[x_kube(validation = Rule::new("self.all(c, isCIDR(c))").message("must be address ranges in CIDR form, for example 10.0.0.0/24"))]
    pub cidrs: Vec<String>,
}

/// A Secret in the operator's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// How connections to a server are protected.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.mode != 'VerifyFull' || has(self.caSecretRef)").message("caSecretRef is needed when mode is VerifyFull: a Secret in the operator's namespace with the key ca.crt"))]
pub struct DatabaseTls {
    /// `VerifyFull` checks certificate and host name.
    #[serde(default)]
    pub mode: TlsMode,
    /// Secret in the operator's namespace with the key `ca.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretRef>,
}

/// Protection of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsMode {
    /// Encrypted; the server's certificate is not checked.
    #[default]
    Require,
    /// Encrypted; certificate and host name are checked against the authority.
    VerifyFull,
    /// Not encrypted: for a server in the same, trusted network only.
    Disable,
}

impl TlsMode {
    /// The mode in libpq's words, as `sslmode` has it.
    #[must_use]
    pub const fn sslmode(self) -> &'static str {
        match self {
            Self::Require => "require",
            Self::VerifyFull => "verify-full",
            Self::Disable => "disable",
        }
    }
}

/// How much a server may be given to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseCapacity {
    /// Databases of nodes at most.
    #[serde(default = "default_max_databases")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_databases: i32,
    /// Connections kept free for others.
    #[serde(default = "default_reserved_connections")]
    #[schemars(range(min = 0, max = 10_000))]
    pub reserved_connections: i32,
    /// The nodes' connection limits may add up to this many times the connections that are not reserved.
    #[serde(default = "default_overcommit")]
    #[schemars(range(min = 1, max = 1000))]
    pub connection_overcommit: i32,
}

const fn default_port() -> i32 {
    5432
}
fn default_database() -> String {
    "postgres".to_owned()
}
const fn default_max_databases() -> i32 {
    1000
}
const fn default_reserved_connections() -> i32 {
    20
}
const fn default_overcommit() -> i32 {
    10
}

impl Default for DatabaseCapacity {
    fn default() -> Self {
        Self {
            max_databases: default_max_databases(),
            reserved_connections: default_reserved_connections(),
            connection_overcommit: default_overcommit(),
        }
    }
}

/// What is known of a server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseServerStatus {
    /// Generation of the spec that the status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What is known of the server.
    #[serde(default)]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
    /// Version that the server reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub version: Option<String>,
    /// Databases of nodes on the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub databases: Option<i64>,
    /// Connections that the server allows in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<i64>,
    /// LocalNodes that are placed on the server; while there are any, it is not let go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<i64>,
    /// Sum of the connection limits of these LocalNodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_limits: Option<i64>,
}
