//! The resource types of `fateh-platform.com/v1alpha1`, without a client, and the names that
//! everything of a node is derived from.
#![deny(missing_docs)]

mod conditions;
mod content_distribution;
mod database_server;
mod items;
mod local_node;
mod names;
mod node_content;
mod node_report;
mod schema;
mod statistics;

#[cfg(feature = "generate")]
pub mod generate;
#[cfg(feature = "generate")]
pub mod reference;

pub use conditions::*;
pub use content_distribution::*;
pub use database_server::*;
pub use items::*;
pub use local_node::*;
pub use names::*;
pub use node_content::*;
pub use node_report::*;
pub use statistics::*;

/// The API group of every resource here, and the prefix of our labels and annotations.
pub const GROUP: &str = "fateh-platform.com";

/// Label on a node's namespace and children; its value is the slug.
pub const NODE_LABEL: &str = "fateh-platform.com/node";
/// Annotation on a node's namespace: the UID of the LocalNode that it was made for.
pub const UID_ANNOTATION: &str = "fateh-platform.com/uid";
/// Finalizer on a LocalNode, held until its namespace is gone and its database is dealt with.
pub const NODE_FINALIZER: &str = "fateh-platform.com/node";
/// Annotation on a LocalNode: a new value (a nonce) makes a new invitation for the first admin.
pub const INVITE_ANNOTATION: &str = "fateh-platform.com/invite";
/// Annotation on a new LocalNode: the retired database, or the one of a rebuilt cluster, that it takes over.
pub const ADOPT_ANNOTATION: &str = "fateh-platform.com/adopt-database";
/// Annotation on a LocalNode: a new value (a nonce) gives its database role a new password.
pub const ROTATE_PASSWORD_ANNOTATION: &str = "fateh-platform.com/rotate-password";
/// Annotation on a LocalNode: a new value (a nonce) gives its tokens a new signing key.
pub const ROTATE_SIGNING_KEY_ANNOTATION: &str = "fateh-platform.com/rotate-signing-key";
/// Annotation on a LocalNode whose database is gone from its server: a new value (a nonce) lets it start with an empty one.
pub const RECREATE_ANNOTATION: &str = "fateh-platform.com/recreate-database";
/// Finalizer on a DatabaseServer, held while LocalNodes are placed on it.
pub const SERVER_FINALIZER: &str = "fateh-platform.com/database-server";
/// Annotation on a LocalNode, its value the LocalNode's UID: its database is given up when it is deleted.
pub const ABANDON_ANNOTATION: &str = "fateh-platform.com/abandon-database";
/// Keeps a distribution until every node was told to remove its content.
pub const DISTRIBUTION_FINALIZER: &str = "fateh-platform.com/content-distribution";
/// Approves a stage of a rollout: `<revision>/<stage>`.
pub const APPROVE_ANNOTATION: &str = "fateh-platform.com/approve";
/// Pauses a rollout, whatever its value but `false`.
pub const PAUSE_ANNOTATION: &str = "fateh-platform.com/pause";
/// Lets the nodes of a rollout that failed try again: any value that it did not have before.
pub const RETRY_ANNOTATION: &str = "fateh-platform.com/retry";
/// Name of the namespaced children of a node, and of the Deployment's container.
pub const CHILD_NAME: &str = "node";
