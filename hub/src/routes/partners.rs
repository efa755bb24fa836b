//! `/api/global/partners`: who has a part in a node by contract, and which share of its net.

use std::net::IpAddr;

use axum::{extract::State, http::StatusCode, response::Response};
use fateh_common::{
    hub::PartnerRole,
    service::{
        client_address::ClientAddress,
        error::{ApiError, Failed, NOT_FOUND},
        extract::{Body, Id, Parameters, Speaks},
        paging::Limit,
        validation::{Problems, is_email, is_storable},
    },
};
use jiff::{civil::Date, tz::TimeZone};
use kube::ResourceExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{Answer, Nothing, revenue::parse_day, users::is_display_name};
use crate::{
    permissions::{ManagePartners, May, ReadPartners},
    scope::Sees,
    shares::{self, Share, WHOLE},
    signed_in::SignedIn,
    state::AppState,
    storage::{
        audit,
        partners::{self, Partner, Wanted},
    },
};

/// A contract is no larger, as JSON.
const MAX_CONTRACT: usize = 16 * 1024;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(read, replace, end))
}

fn today(state: &AppState) -> Date {
    state.clock.now().to_zoned(TimeZone::UTC).date()
}

/// Everything is text here, so that each field is refused by name.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Slug of a node; all that one sees unless told.
    node: Option<String>,
    /// Partners on a page: 1 to 200, 50 unless told.
    limit: Option<String>,
    /// The nextCursor of the page before.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PartnerPage)]
struct Page {
    partners: Vec<Partner>,
    /// Pass it as `cursor` for the next page; null on the last.
    next_cursor: Option<Uuid>,
}

/// List partners, oldest first.
#[utoipa::path(get, path = "/api/global/partners", tag = "partners", params(ListQuery),
    responses((status = 200, body = Answer<Page>), (status = 422)), security(("token" = [])))]
async fn list(
    State(state): State<AppState>,
    speaks: Speaks,
    Sees { scope, .. }: Sees<ReadPartners>,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Response, Failed> {
    let page = async {
        let cursor = query.cursor.as_deref().map(Uuid::parse_str).transpose();
        let node = query.node.as_deref().map(|slug| state.fleet.uid(slug));
        let mut problems = Problems::default();
        let limit = Limit::parse(query.limit.as_deref(), &mut problems);
        problems.unless(cursor.is_ok(), "cursor", "field-cursor");
        problems.unless(node != Some(None), "node", "field-node");
        problems.refuse()?;
        let one: Vec<_> = node.flatten().filter(|node| scope.sees(Some(*node))).into_iter().collect();
        let nodes = if query.node.is_some() { Some(&*one) } else { scope.in_sql() };
        let mut connection = state.connection().await?;
        let found = partners::list(&mut connection, nodes, cursor.unwrap_or(None), limit.in_sql(), today(&state));
        let (partners, next_cursor) = limit.cut(found.await?, |partner| partner.id);
        Ok(Page { partners, next_cursor })
    };
    speaks.answer(StatusCode::OK, "partners-listed", page.await)
}

/// Read one partner.
#[utoipa::path(get, path = "/api/global/partners/{id}", tag = "partners", params(("id" = Uuid, Path)),
    responses((status = 200, body = Answer<Partner>), (status = 404)), security(("token" = [])))]
async fn read(
    State(state): State<AppState>,
    speaks: Speaks,
    Sees { scope, .. }: Sees<ReadPartners>,
    Id(id): Id,
) -> Result<Response, Failed> {
    let found = async {
        let partner = partners::find(&mut *state.connection().await?, id, today(&state)).await?;
        partner.filter(|partner| scope.sees(Some(partner.node_uid))).ok_or(NOT_FOUND)
    };
    speaks.answer(StatusCode::OK, "partner-found", found.await)
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewPartner)]
struct Creation {
    /// Slug of the node; it can never be changed.
    node: String,
    /// The account that the partner signs in with; without one the partner does not sign in.
    user_id: Option<Uuid>,
    /// Name for people.
    display_name: String,
    email: String,
    /// owner, manager, instructor or support
    #[schema(example = "owner")]
    role: String,
    /// active or suspended; active unless told
    status: Option<String>,
    /// At most 16 KiB.
    #[schema(value_type = Option<Object>)]
    contract: Option<Value>,
    /// Share of the node's net in hundredths of a percent: 0 to 10000; 0 unless told.
    share_basis_points: Option<i32>,
    /// The first day (UTC) of that share: today or later; today unless told.
    share_from: Option<String>,
}

