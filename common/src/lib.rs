//! What Fateh's programs share, and nothing more.

pub mod catalogue;
pub mod clock;
pub mod envelope;
pub mod hub;
pub mod identity;
pub mod lifecycle;
pub mod management;
pub mod money;
pub mod service;
pub mod sql;
pub mod telemetry;
pub mod tls;
pub mod tokens;
