//! Conditions as values: made from facts, and merged so that the transition time moves only when the status flips.

pub use fateh_crds::{condition as find, is_true};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Longest message that the schema takes.
const MAX_MESSAGE: usize = 1024;

/// A condition before it has a generation and a transition time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Type of the condition.
    pub kind: &'static str,
    /// `Some(true)` is True, `None` is Unknown.
    pub holds: Option<bool>,
    /// One word for programs.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

impl Fact {
    /// A condition that holds.
    pub fn holds(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, holds: Some(true), reason, message: message.into() }
    }
    /// A condition that does not hold.
    pub fn fails(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, holds: Some(false), reason, message: message.into() }
    }
    /// A condition of which it is not known whether it holds.
    pub fn unknown(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, holds: None, reason, message: message.into() }
    }

    const fn status(&self) -> &'static str {
        match self.holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        }
    }
}

/// The conditions that `facts` make of the `previous` ones, in the order of `facts`.
#[must_use]
pub fn merge(previous: &[Condition], facts: Vec<Fact>, generation: Option<i64>, now: Timestamp) -> Vec<Condition> {
    facts
        .into_iter()
        .map(|fact| {
            let status = fact.status();
            let unchanged = find(previous, fact.kind).filter(|before| before.status == status);
            Condition {
                type_: fact.kind.to_owned(),
                status: status.to_owned(),
                reason: fact.reason.to_owned(),
                message: truncate(fact.message),
                observed_generation: generation,
                last_transition_time: unchanged
                    .map_or(Time(whole_seconds(now)), |before| before.last_transition_time.clone()),
            }
        })
        .collect()
}

/// Kubernetes keeps times to the second; an equal status must compare equal.
fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

fn truncate(mut message: String) -> String {
    if message.chars().count() > MAX_MESSAGE {
        message = message.chars().take(MAX_MESSAGE - 1).collect();
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_transition_time_moves_only_when_the_status_flips() {
        let first = merge(&[], vec![Fact::unknown("Ready", "Provisioning", "making it")], Some(1), at(10));
        let same = merge(&first, vec![Fact::unknown("Ready", "Waiting", "still")], Some(2), at(20));
        assert_eq!(same[0].last_transition_time.0, at(10));
        assert_eq!((same[0].reason.as_str(), same[0].observed_generation), ("Waiting", Some(2)));
        let flipped = merge(&same, vec![Fact::holds("Ready", "Serving", "done")], Some(2), at(30));
        assert_eq!(flipped[0].last_transition_time.0, at(30));
    }

    #[test]
    fn a_long_message_is_cut_within_the_limit_of_the_schema() {
        let merged = merge(&[], vec![Fact::fails("Ready", "Failed", "ب".repeat(5000))], None, at(0));
        assert_eq!(merged[0].message.chars().count(), MAX_MESSAGE);
    }
}
