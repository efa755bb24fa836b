//! What every service measures: requests by route, and connections to the database.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use axum::{
    extract::{MatchedPath, Request},
    http::Method,
    response::Response,
};
use prometheus::{
    HistogramOpts, HistogramVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use tower::{Layer, Service};

use super::database::Database;

/// Where there is no route.
const NO_ROUTE: &str = "none";

/// A method as a label.
fn named(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    known.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

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

    /// Counts a request that was refused before its route was looked for.
    pub(super) fn refused(&self, method: &Method) {
        self.0.with_label_values(&[named(method), NO_ROUTE, "503"]).observe(0.0);
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

impl<S> Layer<S> for Requests {
    type Service = Counting<S>;

    fn layer(&self, inner: S) -> Counting<S> {
        Counting { inner, requests: self.clone() }
    }
}

/// Counts requests by the route that they matched, so that a label never holds what a client chose.
#[derive(Clone)]
pub struct Counting<S> {
    inner: S,
    requests: Requests,
}

impl<S> Service<Request> for Counting<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let started = Instant::now();
        let method = named(request.method());
        let route = request.extensions().get::<MatchedPath>().cloned();
        let answer = self.inner.call(request);
        let requests = self.requests.clone();
        Box::pin(async move {
            let answer = answer.await?;
            let route = route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
            let status = answer.status();
            let labels = [method, route, status.as_str()];
            requests.0.with_label_values(&labels).observe(started.elapsed().as_secs_f64());
            Ok(answer)
        })
    }
}
