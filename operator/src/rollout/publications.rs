//! Revisions on their way to the hub's catalogue. Publishing takes its time beside the passes, which go on.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fateh_common::{catalogue::Digest, clock::Clock};
use fateh_crds::ContentDistributionSpec;
use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedSender;

use super::catalogue::Catalogue;
use crate::{
    backoff::Backoff,
    failure::{Disposition, Failure},
};

/// What a person must mend is looked at again without a change.
const RECHECK: Duration = Duration::from_secs(30);

/// How a revision stands.
pub enum Published {
    /// It is in the catalogue.
    Done(Digest),
    /// It is on its way; its distribution is named when it is there.
    UnderWay,
    /// It did not get there.
    Failed(Failure),
}

enum State {
    UnderWay,
    Done(Digest),
    Failed { reason: &'static str, message: String, person: bool, again_at: Timestamp },
}

struct Publication {
    source: String,
    state: State,
}

/// Revisions that are not yet pinned in a status, by distribution.
pub struct Publications {
    catalogue: Option<Catalogue>,
    known: Arc<Mutex<HashMap<String, Publication>>>,
    backoff: Arc<Backoff>,
    /// Takes the names of distributions that something came of.
    heard: UnboundedSender<String>,
    clock: Clock,
}

impl Publications {
    /// Publishes to `catalogue`.
    pub fn new(catalogue: Option<Catalogue>, heard: UnboundedSender<String>, clock: Clock) -> Self {
        Self { catalogue, known: Arc::default(), backoff: Arc::default(), heard, clock }
    }

    /// When a failed publication is tried again.
    pub fn retry_at(&self, name: &str) -> Option<Timestamp> {
        match self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name)?.state {
            State::Failed { again_at, .. } => Some(again_at),
            State::UnderWay | State::Done(_) => None,
        }
    }

    /// How the revision of this source stands; it is begun where it was not.
    pub fn of(&self, name: &str, source: &str, spec: &ContentDistributionSpec, now: Timestamp) -> Published {
        let Some(catalogue) = &self.catalogue else {
            let message = "content is published to the hub before nodes are told of it, and the operator knows no hub; install it (hub.enabled in the chart's values)";
            return Published::Failed(Failure::stalled("NoHub", message));
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(publication) = known.get(name).filter(|publication| publication.source == source) {
            match &publication.state {
                State::Done(digest) => return Published::Done(*digest),
                State::UnderWay => return Published::UnderWay,
                State::Failed { reason, message, person, again_at } if now < *again_at => {
                    return Published::Failed(if *person {
                        Failure::stalled(reason, message.clone())
                    } else {
                        Failure::Hub(message.clone())
                    });
                }
                State::Failed { .. } => {}
            }
        }
        let publication = Publication { source: source.to_owned(), state: State::UnderWay };
        known.insert(name.to_owned(), publication);
        drop(known);
        let (catalogue, spec, known) = (catalogue.clone(), spec.clone(), Arc::clone(&self.known));
        let (name, source, heard) = (name.to_owned(), source.to_owned(), self.heard.clone());
        let (backoff, clock) = (Arc::clone(&self.backoff), self.clock.clone());
        tokio::spawn(async move {
            let outcome = catalogue.publish(&spec).await;
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            // Another revision may have taken its place meanwhile.
            if let Some(publication) = known.get_mut(&name).filter(|publication| publication.source == source) {
                publication.state = match outcome {
                    Ok(digest) => {
                        backoff.succeeded(&name);
                        State::Done(digest)
                    }
                    Err(failure) => {
                        let person = failure.disposition() == Disposition::NeedsAPerson;
                        let wait = if person { RECHECK } else { backoff.failed(&name) };
                        let message = match &failure {
                            Failure::Hub(message) => message.clone(),
                            other => other.to_string(),
                        };
                        let again_at = clock.now().saturating_add(wait).unwrap_or(Timestamp::MAX);
                        State::Failed { reason: failure.reason(), message, person, again_at }
                    }
                };
            }
            drop(known);
            let _ = heard.send(name);
        });
        Published::UnderWay
    }
}
