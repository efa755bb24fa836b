//! The figures of a node, the same in its report and in the LocalNode's status.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a node counts about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Statistics {
    /// Users of the node.
    #[serde(default)]
    pub users: UserStatistics,
    /// Content of the node.
    #[serde(default)]
    pub content: ContentStatistics,
    /// Revenue of the node, one entry for each currency it has recorded.
    #[serde(default)]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub revenue: Vec<RevenueStatistics>,
}

/// Users of a node, deleted ones left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserStatistics {
    /// All users.
    #[serde(default)]
    pub total: i64,
    /// Users who signed in during the last 30 days.
    #[serde(default)]
    pub active30d: i64,
    /// Users by their role.
    #[serde(default)]
    pub by_role: UsersByRole,
}

/// Users by role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsersByRole {
    /// Students.
    #[serde(default)]
    pub student: i64,
    /// Instructors.
    #[serde(default)]
    pub instructor: i64,
    /// Admins.
    #[serde(default)]
    pub admin: i64,
}

/// Content of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContentStatistics {
    /// Items that students can see.
    #[serde(default)]
    pub published: i64,
    /// Distributed items that the node has changed.
    #[serde(default)]
    pub customised: i64,
}

/// Revenue in one currency, in its minor units (ISO 4217).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevenueStatistics {
    /// ISO 4217 code.
    #[schemars(length(max = 3))]
    pub currency: String,
    /// Recorded in all.
    pub gross: i64,
    /// The platform's fee on it.
    pub fee: i64,
    /// What is left to the node.
    pub net: i64,
    /// Given back.
    pub refunds: i64,
    /// Of what was recorded, what the hub has not yet confirmed.
    #[serde(default)]
    pub pending_gross: i64,
    /// Of what was given back, what the hub has not yet confirmed.
    #[serde(default)]
    pub pending_refunds: i64,
}
