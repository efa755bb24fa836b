//! One node under more than it can do at once, and with its database or a replica taken away meanwhile: what is refused
//! is refused quickly and in the right words, and the rest goes on. `tests/run.sh` starts what these tests need.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../node/peer.rs"]
#[expect(dead_code, reason = "shared with the tests of the centre")]
mod peer;
#[path = "../node/running.rs"]
#[expect(dead_code, reason = "shared with the tests of single requests")]
mod running;

mod flood;
mod outages;
