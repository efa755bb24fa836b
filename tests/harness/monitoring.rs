//! What the chart's rules look at.

use std::collections::BTreeSet;

/// The metrics with names of this beginning that rules of alerts name, and `served` has not: text of `/metrics`.
#[must_use]
pub fn unserved_metrics(beginning: &str, served: &str) -> BTreeSet<String> {
    let rules = include_str!("../../charts/fateh/monitoring/rules.yaml");
    let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named: BTreeSet<_> = words.filter(|word| word.starts_with(beginning)).map(str::to_owned).collect();
    assert!(!named.is_empty(), "no rule names a metric {beginning}…");
    let is_served = |name: &str| {
        served.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
    };
    named.into_iter().filter(|name| !is_served(name)).collect()
}
