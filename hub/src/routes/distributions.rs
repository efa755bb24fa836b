//! `/api/global/content/distribute`: sends content of the catalogue to nodes, by a ContentDistribution that the
//! operator carries out.

use axum::{
    extract::{Path, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use fateh_common::{
    catalogue::Digest,
    service::{
        client_address::ClientAddress,
        error::{ApiError, Failed, NOT_FOUND},
        extract::{Body, Parameters, Speaks},
        paging::Limit,
        validation::{Problems, is_content_id},
    },
};
use fateh_crds::{ContentDistribution, FailedNode, RolloutSummary, StageStatus, condition};
use jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Answer,
    content::{find_version, is_version},
};
use crate::{
    audit,
    kubernetes::refusal,
    permissions::{ManageContent, May, ReadContent},
    state::{AppState, FIELD_MANAGER},
    storage::content,
};

/// Named nodes at most.
const MAX_NODES: usize = 1000;
const NOT_RELEASED: ApiError = ApiError::Refused(StatusCode::CONFLICT, "version-not-released");
const NOT_DISTRIBUTABLE: ApiError = ApiError::Refused(StatusCode::CONFLICT, "content-not-distributable");

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(distribute)).routes(routes!(list)).routes(routes!(read))
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Distribution {
    /// Content of the catalogue.
    content_id: String,
    /// A released version; the one released last unless told.
    version: Option<String>,
    /// Slugs of nodes; every Active node unless told.
    target_nodes: Option<Vec<String>>,
    /// In which stages and what happens on failure, as `spec.rollout` of a ContentDistribution; one canary node, a
    /// quarter and the rest unless told.
    #[schema(value_type = Option<Object>)]
    rollout: Option<Value>,
}

/// How a rollout is going.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Progress {
    /// Follow it at /api/global/content/distributions/{name}, or with `kubectl get cdist`.
    name: String,
    content_id: String,
    version: String,
    phase: Option<String>,
    /// The stage that is under way.
    stage: Option<String>,
    /// Nodes that hold it, of those that are to.
    done: Option<String>,
    /// Whether all is done; null while it is under way.
    ready: Option<bool>,
    /// Why, for people.
    message: Option<String>,
    /// Nodes by where they are: desired, pending, updating, applied, merged, conflicted, failed, unreachable, skipped.
    #[schema(value_type = Object)]
    summary: RolloutSummary,
    #[schema(value_type = Vec<Object>)]
    stages: Vec<StageStatus>,
    #[schema(value_type = Vec<Object>)]
    failed_nodes: Vec<FailedNode>,
    started_at: Option<Timestamp>,
}

impl From<&ContentDistribution> for Progress {
    fn from(distribution: &ContentDistribution) -> Self {
        let status = distribution.status.clone().unwrap_or_default();
        // What is said of an older generation is not said of this one.
        let current = status.observed_generation == distribution.metadata.generation;
        let ready = condition(&status.conditions, "Ready");
        Self {
            name: distribution.name_any(),
            content_id: distribution.spec.content.id.clone(),
            version: distribution.spec.content.version.clone(),
            phase: status.phase,
            stage: status.stage,
            done: status.done,
            ready: ready.filter(|_| current).and_then(|ready| match ready.status.as_str() {
                "True" => Some(true),
                "False" => Some(false),
                _ => None,
            }),
            message: ready.map(|ready| ready.message.clone()),
            summary: status.summary,
            stages: status.stages,
            failed_nodes: status.failed_nodes,
            started_at: status.current.map(|revision| revision.started_at.0),
        }
    }
}

/// Send released content to nodes, in stages. Again, with another version or other nodes, it changes the same
/// distribution.
#[utoipa::path(post, path = "/api/global/content/distribute", tag = "content", request_body = Distribution,
    responses((status = 202, body = Answer<Progress>), (status = 404), (status = 409)), security(("token" = [])))]
