//! Whether a node reports: compared in the cache, so that a heartbeat starts no reconcile.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use fateh_crds::{NodeReport, NodeReportStatus, NodeState, node_of};
use futures::{Stream, stream};
use jiff::Timestamp;

use crate::{cache::Keyed, context::Context};

/// Intervals without a report after which a node counts as silent.
const MISSED: u32 = 3;

/// What a node reported, without what makes an object of it: there are thousands.
#[derive(Clone, Debug)]
pub struct Report {
    namespace: Box<str>,
    /// What the node said last; none before it said anything.
    pub status: Option<NodeReportStatus>,
}

impl Report {
    /// Name of the node that reports.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        node_of(&self.namespace)
    }
}

impl From<NodeReport> for Report {
    fn from(report: NodeReport) -> Self {
        Self { namespace: report.metadata.namespace.unwrap_or_default().into(), status: report.status }
    }
}

impl Keyed for Report {
    fn key(&self) -> &str {
        &self.namespace
    }
}

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

/// What is known of a node whose last report is `report`.
pub fn judged(context: &Context, report: Option<&Report>) -> Reporting {
    let reported_at = report.and_then(|report| report.status.as_ref()).map(|status| status.reported_at.0);
    let interval = context.settings.runtime.report_interval;
    let watched = context.reports_since.get().map_or(Duration::ZERO, Instant::elapsed);
    judge(reported_at, context.clock.now(), watched, interval)
}

/// Whether a node is to be looked at, since `now` is not what its condition says, which may say nothing.
///
/// Told by what is, not by what changed: whoever took over from another leader has seen no change.
fn differs(condition: Option<bool>, now: Reporting) -> bool {
    match now {
        Reporting::Current => condition != Some(true),
        Reporting::Silent => condition != Some(false),
        Reporting::Unknown | Reporting::TooEarly => false,
    }
}

/// The nodes that fell silent or spoke again, looked for at short intervals.
pub fn changes(context: Arc<Context>) -> impl Stream<Item = String> {
    let interval = context.settings.runtime.report_interval;
    let tick = tokio::time::interval(interval.min(Duration::from_secs(5)));
    let state = (context, tick, HashMap::<String, (Reporting, Instant)>::new());
    let batches = stream::unfold(state, move |(context, mut tick, mut begun)| async move {
        tick.tick().await;
        let mut changed = Vec::new();
        let mut still = HashMap::new();
        for report in context.reports.all() {
            let Some(slug) = report.node() else { continue };
            let Some(told) = context.nodes.get(slug).filter(|node| node.state == NodeState::Active) else {
                continue;
            };
            let condition = told.reporting.and_then(|reporting| reporting.reports);
            let now = judged(&context, Some(&report));
            if !differs(condition, now) {
                continue;
            }
            // Once, and again only after a while: a pass that cannot write has its own back-off.
            let before = begun.remove(slug).filter(|(what, when)| *what == now && when.elapsed() < interval);
            if before.is_none() {
                changed.push(slug.to_owned());
            }
            still.insert(slug.to_owned(), before.unwrap_or_else(|| (now, Instant::now())));
        }
        Some((changed, (context, tick, still)))
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

    #[test]
    fn a_condition_that_says_otherwise_is_put_right_whoever_wrote_it() {
        for (condition, now, expected) in [
            (Some(true), Reporting::Current, false),
            (Some(false), Reporting::Current, true),
            (None, Reporting::Current, true),
            (Some(true), Reporting::Silent, true),
            (None, Reporting::Silent, true),
            (Some(false), Reporting::Silent, false),
            (Some(true), Reporting::TooEarly, false),
            (Some(false), Reporting::Unknown, false),
        ] {
            assert_eq!(differs(condition, now), expected, "{condition:?} while {now:?}");
        }
    }
}
