//! What integration tests and e2e stories share: clients, waiting for conditions, and HTTP as a user's `curl` does it.
#![expect(clippy::panic, clippy::missing_panics_doc, reason = "a test harness fails by panicking")]

mod accounts;
pub mod agents;
pub mod api_proxy;
pub mod catalogue;
pub mod collector;
pub mod figures;
pub mod fuzz;
mod http;
mod monitoring;
mod nodes;
mod postgres;
pub mod program;
mod seeds;
mod snapshot;
pub mod sql_proxy;

use std::{sync::Once, time::Duration};

pub use accounts::{service_account_token, signed_in};
pub use http::{Answer, Http};
use kube::Client;
pub use monitoring::unserved_metrics;
pub use nodes::*;

pub use postgres::*;
pub use seeds::*;
pub use snapshot::{differences, snapshot};

/// A variable that the script around the tests sets.
#[must_use]
pub fn variable(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run these tests by `make integration` or `make e2e`"))
}

/// Whether all of what takes over a minute is gone through, as `make soak` does.
#[must_use]
pub fn soak() -> bool {
    std::env::var_os("FATEH_SOAK").is_some()
}

/// The seed of a run; the variable `FATEH_SEED` repeats one.
#[must_use]
pub fn seed() -> u64 {
    std::env::var("FATEH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random)
}

/// All of them in `make soak`; else one in `of`, by the seed which.
#[must_use]
pub fn some_of<T>(all: Vec<T>, of: usize, seed: u64) -> Vec<T> {
    let first = usize::try_from(seed).unwrap_or_default() % of.min(all.len()).max(1);
    if soak() { all } else { all.into_iter().skip(first).step_by(of).collect() }
}

/// A client of the API server that the tests run against, as an administrator.
pub async fn kubernetes() -> Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    Client::try_default().await.unwrap_or_else(|error| panic!("reach the API server: {error}"))
}

/// Polls until `look` finds something; panics with `what` and the last thing seen when it does not within `seconds`.
pub async fn eventually<T, E: std::fmt::Debug>(
    what: &str,
    seconds: u64,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let started = tokio::time::Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) if started.elapsed() > Duration::from_secs(seconds) => {
                panic!("{what} did not come about within {seconds} s; last seen: {seen:#?}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
