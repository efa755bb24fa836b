//! One operator leads, by a Lease; the others stand by. What a leader may do, it may do only while its
//! lease certainly holds: a process that was paused and wakes up finds its fence shut.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use fateh_common::clock::Clock;
use futures::StreamExt;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client, ResourceExt,
    api::PostParams,
    runtime::{WatchStreamExt, watcher},
};
use tokio_util::sync::CancellationToken;

const LEASE: &str = "fateh-operator";
/// A leader that does not renew for so long has lost the lease.
const VALIDITY: Duration = Duration::from_secs(15);
/// A leader acts for so long after a renewal: it stops well before another one may start.
const MAY_ACT: Duration = Duration::from_secs(12);
const RENEWAL: Duration = Duration::from_secs(4);
const ATTEMPT: Duration = Duration::from_secs(3);

/// Until when this process may act. Shut at first.
#[derive(Clone, Debug, Default)]
pub struct Fence(Arc<Mutex<Option<Instant>>>);

impl Fence {
    /// A fence that never shuts: for the one operator of a cluster without an election.
    #[must_use]
    pub fn open() -> Self {
        let century = Duration::from_secs(100 * 365 * 24 * 3600);
        Self(Arc::new(Mutex::new(Instant::now().checked_add(century))))
    }

    /// Whether this process may act now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn set(&self, until: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// What to do about the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Take,
    Renew,
    Wait,
}

/// Plans by the lease as it was read, and for how long it has been seen unchanged here: clocks of others are not trusted.
fn plan(lease: Option<&LeaseSpec>, me: &str, unchanged: Duration) -> Plan {
    let Some(lease) = lease else { return Plan::Take };
    let validity = lease
        .lease_duration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map_or(VALIDITY, Duration::from_secs);
    match lease.holder_identity.as_deref() {
        None | Some("") => Plan::Take,
        Some(holder) if holder == me => Plan::Renew,
        Some(_) if unchanged >= validity => Plan::Take,
        Some(_) => Plan::Wait,
    }
}

/// Takes part in the election.
pub struct Candidate {
    leases: Api<Lease>,
    identity: String,
    clock: Clock,
    fence: Fence,
    seen: Option<(String, Instant)>,
}

