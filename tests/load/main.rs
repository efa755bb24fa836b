//! A node, and the hub, under more than they can do at once, and with the database or a replica taken away meanwhile: what is refused
//! is refused quickly and in the right words, and the rest goes on. `tests/run.sh` starts what these tests need.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../hub/hub.rs"]
#[expect(dead_code, reason = "shared with the tests of the hub")]
mod hub;
#[path = "../node/peer.rs"]
#[expect(dead_code, reason = "shared with the tests of the centre")]
mod peer;
#[path = "../node/running.rs"]
#[expect(dead_code, reason = "shared with the tests of single requests")]
mod running;

mod flood;
mod outages;
