//! LocalNode: one isolated node of the platform.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Statistics;

/// An isolated node of the learning platform: its own database, pods, host and admin.
/// The name is the slug: the node answers at `https://<name>.<base domain>`.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "fateh-platform.com",
    version = "v1alpha1",
    kind = "LocalNode",
    status = "LocalNodeStatus",
    shortname = "ln",
    category = "fateh",
    derive = "PartialEq",
    doc = "An isolated node of the learning platform: its own database, pods, host and admin. Its name is the slug: the node answers at https://<name>.<base domain>.",
    selectable = ".spec.region",
    selectable = ".spec.state",
    selectable = ".status.phase",
    printcolumn(name = "READY", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "PHASE", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "USERS", type_ = "integer", json_path = ".status.statistics.users.total"),
    printcolumn(name = "CONTENT", type_ = "string", json_path = ".status.content.summary"),
    printcolumn(name = "REPORTS", type_ = "string", json_path = ".status.conditions[?(@.type=='Reporting')].status"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "REGION", type_ = "string", json_path = ".spec.region", priority = 1),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url", priority = 1),
    printcolumn(name = "REVENUE", type_ = "string", json_path = ".status.statistics.revenueSummary", priority = 1),
    printcolumn(
        name = "MESSAGE",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct LocalNodeSpec {
    /// The node's name for people, for example "مدرسة الرياض".
    #[schemars(length(max = 128))]
    #[x_kube(validation = Rule::new("self.trim().size() > 0").message("must not be empty: the node's name for people"))]
    pub display_name: String,

    /// Region of the node; also a label on the LocalNode, for selectors.
    #[schemars(length(max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$')").message("must be a label value: letters, digits, '-', '_' and '.', beginning and ending with a letter or digit, for example mena"))]
    pub region: String,

    /// Country of the node: ISO 3166-1 alpha-2, for example SA; also a label on the LocalNode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub country: Option<String>,

    /// Default language: a BCP 47 tag.
    #[serde(default = "default_language")]
    #[schemars(length(max = 35))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?$')").message("must be a BCP 47 language tag, for example ar, en or ar-SA"))]
    pub language: String,

    /// The only currency that the node records: ISO 4217, for example SAR. Immutable.
    #[serde(default = "default_currency")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("is immutable, because recorded money is in this currency: delete the node and create it again"))]
    pub currency: String,

    /// Time zone: an IANA name, for example Asia/Riyadh.
    #[serde(default = "default_timezone")]
    #[schemars(length(max = 64))]
    pub timezone: String,

    /// What the node is to be: serving, suspended with its data kept, or out of use.
    #[serde(default)]
    pub state: NodeState,

    /// E-mail of the first admin, who is invited once; later changes have no effect.
    #[schemars(length(max = 254))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9.!#$%&*+/=?^_{|}~-]{1,64}@[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?([.][A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)+$')").message("must be an e-mail address, for example admin@example.com"))]
    pub admin_email: String,

    /// The pods that serve the node.
    #[serde(default)]
    pub runtime: RuntimeSpec,

    /// The node's database.
    #[serde(default)]
    pub database: DatabaseSpec,

    /// How the node is reached.
    #[serde(default)]
    pub routing: RoutingSpec,

    /// What the platform takes of the node's revenue.
    #[serde(default)]
    pub fees: FeesSpec,

    /// Free-form settings, handed to the runtime as they are.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    #[schemars(schema_with = "crate::schema::settings")]
    pub settings: serde_json::Map<String, serde_json::Value>,
}

/// What a node is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NodeState {
    /// Serving.
    #[default]
    Active,
    /// No pods and no route of its own; all data kept.
    Suspended,
    /// As Suspended, its database role locked, and left out of distributions.
    Inactive,
}

