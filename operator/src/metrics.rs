//! The operator's metrics.

pub mod fleet;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// Counters and durations of reconciles.
#[derive(Clone)]
pub struct Metrics {
    /// Where they are gathered.
    pub registry: Registry,
    reconciles: HistogramVec,
    failures: IntCounterVec,
    drift: IntCounterVec,
}

impl Metrics {
    /// Registers all metrics in a registry of their own.
    ///
    /// # Errors
    /// When a name is malformed or taken, which a test rules out.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let reconciles = HistogramVec::new(
            HistogramOpts::new("fateh_operator_reconcile_duration_seconds", "Duration of reconciles.")
                .buckets(vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]),
            &["kind", "outcome"],
        )?;
        let failures = IntCounterVec::new(
            Opts::new("fateh_operator_reconcile_failures_total", "Reconciles that did not reach their goal."),
            &["kind", "reason"],
        )?;
        let drift = IntCounterVec::new(
            Opts::new(
                "fateh_operator_database_drift_total",
                "Differences found between nodes' databases and what they should be.",
            ),
            &["difference"],
        )?;
        registry.register(Box::new(reconciles.clone()))?;
        registry.register(Box::new(failures.clone()))?;
        registry.register(Box::new(drift.clone()))?;
        Ok(Self { registry, reconciles, failures, drift })
    }

    /// Counts a reconcile; `failure` is its reason in one word.
    pub fn reconciled(&self, kind: &str, seconds: f64, failure: Option<&str>) {
        let outcome = if failure.is_some() { "failure" } else { "success" };
        self.reconciles.with_label_values(&[kind, outcome]).observe(seconds);
        if let Some(reason) = failure {
            self.failed(kind, reason);
        }
    }

    /// Counts a difference between a node's database and what it should be, in one word.
    pub fn drifted(&self, difference: &str) {
        self.drift.with_label_values(&[difference]).inc();
    }

    /// Counts a failure by its reason in one word: of a reconcile, or of what it found for a person to mend.
    pub fn failed(&self, kind: &str, reason: &str) {
        self.failures.with_label_values(&[kind, reason]).inc();
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_metric_can_be_registered_and_counted() {
        let metrics = super::Metrics::new().unwrap();
        metrics.reconciled("LocalNode", 0.1, None);
        metrics.reconciled("LocalNode", 0.1, Some("DatabaseUnreachable"));
        metrics.drifted("RoleLimit");
        assert_eq!(metrics.registry.gather().len(), 3);
    }
}
