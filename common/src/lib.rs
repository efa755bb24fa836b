//! What Fateh's programs share, and nothing more.

pub mod clock;
pub mod envelope;
pub mod hub;
pub mod lifecycle;
pub mod management;
pub mod money;
pub mod telemetry;
pub mod tokens;
