//! What nodes say they recorded, beside what the centre received of it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use fateh_common::service::error::ApiError;
use fateh_crds::{LocalNode, RevenueStatistics, StatisticsStatus};
use jiff::Timestamp;
use kube::ResourceExt;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    fleet,
    state::AppState,
    storage::ledger::{self, Sums},
};

/// Time between two looks for gaps.
const INTERVAL: Duration = Duration::from_secs(60);

/// One node's money in one currency, in minor units.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The node.
    pub node: String,
    /// The currency.
    pub currency: String,
    /// When the node reported.
    pub reported_at: Option<Timestamp>,
    /// What it took.
    pub revenue: Balance,
    /// What it gave back.
    pub refunds: Balance,
}

/// What a node recorded, what of it is still to be sent, and what was received.
#[derive(Clone, Copy, Debug)]
pub struct Balance {
    /// By the node's report.
    pub recorded: i64,
    /// By the node's report.
    pub pending: i64,
    /// By the centre's ledger.
    pub received: i128,
}

impl Balance {
    /// What was sent, by the node's report, less what was received under its UID.
    #[must_use]
    pub fn difference(&self) -> i128 {
        i128::from(self.recorded) - i128::from(self.pending) - self.received
    }
}

fn statistics(node: &LocalNode) -> Option<&StatisticsStatus> {
    node.status.as_ref()?.statistics.as_ref()
}

/// What a node says of its money, by currency.
fn reported(node: &LocalNode) -> &[RevenueStatistics] {
    statistics(node).map_or(&[], |statistics| &statistics.figures.revenue)
}

/// What a node took and gave back in a currency, by its report and by the ledger.
fn balances(said: &RevenueStatistics, received: Option<&Sums>) -> [Balance; 2] {
    let (gross, refunded) = received.map_or((0, 0), |sums| (sums.gross, sums.refunded));
    [
        Balance { recorded: said.gross, pending: said.pending_gross, received: gross },
        Balance { recorded: said.refunds, pending: said.pending_refunds, received: refunded },
    ]
}

/// Compares the reports of nodes with the ledger's totals.
pub fn compare<'a>(nodes: impl Iterator<Item = &'a LocalNode>, totals: &[(Uuid, Sums)]) -> Vec<Compared> {
    let mut received: HashMap<Uuid, BTreeMap<&str, &Sums>> = HashMap::new();
    for (node, sums) in totals {
        received.entry(*node).or_default().insert(&sums.currency, sums);
    }
    let mut compared = Vec::new();
    for node in nodes {
        let reported = reported(node);
        let of_node = fleet::uid(node).and_then(|uid| received.remove(&uid)).unwrap_or_default();
        let currencies: BTreeSet<&str> =
            reported.iter().map(|one| &*one.currency).chain(of_node.keys().copied()).collect();
        for currency in currencies {
            let said = reported.iter().find(|one| one.currency == currency).cloned().unwrap_or_default();
            let [revenue, refunds] = balances(&said, of_node.get(currency).copied());
            compared.push(Compared {
                node: node.name_any(),
                currency: currency.to_owned(),
                reported_at: statistics(node).and_then(|statistics| statistics.reported_at.as_ref()).map(|time| time.0),
                revenue,
                refunds,
            });
        }
    }
    compared
}

/// Of how many nodes and currencies the ledger lacks what the node says it has sent. A database that a new node took over
/// has told under the UID of the one before: what counts is all that came under the node's name.
fn gaps<'a>(nodes: impl Iterator<Item = &'a LocalNode>, by_name: &[(String, Sums)]) -> usize {
    let received: HashMap<_, _> = by_name.iter().map(|(node, sums)| ((&**node, &*sums.currency), sums)).collect();
    let lacks = |node: &LocalNode| {
        let name = node.name_any();
        let lacking = reported(node).iter().filter(|said| {
            let sums = received.get(&(&*name, &*said.currency)).copied();
            balances(said, sums).iter().any(|side| side.difference() > 0)
        });
        lacking.count()
    };
    nodes.map(lacks).sum()
}

/// Shows in the metrics how often the ledger lacks something, until `stop`.
pub async fn show_gaps(state: AppState, stop: CancellationToken) {
    loop {
        let looked = async {
            // The reports first: what they say was sent is in a ledger that is read later.
            let nodes = state.fleet.nodes();
            let by_name = ledger::totals_by_name(&mut *state.connection().await?).await?;
            let found = gaps(nodes.iter().map(|node| &**node), &by_name);
            state.metrics.ledger_gaps.set(i64::try_from(found).unwrap_or(i64::MAX));
            Ok::<_, ApiError>(())
        };
        if let Err(error) = looked.await {
            tracing::warn!(?error, "the ledger could not be compared with what nodes report");
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_is_pending_and_what_is_lost_is_a_difference_and_a_gap() {
        let status = |recorded: i64, pending: i64| {
            serde_json::json!({"metadata": {"name": "riyadh", "uid": Uuid::from_u128(1)},
                "spec": {"displayName": "a", "region": "b", "adminEmail": "a@b.cd"},
                "status": {"statistics": {"reportedAt": null, "revenue": [
                    {"currency": "SAR", "gross": recorded, "fee": 0, "net": 0, "refunds": 0, "pendingGross": pending}]}}})
        };
        let totals = [(Uuid::from_u128(1), Sums { gross: 900, ..Sums::none("SAR".into()) })];
        for (recorded, pending, difference, lacking) in
            [(900, 0, 0, 0), (1000, 100, 0, 0), (1000, 99, 1, 1), (0, 0, -900, 0)]
        {
            let node: LocalNode = serde_json::from_value(status(recorded, pending)).unwrap();
            let compared = compare(std::slice::from_ref(&node).iter(), &totals);
            assert_eq!(compared[0].revenue.difference(), difference, "{recorded} {pending}");
            // Half of it came when the name was another node's, whose database this one took over.
            let by_name = |node: &str| [(node.to_owned(), totals[0].1.clone())];
            assert_eq!(gaps(std::slice::from_ref(&node).iter(), &by_name("riyadh")), lacking);
            assert_eq!(gaps(std::slice::from_ref(&node).iter(), &by_name("cairo")), usize::from(recorded > pending));
        }
    }
}
