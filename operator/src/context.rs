//! What every reconcile needs: clients, caches, settings, and the injected clock.

use std::time::Instant;

use fateh_common::clock::Clock;
use fateh_crds::{DatabaseServer, NodeReport};
use kube::{
    Client,
    runtime::{events::Recorder, reflector::Store},
};

use crate::{backoff::Backoff, database::Servers, metrics::Metrics, settings::Settings, throttle::Throttle};

/// Shared by all reconciles.
pub struct Context {
    /// Kubernetes.
    pub client: Client,
    /// What the operator was told.
    pub settings: Settings,
    /// UID of the cluster: that of its namespace `kube-system`.
    pub cluster: String,
    /// The time.
    pub clock: Clock,
    /// Connections to database servers.
    pub servers: Servers,
    /// DatabaseServers, as watched.
    pub database_servers: Store<DatabaseServer>,
    /// NodeReports, as watched.
    pub reports: Store<NodeReport>,
    /// Since when reports are watched: silence before it is not the nodes'.
    pub reports_since: Instant,
    /// Failures in a row, by object.
    pub backoff: Backoff,
    /// Databases whose size in status moved of late.
    pub sizes: Throttle,
    /// Counters.
    pub metrics: Metrics,
    /// Events.
    pub recorder: Recorder,
}