/// The pods that serve a node.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeSpec {
    /// Number of pods.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 20))]
    pub replicas: i32,
    /// Resources of each pod.
    #[serde(default)]
    pub resources: Resources,
    /// Image of the node runtime; default: the operator's setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9][A-Za-z0-9._:/@-]*$')").message("must be an image reference, for example registry.example.com/node-runtime:1.2.3"))]
    pub image: Option<String>,
}

/// Requests and limits of a pod.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("quantity(has(self.requests.memory) ? self.requests.memory : '32Mi').compareTo(quantity(has(self.limits.memory) ? self.limits.memory : '128Mi')) <= 0").message("requests.memory (32Mi unless given) must not be above limits.memory (128Mi unless given)"))]
#[x_kube(validation = Rule::new("!has(self.limits.cpu) || quantity(has(self.requests.cpu) ? self.requests.cpu : '10m').compareTo(quantity(self.limits.cpu)) <= 0").message("requests.cpu (10m unless given) must not be above limits.cpu"))]
pub struct Resources {
    /// What a pod is guaranteed; default 10m of CPU and 32Mi of memory.
    #[serde(default)]
    pub requests: Quantities,
    /// What a pod may use at most; default 128Mi of memory, and CPU without a limit.
    #[serde(default)]
    pub limits: Quantities,
}

/// CPU and memory.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quantities {
    /// CPU, for example 500m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))").message("must be a quantity above zero, for example 500m or 2"))]
    pub cpu: Option<String>,
    /// Memory, for example 128Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("isQuantity(self) && quantity(self).compareTo(quantity('16Mi')) >= 0").message("must be a quantity of at least 16Mi, for example 128Mi"))]
    pub memory: Option<String>,
}

/// The node's database.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(oldSelf.serverRef) || (has(self.serverRef) && self.serverRef == oldSelf.serverRef)").message("serverRef is immutable once set: data is not moved between servers").field_path(".serverRef"))]
pub struct DatabaseSpec {
    /// Name of the DatabaseServer; default: chosen by region and free capacity, and recorded in status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub server_ref: Option<String>,
    /// How many connections the node's pods may hold together.
    #[serde(default = "default_connection_limit")]
    #[schemars(range(min = 2, max = 500))]
    pub connection_limit: i32,
    /// What becomes of the database when the LocalNode is deleted.
    #[serde(default)]
    pub reclaim_policy: ReclaimPolicy,
}

/// What becomes of a deleted node's database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReclaimPolicy {
    /// Access is revoked and the database renamed `deleted_<slug>_<YYYYMMDDHHMMSS>`; nothing is lost.
    #[default]
    Retain,
    /// The database is dropped.
    Delete,
}

/// How a node is reached.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoutingSpec {
    /// Ingress class; default: the operator's setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')").message("must be the name of an IngressClass, for example nginx"))]
    pub ingress_class_name: Option<String>,
    /// Hosts that the node answers at beside its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 253)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(h, h.matches('^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?[.])+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$'))").message("must be host names in lower case with at least one dot, for example learn.example.com"))]
    pub extra_hosts: Vec<String>,
    /// Secret in the node's namespace with the certificate of the extra hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')").message("must be the name of a Secret, for example learn-tls"))]
    pub tls_secret_name: Option<String>,
}

/// What the platform takes of a node's revenue.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FeesSpec {
    /// Platform fee in basis points: 1000 is 10 %.
    #[serde(default = "default_fee")]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 10000").message("must be from 0 to 10000 basis points (10000 is 100 %)"))]
    pub platform_basis_points: i32,
}

fn default_language() -> String {
    "ar".to_owned()
}
fn default_currency() -> String {
    "USD".to_owned()
}
fn default_timezone() -> String {
    "UTC".to_owned()
}
const fn default_replicas() -> i32 {
    1
}
const fn default_connection_limit() -> i32 {
    20
}
const fn default_fee() -> i32 {
    1000
}

