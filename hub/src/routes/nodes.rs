//! `/api/global/nodes`: the nodes, which are the LocalNodes of the API server and nothing else.

use axum::{
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use fateh_common::service::{
    client_address::ClientAddress,
    error::{ApiError, Failed, NOT_FOUND},
    extract::{Body, Parameters, Speaks},
    paging::Limit,
    validation::Problems,
};
use fateh_crds::{LocalNode, NodeState, ReclaimPolicy, Slug, condition};
use jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::Connection;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Answer, Nothing};
use crate::{
    audit, fleet,
    kubernetes::refusal,
    permissions::{ManageNodes, May, ReadNodes},
    scope::{Scope, Sees},
    state::{AppState, FIELD_MANAGER},
};

/// How often a node is read anew that was changed between reading and deleting.
const DELETE_ATTEMPTS: u32 = 10;
const TAKEN: ApiError = ApiError::Refused(StatusCode::CONFLICT, "slug-taken");
const DROPS_DATABASE: ApiError = ApiError::Refused(StatusCode::CONFLICT, "node-drops-database");

/// Settings of [`MAX_SETTINGS`] and all else fit in.
const MAX_BODY: usize = 128 * 1024;
/// What the operator accepts: bytes and keys.
const MAX_SETTINGS: (usize, usize) = (64 * 1024, 64);

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(read, replace, remove))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// A node, as it is to be and as it is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Node {
    slug: String,
    name: String,
    region: String,
    country: Option<String>,
    language: String,
    currency: String,
    timezone: String,
    admin_email: String,
    /// Active, Suspended or Inactive
    state: String,
    #[schema(value_type = Object)]
    settings: Value,
    /// Pending, Provisioning, Ready, Degraded, Stalled, Suspended, Inactive or Deleting
    phase: String,
    /// Whether it serves as it is to; null while it is under way.
    ready: Option<bool>,
    /// Why, for engineers.
    message: Option<String>,
    /// Where the node answers.
    url: Option<String>,
    users: i64,
    created_at: Option<Timestamp>,
}

impl From<&LocalNode> for Node {
    fn from(node: &LocalNode) -> Self {
        let (spec, status) = (&node.spec, node.status.as_ref());
        let ready = status.and_then(|status| condition(&status.conditions, "Ready"));
        let phase = status.map_or_else(Default::default, |status| status.phase);
        Self {
            slug: node.name_any(),
            name: spec.display_name.clone(),
            region: spec.region.clone(),
            country: spec.country.clone(),
            language: spec.language.clone(),
            currency: spec.currency.clone(),
            timezone: spec.timezone.clone(),
            admin_email: spec.admin_email.clone(),
            state: format!("{:?}", spec.state),
            settings: Value::Object(spec.settings.clone()),
            phase: if node.metadata.deletion_timestamp.is_some() { "Deleting".into() } else { format!("{phase:?}") },
            ready: ready.and_then(|ready| match ready.status.as_str() {
                "True" => Some(true),
                "False" => Some(false),
                _ => None,
            }),
            message: ready.map(|ready| ready.message.clone()),
            url: status.and_then(|status| status.url.clone()),
            users: status
                .and_then(|status| status.statistics.as_ref())
                .map_or(0, |statistics| statistics.figures.users.total),
            created_at: node.metadata.creation_timestamp.as_ref().map(|time| time.0),
        }
    }
}

/// Everything is text here, so that each field is refused by name.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    region: Option<String>,
    country: Option<String>,
    /// Active, Suspended or Inactive
    state: Option<String>,
    /// Pending, Provisioning, Ready, Degraded, Stalled, Suspended, Inactive or Deleting
    phase: Option<String>,
    /// A part of the slug or name.
    search: Option<String>,
    /// Nodes on a page: 1 to 200, 50 unless told.
    limit: Option<String>,
    /// The nextCursor of the page before.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NodePage)]
struct Page {
    nodes: Vec<Node>,
    /// Pass it as `cursor` for the next page; null on the last.
    next_cursor: Option<String>,
}

/// List nodes, by slug.
#[utoipa::path(get, path = "/api/global/nodes", tag = "nodes", params(ListQuery),
    responses((status = 200, body = Answer<Page>), (status = 422)), security(("token" = [])))]
