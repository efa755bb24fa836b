//! `/api/local/revenue`: money received and given back.

use axum::{
    body::Body as Stream,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use fateh_common::{
    money::{decimal, parse_minor_units},
    service::{
        error::{ApiError, Failed, NOT_FOUND},
        extract::{Body, Id, Parameters, Speaks},
        paging::Limit,
        validation::{Problems, is_profile},
    },
};
use futures::stream;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::Answer;
use crate::{
    permissions::{May, ReadRevenue, RecordRevenue},
    signed_in::SignedIn,
    state::AppState,
    storage::revenues::{self, Filter, Kind, NewRevenue, Once, Refunded, Request},
};

const NODE_HEADER: &str = "x-node-id";
const KEY_HEADER: &str = "idempotency-key";
const KEY_REUSED: ApiError = ApiError::Refused(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused");
const TOO_MUCH: ApiError = ApiError::Refused(StatusCode::CONFLICT, "refund-too-large");
const STILL_RUNNING: ApiError =
    ApiError::Later(StatusCode::CONFLICT, "still-running", std::time::Duration::from_secs(1));
/// SQLSTATE of a lock that could not be had in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// Rows bring their metadata along, which may be large.
const EXPORT_PAGE: i64 = 200;
/// Clocks of those who send may be ahead.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, record))
        .routes(routes!(summary))
        .routes(routes!(export))
        .routes(routes!(read))
        .routes(routes!(refund))
}

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Recording {
    /// subscription, course, consulting or workshop
    #[serde(rename = "type")]
    #[schema(example = "course")]
    kind: String,
    /// ASCII digits, with a point and no more decimals than the currency has.
    #[schema(example = "1250.00")]
    amount: String,
    /// The node's own.
    #[schema(example = "USD")]
    currency: String,
    /// When it was paid, RFC 3339; now unless told. Not in the future, not before 2000.
    transaction_date: Option<String>,
    /// The user who paid.
    user_id: Option<String>,
    /// At most 16 KiB.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
}

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Refunding {
    /// ASCII digits, with a point and no more decimals than the currency has.
    #[schema(example = "250.00")]
    amount: String,
}

/// A revenue as it was recorded.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Revenue {
    id: Uuid,
    #[serde(rename = "type")]
    kind: Kind,
    amount: String,
    currency: String,
    /// The platform's share.
    platform_fee: String,
    /// What is left to the node.
    net_amount: String,
    /// What was given back since; 0 in the answer to its recording.
    refunded: String,
    transaction_date: Timestamp,
    user_id: Option<Uuid>,
    #[schema(value_type = Object)]
    metadata: Value,
    /// Whether the centre has it.
    synced_to_global: bool,
    created_at: Timestamp,
}

impl From<revenues::Revenue> for Revenue {
    fn from(row: revenues::Revenue) -> Self {
        let money = |minor| decimal(minor, &row.currency);
        Self {
            id: row.id,
            kind: row.kind,
            amount: money(row.amount),
            platform_fee: money(row.fee),
            net_amount: money(row.net),
            refunded: money(row.refunded),
            transaction_date: row.date,
            user_id: row.user,
            metadata: row.metadata,
            synced_to_global: row.synced,
            created_at: row.created_at,
            currency: row.currency,
        }
    }
}

/// A refund as it was recorded.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Refund {
    id: Uuid,
    revenue_id: Uuid,
    amount: String,
    currency: String,
    /// What the platform gives back of it.
    platform_fee: String,
    /// What the node gives back of it.
    net_amount: String,
    created_at: Timestamp,
}

impl From<revenues::Refund> for Refund {
    fn from(row: revenues::Refund) -> Self {
        let money = |minor| decimal(minor, &row.currency);
        Self {
            id: row.id,
            revenue_id: row.revenue,
            amount: money(row.amount),
            platform_fee: money(row.fee),
            net_amount: money(row.net),
            created_at: row.created_at,
            currency: row.currency,
        }
    }
}

