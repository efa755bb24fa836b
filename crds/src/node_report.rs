//! NodeReport: what a node's pods say about themselves.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Statistics;

/// What a node's pods report about themselves: heartbeat and statistics in one small object.
/// One per node, named `node`, made by the operator; all of it is status, written by the pods.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "fateh-platform.com",
    version = "v1alpha1",
    kind = "NodeReport",
    namespaced,
    status = "NodeReportStatus",
    shortname = "nr",
    category = "fateh",
    derive = "PartialEq",
    doc = "What a node's pods report about themselves: heartbeat and statistics. Made by the operator, written by the pods.",
    printcolumn(name = "REPORTED", type_ = "date", json_path = ".status.reportedAt"),
    printcolumn(name = "VERSION", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "ADMIN", type_ = "string", json_path = ".status.adminState"),
    printcolumn(name = "USERS", type_ = "integer", json_path = ".status.statistics.users.total")
)]
pub struct NodeReportSpec {}

/// A node's report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeReportStatus {
    /// When the report was made, by the node's clock.
    pub reported_at: MicroTime,
    /// Version of the runtime that reports.
    #[schemars(length(max = 64))]
    pub version: String,
    /// Whether the first admin has accepted the invitation.
    pub admin_state: AdminState,
    /// The node's figures.
    #[serde(default)]
    pub statistics: Statistics,
}

/// State of the node's first admin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AdminState {
    /// Invited, not yet active.
    #[default]
    Invited,
    /// The invitation was accepted.
    Active,
}
