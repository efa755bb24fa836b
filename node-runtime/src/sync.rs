//! Tells the centre what happened: each thing at least once, in any order, by one replica at a time. What the centre
//! refuses is set aside and holds up nothing.

use std::{collections::HashSet, time::Duration};

use fateh_common::hub::{MAX_BATCH, Outcome, SyncBatch, SyncResult};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    backoff::{Backoff, jittered},
    hub_client::HubError,
    metrics::Metrics,
    state::AppState,
    storage::{
        outbox::{self, Taken, Waiting},
        turns::{self, Turn},
    },
};

/// Longer than the hub may take to answer. A replica that dies keeps the others waiting for no longer.
const LEASE: Duration = Duration::from_secs(30);
/// How soon after an event the centre is told.
const COALESCE: Duration = Duration::from_millis(200);
/// How often is looked without an event: for what a replica that died has left, and what is due again.
const SWEEP: Duration = Duration::from_secs(60);
/// After failures in a row.
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(2), longest: Duration::from_secs(300) };
/// A request to send everything goes on for as many batches at most.
const MAX_BATCHES: usize = 20;

/// Why the centre was not told.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The database did not do its part.
    #[error("read or settle the outbox: {0}")]
    Database(#[from] sqlx::Error),
    /// The hub did not.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// Another replica is at it.
    #[error("another replica is sending")]
    Taken,
}

/// What came of telling the centre.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Items that were sent.
    pub sent: usize,
    /// Items that took effect, now or before.
    pub applied: usize,
    /// Items that the centre refused.
    pub refused: usize,
}

/// Tells the centre until `stop`: soon after an event, and now and then.
pub async fn run(state: AppState, metrics: Metrics, stop: CancellationToken) {
    if !state.hub.is_known() {
        return;
    }
    let mut failures = 0_u32;
    loop {
        match tell(&state, false).await {
            Ok(told) => {
                failures = 0;
                tracing::debug!(?told, "the centre was told");
            }
            Err(SyncError::Taken) => failures = 0,
            Err(error) => {
                failures = failures.saturating_add(1);
                tracing::warn!(%error, "the centre could not be told");
            }
        }
        if let Ok(waiting) = count(&state).await {
            metrics.waits(waiting, state.clock.now());
        }
        let pause = if failures == 0 { SWEEP } else { BACKOFF.wait(failures - 1, rand::random()) };
        tokio::select! {
            // What happens while the centre is away does not make it come back.
            () = state.told.notified(), if failures == 0 => tokio::time::sleep(COALESCE).await,
            () = tokio::time::sleep(jittered(pause, rand::random())) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// What waits to be told.
///
/// # Errors
/// When the database does not answer.
pub async fn count(state: &AppState) -> Result<Waiting, sqlx::Error> {
    outbox::waiting(&mut *state.database.acquire().await?).await
}

/// Tells the centre all that is due, or all that waits.
///
/// # Errors
/// When nothing, or not everything, could be sent. What was not is still there.
#[tracing::instrument(level = "debug", name = "sync", skip_all)]
pub async fn tell(state: &AppState, everything: bool) -> Result<Told, SyncError> {
    let holder = state.replica;
    let mut told = Told::default();
    for _ in 0..MAX_BATCHES {
        let now = state.clock.now();
        let taken = {
            let mut connection = state.database.acquire().await?;
            if !turns::take(&mut connection, Turn::Sync, holder, LEASE, now).await? {
                return Err(SyncError::Taken);
            }
            let again = now.saturating_add(LEASE).unwrap_or(now);
            outbox::take(&mut connection, MAX_BATCH, everything, again, now).await?
        };
        let full = taken.len() == MAX_BATCH;
        let sent = send(state, taken).await;
        if let Ok(batch) = &sent {
            told.sent += batch.sent;
            told.applied += batch.applied;
            told.refused += batch.refused;
        }
        // What was not answered is not asked for again in one breath.
        let stop = sent.as_ref().is_ok_and(|batch| batch.applied + batch.refused < batch.sent);
        if sent.is_err() || stop || !full {
            turns::give(&mut *state.database.acquire().await?, Turn::Sync, holder).await?;
            return sent.map(|_| told);
        }
    }
    turns::give(&mut *state.database.acquire().await?, Turn::Sync, holder).await?;
    Ok(told)
}

/// Sends one batch. No connection is held while the hub takes its time.
async fn send(state: &AppState, taken: Vec<Result<Taken, Uuid>>) -> Result<Told, SyncError> {
    let (mut items, mut attempts, mut results) = (Vec::new(), Vec::new(), Vec::new());
    for item in taken {
        match item {
            Ok(Taken { item, attempts: before }) => {
                attempts.push((item.id, before));
                items.push(item);
            }
            // Written by a release that this one does not know.
            Err(id) => {
                let reason = "this release of the node cannot read it".to_owned();
                results.push(SyncResult { id, outcome: Outcome::Refused { reason } });
            }
        }
    }
    let sent = items.len();
    let answer = if items.is_empty() {
        Ok(Vec::new())
    } else {
        let batch = SyncBatch { node: state.node.slug.clone(), items };
        state.hub.sync(&batch).await.map(|answer| answer.results)
    };
    let (answers, failure) = match answer {
        Ok(answers) => (answers, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let asked: HashSet<_> = attempts.iter().map(|(id, _)| *id).collect();
    // Of what was not asked for nothing is believed.
    results.extend(answers.into_iter().filter(|result| asked.contains(&result.id)));
    let answered: HashSet<_> = results.iter().map(|result| result.id).collect();
    let now = state.clock.now();
    let left: Vec<_> = attempts
        .into_iter()
        .filter(|(id, _)| !answered.contains(id))
        .map(|(id, before)| (id, later(now, BACKOFF.wait(before.unsigned_abs(), rand::random()))))
        .collect();
    for result in &results {
        if let Outcome::Refused { reason } = &result.outcome {
            tracing::error!(item = %result.id, reason, "the centre refused an item for good; it is set aside");
        }
    }
    let refused = results.iter().filter(|result| matches!(result.outcome, Outcome::Refused { .. })).count();
    let mut connection = state.database.acquire().await?;
    if !results.is_empty() {
        outbox::settle(&mut connection, &results, now).await?;
    }
    if !left.is_empty() {
        outbox::put_off(&mut connection, &left).await?;
    }
    match failure {
        Some(failure) => Err(failure.into()),
        None => Ok(Told { sent, applied: results.len() - refused, refused }),
    }
}

fn later(now: Timestamp, wait: Duration) -> Timestamp {
    now.saturating_add(wait).unwrap_or(now)
}