async fn list(
    State(state): State<AppState>,
    speaks: Speaks,
    Sees { scope, .. }: Sees<ReadNodes>,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Response, Failed> {
    speaks.answer(StatusCode::OK, "nodes-listed", page(&state, &scope, &query))
}

fn page(state: &AppState, scope: &Scope, query: &ListQuery) -> Result<Page, ApiError> {
    let wanted = query.state.as_deref().map(parse_state);
    let mut problems = Problems::default();
    let limit = Limit::parse(query.limit.as_deref(), &mut problems);
    problems.unless(wanted != Some(None), "state", "field-node-state");
    problems.refuse()?;
    let wanted = wanted.flatten();
    let search = query.search.as_deref().map(str::to_lowercase);
    let matches = |node: &LocalNode| {
        scope.sees(fleet::uid(node))
            && query.region.as_ref().is_none_or(|region| *region == node.spec.region)
            && (query.country.is_none() || query.country == node.spec.country)
            && wanted.is_none_or(|wanted| wanted == node.spec.state)
            && search.as_ref().is_none_or(|search| {
                node.name_any().contains(search) || node.spec.display_name.to_lowercase().contains(search)
            })
    };
    // The cache is in the order of names; where the page begins is found without a look at those before.
    let all = state.fleet.nodes();
    let start = query.cursor.as_ref().map_or(0, |cursor| all.partition_point(|node| node.name_any() <= *cursor));
    let phase = |node: &Node| query.phase.as_ref().is_none_or(|phase| *phase == node.phase);
    let found = all[start..].iter().filter(|node| matches(node)).map(|node| Node::from(&**node)).filter(phase);
    let (nodes, next_cursor) = limit.cut(found.take(limit.and_one()).collect(), |node: &Node| node.slug.clone());
    Ok(Page { nodes, next_cursor })
}

fn parse_state(text: &str) -> Option<NodeState> {
    match text {
        "Active" => Some(NodeState::Active),
        "Suspended" => Some(NodeState::Suspended),
        "Inactive" => Some(NodeState::Inactive),
        _ => None,
    }
}

/// Read one node.
#[utoipa::path(get, path = "/api/global/nodes/{slug}", tag = "nodes", params(("slug" = String, Path)),
    responses((status = 200, body = Answer<Node>), (status = 404)), security(("token" = [])))]
async fn read(
    State(state): State<AppState>,
    speaks: Speaks,
    Sees { scope, .. }: Sees<ReadNodes>,
    Path(slug): Path<String>,
) -> Result<Response, Failed> {
    let found = state.fleet.node(&slug).filter(|node| scope.sees(fleet::uid(node)));
    let found = found.map(|node| Node::from(&*node)).ok_or(NOT_FOUND);
    speaks.answer(StatusCode::OK, "node-found", found)
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewNode)]
struct Creation {
    /// 3 to 40 characters of a-z, 0-9 and '-'; the node answers at this host.
    slug: String,
    #[serde(flatten)]
    wanted: Wanted,
}

/// As [`Wanted`], and nothing else: what is misspelt must not pass for absent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NodeReplacement)]
struct Replacement {
    #[serde(flatten)]
    wanted: Wanted,
}

/// What a node is to be. What is absent has its default, or is as another manager has set it.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NodeWanted)]
struct Wanted {
    /// For people.
    name: String,
    region: String,
    /// ISO 3166-1 alpha-2
    country: Option<String>,
    /// BCP 47
    language: Option<String>,
    /// ISO 4217; can never be changed.
    currency: Option<String>,
    /// IANA
    timezone: Option<String>,
    /// The first admin is invited there.
    admin_email: String,
    /// Active, Suspended or Inactive
    state: Option<String>,
    /// At most 64 keys and 64 KiB.
    #[schema(value_type = Option<Object>)]
    settings: Option<serde_json::Map<String, Value>>,
}

impl Wanted {
    /// The LocalNode with the fields that are the hub's.
    /// With a UID it is written to that very object, and made anew by nobody.
    fn resource(&self, slug: &str, uid: Option<String>) -> Value {
        let mut spec = json!({"displayName": self.name, "region": self.region, "adminEmail": self.admin_email});
        for (field, value) in [
            ("country", &self.country),
            ("language", &self.language),
            ("currency", &self.currency),
            ("timezone", &self.timezone),
            ("state", &self.state),
        ] {
            if let Some(value) = value {
                spec[field] = json!(value);
            }
        }
        if let Some(settings) = &self.settings {
            spec["settings"] = json!(settings);
        }
        json!({"apiVersion": "fateh-platform.com/v1alpha1", "kind": "LocalNode", "metadata": {"name": slug, "uid": uid}, "spec": spec})
    }
}

/// Make a node. It is made in a while: follow it at the address in Location.
#[utoipa::path(post, path = "/api/global/nodes", tag = "nodes", request_body = Creation,
    responses((status = 202, body = Answer<Node>), (status = 409)), security(("token" = [])))]
async fn create(
    State(state): State<AppState>,
    speaks: Speaks,
    ClientAddress(address): ClientAddress,
    May { user, .. }: May<ManageNodes>,
    Body(creation): Body<Creation>,
) -> Result<Response, Failed> {
    let made = to_the_end(async move {
        let made = make(&state, &creation).await;
        if made.is_ok() {
            audit::note(&state, &user, address, "create-node", &creation.slug, &json!({})).await;
        }
        made
    });
    let made = made.await;
    follow(&speaks, "node-being-made", made)
}

