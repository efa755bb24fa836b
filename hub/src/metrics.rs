//! The hub's metrics.

use fateh_common::service::{
    database::Database,
    metrics::{self, Requests},
};
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

/// How the names of the metrics begin.
const PREFIX: &str = "fateh_hub";

/// Requests by route, and what nodes sent.
#[derive(Clone)]
pub struct Metrics {
    /// Where they are gathered.
    pub registry: Registry,
    /// Requests by route.
    pub requests: Requests,
    /// Items of nodes, by their end.
    pub items: IntCounterVec,
    /// Tokens that were asked about at the API server.
    pub reviews: IntCounterVec,
    /// How often the ledger lacks what a node says it has sent.
    pub ledger_gaps: IntGauge,
}

impl Metrics {
    /// Registers all metrics in a registry of their own.
    ///
    /// # Errors
    /// When a name is malformed or taken.
    pub fn new(database: Database) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let requests = Requests::new(PREFIX, &registry)?;
        metrics::show_connections(PREFIX, &registry, database)?;
        let items = IntCounterVec::new(Opts::new("fateh_hub_items_total", "Items that nodes sent."), &["outcome"])?;
        let reviews = IntCounterVec::new(
            Opts::new("fateh_hub_token_reviews_total", "Tokens that were asked about at the API server."),
            &["outcome"],
        )?;
        let ledger_gaps = IntGauge::new(
            "fateh_hub_ledger_gaps",
            "Nodes and currencies of which the ledger lacks what the node says it has sent.",
        )?;
        registry.register(Box::new(ledger_gaps.clone()))?;
        registry.register(Box::new(items.clone()))?;
        registry.register(Box::new(reviews.clone()))?;
        Ok(Self { registry, requests, items, reviews, ledger_gaps })
    }
}
