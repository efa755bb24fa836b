//! When the hub's signing key is replaced. Pure: needs no client.
//!
//! The hub's pods are not the operator's to replace; they read their files again whenever those change. So each step
//! leaves a lead: the time in which the kubelet brings the new files to every pod.

use std::time::Duration;

use jiff::Timestamp;

use crate::secrets::{Keys, LAST_TOKENS};

/// The next step of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing is due.
    Rest,
    /// A next key is published beside the one that signs.
    Publish,
    /// The next key signs; the one before is accepted until this time.
    Use(Timestamp),
    /// The one before is removed.
    Remove,
}

/// Plans the next step. `since`: when the Secret's keys last changed their parts; `validity`: how long a key signs;
/// `lead`: how long files take to reach every pod.
#[must_use]
pub fn plan(keys: Keys, since: Timestamp, now: Timestamp, validity: Duration, lead: Duration) -> Step {
    let passed = |wait: Duration| since.saturating_add(wait).is_ok_and(|time| time <= now);
    match keys {
        Keys::One if passed(validity) => Step::Publish,
        Keys::Next if passed(lead) => {
            Step::Use(now.saturating_add(lead.saturating_add(LAST_TOKENS)).unwrap_or(Timestamp::MAX))
        }
        Keys::Previous { until } if until.is_none_or(|until| until <= now) => Step::Remove,
        Keys::One | Keys::Next | Keys::Previous { .. } => Step::Rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_published_a_lead_before_it_signs_and_accepted_after() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (validity, lead) = (Duration::from_secs(1000), Duration::from_secs(100));
        let plan = |keys, now| plan(keys, at(0), at(now), validity, lead);
        let until = |until| Keys::Previous { until: Some(at(until)) };
        for (keys, now, expected) in [
            (Keys::One, 999, Step::Rest),
            (Keys::One, 1000, Step::Publish),
            (Keys::Next, 99, Step::Rest),
            (Keys::Next, 100, Step::Use(at(100 + 100 + 660))),
            (until(860), 859, Step::Rest),
            (until(860), 860, Step::Remove),
            (Keys::Previous { until: None }, 1, Step::Remove),
        ] {
            assert_eq!(plan(keys, now), expected, "{keys:?} at {now}");
        }
    }
}