/// The headers that every request to record money bears; what is wrong with them is noted.
fn money_headers<'a>(state: &AppState, headers: &'a HeaderMap, problems: &mut Problems) -> &'a str {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    problems.unless(text(NODE_HEADER) == Some(&state.node.slug), NODE_HEADER, "field-node-id");
    let key =
        text(KEY_HEADER).filter(|key| (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()));
    problems.unless(key.is_some(), KEY_HEADER, "field-idempotency-key");
    key.unwrap_or_default()
}

fn request<'a>(user: &SignedIn, key: &'a str, what: &impl Serialize) -> Request<'a> {
    let text = serde_json::to_vec(what).unwrap_or_default();
    Request { caller: user.id.to_string(), key, hash: Sha256::digest(text).into() }
}

/// Record money received. The fee is the platform's share at the rate in force when it was paid.
#[utoipa::path(post, path = "/api/local/revenue", tag = "revenue", request_body = Recording,
    params(("x-node-id" = String, Header, description = "This node's name"),
        ("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters; the same key has one effect")),
    responses((status = 201, body = Answer<Revenue>), (status = 409)), security(("token" = [])))]
async fn record(
    State(state): State<AppState>,
    speaks: Speaks,
    May { user, .. }: May<RecordRevenue>,
    headers: HeaderMap,
    Body(recording): Body<Recording>,
) -> Result<Response, Failed> {
    let recorded = take(&state, &user, &headers, recording).await;
    speaks.answer(StatusCode::CREATED, "revenue-recorded", recorded)
}

async fn take(
    state: &AppState,
    user: &SignedIn,
    headers: &HeaderMap,
    recording: Recording,
) -> Result<Revenue, ApiError> {
    let now = state.clock.now();
    let mut problems = Problems::default();
    let key = money_headers(state, headers, &mut problems);
    let request = request(user, key, &json!(["revenue", recording]));
    let kind = parse_kind(&recording.kind);
    let amount = parse_minor_units(&recording.amount, &state.node.currency);
    let date = recording.transaction_date.as_deref().map_or(Some(now), |text| parse_past(text, now));
    let payer = recording.user_id.as_deref().map(Uuid::parse_str).transpose();
    let metadata = recording.metadata.unwrap_or_else(|| json!({}));
    problems.unless(kind.is_some(), "type", "field-revenue-type");
    problems.unless(recording.currency == state.node.currency, "currency", "field-currency");
    problems.unless(amount.is_some(), "amount", "field-amount");
    problems.unless(date.is_some(), "transactionDate", "field-transaction-date");
    problems.unless(payer.is_ok(), "userId", "field-user-id");
    problems.unless(is_profile(&metadata), "metadata", "field-profile");
    problems.refuse()?;
    let (Some(kind), Some(amount), Some(date), Ok(payer)) = (kind, amount, date, payer) else {
        return Err(ApiError::Invalid(Vec::new()));
    };
    let new = NewRevenue { kind, amount, currency: &state.node.currency, date, user: payer, metadata: &metadata };
    let mut connection = state.connection().await?;
    match revenues::record(&mut connection, &request, &new, now).await.map_err(locked)? {
        Once::Done(revenue) => {
            state.told.notify_one();
            Ok(revenue.into())
        }
        Once::KeyReused => Err(KEY_REUSED),
    }
}

/// Give money back, in part or whole.
#[utoipa::path(post, path = "/api/local/revenue/{id}/refunds", tag = "revenue", request_body = Refunding,
    params(("id" = Uuid, Path), ("x-node-id" = String, Header, description = "This node's name"),
        ("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters; the same key has one effect")),
    responses((status = 201, body = Answer<Refund>), (status = 404), (status = 409)), security(("token" = [])))]
async fn refund(
    State(state): State<AppState>,
    speaks: Speaks,
    May { user, .. }: May<RecordRevenue>,
    Id(id): Id,
    headers: HeaderMap,
    Body(refunding): Body<Refunding>,
) -> Result<Response, Failed> {
    let given = give_back(&state, &user, id, &headers, refunding).await;
    speaks.answer(StatusCode::CREATED, "refund-recorded", given)
}