impl Default for RuntimeSpec {
    fn default() -> Self {
        Self { replicas: default_replicas(), resources: Resources::default(), image: None }
    }
}
impl Default for DatabaseSpec {
    fn default() -> Self {
        Self {
            server_ref: None,
            connection_limit: default_connection_limit(),
            reclaim_policy: ReclaimPolicy::default(),
        }
    }
}
impl Default for FeesSpec {
    fn default() -> Self {
        Self { platform_basis_points: default_fee() }
    }
}

/// What is known of a node. One writer: the operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalNodeStatus {
    /// Generation of the spec that the status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What is known of the node.
    #[serde(default)]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
    /// Where the node is, in one word.
    #[serde(default)]
    pub phase: Phase,
    /// Where the node answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 300))]
    pub url: Option<String>,
    /// The node's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// The node's database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseStatus>,
    /// The node's pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeStatus>,
    /// The figures that the node last reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<StatisticsStatus>,
    /// Counts of the node's content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<ContentStatus>,
    /// What was asked for by annotation and has been taken up.
    #[serde(default, skip_serializing_if = "HandledRequests::is_empty")]
    pub handled: HandledRequests,
}

impl LocalNode {
    /// Whether the operator has reported on the node: until then its status is what the API server gives a new one.
    #[must_use]
    pub fn is_reported(&self) -> bool {
        let observed = self.status.as_ref().and_then(|status| status.observed_generation);
        observed.is_some_and(|generation| generation > 0)
    }
}

/// Digests of the annotations' values that were last taken up: a value is a nonce, and works once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HandledRequests {
    /// Of `fateh-platform.com/invite`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub invite: Option<String>,
    /// Of `fateh-platform.com/rotate-password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub rotate_password: Option<String>,
    /// Of `fateh-platform.com/rotate-signing-key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub rotate_signing_key: Option<String>,
    /// Of `fateh-platform.com/recreate-database`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub recreate_database: Option<String>,
}

impl HandledRequests {
    /// Whether nothing was ever asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Where a node is, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Seen, nothing done yet.
    #[default]
    Pending,
    /// Being made.
    Provisioning,
    /// Serving.
    Ready,
    /// Serving was reached before, and is not given now.
    Degraded,
    /// A person must act.
    Stalled,
    /// Suspended as asked.
    Suspended,
    /// Inactive as asked.
    Inactive,
    /// Being deleted.
    Deleting,
}

/// A node's database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseStatus {
    /// DatabaseServer that holds it; recorded before anything is created.
    #[schemars(length(max = 63))]
    pub server: String,
    /// Name of the database.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Login role of the node's pods.
    #[schemars(length(max = 63))]
    pub role: String,
    /// Secret in the node's namespace with the role's credentials.
    #[schemars(length(max = 253))]
    pub secret: String,
    /// Version of the schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<i64>,
    /// Connections that the role may hold, as carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_limit: Option<i32>,
    /// Size on disk in bytes; moves at most every 10 minutes and by 5 %.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
}

/// A node's pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeStatus {
    /// Image that the pods are to run.
    #[schemars(length(max = 512))]
    pub image: String,
    /// Pods wanted.
    pub replicas: i32,
    /// Pods that serve.
    pub ready_replicas: i32,
    /// Version that the pods reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub version: Option<String>,
}

/// A node's figures, as last reported.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatisticsStatus {
    /// The figures.
    #[serde(flatten)]
    pub figures: Statistics,
    /// Gross revenue for people, for example "1,250.00 SAR".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub revenue_summary: Option<String>,
    /// When the report was made in which the figures last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_at: Option<MicroTime>,
}

/// Counts of a node's content by what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContentStatus {
    /// Items the node is to hold.
    pub desired: i32,
    /// Items it holds.
    pub applied: i32,
    /// Items that failed.
    pub failed: i32,
    /// Items the node has changed.
    pub customised: i32,
    /// For the column CONTENT: applied of desired.
    #[schemars(length(max = 32))]
    pub summary: String,
}