impl Candidate {
    /// A candidate for the lease in `namespace`; `fence` opens while it leads.
    #[must_use]
    pub fn new(client: Client, namespace: &str, clock: Clock, fence: Fence) -> Self {
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "operator".to_owned());
        let identity = format!("{host}-{}", hex::encode(rand::random::<[u8; 4]>()));
        Self { leases: Api::namespaced(client, namespace), identity, clock, fence, seen: None }
    }

    /// Waits until this process leads. Reacts at once when the lease is given up.
    pub async fn win(&mut self) {
        let config = watcher::Config::default().fields(&format!("metadata.name={LEASE}"));
        let mut changes = watcher(self.leases.clone(), config).default_backoff().touched_objects().boxed();
        tracing::info!(identity = self.identity, "standing by");
        while !self.attempt().await {
            let _ = tokio::time::timeout(Duration::from_secs(2), changes.next()).await;
        }
        tracing::info!(identity = self.identity, "leading");
    }

    /// Renews the lease until it is lost or `stop` is cancelled. True: it was lost.
    pub async fn hold(&mut self, stop: &CancellationToken) -> bool {
        loop {
            tokio::select! {
                () = tokio::time::sleep(RENEWAL) => {}
                () = stop.cancelled() => return false,
            }
            if !self.attempt().await && !self.fence.is_open() {
                tracing::error!(identity = self.identity, "the lease is lost");
                return true;
            }
        }
    }

    /// Gives the lease up, so that another may lead at once.
    pub async fn release(&self) {
        self.fence.set(None);
        let released = async {
            let mut lease = self.leases.get(LEASE).await?;
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() == Some(&self.identity) {
                spec.holder_identity = None;
                self.leases.replace(LEASE, &PostParams::default(), &lease).await?;
            }
            Ok::<_, kube::Error>(())
        };
        match tokio::time::timeout(ATTEMPT, released).await {
            Ok(Ok(())) => tracing::info!(identity = self.identity, "gave the lease up"),
            Ok(Err(error)) => tracing::warn!(%error, "the lease could not be given up; it runs out by itself"),
            Err(_) => tracing::warn!("the lease could not be given up in time; it runs out by itself"),
        }
    }

    /// One attempt to take or renew the lease. The fence is moved only when it went well.
    async fn attempt(&mut self) -> bool {
        let started = Instant::now();
        match tokio::time::timeout(ATTEMPT, self.write()).await {
            Ok(Ok(true)) => {
                self.fence.set(started.checked_add(MAY_ACT));
                true
            }
            Ok(Ok(false)) => {
                // Another holds it: what this process believed is over.
                self.fence.set(None);
                false
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the lease could not be written");
                false
            }
            Err(_) => {
                tracing::warn!("the lease could not be written in time");
                false
            }
        }
    }

    async fn write(&mut self) -> Result<bool, kube::Error> {
        let current = self.leases.get_opt(LEASE).await?;
        let version = current.as_ref().and_then(ResourceExt::resource_version).unwrap_or_default();
        let unchanged = match &self.seen {
            Some((seen, since)) if *seen == version => since.elapsed(),
            _ => {
                self.seen = Some((version, Instant::now()));
                Duration::ZERO
            }
        };
        let before = current.as_ref().and_then(|lease| lease.spec.as_ref());
        let plan = plan(before, &self.identity, unchanged);
        if plan == Plan::Wait {
            return Ok(false);
        }
        let now = MicroTime(self.clock.now());
        let taken = plan == Plan::Take;
        let spec = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(VALIDITY.as_secs()).ok(),
            acquire_time: if taken { Some(now.clone()) } else { before.and_then(|spec| spec.acquire_time.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(before.and_then(|spec| spec.lease_transitions).unwrap_or(0) + i32::from(taken)),
            ..LeaseSpec::default()
        };
        let written = if let Some(mut lease) = current {
            // With the version that was read: of two who take it one is refused.
            lease.spec = Some(spec);
            self.leases.replace(LEASE, &PostParams::default(), &lease).await
        } else {
            let mut lease = Lease { spec: Some(spec), ..Lease::default() };
            lease.metadata.name = Some(LEASE.to_owned());
            self.leases.create(&PostParams::default(), &lease).await
        };
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(holder: &str) -> LeaseSpec {
        LeaseSpec { holder_identity: Some(holder.to_owned()), lease_duration_seconds: Some(15), ..LeaseSpec::default() }
    }

    #[test]
    fn a_lease_is_taken_only_when_it_is_free_or_has_been_silent() {
        let seconds = Duration::from_secs;
        for (case, lease, unchanged, expected) in [
            ("none yet", None, seconds(0), Plan::Take),
            ("given up", Some(LeaseSpec::default()), seconds(0), Plan::Take),
            ("given up by an empty name", Some(held_by("")), seconds(0), Plan::Take),
            ("ours", Some(held_by("me")), seconds(0), Plan::Renew),
            ("another's, renewed", Some(held_by("you")), seconds(14), Plan::Wait),
            ("another's, silent", Some(held_by("you")), seconds(15), Plan::Take),
        ] {
            assert_eq!(plan(lease.as_ref(), "me", unchanged), expected, "{case}");
        }
    }

    #[test]
    fn a_fence_is_shut_until_it_is_opened_and_after_its_time() {
        let fence = Fence::default();
        assert!(!fence.is_open());
        fence.set(Instant::now().checked_add(Duration::from_secs(60)));
        assert!(fence.is_open());
        fence.set(Some(Instant::now()));
        assert!(!fence.is_open());
    }
}
