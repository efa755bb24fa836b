//! `/api/global/revenue`: what nodes have received and given back, by node, country or period; how it is divided among
//! their partners; and whether it is what the nodes say.

use std::collections::{BTreeMap, HashMap};

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use fateh_common::{
    money::decimal,
    service::{
        error::{ApiError, Failed},
        extract::{Parameters, Speaks},
        validation::Problems,
    },
    sql::to_sql,
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::Answer;
use crate::{
    fleet,
    permissions::ReadLedger,
    reconciliation,
    scope::{Scope, Sees},
    shares::{self, Share},
    state::AppState,
    storage::{
        ledger::{self, By, DayNet, Sums},
        partners,
    },
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(report))
        .routes(routes!(export))
        .routes(routes!(shares))
        .routes(routes!(reconcile))
}

/// Everything is text here, so that each field is refused by name.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ReportQuery {
    /// node, country, month or day; node unless told.
    by: Option<String>,
    /// The first day (UTC), for example 2026-11-01; the beginning unless told.
    from: Option<String>,
    /// The day after the last (UTC); none: up to now.
    to: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RevenueReport)]
struct Report {
    sums: Vec<Line>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RevenueReportLine)]
struct Line {
    /// The node, country, month or day; empty for nodes without a country.
    key: String,
    currency: String,
    revenues: i64,
    gross: String,
    platform_fee: String,
    net_amount: String,
    refunds: i64,
    refunded: String,
}

impl From<(String, Sums)> for Line {
    fn from((key, sums): (String, Sums)) -> Self {
        Self {
            key,
            gross: decimal(sums.gross, &sums.currency),
            platform_fee: decimal(sums.fee, &sums.currency),
            net_amount: decimal(sums.net, &sums.currency),
            refunded: decimal(sums.refunded, &sums.currency),
            currency: sums.currency,
            revenues: sums.revenues,
            refunds: sums.refunds,
        }
    }
}

/// Add up what nodes have received and given back.
#[utoipa::path(get, path = "/api/global/revenue", tag = "revenue", params(ReportQuery),
    responses((status = 200, body = Answer<Report>), (status = 422)), security(("token" = [])))]
async fn report(
    State(state): State<AppState>,
    speaks: Speaks,
    Sees { scope, .. }: Sees<ReadLedger>,
    Parameters(query): Parameters<ReportQuery>,
) -> Result<Response, Failed> {
    speaks.answer(StatusCode::OK, "revenue-summed", add_up(&state, &scope, &query).await)
}

/// The same as CSV (RFC 4180).
#[utoipa::path(get, path = "/api/global/revenue/export", tag = "revenue", params(ReportQuery),
    responses((status = 200, body = String, content_type = "text/csv"), (status = 422)), security(("token" = [])))]
async fn export(
    State(state): State<AppState>,
    Speaks(language): Speaks,
    Sees { scope, .. }: Sees<ReadLedger>,
    Parameters(query): Parameters<ReportQuery>,
) -> Result<Response, Failed> {
    let report = add_up(&state, &scope, &query).await.map_err(|error| Failed(error, language))?;
    let name = "attachment; filename=\"revenue.csv\"";
    let body: String = std::iter::once(CSV_HEADER.to_owned()).chain(report.sums.iter().map(csv)).collect();
    Ok(([(header::CONTENT_TYPE, "text/csv; charset=utf-8"), (header::CONTENT_DISPOSITION, name)], body).into_response())
}

const CSV_HEADER: &str = "key,currency,revenues,gross,platform_fee,net_amount,refunds,refunded\r\n";

/// One row. None of its fields holds a comma, a quote or what a spreadsheet would take for a formula.
fn csv(line: &Line) -> String {
    let Line { key, currency, revenues, gross, platform_fee, net_amount, refunds, refunded } = line;
    format!("{key},{currency},{revenues},{gross},{platform_fee},{net_amount},{refunds},{refunded}\r\n")
}

async fn add_up(state: &AppState, scope: &Scope, query: &ReportQuery) -> Result<Report, ApiError> {
    let by = match query.by.as_deref() {
        None | Some("node") => Some(By::Node),
        Some("country") => Some(By::Country),
        Some("month") => Some(By::Month),
        Some("day") => Some(By::Day),
        Some(_) => None,
    };
    let mut problems = Problems::default();
    problems.unless(by.is_some(), "by", "field-report-by");
    let period = period(state, query.from.as_deref(), query.to.as_deref(), problems)?;
    let mut connection = state.connection().await?;
    let sums = ledger::report(&mut connection, scope.in_sql(), by.unwrap_or(By::Node), period).await?;
    Ok(Report { sums: sums.into_iter().map(Line::from).collect() })
}

