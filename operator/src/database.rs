//! The nodes' databases and the hub's on a PostgreSQL server: every statement that the operator sends.
//!
//! All of it is idempotent: each step looks first, and finds itself done or does itself.

mod adopt;
mod catalog;
mod mark;
mod node_session;
mod provision;
mod retire;
mod schema;
mod server;
pub mod sql;
mod template;

pub use catalog::{Catalog, Drift, Wanted};
pub use mark::Mark;
pub use node_session::{AdminInvitation, InvitationRow, NodeSession};
pub use provision::{NodeDatabase, Provisioned};
pub use schema::{Family, Schema};
pub use server::{AdminCredentials, Server, ServerFacts, Servers};