async fn give_back(
    state: &AppState,
    user: &SignedIn,
    id: Uuid,
    headers: &HeaderMap,
    refunding: Refunding,
) -> Result<Refund, ApiError> {
    let mut problems = Problems::default();
    let key = money_headers(state, headers, &mut problems);
    let request = request(user, key, &json!(["refund", id, refunding]));
    let amount = parse_minor_units(&refunding.amount, &state.node.currency);
    problems.unless(amount.is_some(), "amount", "field-amount");
    problems.refuse()?;
    let mut connection = state.connection().await?;
    let amount = amount.unwrap_or_default();
    match revenues::refund(&mut connection, &request, id, amount, state.clock.now()).await.map_err(locked)? {
        Refunded::Done(refund) => {
            state.told.notify_one();
            Ok(refund.into())
        }
        Refunded::KeyReused => Err(KEY_REUSED),
        Refunded::Unknown => Err(NOT_FOUND),
        Refunded::TooMuch { .. } => Err(TOO_MUCH),
    }
}

/// A request with the same key that is still under way.
fn locked(error: sqlx::Error) -> ApiError {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    if code.as_deref() == Some(LOCK_NOT_AVAILABLE) { STILL_RUNNING } else { error.into() }
}

/// Everything is text here, so that each field is refused by name.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Paid at this time or later, RFC 3339.
    from: Option<String>,
    /// Paid before this time, RFC 3339.
    until: Option<String>,
    /// subscription, course, consulting or workshop
    #[serde(rename = "type")]
    #[param(rename = "type")]
    kind: Option<String>,
    /// Revenues on a page: 1 to 200, 50 unless told.
    limit: Option<String>,
    /// The nextCursor of the page before.
    cursor: Option<String>,
}

/// Everything is text here, so that each field is refused by name.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PeriodQuery {
    /// Paid at this time or later, RFC 3339.
    from: Option<String>,
    /// Paid before this time, RFC 3339.
    until: Option<String>,
    /// subscription, course, consulting or workshop
    #[serde(rename = "type")]
    #[param(rename = "type")]
    kind: Option<String>,
    /// day or month (which it is unless told); ignored by the export
    by: Option<String>,
}

fn filter(
    from: Option<&str>,
    until: Option<&str>,
    kind: Option<&str>,
    now: Timestamp,
    problems: &mut Problems,
) -> Filter {
    let from = from.map_or(Some(beginning()), |text| text.parse().ok());
    let until = until.map_or_else(|| now.checked_add(AHEAD * 2).ok(), |text| text.parse().ok());
    let kind = kind.map(parse_kind);
    problems.unless(from.is_some(), "from", "field-time");
    problems.unless(until.is_some(), "until", "field-time");
    problems.unless(kind != Some(None), "type", "field-revenue-type");
    // Nothing is before the beginning, and PostgreSQL does not count as far back as a client may.
    let since = |time: Option<Timestamp>| time.unwrap_or(now).max(beginning());
    Filter { from: since(from), until: since(until), kind: kind.flatten() }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RevenuePage)]
struct Page {
    revenue: Vec<Revenue>,
    /// Pass it as `cursor` for the next page; null on the last.
    next_cursor: Option<String>,
}

/// List what was received, oldest first.
#[utoipa::path(get, path = "/api/local/revenue", tag = "revenue", params(ListQuery),
    responses((status = 200, body = Answer<Page>)), security(("token" = [])))]
async fn list(
    State(state): State<AppState>,
    speaks: Speaks,
    _: May<ReadRevenue>,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Response, Failed> {
    speaks.answer(StatusCode::OK, "revenue-listed", page(&state, query).await)
}

async fn page(state: &AppState, query: ListQuery) -> Result<Page, ApiError> {
    let mut problems = Problems::default();
    let now = state.clock.now();
    let filter = filter(query.from.as_deref(), query.until.as_deref(), query.kind.as_deref(), now, &mut problems);
    let after = query.cursor.as_deref().map(parse_cursor);
    let limit = Limit::parse(query.limit.as_deref(), &mut problems);
    problems.unless(after != Some(None), "cursor", "field-cursor");
    problems.refuse()?;
    let mut connection = state.connection().await?;
    let rows = revenues::list(&mut connection, &filter, after.flatten(), limit.in_sql()).await?;
    let (rows, next_cursor) = limit.cut(rows, |row| cursor(row.date, row.id));
    Ok(Page { next_cursor, revenue: rows.into_iter().map(Revenue::from).collect() })
}

/// See one.
#[utoipa::path(get, path = "/api/local/revenue/{id}", tag = "revenue", params(("id" = Uuid, Path)),
    responses((status = 200, body = Answer<Revenue>), (status = 404)), security(("token" = [])))]
