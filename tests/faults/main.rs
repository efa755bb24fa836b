//! The operator's own program under faults: killed at its writes, lied to by the network, beside thousands of objects
//! that are not its own. Each test starts the operator behind proxies, so nothing of a fault is in the program itself.
//! One at a time: `tests/run.sh` gives them an API server of their own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bystanders;
mod chaos;
mod kills;
mod rollouts;
mod strikes;
mod template;
