//! The node runtime's binary against its own database on PostgreSQL 15 and 18, over HTTP. `tests/run.sh` starts what
//! these tests need.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod basics;
mod centre;
mod content;
mod distribution;
mod fuzz;
mod peer;
mod revenue;
mod running;
mod sign_in;
mod statistics;
mod sync;
mod users;