/// As [`Creation`], but for the node. Without a share the partner keeps that of before.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = PartnerReplacement)]
struct Replacement {
    user_id: Option<Uuid>,
    display_name: String,
    email: String,
    /// owner, manager, instructor or support
    #[schema(example = "owner")]
    role: String,
    /// active or suspended; active unless told
    status: Option<String>,
    /// At most 16 KiB.
    #[schema(value_type = Option<Object>)]
    contract: Option<Value>,
    share_basis_points: Option<i32>,
    share_from: Option<String>,
}

/// A partner whose fields are as they should be.
struct Valid {
    replacement: Replacement,
    contract: Value,
    /// From which day on, and how much.
    share: Option<(Date, i32)>,
}

impl Valid {
    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            user_id: self.replacement.user_id,
            display_name: &self.replacement.display_name,
            email: &self.replacement.email,
            role: &self.replacement.role,
            status: self.replacement.status.as_deref().unwrap_or("active"),
            contract: &self.contract,
        }
    }
}

fn valid(replacement: Replacement, today: Date, mut problems: Problems) -> Result<Valid, ApiError> {
    let contract = replacement.contract.clone().unwrap_or_else(|| json!({}));
    let from = replacement.share_from.as_deref().map_or(Some(today), parse_day);
    let points = replacement.share_basis_points;
    problems.unless(is_display_name(&replacement.display_name), "displayName", "field-display-name");
    problems.unless(is_email(&replacement.email), "email", "field-email");
    problems.unless(PartnerRole::parse(&replacement.role) != PartnerRole::Unknown, "role", "field-partner-role");
    let status = replacement.status.as_deref().unwrap_or("active");
    problems.unless(matches!(status, "active" | "suspended"), "status", "field-status");
    let fits = contract.is_object() && is_storable(&contract) && contract.to_string().len() <= MAX_CONTRACT;
    problems.unless(fits, "contract", "field-contract");
    problems.unless(points.is_none_or(|points| (0..=WHOLE).contains(&points)), "shareBasisPoints", "field-share");
    // What was earned by the shares of before is not divided anew.
    problems.unless(from.is_some_and(|from| from >= today), "shareFrom", "field-share-from");
    problems.unless(points.is_some() || replacement.share_from.is_none(), "shareBasisPoints", "field-share");
    problems.refuse()?;
    Ok(Valid { replacement, contract, share: from.zip(points) })
}

/// Make a partner of a node.
#[utoipa::path(post, path = "/api/global/partners", tag = "partners", request_body = Creation,
    responses((status = 201, body = Answer<Partner>), (status = 409)), security(("token" = [])))]
async fn create(
    State(state): State<AppState>,
    speaks: Speaks,
    ClientAddress(address): ClientAddress,
    May { user, .. }: May<ManagePartners>,
    Body(creation): Body<Creation>,
) -> Result<Response, Failed> {
    speaks.answer(StatusCode::CREATED, "partner-created", make(&state, &user, address, creation).await)
}

async fn make(
    state: &AppState,
    admin: &SignedIn,
    address: Option<IpAddr>,
    creation: Creation,
) -> Result<Partner, ApiError> {
    let node =
        state.fleet.node(&creation.node).and_then(|node| Some((node.name_any(), state.fleet.uid(&creation.node)?)));
    let mut problems = Problems::default();
    problems.unless(node.is_some(), "node", "field-node");
    let replacement = Replacement {
        user_id: creation.user_id,
        display_name: creation.display_name,
        email: creation.email,
        role: creation.role,
        status: creation.status,
        contract: creation.contract,
        share_basis_points: creation.share_basis_points,
        share_from: creation.share_from,
    };
    let today = today(state);
    let valid = valid(replacement, today, problems)?;
    let (node, node_uid) = node.ok_or(NOT_FOUND)?;
    let now = state.clock.now();
    let mut connection = state.connection().await?;
    let mut transaction = connection.begin().await?;
    partners::lock_shares(&mut transaction, node_uid).await?;
    let id = partners::insert(&mut transaction, (&node, node_uid), &valid.wanted(), now).await?;
    set_share(state, &mut transaction, node_uid, id, valid.share).await?;
    let detail = json!({"node": node, "role": valid.replacement.role, "share": valid.replacement.share_basis_points});
    note(state, &mut transaction, admin, "create-partner", id, address, &detail).await?;
    let made = partners::find(&mut transaction, id, today).await?.ok_or(NOT_FOUND)?;
    transaction.commit().await?;
    Ok(made)
}

