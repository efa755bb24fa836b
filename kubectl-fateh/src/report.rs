//! `kubectl fateh report`: revenue, as the nodes report it.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
};

use fateh_common::money::{decimal, format_minor_units};
use fateh_crds::{LocalNode, RevenueStatistics};
use kube::ResourceExt;
use serde::Serialize;

use crate::{
    cluster::{Cluster, Failure},
    output::Table,
};

/// Revenue by node, by country, and in all.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    nodes: Vec<Line>,
    countries: Vec<Line>,
    totals: Vec<Line>,
    /// Nodes that have not reported any figures.
    without_figures: Vec<String>,
}

/// Amounts are decimal numbers in the currency.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    /// Node or country; empty of totals.
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    currency: String,
    gross: String,
    refunds: String,
    fee: String,
    net: String,
    /// Recorded at the node, and not yet confirmed by the hub.
    pending: String,
    #[serde(skip)]
    sums: Sums,
}

/// Minor units: of a whole fleet they may pass 64 bits.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    gross: i128,
    refunds: i128,
    fee: i128,
    net: i128,
    pending: i128,
}

impl Sums {
    fn add(&mut self, figures: &RevenueStatistics) {
        self.gross += i128::from(figures.gross);
        self.refunds += i128::from(figures.refunds);
        self.fee += i128::from(figures.fee);
        self.net += i128::from(figures.net);
        self.pending += i128::from(figures.pending_gross);
    }
}

/// Reads what all nodes, or those that a selector takes, last reported.
pub async fn of(cluster: &Cluster, selector: Option<&str>) -> Result<Report, Failure> {
    Ok(Report::of(&cluster.all(selector).await?))
}

impl Report {
    fn of(nodes: &[LocalNode]) -> Self {
        let mut by_node = BTreeMap::<_, Sums>::new();
        let mut by_country = BTreeMap::<_, Sums>::new();
        let mut totals = BTreeMap::<_, Sums>::new();
        let mut without_figures = Vec::new();
        for node in nodes {
            let Some(statistics) = node.status.as_ref().and_then(|status| status.statistics.as_ref()) else {
                without_figures.push(node.name_any());
                continue;
            };
            let country = node.spec.country.clone().unwrap_or_else(|| "(none)".to_owned());
            for figures in &statistics.figures.revenue {
                let currency = figures.currency.clone();
                by_node.entry((node.name_any(), currency.clone())).or_default().add(figures);
                by_country.entry((country.clone(), currency.clone())).or_default().add(figures);
                totals.entry((String::new(), currency)).or_default().add(figures);
            }
        }
        let lines = |sums: BTreeMap<(String, String), Sums>| {
            sums.into_iter().map(|((name, currency), sums)| Line::of(name, currency, sums)).collect()
        };
        Self { nodes: lines(by_node), countries: lines(by_country), totals: lines(totals), without_figures }
    }
}

impl Line {
    fn of(name: String, currency: String, sums: Sums) -> Self {
        let amount = |minor| decimal(minor, &currency);
        Self {
            gross: amount(sums.gross),
            refunds: amount(sums.refunds),
            fee: amount(sums.fee),
            net: amount(sums.net),
            pending: amount(sums.pending),
            name,
            currency,
            sums,
        }
    }

    fn cells(&self) -> [String; 5] {
        let Sums { gross, refunds, fee, net, pending } = self.sums;
        [gross, refunds, fee, net, pending].map(|minor| format_minor_units(minor, &self.currency))
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.totals.is_empty() {
            writeln!(f, "no revenue")?;
        }
        let parts = [("NODE", &self.nodes), ("COUNTRY", &self.countries), ("TOTAL", &self.totals)];
        for (index, (heading, lines)) in parts.iter().filter(|(_, lines)| !lines.is_empty()).enumerate() {
            let mut table = Table::new(&[heading, "GROSS", "REFUNDS", "FEE", "NET", "PENDING"]);
            for line in *lines {
                let [gross, refunds, fee, net, pending] = line.cells();
                let name = if line.name.is_empty() { &line.currency } else { &line.name };
                table.row(&[name, &gross, &refunds, &fee, &net, &pending]);
            }
            write!(f, "{}{table}", if index > 0 { "\n" } else { "" })?;
        }
        match &self.without_figures[..] {
            [] => Ok(()),
            names => writeln!(f, "\nno figures yet of {}", names.join(", ")),
        }
    }
}
