//! `POST /api/global/v1/sync`: what happened on a node. For nodes.

use std::collections::HashMap;

use axum::{
    Json,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use fateh_common::{
    hub::{Event, MAX_BATCH, Outcome, SYNC_PATH, SyncAnswer, SyncBatch, SyncItem, SyncResult},
    money::MAX_MINOR_UNITS,
    service::{
        error::{ApiError, Failed},
        extract::{Body, Speaks},
        validation::Problems,
    },
};
use jiff::{SignedDuration, Timestamp};
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use crate::{
    node_caller::NodeCaller,
    state::AppState,
    storage::ledger::{self, Told},
};

/// A batch of [`MAX_BATCH`] is about half of this.
const MAX_BODY: usize = 512 * 1024;
/// How far a node's clock may be ahead.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

pub fn routes() -> OpenApiRouter<AppState> {
    // Not described: it is between programs of one release, and versioned by its path.
    let route = axum::routing::post(take).layer(DefaultBodyLimit::max(MAX_BODY));
    OpenApiRouter::new().route(SYNC_PATH, route)
}

async fn take(
    State(state): State<AppState>,
    speaks: Speaks,
    node: NodeCaller,
    Body(batch): Body<SyncBatch>,
) -> Result<Response, Failed> {
    let answer = receive(&state, &node, &batch).await.map_err(|error| Failed(error, speaks.0))?;
    Ok((StatusCode::OK, Json(answer)).into_response())
}

async fn receive(state: &AppState, node: &NodeCaller, batch: &SyncBatch) -> Result<SyncAnswer, ApiError> {
    node.is(&batch.node)?;
    let mut problems = Problems::default();
    problems.unless(batch.items.len() <= MAX_BATCH, "items", "field-items");
    problems.refuse()?;
    let now = state.clock.now();
    let sorted = Sorted::new(&batch.items, node, now);
    let known = if sorted.told.is_empty() {
        HashMap::new()
    } else {
        ledger::take(&mut *state.connection().await?, node, &sorted.told, now).await?
    };
    let results = sorted.answer(&known);
    for result in &results {
        let outcome = match &result.outcome {
            Outcome::Applied => "applied",
            Outcome::Repeated => "repeated",
            Outcome::Refused { reason } => {
                tracing::warn!(node = node.name, item = %result.id, reason, "an item was refused");
                "refused"
            }
        };
        state.metrics.items.with_label_values(&[outcome]).inc();
    }
    Ok(SyncAnswer { results })
}

/// The items of a batch: those that may take effect, each id once, and what is to be said of the others.
struct Sorted<'a> {
    told: Vec<Told<'a>>,
    refused: Vec<SyncResult>,
}

impl<'a> Sorted<'a> {
    fn new(items: &'a [SyncItem], node: &NodeCaller, now: Timestamp) -> Self {
        let mut sorted = Self { told: Vec::new(), refused: Vec::new() };
        let latest = now.saturating_add(AHEAD).unwrap_or(now);
        for item in items {
            // Of clocks that differ the node's may be right: what has no answer is sent again.
            if item.times().into_iter().any(|time| time > latest) {
                tracing::warn!(node = node.name, item = %item.id, "an item of the future waits until its time has come");
                continue;
            }
            let told = Told::new(item);
            let refusal = match flaw(item, node) {
                Some(flaw) => flaw,
                None => match sorted.told.iter().find(|before| before.item.id == item.id) {
                    None => {
                        sorted.told.push(told);
                        continue;
                    }
                    // The same thing twice in one batch is answered once.
                    Some(before) if before.hash == told.hash => continue,
                    Some(_) => REUSED,
                },
            };
            sorted.refused.push(refused(item.id, refusal));
        }
        sorted
    }

    fn answer(self, known: &HashMap<Uuid, (Vec<u8>, bool)>) -> Vec<SyncResult> {
        let mut results = self.refused;
        for Told { item, hash } in self.told {
            // One that is not known is answered by nothing, and sent again.
            let Some((first, now)) = known.get(&item.id) else { continue };
            results.push(match (first.as_slice() == hash, now) {
                (true, true) => SyncResult { id: item.id, outcome: Outcome::Applied },
                (true, false) => SyncResult { id: item.id, outcome: Outcome::Repeated },
                (false, _) => refused(item.id, REUSED),
            });
        }
        results
    }
}

const REUSED: &str = "another item was told under this id";

fn refused(id: Uuid, reason: &str) -> SyncResult {
    SyncResult { id, outcome: Outcome::Refused { reason: reason.to_owned() } }
}

