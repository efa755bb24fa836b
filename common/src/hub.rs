//! What nodes and the hub say to each other over HTTP. The path carries the version: a change that an older node or
//! hub would misread gets another.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where a node sends what happened; POST, with the node's ServiceAccount token.
pub const SYNC_PATH: &str = "/api/global/v1/sync";
/// Items in one batch at most.
pub const MAX_BATCH: usize = 500;

/// Where a node asks for the token that one of its users takes to the centre; POST, as for [`SYNC_PATH`].
pub const IDENTITY_PATH: &str = "/api/global/v1/identity/token";
/// Where the hub publishes the keys of its tokens (RFC 7517); GET.
pub const JWKS_PATH: &str = "/.well-known/jwks.json";

/// A user for whom a node vouches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityRequest {
    /// Name of the node; the token says whether that is true.
    pub node: String,
    /// Identifier on the node.
    pub user_id: Uuid,
    /// student, instructor or admin. The hub decides itself what it means there.
    pub role: String,
}

/// A token for the hub alone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityAnswer {
    /// The token.
    pub access_token: String,
    /// Seconds.
    pub expires_in: u64,
}

/// What a token of the centre adds to the registered claims. Its subject is a global identity; its one audience is
/// the hub, or a node's URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CentralClaims {
    /// What the holder is at the audience.
    #[serde(default)]
    pub roles: Vec<PartnerRole>,
    /// The user of the audience that the holder is, when that is a node that vouched for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_user: Option<Uuid>,
}

/// What a person can be at one node, by the centre's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartnerRole {
    /// The school is theirs.
    Owner,
    /// Runs it.
    Manager,
    /// Teaches.
    Instructor,
    /// Helps its people.
    Support,
    /// One that this release does not know; it gives no rights.
    #[serde(other)]
    Unknown,
}

impl PartnerRole {
    /// The role by its word.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "owner" => Self::Owner,
            "manager" => Self::Manager,
            "instructor" => Self::Instructor,
            "support" => Self::Support,
            _ => Self::Unknown,
        }
    }
}

/// What happened on a node, in no particular order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncBatch {
    /// Name of the node; the token says whether that is true.
    pub node: String,
    /// At most [`MAX_BATCH`].
    pub items: Vec<SyncItem>,
}

/// One thing that happened. It takes effect once, however often it is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncItem {
    /// Random; the same each time that it is sent.
    pub id: Uuid,
    /// When it happened, by the node's clock.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

impl SyncItem {
    /// Every time that the item speaks of.
    #[must_use]
    pub fn times(&self) -> Vec<Timestamp> {
        match &self.event {
            Event::Revenue(it) => vec![self.at, it.transaction_date],
            Event::UserCreated(_) | Event::Refund(_) => vec![self.at],
        }
    }
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "payload", rename_all = "snake_case")]
pub enum Event {
    /// A user was made.
    UserCreated(UserCreated),
    /// Money was received.
    Revenue(RevenueReceived),
    /// Money was given back.
    Refund(RefundGiven),
}

/// A user of a node. The centre is not told who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserCreated {
    /// Identifier on the node.
    pub user_id: Uuid,
    /// student, instructor or admin.
    pub role: String,
}

/// Money that a node received; minor units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevenueReceived {
    /// Identifier on the node.
    pub id: Uuid,
    /// subscription, course, consulting or workshop.
    #[serde(rename = "type")]
    pub kind: String,
    /// ISO 4217.
    pub currency: String,
    /// What was paid.
    pub amount_minor: i64,
    /// The platform's share.
    pub fee_minor: i64,
    /// What is left to the node.
    pub net_minor: i64,
    /// When it was paid.
    pub transaction_date: Timestamp,
}

/// Money that a node gave back; minor units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefundGiven {
    /// Identifier on the node.
    pub id: Uuid,
    /// The revenue that it gives back of.
    pub revenue_id: Uuid,
    /// ISO 4217.
    pub currency: String,
    /// What was given back.
    pub amount_minor: i64,
    /// What the platform gives back of it.
    pub fee_minor: i64,
    /// What the node gives back of it.
    pub net_minor: i64,
}

/// An answer for each item of a batch, in any order. An item without one is sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncAnswer {
    /// The answers.
    pub results: Vec<SyncResult>,
}

/// What became of an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncResult {
    /// The item.
    pub id: Uuid,
    /// Its end.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// The end of an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// It took effect now.
    Applied,
    /// It had taken effect before.
    Repeated,
    /// It never will; people must look at it.
    Refused {
        /// Why, in a sentence.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_wire_format_is_this() {
        let at: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
        let id = Uuid::from_u128(1);
        let batch = SyncBatch {
            node: "riyadh".into(),
            items: vec![SyncItem {
                id,
                at,
                event: Event::UserCreated(UserCreated { user_id: id, role: "student".into() }),
            }],
        };
        let wire = json!({"node": "riyadh", "items": [{"id": id, "at": "2026-11-25T12:00:00Z", "kind": "user_created",
            "payload": {"userId": id, "role": "student"}}]});
        assert_eq!(serde_json::to_value(&batch).unwrap(), wire);
        assert_eq!(serde_json::from_value::<SyncBatch>(wire).unwrap(), batch);
        let answer = SyncAnswer {
            results: vec![
                SyncResult { id, outcome: Outcome::Applied },
                SyncResult { id, outcome: Outcome::Refused { reason: "no".into() } },
            ],
        };
        let wire =
            json!({"results": [{"id": id, "outcome": "applied"}, {"id": id, "outcome": "refused", "reason": "no"}]});
        assert_eq!(serde_json::to_value(&answer).unwrap(), wire);
        assert_eq!(serde_json::from_value::<SyncAnswer>(wire).unwrap(), answer);
    }
}
