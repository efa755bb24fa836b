//! The operator: reconciles `LocalNode` and `DatabaseServer`.
//!
//! Each controller is a pipeline, a file a step: observe → validate → build → apply → report.

pub mod backoff;
pub mod conditions;
pub mod context;
pub mod database;
pub mod database_server;
pub mod failure;
pub mod kubernetes;
pub mod leadership;
pub mod local_node;
pub mod metrics;
pub mod ownership;
mod run;
pub mod settings;
pub mod throttle;

pub use run::{RunError, run};
pub use settings::Settings;
