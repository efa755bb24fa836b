//! A long run of money, while everything that can be killed is: in the end clients, rows, ledgers and the centre agree to
//! the last minor unit. `tests/run.sh` starts what it needs; `make soak` carries it out in full.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod centre;
#[path = "../hub/hub.rs"]
#[expect(dead_code, reason = "shared with the tests of the hub")]
mod hub;
mod one_node;
#[path = "../node/peer.rs"]
mod peer;
#[path = "../node/running.rs"]
#[expect(dead_code, reason = "shared with the tests of single requests")]
mod running;
mod till;