async fn read(
    State(state): State<AppState>,
    speaks: Speaks,
    _: May<ReadRevenue>,
    Id(id): Id,
) -> Result<Response, Failed> {
    let found =
        async { revenues::find(&mut *state.connection().await?, id).await?.map(Revenue::from).ok_or(NOT_FOUND) };
    speaks.answer(StatusCode::OK, "revenue-found", found.await)
}

/// Sums of one period and type.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Sum {
    /// First day of the period, in the node's time zone.
    #[schema(example = "2026-11-01")]
    period: String,
    #[serde(rename = "type")]
    kind: Kind,
    count: i64,
    gross: String,
    platform_fee: String,
    net_amount: String,
    /// What was given back of these since.
    refunded: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Summary {
    currency: String,
    periods: Vec<Sum>,
}

/// Sum up what was received, by day or month in the node's time zone.
#[utoipa::path(get, path = "/api/local/revenue/summary", tag = "revenue", params(PeriodQuery),
    responses((status = 200, body = Answer<Summary>)), security(("token" = [])))]
async fn summary(
    State(state): State<AppState>,
    speaks: Speaks,
    _: May<ReadRevenue>,
    Parameters(query): Parameters<PeriodQuery>,
) -> Result<Response, Failed> {
    let summed = async {
        let mut problems = Problems::default();
        let now = state.clock.now();
        let filter = filter(query.from.as_deref(), query.until.as_deref(), query.kind.as_deref(), now, &mut problems);
        let unit = query.by.as_deref().unwrap_or("month");
        problems.unless(matches!(unit, "day" | "month"), "by", "field-by");
        problems.refuse()?;
        let (currency, timezone) = (&state.node.currency, &state.node.timezone);
        let sums = revenues::sums(&mut *state.connection().await?, &filter, unit, timezone).await?;
        let money = |minor| decimal(minor, currency);
        let periods = sums.into_iter().map(|sum| Sum {
            gross: money(sum.gross),
            platform_fee: money(sum.fee),
            net_amount: money(sum.net),
            refunded: money(sum.refunded),
            period: sum.period,
            kind: sum.kind,
            count: sum.count,
        });
        Ok(Summary { currency: currency.clone(), periods: periods.collect() })
    };
    speaks.answer(StatusCode::OK, "revenue-summed", summed.await)
}

/// Everything as CSV (RFC 4180), oldest first.
#[utoipa::path(get, path = "/api/local/revenue/export", tag = "revenue", params(PeriodQuery),
    responses((status = 200, body = String, content_type = "text/csv")), security(("token" = [])))]
async fn export(
    State(state): State<AppState>,
    Speaks(language): Speaks,
    _: May<ReadRevenue>,
    Parameters(query): Parameters<PeriodQuery>,
) -> Result<Response, Failed> {
    let mut problems = Problems::default();
    let now = state.clock.now();
    let filter = filter(query.from.as_deref(), query.until.as_deref(), query.kind.as_deref(), now, &mut problems);
    problems.refuse().map_err(|error| Failed(error, language))?;
    // The first page is read before the answer begins, so that a refusal is one.
    let first = rows_of(&state, &filter, None).await.map_err(|error| Failed(error, language))?;
    let name = format!("attachment; filename=\"revenue-{}.csv\"", state.node.slug);
    let pages = stream::try_unfold((state, filter, Some(first)), |(state, filter, page)| async move {
        let Some(page) = page else { return Ok::<_, std::io::Error>(None) };
        let next = match page.last().filter(|_| i64::try_from(page.len()) == Ok(EXPORT_PAGE)) {
            // A connection for each page, and none between: the one who reads may be slow.
            Some(last) => {
                let after = Some((last.date, last.id));
                Some(rows_of(&state, &filter, after).await.map_err(std::io::Error::other)?)
            }
            None => None,
        };
        let text: String = page.into_iter().map(line).collect();
        Ok(Some((text, (state, filter, next))))
    });
    let header = stream::once(async { Ok(CSV_HEADER.to_owned()) });
    let body = Stream::from_stream(futures::StreamExt::chain(header, pages));
    Ok(([(header::CONTENT_TYPE, "text/csv; charset=utf-8"), (header::CONTENT_DISPOSITION, name.as_str())], body)
        .into_response())
}