async fn distribute(
    State(state): State<AppState>,
    speaks: Speaks,
    ClientAddress(address): ClientAddress,
    May { user, .. }: May<ManageContent>,
    Body(distribution): Body<Distribution>,
) -> Result<Response, Failed> {
    let sent = tokio::spawn(async move {
        let sent = send(&state, &distribution).await?;
        let detail = json!({"content": sent.content_id, "version": sent.version, "nodes": distribution.target_nodes.map(|nodes| nodes.len())});
        audit::note(&state, &user, address, "distribute-content", &sent.name, &detail).await;
        Ok(sent)
    });
    // Carried through and noted, also when the client hangs up meanwhile.
    let sent = sent.await.map_err(|error| ApiError::Internal(format!("distribute: {error}"))).and_then(|sent| sent);
    let location = sent.as_ref().ok().map(|sent| format!("/api/global/content/distributions/{}", sent.name));
    let mut response = speaks.answer(StatusCode::ACCEPTED, "content-being-distributed", sent)?;
    if let Some(location) = location.and_then(|location| HeaderValue::from_str(&location).ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

async fn send(state: &AppState, wanted: &Distribution) -> Result<Progress, ApiError> {
    let nodes = wanted.target_nodes.as_deref().unwrap_or_default();
    let known = |slug: &String| state.fleet.node(slug).is_some();
    let mut problems = Problems::default();
    problems.unless(is_content_id(&wanted.content_id), "contentId", "field-content-id");
    problems.unless(wanted.version.as_deref().is_none_or(is_version), "version", "field-version");
    // No node at all is a mistake, not every node.
    let named = wanted.target_nodes.is_none() || (1..=MAX_NODES).contains(&nodes.len()) && nodes.iter().all(known);
    problems.unless(named, "targetNodes", "field-target-nodes");
    problems.unless(wanted.rollout.as_ref().is_none_or(Value::is_object), "rollout", "field-rollout");
    problems.refuse()?;
    let version = {
        let mut connection = state.connection().await?;
        let content = content::find(&mut connection, &wanted.content_id).await?.ok_or(NOT_FOUND)?;
        if !content.is_distributable {
            return Err(NOT_DISTRIBUTABLE);
        }
        let found = match &wanted.version {
            Some(version) => Some(find_version(&mut connection, &wanted.content_id, version).await?),
            None => content::versions(&mut connection, &wanted.content_id, None)
                .await?
                .into_iter()
                .max_by_key(|version| version.released_at),
        };
        found.filter(|version| version.released_at.is_some()).ok_or(NOT_RELEASED)?
    };
    let name = name_of(&wanted.content_id);
    let manifest = &version.manifest;
    let mut spec = json!({"content": {"id": manifest.content_id, "type": manifest.kind, "version": version.name,
        "title": manifest.title, "source": {"catalog": {}}}, "targets": {}});
    if !nodes.is_empty() {
        spec["targets"]["nodes"] = json!(nodes);
    }
    if let Some(rollout) = &wanted.rollout {
        spec["rollout"] = rollout.clone();
    }
    let resource = json!({"apiVersion": "fateh-platform.com/v1alpha1", "kind": "ContentDistribution",
        "metadata": {"name": name}, "spec": spec});
    let api = Api::<ContentDistribution>::all(state.client.clone());
    let strict = PatchParams::apply(FIELD_MANAGER).validation_strict();
    let applied = api.patch(&name, &strict, &Patch::Apply(resource)).await.map_err(|error| match refusal(error) {
        // What a strict reader does not know can only be in what was passed on as it came.
        ApiError::Invalid(fields) if fields.is_empty() => ApiError::Invalid(vec![("rollout", "field-rollout")]),
        error => error,
    })?;
    Ok(Progress::from(&applied))
}

/// The name of the distribution of a content: the content's own where Kubernetes takes it.
fn name_of(content: &str) -> String {
    let label = |label: &str| {
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        edge(label.as_bytes().first()) && edge(label.as_bytes().last())
    };
    let plain = content.replace('_', "-");
    if plain == content && content.split('.').all(label) {
        return plain;
    }
    let safe: String = plain.chars().filter(|c| *c != '.').collect();
    format!("{}-{}", safe.trim_matches('-'), &Digest::of(content.as_bytes()).to_string()[..8])
}

/// Everything is text here, so that each field is refused by name.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// How many on a page: 1 to 200, 50 unless told.
    limit: Option<String>,
    /// The nextCursor of the page before.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DistributionPage)]
struct Page {
    distributions: Vec<Progress>,
    /// Pass it as `cursor` for the next page; null on the last.
    next_cursor: Option<String>,
}

/// List distributions, by name.
#[utoipa::path(get, path = "/api/global/content/distributions", tag = "content", params(ListQuery),
    responses((status = 200, body = Answer<Page>), (status = 422)), security(("token" = [])))]
async fn list(
    State(state): State<AppState>,
    speaks: Speaks,
    _: May<ReadContent>,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Response, Failed> {
    let page = async {
        let mut problems = Problems::default();
        let limit = Limit::parse(query.limit.as_deref(), &mut problems);
        problems.refuse()?;
        let mut parameters = ListParams::default().limit(u32::try_from(limit.and_one() - 1).unwrap_or(50));
        parameters.continue_token = query.cursor;
        let found = Api::<ContentDistribution>::all(state.client.clone()).list(&parameters).await;
        let found = found.map_err(|error| match error {
            // A cursor that the API server did not make, or made too long ago.
            kube::Error::Api(status) if matches!(status.code, 400 | 410) => {
                ApiError::Invalid(vec![("cursor", "field-cursor")])
            }
            error => refusal(error),
        })?;
        let next_cursor = found.metadata.continue_.filter(|cursor| !cursor.is_empty());
        Ok(Page { distributions: found.items.iter().map(Progress::from).collect(), next_cursor })
    };
    speaks.answer(StatusCode::OK, "distributions-listed", page.await)
}

/// See how a distribution is going.
#[utoipa::path(get, path = "/api/global/content/distributions/{name}", tag = "content",
    params(("name" = String, Path)),
    responses((status = 200, body = Answer<Progress>), (status = 404)), security(("token" = [])))]
async fn read(
    State(state): State<AppState>,
    speaks: Speaks,
    _: May<ReadContent>,
    Path(name): Path<String>,
) -> Result<Response, Failed> {
    let found = async {
        let name = Some(name).filter(|name| is_content_id(name)).ok_or(NOT_FOUND)?;
        let api = Api::<ContentDistribution>::all(state.client.clone());
        let found = api.get_opt(&name).await.map_err(refusal)?.ok_or(NOT_FOUND)?;
        Ok(Progress::from(&found))
    };
    speaks.answer(StatusCode::OK, "distribution-found", found.await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_content_has_distributions_of_different_names_that_kubernetes_takes() {
        let names = ["algebra-1", "algebra_1", "algebra.1", "a..b", "a.-b", "a_"].map(name_of);
        assert_eq!((&*names[0], &*names[2]), ("algebra-1", "algebra.1"));
        assert!(names[1].starts_with("algebra-1-") && names[1].len() == "algebra-1-01234567".len(), "{}", names[1]);
        let distinct: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        for name in &names {
            let fit = |label: &str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
            assert!(name.split('.').all(fit) && !name.contains('_'), "{name}");
        }
    }
}
