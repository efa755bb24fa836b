//! `/api/global/revenue`: what nodes have received and given back, by node, country or period.

use axum::{extract::State, http::StatusCode, response::Response};
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
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::Answer;
use crate::{
    permissions::{May, ReadLedger},
    state::AppState,
    storage::ledger::{self, By, Sums},
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(report))
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
    _: May<ReadLedger>,
    Parameters(query): Parameters<ReportQuery>,
) -> Result<Response, Failed> {
    speaks.answer(StatusCode::OK, "revenue-summed", add_up(&state, &query).await)
}

async fn add_up(state: &AppState, query: &ReportQuery) -> Result<Report, ApiError> {
    let by = match query.by.as_deref() {
        None | Some("node") => Some(By::Node),
        Some("country") => Some(By::Country),
        Some("month") => Some(By::Month),
        Some("day") => Some(By::Day),
        Some(_) => None,
    };
    let from = query.from.as_deref().map(day);
    let to = query.to.as_deref().map(day);
    let mut problems = Problems::default();
    problems.unless(by.is_some(), "by", "field-report-by");
    problems.unless(from != Some(None), "from", "field-day");
    problems.unless(to != Some(None), "to", "field-day");
    problems.refuse()?;
    let from = from.flatten().unwrap_or(Timestamp::UNIX_EPOCH);
    // A node's clock may be ahead: what it tells of tomorrow counts too.
    let to = to.flatten().unwrap_or_else(|| state.clock.now().saturating_add(ALL).unwrap_or(Timestamp::MAX));
    let sums =
        ledger::report(&mut *state.connection().await?, by.unwrap_or(By::Node), to_sql(from), to_sql(to)).await?;
    Ok(Report { sums: sums.into_iter().map(Line::from).collect() })
}

const ALL: jiff::SignedDuration = jiff::SignedDuration::from_hours(72);

/// The beginning of a day from 1970 to 9999.
fn day(text: &str) -> Option<Timestamp> {
    let day: Date = text.parse().ok().filter(|day: &Date| text.len() == 10 && day.year() >= 1970)?;
    day.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_a_date_and_nothing_else() {
        assert_eq!(day("2026-11-25"), Some("2026-11-25T00:00:00Z".parse().unwrap()));
        for bad in ["", "2026", "2026-11-31", "1969-12-31", "2026-11-25T00:00:00", "20261125", "-20261-1-1"] {
            assert_eq!(day(bad), None, "{bad}");
        }
    }
}