/// The time from the first day to the day after the last.
fn period(
    state: &AppState,
    from: Option<&str>,
    to: Option<&str>,
    mut problems: Problems,
) -> Result<(OffsetDateTime, OffsetDateTime), ApiError> {
    let (from, to) = (from.map(day), to.map(day));
    problems.unless(from != Some(None), "from", "field-day");
    problems.unless(to != Some(None), "to", "field-day");
    problems.refuse()?;
    let from = from.flatten().unwrap_or(Timestamp::UNIX_EPOCH);
    // A node's clock may be ahead: what it tells of tomorrow counts too.
    let to = to.flatten().unwrap_or_else(|| state.clock.now().saturating_add(ALL).unwrap_or(Timestamp::MAX));
    Ok((to_sql(from), to_sql(to)))
}

/// Everything is text here, so that each field is refused by name.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PeriodQuery {
    /// The first day (UTC), for example 2026-11-01; the beginning unless told.
    from: Option<String>,
    /// The day after the last (UTC); none: up to now.
    to: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ShareReport)]
struct ShareReport {
    nodes: Vec<NodeShares>,
}

/// How one node's net is divided: the parts and what no share takes make the net.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NodeShares {
    node: String,
    currency: String,
    /// Less what of it was given back.
    net_amount: String,
    parts: Vec<Part>,
    /// What no share takes.
    unassigned: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PartnerPart)]
struct Part {
    partner_id: Uuid,
    amount: String,
}

/// Divide what is left to nodes among their partners, by the shares that held on each day (UTC).
#[utoipa::path(get, path = "/api/global/revenue/shares", tag = "revenue", params(PeriodQuery),
    responses((status = 200, body = Answer<ShareReport>), (status = 422)), security(("token" = [])))]
async fn shares(
    State(state): State<AppState>,
    speaks: Speaks,
    Sees { scope, .. }: Sees<ReadLedger>,
    Parameters(query): Parameters<PeriodQuery>,
) -> Result<Response, Failed> {
    let divided = async {
        let period = period(&state, query.from.as_deref(), query.to.as_deref(), Problems::default())?;
        let mut connection = state.connection().await?;
        let shares = partners::shares(&mut connection, scope.in_sql()).await?;
        let days = ledger::net_by_day(&mut connection, scope.in_sql(), period).await?;
        Ok(ShareReport { nodes: divide(&days, &shares) })
    };
    speaks.answer(StatusCode::OK, "revenue-divided", divided.await)
}

/// Each day's net by the shares of that day. `days` in the order of nodes and currencies.
fn divide(days: &[DayNet], shares: &[(Uuid, Share)]) -> Vec<NodeShares> {
    let mut of_node: HashMap<Uuid, Vec<Share>> = HashMap::new();
    for (node, share) in shares {
        of_node.entry(*node).or_default().push(*share);
    }
    let same = |one: &DayNet, other: &DayNet| (one.node_uid, &one.currency) == (other.node_uid, &other.currency);
    days.chunk_by(same)
        .map(|days| divide_one(days, of_node.get(&days[0].node_uid).map_or(&[], Vec::as_slice)))
        .collect()
}

