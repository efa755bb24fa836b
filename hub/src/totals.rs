//! What nodes have received and given back, kept for a moment: whoever looks at the statistics sees the same sums, and
//! the database adds nothing up for each of them.

use std::sync::{Arc, PoisonError, RwLock};

use fateh_common::money::decimal;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    state::AppState,
    storage::ledger::{self, Sums},
};

/// What was read longer ago is read anew, while it is still shown. Only when someone asks.
const FRESH: SignedDuration = SignedDuration::from_secs(1);
/// What was read longer ago is not shown any more.
const MAX_AGE: SignedDuration = SignedDuration::from_secs(2);

/// What one node has received and given back in one currency.
#[derive(Debug)]
pub struct NodeTotal {
    /// The node.
    pub node: Uuid,
    /// In minor units.
    pub sums: Sums,
    /// The same, as people read it.
    pub revenue: Revenue,
}

impl NodeTotal {
    /// The sums of a node.
    #[must_use]
    pub fn new(node: Uuid, sums: Sums) -> Self {
        Self { node, revenue: Revenue::from(&sums), sums }
    }
}

/// Sums of one currency, as people read them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RevenueTotal)]
pub struct Revenue {
    /// ISO 4217.
    pub currency: String,
    /// What was received.
    pub gross: String,
    platform_fee: String,
    net_amount: String,
    /// What was given back of the gross.
    refunds: String,
}

impl From<&Sums> for Revenue {
    fn from(sums: &Sums) -> Self {
        let text = |minor: i128| decimal(minor, &sums.currency);
        Self {
            gross: text(sums.gross),
            platform_fee: text(sums.fee),
            net_amount: text(sums.net),
            refunds: text(sums.refunded),
            currency: sums.currency.clone(),
        }
    }
}

/// Of all nodes.
pub type OfNodes = Arc<Vec<NodeTotal>>;

/// What was read last.
#[derive(Default)]
pub struct Totals {
    last: RwLock<Option<(Timestamp, OfNodes)>>,
    /// One reads anew while others are shown what is known.
    reading: tokio::sync::Mutex<()>,
}

impl Totals {
    fn younger_than(&self, age: SignedDuration, now: Timestamp) -> Option<OfNodes> {
        let last = self.last.read().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(at, _)| now.duration_since(*at) <= age).map(|(_, totals)| Arc::clone(totals))
    }

    fn keep(&self, at: Timestamp, totals: Vec<(Uuid, Sums)>) -> OfNodes {
        let totals = Arc::new(totals.into_iter().map(|(node, sums)| NodeTotal::new(node, sums)).collect());
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = Some((at, Arc::clone(&totals)));
        totals
    }
}

/// The sums of all nodes; what a node told within the last two seconds may be missing.
///
/// # Errors
/// When the statement fails, and nothing is known that is young enough.
pub async fn of_nodes(state: &AppState) -> Result<OfNodes, sqlx::Error> {
    let totals = &state.totals;
    let now = state.clock.now();
    if let Some(fresh) = totals.younger_than(FRESH, now) {
        return Ok(fresh);
    }
    if let Some(known) = totals.younger_than(MAX_AGE, now) {
        let state = state.clone();
        // The next ones are to have newer.
        tokio::spawn(async move {
            let Ok(_turn) = state.totals.reading.try_lock() else { return };
            if let Err(error) = read(&state).await {
                tracing::warn!(%error, "the sums of the ledger cannot be read");
            }
        });
        return Ok(known);
    }
    // Each for itself: of those who wait for one another the last would wait for all.
    read(state).await
}

async fn read(state: &AppState) -> Result<OfNodes, sqlx::Error> {
    let now = state.clock.now();
    let totals = ledger::totals(&mut *state.database.acquire().await?, None).await?;
    Ok(state.totals.keep(now, totals))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_shown_for_as_long_as_they_are_young() {
        let at = |milliseconds: i64| Timestamp::from_millisecond(1_000_000 + milliseconds).unwrap();
        let totals = Totals::default();
        assert!(totals.younger_than(MAX_AGE, at(0)).is_none(), "nothing was read");
        totals.keep(at(0), vec![(Uuid::nil(), Sums::none("SAR".to_owned()))]);
        assert_eq!(totals.younger_than(FRESH, at(1000)).unwrap().len(), 1);
        assert!(totals.younger_than(FRESH, at(1001)).is_none());
        assert!(totals.younger_than(MAX_AGE, at(2000)).is_some());
        assert!(totals.younger_than(MAX_AGE, at(2001)).is_none());
    }
}