async fn make(state: &AppState, creation: &Creation) -> Result<Node, ApiError> {
    let mut problems = Problems::default();
    problems.unless(Slug::parse(&creation.slug).is_ok(), "slug", "field-slug");
    problems.refuse()?;
    let api = Api::<LocalNode>::all(state.client.clone());
    // An apply makes or changes. Whether it makes is known while no other hub makes a node of this name.
    let mut connection = state.connection().await?;
    let mut transaction = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('node ' || $1::text, 0))")
        .bind(&creation.slug)
        .execute(&mut *transaction)
        .await?;
    if api.get_metadata_opt(&creation.slug).await.map_err(refusal)?.is_some() {
        return Err(TAKEN);
    }
    let made = apply(&api, &creation.slug, &creation.wanted, None).await?;
    transaction.commit().await?;
    Ok(made)
}

async fn change(state: &AppState, slug: &str, wanted: &Wanted) -> Result<Node, ApiError> {
    Slug::parse(slug).map_err(|_| NOT_FOUND)?;
    let api = Api::<LocalNode>::all(state.client.clone());
    let before = api.get_metadata_opt(slug).await.map_err(refusal)?.ok_or(NOT_FOUND)?;
    apply(&api, slug, wanted, before.uid()).await
}

/// Carries a write and its note through, also when the client hangs up meanwhile.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::spawn(work).await.map_err(|error| ApiError::Internal(format!("write a node: {error}")))?
}

async fn apply(api: &Api<LocalNode>, slug: &str, wanted: &Wanted, uid: Option<String>) -> Result<Node, ApiError> {
    let fits = |settings: &serde_json::Map<String, Value>| {
        settings.len() <= MAX_SETTINGS.1 && json!(settings).to_string().len() <= MAX_SETTINGS.0
    };
    let mut problems = Problems::default();
    problems.unless(wanted.settings.as_ref().is_none_or(fits), "settings", "field-settings");
    problems.refuse()?;
    let applied = api.patch(slug, &PatchParams::apply(FIELD_MANAGER), &Patch::Apply(wanted.resource(slug, uid))).await;
    Ok(Node::from(&applied.map_err(refusal)?))
}

/// Change a node: what is absent and was the hub's goes back to its default.
#[utoipa::path(put, path = "/api/global/nodes/{slug}", tag = "nodes", params(("slug" = String, Path)),
    request_body = Replacement,
    responses((status = 202, body = Answer<Node>), (status = 404), (status = 409)), security(("token" = [])))]
async fn replace(
    State(state): State<AppState>,
    speaks: Speaks,
    ClientAddress(address): ClientAddress,
    May { user, .. }: May<ManageNodes>,
    Path(slug): Path<String>,
    Body(Replacement { wanted }): Body<Replacement>,
) -> Result<Response, Failed> {
    let changed = to_the_end(async move {
        let changed = change(&state, &slug, &wanted).await;
        if changed.is_ok() {
            audit::note(&state, &user, address, "change-node", &slug, &json!({})).await;
        }
        changed
    });
    let changed = changed.await;
    follow(&speaks, "node-being-changed", changed)
}

/// Delete a node. Its data is kept on the database server; one that would lose it is not deleted from here.
#[utoipa::path(delete, path = "/api/global/nodes/{slug}", tag = "nodes", params(("slug" = String, Path)),
    responses((status = 202, body = Answer<Nothing>), (status = 404), (status = 409)), security(("token" = [])))]
async fn remove(
    State(state): State<AppState>,
    speaks: Speaks,
    ClientAddress(address): ClientAddress,
    May { user, .. }: May<ManageNodes>,
    Path(slug): Path<String>,
) -> Result<Response, Failed> {
    let removed = to_the_end(async move {
        let removed = retire(&state, &slug).await;
        if removed.is_ok() {
            audit::note(&state, &user, address, "delete-node", &slug, &json!({})).await;
        }
        removed
    });
    let removed = removed.await;
    speaks.answer(StatusCode::ACCEPTED, "node-being-deleted", removed)
}

async fn retire(state: &AppState, slug: &str) -> Result<(), ApiError> {
    Slug::parse(slug).map_err(|_| NOT_FOUND)?;
    let api = Api::<LocalNode>::all(state.client.clone());
    let mut attempts = DELETE_ATTEMPTS;
    loop {
        let node = api.get_opt(slug).await.map_err(refusal)?.ok_or(NOT_FOUND)?;
        if node.spec.database.reclaim_policy == ReclaimPolicy::Delete {
            return Err(DROPS_DATABASE);
        }
        // Only this very node, and as it was read: its policy may be changed at this moment.
        let preconditions = Preconditions { uid: node.uid(), resource_version: node.resource_version() };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        attempts -= 1;
        match api.delete(slug, &parameters).await {
            // The operator writes its status all the time.
            Err(kube::Error::Api(status)) if status.code == 409 && attempts > 0 => {}
            other => return other.map(drop).map_err(refusal),
        }
    }
}

/// Accepted, and where to see what becomes of it.
fn follow(speaks: &Speaks, key: &str, node: Result<Node, ApiError>) -> Result<Response, Failed> {
    let location =
        node.as_ref().ok().and_then(|node| HeaderValue::from_str(&format!("/api/global/nodes/{}", node.slug)).ok());
    let mut response = speaks.answer(StatusCode::ACCEPTED, key, node)?;
    if let Some(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}