const CSV_HEADER: &str =
    "id,type,amount,currency,platform_fee,net_amount,refunded,transaction_date,user_id,synced_to_global,created_at\r\n";

async fn rows_of(
    state: &AppState,
    filter: &Filter,
    after: Option<(Timestamp, Uuid)>,
) -> Result<Vec<revenues::Revenue>, ApiError> {
    Ok(revenues::list(&mut *state.connection().await?, filter, after, EXPORT_PAGE).await?)
}

/// One row. None of its fields holds a comma, a quote or what a spreadsheet would take for a formula.
fn line(row: revenues::Revenue) -> String {
    let row = Revenue::from(row);
    let kind = json!(row.kind);
    let user = row.user_id.map(|id| id.to_string()).unwrap_or_default();
    format!(
        "{},{},{},{},{},{},{},{},{user},{},{}\r\n",
        row.id,
        kind.as_str().unwrap_or_default(),
        row.amount,
        row.currency,
        row.platform_fee,
        row.net_amount,
        row.refunded,
        row.transaction_date,
        row.synced_to_global,
        row.created_at
    )
}

fn parse_kind(text: &str) -> Option<Kind> {
    match text {
        "subscription" => Some(Kind::Subscription),
        "course" => Some(Kind::Course),
        "consulting" => Some(Kind::Consulting),
        "workshop" => Some(Kind::Workshop),
        _ => None,
    }
}

/// Nothing was paid before.
fn beginning() -> Timestamp {
    Timestamp::from_second(946_684_800).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn parse_past(text: &str, now: Timestamp) -> Option<Timestamp> {
    let date: Timestamp = text.parse().ok()?;
    // PostgreSQL keeps microseconds.
    let date = Timestamp::from_microsecond(date.as_microsecond()).ok()?;
    let latest = now.checked_add(AHEAD).ok()?;
    (beginning() <= date && date <= latest).then_some(date)
}

/// Where a page ended.
fn cursor(date: Timestamp, id: Uuid) -> String {
    URL_SAFE_NO_PAD.encode(format!("{} {id}", date.as_microsecond()))
}

fn parse_cursor(text: &str) -> Option<(Timestamp, Uuid)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let (date, id) = text.split_once(' ')?;
    let date = Timestamp::from_microsecond(date.parse().ok()?).ok()?;
    // As far as PostgreSQL counts.
    (date.as_second() > 0).then_some((date, id.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let (date, id) = (Timestamp::from_microsecond(1_800_000_000_123_456).unwrap(), Uuid::from_u128(9));
        assert_eq!(parse_cursor(&cursor(date, id)), Some((date, id)));
        for bad in ["", "x", "AAAA", &URL_SAFE_NO_PAD.encode("1 2"), &URL_SAFE_NO_PAD.encode("-5 x")] {
            assert_eq!(parse_cursor(bad), None);
        }
    }

    #[test]
    fn money_is_paid_in_the_past() {
        let now: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
        for (text, accepted) in [
            ("2026-11-25T12:00:00Z", true),
            ("2026-11-25T15:04:00+03:00", true),
            ("2026-11-25T12:06:00Z", false),
            ("9999-12-31T23:59:59Z", false),
            ("2000-01-01T00:00:00Z", true),
            ("1999-12-31T23:59:59Z", false),
            ("-009999-01-01T00:00:00Z", false),
            ("2026-11-25", false),
            ("yesterday", false),
        ] {
            assert_eq!(parse_past(text, now).is_some(), accepted, "{text}");
        }
    }
}
