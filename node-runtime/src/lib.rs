//! The node runtime: what runs in the pods of one local node.
//!
//! It works when the hub, the operator and the API server are all down; of these it only ever
//! writes to the API server, to report.

pub mod config;
pub mod error;
pub mod http;
pub mod messages;
pub mod metrics;
pub mod passwords;
pub mod report;
pub mod routes;
mod run;
pub mod state;
pub mod storage;
pub mod validation;

pub use config::Arguments;
pub use run::{RunError, run};
