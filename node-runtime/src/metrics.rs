//! The runtime's metrics.

use fateh_common::service::{
    database::Database,
    metrics::{self, Requests},
};
use jiff::Timestamp;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::storage::outbox::Waiting;

/// How the names of the metrics begin.
const PREFIX: &str = "fateh_node";

/// Requests by route, and reports.
#[derive(Clone)]
pub struct Metrics {
    /// Where they are gathered.
    pub registry: Registry,
    /// Requests by route.
    pub requests: Requests,
    reports: IntCounterVec,
    outbox: IntGaugeVec,
    outbox_age: IntGauge,
}

impl Metrics {
    /// Registers all metrics in a registry of their own.
    ///
    /// # Errors
    /// When a name is malformed or taken.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let requests = Requests::new(PREFIX, &registry)?;
        let reports =
            IntCounterVec::new(Opts::new("fateh_node_reports_total", "Reports to the API server."), &["outcome"])?;
        let outbox = IntGaugeVec::new(
            Opts::new("fateh_node_outbox_items", "What the centre is still to be told, and what it has refused."),
            &["state"],
        )?;
        let outbox_age =
            IntGauge::new("fateh_node_outbox_oldest_seconds", "Since when the oldest item waits to be told.")?;
        registry.register(Box::new(outbox.clone()))?;
        registry.register(Box::new(outbox_age.clone()))?;
        registry.register(Box::new(reports.clone()))?;
        Ok(Self { registry, requests, reports, outbox, outbox_age })
    }

    /// Shows, whenever someone looks, what the connections to the database do.
    ///
    /// # Errors
    /// When it is shown already.
    pub fn show_connections(&self, database: Database) -> Result<(), prometheus::Error> {
        metrics::show_connections(PREFIX, &self.registry, database)
    }

    /// Notes what waits to be told to the centre, and since when.
    pub fn waits(&self, waiting: Waiting, now: Timestamp) {
        let age = waiting.oldest.map_or(0, |oldest| now.duration_since(oldest).as_secs());
        self.outbox.with_label_values(&["pending"]).set(waiting.pending);
        self.outbox.with_label_values(&["refused"]).set(waiting.refused);
        self.outbox_age.set(age);
    }

    /// Counts a report: `sent` or `failed`.
    pub fn reported(&self, outcome: &str) {
        self.reports.with_label_values(&[outcome]).inc();
    }
}