/// Adds a share, unless those of the node would be more than the whole on any day.
async fn set_share(
    state: &AppState,
    connection: &mut PgConnection,
    node: Uuid,
    partner: Uuid,
    share: Option<(Date, i32)>,
) -> Result<(), ApiError> {
    let Some((from, basis_points)) = share else { return Ok(()) };
    let shares = partners::shares(connection, Some(&[node])).await?;
    let mut shares: Vec<_> = shares.into_iter().map(|(_, share)| share).collect();
    shares.push(Share { partner, from, basis_points });
    if let Some((day, sum)) = shares::first_excess(&shares) {
        let named = vec![("day", day.to_string()), ("sum", sum.to_string())];
        return Err(ApiError::Because(StatusCode::CONFLICT, "shares-exceed", named));
    }
    partners::add_share(connection, partner, &from.to_string(), basis_points, state.clock.now()).await?;
    Ok(())
}

async fn note(
    state: &AppState,
    connection: &mut PgConnection,
    admin: &SignedIn,
    action: &str,
    partner: Uuid,
    address: Option<IpAddr>,
    detail: &Value,
) -> Result<(), ApiError> {
    let actor = audit::person(admin.id);
    Ok(audit::add(connection, &actor, action, &partner.to_string(), address, detail, state.clock.now()).await?)
}

/// Change a partner. Shares that have begun stay as they were until the day from which the new one holds.
#[utoipa::path(put, path = "/api/global/partners/{id}", tag = "partners", params(("id" = Uuid, Path)),
    request_body = Replacement,
    responses((status = 200, body = Answer<Partner>), (status = 404), (status = 409)), security(("token" = [])))]
async fn replace(
    State(state): State<AppState>,
    speaks: Speaks,
    ClientAddress(address): ClientAddress,
    May { user, .. }: May<ManagePartners>,
    Id(id): Id,
    Body(replacement): Body<Replacement>,
) -> Result<Response, Failed> {
    let changed = async {
        let today = today(&state);
        let valid = valid(replacement, today, Problems::default())?;
        let mut connection = state.connection().await?;
        let mut transaction = connection.begin().await?;
        let before = partners::find(&mut transaction, id, today).await?.ok_or(NOT_FOUND)?;
        partners::lock_shares(&mut transaction, before.node_uid).await?;
        if !partners::update(&mut transaction, id, &valid.wanted(), state.clock.now()).await? {
            return Err(NOT_FOUND);
        }
        set_share(&state, &mut transaction, before.node_uid, id, valid.share).await?;
        let detail =
            json!({"node": before.node, "role": valid.replacement.role, "share": valid.replacement.share_basis_points});
        note(&state, &mut transaction, &user, "change-partner", id, address, &detail).await?;
        let changed = partners::find(&mut transaction, id, today).await?.ok_or(NOT_FOUND)?;
        transaction.commit().await?;
        Ok(changed)
    };
    speaks.answer(StatusCode::OK, "partner-changed", changed.await)
}

/// End a partner's contract: no share from today on, and no sign-in for the node. What was earned stays.
#[utoipa::path(delete, path = "/api/global/partners/{id}", tag = "partners", params(("id" = Uuid, Path)),
    responses((status = 200, body = Answer<Nothing>), (status = 404)), security(("token" = [])))]
async fn end(
    State(state): State<AppState>,
    speaks: Speaks,
    ClientAddress(address): ClientAddress,
    May { user, .. }: May<ManagePartners>,
    Id(id): Id,
) -> Result<Response, Failed> {
    let ended = async {
        let (today, now) = (today(&state), state.clock.now());
        let mut connection = state.connection().await?;
        let mut transaction = connection.begin().await?;
        let partner = partners::find(&mut transaction, id, today).await?.ok_or(NOT_FOUND)?;
        partners::lock_shares(&mut transaction, partner.node_uid).await?;
        if !partners::end(&mut transaction, id, today, now).await? {
            return Err(NOT_FOUND);
        }
        note(&state, &mut transaction, &user, "end-partner", id, address, &json!({"node": partner.node})).await?;
        transaction.commit().await?;
        Ok(())
    };
    speaks.answer(StatusCode::OK, "partner-ended", ended.await)
}
