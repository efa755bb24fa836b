//! The runtime's metrics.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use jiff::Timestamp;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use crate::{database::Database, storage::outbox::Waiting};

/// Requests by route, and reports.
#[derive(Clone)]
pub struct Metrics {
    /// Where they are gathered.
    pub registry: Registry,
    requests: HistogramVec,
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
        let requests = HistogramVec::new(
            HistogramOpts::new("fateh_node_http_request_duration_seconds", "Duration of requests.")
                .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 10.0]),
            &["method", "route", "status"],
        )?;
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
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(reports.clone()))?;
        Ok(Self { registry, requests, reports, outbox, outbox_age })
    }

    /// Shows, whenever someone looks, what the connections to the database do.
    ///
    /// # Errors
    /// When it is shown already.
    pub fn show_connections(&self, database: Database) -> Result<(), prometheus::Error> {
        let opts = Opts::new("fateh_node_database_connections", "Connections to the node's database.");
        self.registry.register(Box::new(Connections { database, gauge: IntGaugeVec::new(opts, &["state"])? }))
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

/// Asked for at the moment that someone looks.
struct Connections {
    database: Database,
    gauge: IntGaugeVec,
}

impl Collector for Connections {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (idle, used) = self.database.connections();
        self.gauge.with_label_values(&["idle"]).set(idle);
        self.gauge.with_label_values(&["used"]).set(used);
        self.gauge.collect()
    }
}

/// Counts a request by the route that it matched, so that a label never holds what a client chose.
pub async fn count(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known.to_owned(),
        _ => "other".to_owned(),
    };
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    let status = response.status();
    let labels = [method.as_str(), route.as_str(), status.as_str()];
    metrics.requests.with_label_values(&labels).observe(started.elapsed().as_secs_f64());
    response
}
