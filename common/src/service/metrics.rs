//! What every service measures: requests by route, and connections to the database.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use prometheus::{
    HistogramOpts, HistogramVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::database::Database;

/// Requests by route.
#[derive(Clone)]
pub struct Requests(HistogramVec);

impl Requests {
    /// Registers them; the name begins with `prefix`.
    ///
    /// # Errors
    /// When a name is malformed or taken.
    pub fn new(prefix: &str, registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = HistogramVec::new(
            HistogramOpts::new(format!("{prefix}_http_request_duration_seconds"), "Duration of requests.")
                .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 10.0]),
            &["method", "route", "status"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        Ok(Self(requests))
    }
}

/// Shows, whenever someone looks, what the connections to the database do; the name begins with `prefix`.
///
/// # Errors
/// When it is shown already.
pub fn show_connections(prefix: &str, registry: &Registry, database: Database) -> Result<(), prometheus::Error> {
    let opts = Opts::new(format!("{prefix}_database_connections"), "Connections to the database.");
    let gauge = IntGaugeVec::new(opts, &["state"])?;
    let limit =
        IntGauge::new(format!("{prefix}_database_connections_limit"), "Connections that there may be at most.")?;
    registry.register(Box::new(Connections { database, gauge, limit }))
}

/// Asked for at the moment that someone looks.
struct Connections {
    database: Database,
    gauge: IntGaugeVec,
    limit: IntGauge,
}

impl Collector for Connections {
    fn desc(&self) -> Vec<&Desc> {
        [self.gauge.desc(), self.limit.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (idle, used) = self.database.connections();
        self.gauge.with_label_values(&["idle"]).set(idle);
        self.gauge.with_label_values(&["used"]).set(used);
        self.limit.set(self.database.connections_limit().into());
        [self.gauge.collect(), self.limit.collect()].concat()
    }
}

/// Counts a request by the route that it matched, so that a label never holds what a client chose.
pub async fn count(State(requests): State<Requests>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known.to_owned(),
        _ => "other".to_owned(),
    };
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    let status = response.status();
    let labels = [method.as_str(), route.as_str(), status.as_str()];
    requests.0.with_label_values(&labels).observe(started.elapsed().as_secs_f64());
    response
}
