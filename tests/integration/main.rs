//! Integration tests: the operator's binary with the rights of the chart, against a real API server,
//! etcd and PostgreSQL 15 and 18; and the node runtime's binary against its own database.
//! `tests/run.sh` starts what they need.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod admission;
mod adoption;
mod changes;
mod deletion;
mod drift;
mod generated;
mod invitation;
mod node_runtime;
mod provisioning;
mod reporting;
mod rights;
mod states;
mod unreachable;
