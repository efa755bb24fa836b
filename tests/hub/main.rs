//! The hub's own program, with its own rights, against a real API server and PostgreSQL, with nodes that run beside it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod catalogue;
mod fuzz;
#[expect(dead_code, reason = "shared with the tests of the ledger, which kill it")]
mod hub;
mod identity;
mod ledger;
mod nodes;
mod partners;
#[path = "../node/peer.rs"]
#[expect(dead_code, reason = "shared with the tests of a node without this hub")]
mod peer;
mod rights;
#[path = "../node/running.rs"]
#[expect(dead_code, reason = "shared with the tests of a node without this hub")]
mod running;
mod traces;
mod users;
