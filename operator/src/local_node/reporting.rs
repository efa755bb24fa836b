//! Whether a node reports: compared in the cache, so that a heartbeat starts no reconcile.

use std::{collections::HashMap, time::Duration};

use fateh_crds::{LocalNode, NODE_LABEL, NodeReport};
use futures::{Stream, stream};
use jiff::Timestamp;
use kube::{
    ResourceExt,
    runtime::reflector::{ObjectRef, Store},
};

use crate::context::Context;

/// Intervals without a report after which a node counts as silent.
const MISSED: u32 = 3;

/// What is known of a node's reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reporting {
    /// The last report is recent.
    Current,
    /// Three reports in a row are missing.
    Silent,
    /// None has ever come.
    Unknown,
    /// Nothing can be said yet: the watch is too young.
    TooEarly,
}

/// Judges a node by the time of its last report; `watched` is how long reports have been watched here.
#[must_use]
pub fn judge(reported_at: Option<Timestamp>, now: Timestamp, watched: Duration, interval: Duration) -> Reporting {
    let patience = interval * MISSED;
    let young = watched < patience;
    let Some(reported_at) = reported_at else {
        return if young { Reporting::TooEarly } else { Reporting::Unknown };
    };
    let age = Duration::try_from(now.duration_since(reported_at)).unwrap_or(Duration::ZERO);
    if age <= patience {
        Reporting::Current
    } else if young {
        Reporting::TooEarly
    } else {
        Reporting::Silent
    }
}

/// The report of a node, from the cache.
pub fn report_of(reports: &Store<NodeReport>, namespace: &str) -> Option<std::sync::Arc<NodeReport>> {
    reports.get(&ObjectRef::new(fateh_crds::CHILD_NAME).within(namespace))
}

/// What is known of a node whose last report is `report`.
pub fn judged(context: &Context, report: Option<&NodeReport>) -> Reporting {
    let reported_at = report.and_then(|report| report.status.as_ref()).map(|status| status.reported_at.0);
    let interval = context.settings.runtime.report_interval;
    judge(reported_at, context.clock.now(), context.reports_since.elapsed(), interval)
}

/// The nodes that fell silent or spoke again, as it happens.
pub fn changes(context: std::sync::Arc<Context>) -> impl Stream<Item = ObjectRef<LocalNode>> {
    let tick = tokio::time::interval(context.settings.runtime.report_interval.min(Duration::from_secs(5)));
    let state = (context, tick, HashMap::<String, Reporting>::new());
    let batches = stream::unfold(state, |(context, mut tick, mut known)| async move {
        tick.tick().await;
        let mut changed = Vec::new();
        let mut present = HashMap::with_capacity(known.len());
        for report in context.reports.state() {
            let Some(slug) = report.labels().get(NODE_LABEL) else { continue };
            let now = judged(&context, Some(&report));
            if known.get(slug).is_some_and(|before| *before != now) {
                changed.push(ObjectRef::new(slug));
            }
            present.insert(slug.clone(), now);
        }
        known = present;
        Some((changed, (context, tick, known)))
    });
    futures::StreamExt::flat_map(batches, stream::iter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_silent_after_three_missed_intervals_of_a_watch_that_old() {
        let minute = Duration::from_secs(60);
        let hour = minute * 60;
        let now = Timestamp::from_second(1_000_000).unwrap();
        let ago = |seconds: i64| Some(Timestamp::from_second(1_000_000 - seconds).unwrap());
        for (reported, watched, expected) in [
            (None, hour, Reporting::Unknown),
            (None, minute, Reporting::TooEarly),
            (ago(0), hour, Reporting::Current),
            (ago(180), hour, Reporting::Current),
            (ago(181), hour, Reporting::Silent),
            (ago(181), minute, Reporting::TooEarly),
            (ago(181), minute * 3, Reporting::Silent),
            (ago(-30), hour, Reporting::Current),
        ] {
            assert_eq!(judge(reported, now, watched, minute), expected, "{reported:?} after {watched:?}");
        }
    }
}
