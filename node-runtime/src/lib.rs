//! The node runtime: what runs in the pods of one local node.
//!
//! It works when the hub, the operator and the API server are all down; of these it only ever
//! writes to the API server, to report.

pub mod centre;
pub mod client_address;
pub mod config;
pub mod content;
pub mod database;
pub mod error;
pub mod http;
pub mod hub_client;
pub mod keys;
pub mod messages;
pub mod metrics;
pub mod one_time;
pub mod passwords;
pub mod permissions;
pub mod report;
pub mod revocations;
pub mod routes;
mod run;
pub mod sessions;
pub mod state;
pub mod storage;
pub mod sync;
pub mod throttle;
pub mod validation;

pub use config::Arguments;
pub use run::{RunError, run};
