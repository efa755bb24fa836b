//! Stories on the local cluster, told as a user tries them: `kubectl`, and HTTPS at the node's host.
//! `e2e/run.sh` brings the cluster up and takes it down.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod audit;
mod backbone;
mod disturbing;
mod docs;
mod gitops;
mod hub;
mod platform;
mod rollouts;
mod rotation;
mod tls;
