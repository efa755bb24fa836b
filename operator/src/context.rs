//! What every reconcile needs: clients, caches, settings, and the injected clock.

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use fateh_common::clock::Clock;
use fateh_crds::DatabaseServer;
use kube::{
    Client, Resource, ResourceExt,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use crate::{
    alarms::Alarms,
    applied::Applied,
    backoff::Backoff,
    cache::Cache,
    database::Servers,
    kubernetes::FIELD_MANAGER,
    local_node::{Placements, Report},
    metrics::Metrics,
    node_summary::NodeSummary,
    rollout::Content,
    settings::Settings,
    throttle::Throttle,
};

/// Characters of an event's note: the API server takes a little more.
const MAX_NOTE: usize = 1000;

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
    pub database_servers: Cache<DatabaseServer>,
    /// LocalNodes in brief, as watched.
    pub nodes: Cache<NodeSummary>,
    /// Cancelled when the first listing of LocalNodes is in the cache.
    pub nodes_filled: CancellationToken,
    /// Where nodes were placed a moment ago.
    pub placements: Placements,
    /// What was applied to the nodes' children.
    pub applied: Applied,
    /// Takes the names of nodes to be looked at: their database is not as it should be, or a host is no longer theirs.
    pub wake: UnboundedSender<String>,
    /// What nodes report, as watched.
    pub reports: Cache<Report>,
    /// What nodes are told to hold and say that they hold, as watched.
    pub contents: Cache<Content>,
    /// Since when reports are watched, once their first listing is in the cache: silence before it is not the nodes'.
    pub reports_since: Arc<OnceLock<Instant>>,
    /// When nodes are to be looked at though nothing happens.
    pub alarms: Alarms,
    /// Failures in a row, by object.
    pub backoff: Backoff,
    /// Databases whose size in status moved of late.
    pub sizes: Throttle,
    /// Counters.
    pub metrics: Metrics,
}

impl Context {
    /// Publishes an event about an object; one that the API server does not take is only logged. Each is told once, when something changes, so there is nothing to gather; and a recorder's
    /// memory of the last minutes would grow with the fleet: it is made anew for each.
    pub async fn publish<K>(&self, about: &K, kind: EventType, reason: &str, action: &str, note: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: None };
        let event = Event {
            type_: kind,
            reason: reason.to_owned(),
            note: Some(note.chars().take(MAX_NOTE).collect()),
            action: action.to_owned(),
            secondary: None,
        };
        let published = Recorder::new(self.client.clone(), reporter).publish(&event, &about.object_ref(&())).await;
        if let Err(error) = published {
            tracing::warn!(kind = &*K::kind(&()), name = about.name_any(), %error, "an event could not be published");
        }
    }
}