fn divide_one(days: &[DayNet], shares: &[Share]) -> NodeShares {
    let (mut parts, mut unassigned, mut net): (BTreeMap<Uuid, i128>, _, _) = (BTreeMap::new(), 0, 0);
    for day in days {
        let held = shares::on(shares, day.day);
        let points: Vec<_> = held.iter().map(|(_, points)| *points).collect();
        let split = shares::split(day.net, &points);
        net += day.net;
        unassigned += split.last().copied().unwrap_or(0);
        for ((partner, _), part) in held.iter().zip(split) {
            *parts.entry(*partner).or_default() += part;
        }
    }
    let currency = &days[0].currency;
    let text = |minor: i128| decimal(minor, currency);
    NodeShares {
        node: days[0].node.clone(),
        net_amount: text(net),
        parts: parts.into_iter().map(|(partner_id, part)| Part { partner_id, amount: text(part) }).collect(),
        unassigned: text(unassigned),
        currency: currency.clone(),
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Reconciliation {
    /// Whether every difference is zero.
    agrees: bool,
    nodes: Vec<Compared>,
}

/// What a node says it recorded, beside what the centre received: `difference` = recorded - pending - received. A batch
/// that is under way at the moment of the node's report shows as a difference until its next report.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Compared {
    node: String,
    currency: String,
    /// When the node reported.
    reported_at: Option<Timestamp>,
    revenue: Balance,
    refunds: Balance,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Balance {
    recorded: String,
    pending: String,
    received: String,
    difference: String,
}

impl From<Vec<reconciliation::Compared>> for Reconciliation {
    fn from(compared: Vec<reconciliation::Compared>) -> Self {
        let agrees = compared.iter().all(|one| [one.revenue, one.refunds].iter().all(|side| side.difference() == 0));
        let nodes = compared.into_iter().map(|one| {
            let text = |side: reconciliation::Balance| Balance {
                recorded: decimal(side.recorded, &one.currency),
                pending: decimal(side.pending, &one.currency),
                received: decimal(side.received, &one.currency),
                difference: decimal(side.difference(), &one.currency),
            };
            let (revenue, refunds) = (text(one.revenue), text(one.refunds));
            Compared { node: one.node, currency: one.currency, reported_at: one.reported_at, revenue, refunds }
        });
        Self { agrees, nodes: nodes.collect() }
    }
}

/// Compare what nodes report with what the centre received.
#[utoipa::path(get, path = "/api/global/revenue/reconciliation", tag = "revenue",
    responses((status = 200, body = Answer<Reconciliation>)), security(("token" = [])))]
async fn reconcile(
    State(state): State<AppState>,
    speaks: Speaks,
    Sees { scope, .. }: Sees<ReadLedger>,
) -> Result<Response, Failed> {
    let compared = async {
        // The reports first: what they say was sent is in a ledger that is read later.
        let nodes = state.fleet.nodes();
        let totals = ledger::totals(&mut *state.connection().await?, scope.in_sql()).await?;
        let seen = nodes.iter().map(|node| &**node).filter(|node| scope.sees(fleet::uid(node)));
        Ok(Reconciliation::from(reconciliation::compare(seen, &totals)))
    };
    speaks.answer(StatusCode::OK, "revenue-compared", compared.await)
}

const ALL: jiff::SignedDuration = jiff::SignedDuration::from_hours(72);

/// A day from 1970 to 9999, such as 2026-11-25.
pub fn parse_day(text: &str) -> Option<Date> {
    text.parse().ok().filter(|day: &Date| text.len() == 10 && day.year() >= 1970)
}

/// The beginning of a day.
fn day(text: &str) -> Option<Timestamp> {
    parse_day(text)?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_day_is_divided_by_its_own_shares_and_the_parts_make_the_net() {
        let [node, owner, manager] = [1, 2, 3].map(Uuid::from_u128);
        let on = |day: &str, net| DayNet {
            node_uid: node,
            node: "riyadh".into(),
            currency: "SAR".into(),
            day: day.parse().unwrap(),
            net,
        };
        let share =
            |partner, from: &str, basis_points| (node, Share { partner, from: from.parse().unwrap(), basis_points });
        let shares = [share(owner, "2026-01-01", 5000), share(manager, "2026-01-02", 3333)];
        let divided = divide(&[on("2025-12-31", 7), on("2026-01-01", 101), on("2026-01-02", -100)], &shares);
        let [all] = &divided[..] else { panic!("one node, one currency") };
        let parts: Vec<_> = all.parts.iter().map(|part| (part.partner_id, &*part.amount)).collect();
        // 50.5 and -50 of 101 and -100; the manager a third of the loss.
        assert_eq!(parts, [(owner, "0.01"), (manager, "-0.33")]);
        assert_eq!((&*all.net_amount, &*all.unassigned), ("0.08", "0.40"));
    }

    #[test]
    fn a_day_is_a_date_and_nothing_else() {
        assert_eq!(day("2026-11-25"), Some("2026-11-25T00:00:00Z".parse().unwrap()));
        for bad in ["", "2026", "2026-11-31", "1969-12-31", "2026-11-25T00:00:00", "20261125", "-20261-1-1"] {
            assert_eq!(day(bad), None, "{bad}");
        }
    }
}
