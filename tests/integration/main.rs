//! Integration tests: the operator's binary with the rights of the chart, against a real API server,
//! etcd and PostgreSQL 15 and 18. `tests/run.sh` starts what they need.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod admission;
mod adoption;
mod argocd;
mod changes;
mod chart;
mod columns;
mod database_drift;
mod deletion;
mod drift;
mod generated;
mod hostile;
mod hub_database;
mod invitation;
mod mutations;
mod plugin;
mod provisioning;
mod reporting;
mod rights;
mod rollouts;
mod rotation;
mod routing;
mod states;
mod traces;
mod unreachable;
mod upgrades;
