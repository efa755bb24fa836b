//! The operator: reconciles `LocalNode` and `DatabaseServer`.
//!
//! Each controller is a pipeline, a file a step: observe → validate → build → apply → report.

pub mod alarms;
pub mod applied;
pub mod backoff;
pub mod cache;
mod client;
pub mod conditions;
pub mod context;
pub mod database;
pub mod database_server;
pub mod failure;
pub mod gateway;
pub mod hub;
pub mod invitation;
pub mod kubernetes;
pub mod leadership;
pub mod local_node;
pub mod metrics;
pub mod news;
pub mod node_summary;
pub mod ownership;
pub mod rollout;
mod run;
pub mod secrets;
pub mod settings;
pub mod throttle;
pub mod trial;
mod watch;
mod work_queue;

pub use run::{RunError, run};
pub use settings::Settings;
