//! The items of a NodeContent, counted.

use crate::{ContentAcknowledgement, ContentItem, ContentState, ContentStatus, NodeReportStatus};

/// Items of a node's content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Items {
    /// Those that it is told to hold.
    pub desired: i32,
    /// Those of them that it holds.
    pub applied: i32,
    /// Those of them that it did not take.
    pub failed: i32,
}

impl Items {
    /// Of what a node is told, and what it `said` to that. An acknowledgement counts for what it names alone.
    #[must_use]
    pub fn of(told: &[ContentItem], said: &[ContentAcknowledgement]) -> Self {
        let mut items = Self::default();
        for item in told.iter().filter(|item| !item.dry_run && item.removal.is_none()) {
            items.desired += 1;
            match said.iter().find(|said| said.is_of(item)) {
                Some(said) if said.holds(&item.digest) => items.applied += 1,
                Some(said) if said.state == ContentState::Failed => items.failed += 1,
                _ => {}
            }
        }
        items
    }

    /// What status says of them, beside what the node reports.
    #[must_use]
    pub fn status(self, report: Option<&NodeReportStatus>) -> ContentStatus {
        let Self { desired, applied, failed } = self;
        let customised =
            report.map_or(0, |report| i32::try_from(report.statistics.content.customised).unwrap_or(i32::MAX));
        ContentStatus { desired, applied, failed, customised, summary: format!("{applied}/{desired}") }
    }

    /// Whether the node has answered to all of them.
    #[must_use]
    pub const fn are_settled(self) -> bool {
        self.applied + self.failed == self.desired
    }
}