/// Why an item can never take effect.
fn flaw(item: &SyncItem, node: &NodeCaller) -> Option<&'static str> {
    if item.times().into_iter().any(|time| time < earliest()) {
        return Some("the time is before 2000");
    }
    let (currency, amount, fee, net) = match &item.event {
        Event::UserCreated(user) => {
            let known = matches!(user.role.as_str(), "student" | "instructor" | "admin");
            return (!known).then_some("the role is none that users of nodes have");
        }
        Event::Revenue(it) => {
            if !matches!(it.kind.as_str(), "subscription" | "course" | "consulting" | "workshop") {
                return Some("the type is none that revenue has");
            }
            if it.id != item.id {
                return Some("a revenue is told under its own id");
            }
            (&it.currency, it.amount_minor, it.fee_minor, it.net_minor)
        }
        Event::Refund(it) => {
            if it.id != item.id {
                return Some("a refund is told under its own id");
            }
            (&it.currency, it.amount_minor, it.fee_minor, it.net_minor)
        }
    };
    if *currency != node.currency {
        return Some("the currency is not the node's");
    }
    if !(1..=MAX_MINOR_UNITS).contains(&amount) || fee < 0 || net < 0 || fee.checked_add(net) != Some(amount) {
        return Some("fee and net do not make the amount");
    }
    None
}

fn earliest() -> Timestamp {
    Timestamp::constant(946_684_800, 0)
}

#[cfg(test)]
mod tests {
    use fateh_common::hub::{RefundGiven, RevenueReceived, UserCreated};

    use super::*;

    fn now() -> Timestamp {
        "2026-11-25T12:00:00Z".parse().unwrap()
    }
    fn node() -> NodeCaller {
        NodeCaller { name: "riyadh".into(), uid: Uuid::nil(), currency: "SAR".into(), country: None }
    }
    fn revenue(id: u128) -> RevenueReceived {
        RevenueReceived {
            id: Uuid::from_u128(id),
            kind: "course".into(),
            currency: "SAR".into(),
            amount_minor: 1000,
            fee_minor: 100,
            net_minor: 900,
            transaction_date: now(),
        }
    }
    fn item(event: Event) -> SyncItem {
        let id = match &event {
            Event::UserCreated(user) => user.user_id,
            Event::Revenue(it) => it.id,
            Event::Refund(it) => it.id,
        };
        SyncItem { id, at: now(), event }
    }

    #[test]
    fn what_cannot_be_true_is_refused_with_the_reason() {
        type Edit = fn(&mut RevenueReceived);
        let good = item(Event::Revenue(revenue(1)));
        assert_eq!(flaw(&good, &node()), None);
        let edits: [(Edit, &str); 8] = [
            (|it| it.kind = "gift".into(), "type"),
            (|it| it.currency = "USD".into(), "currency"),
            (|it| it.amount_minor = 0, "amount"),
            (|it| it.amount_minor = MAX_MINOR_UNITS + 1, "amount"),
            (|it| it.fee_minor = 101, "amount"),
            (|it| (it.fee_minor, it.net_minor) = (-100, 1100), "amount"),
            (|it| (it.fee_minor, it.net_minor) = (i64::MAX, i64::MAX), "amount"),
            (|it| it.transaction_date = "1999-12-31T00:00:00Z".parse().unwrap(), "time"),
        ];
        for (edit, word) in edits {
            let mut changed = revenue(1);
            edit(&mut changed);
            let reason = flaw(&item(Event::Revenue(changed)), &node());
            assert!(reason.is_some_and(|reason| reason.contains(word)), "{word}: {reason:?}");
        }
        let foreign = SyncItem { id: Uuid::from_u128(9), ..good };
        assert!(flaw(&foreign, &node()).is_some());
        let ancient = SyncItem { at: "-005000-01-01T00:00:00Z".parse().unwrap(), ..item(Event::Revenue(revenue(1))) };
        assert!(flaw(&ancient, &node()).is_some(), "PostgreSQL does not count as far back");
        let user = UserCreated { user_id: Uuid::nil(), role: "platform-admin".into() };
        assert!(flaw(&item(Event::UserCreated(user)), &node()).is_some());
    }

    #[test]
    fn what_is_of_the_future_gets_no_answer_and_so_comes_again() {
        let mut ahead = revenue(1);
        ahead.transaction_date = "2026-11-27T00:00:00Z".parse().unwrap();
        let items = [item(Event::Revenue(ahead)), item(Event::Revenue(revenue(2)))];
        let sorted = Sorted::new(&items, &node(), now());
        assert_eq!((sorted.told.len(), sorted.refused.len()), (1, 0));
    }

    #[test]
    fn an_item_twice_in_a_batch_is_taken_once_and_another_under_its_id_never() {
        let (one, mut other) = (item(Event::Revenue(revenue(1))), revenue(1));
        other.kind = "workshop".into();
        let refund = RefundGiven {
            id: Uuid::from_u128(2),
            revenue_id: one.id,
            currency: "SAR".into(),
            amount_minor: 10,
            fee_minor: 1,
            net_minor: 9,
        };
        let items = [one.clone(), item(Event::Refund(refund)), one.clone(), item(Event::Revenue(other))];
        let sorted = Sorted::new(&items, &node(), now());
        assert_eq!(sorted.told.len(), 2);
        let known = HashMap::from([
            (one.id, (sorted.told[0].hash.to_vec(), true)),
            (Uuid::from_u128(2), (sorted.told[1].hash.to_vec(), false)),
        ]);
        let outcomes: Vec<_> = sorted.answer(&known).into_iter().map(|result| result.outcome).collect();
        let reused = Outcome::Refused { reason: REUSED.into() };
        assert_eq!(outcomes, [reused, Outcome::Applied, Outcome::Repeated]);
    }
}
