//! `/api/global/content`: the catalogue, and its versions from draft to release.

use std::{collections::BTreeMap, net::IpAddr};

use axum::{
    extract::{DefaultBodyLimit, Path, State},
    http::StatusCode,
    response::Response,
};
use fateh_common::{
    catalogue::{Digest, MAX_BODY, Manifest, canonical},
    service::{
        client_address::ClientAddress,
        error::{ApiError, Failed, NOT_FOUND},
        extract::{Body, Parameters, Speaks},
        paging::Limit,
        validation::{Problems, is_content_id, is_language, is_storable},
    },
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::Answer;
use crate::{
    permissions::{ManageContent, May, ReadContent},
    signed_in::SignedIn,
    state::AppState,
    storage::{
        audit,
        content::{self, Content, Version, Wanted},
    },
};

/// Content in so many languages at most.
const MAX_LANGUAGES: usize = 32;
/// A version with all its languages is no larger.
const MAX_VERSION: usize = 8 * 1024 * 1024;
const TAKEN: ApiError = ApiError::Refused(StatusCode::CONFLICT, "content-taken");
const RELEASED: ApiError = ApiError::Refused(StatusCode::CONFLICT, "version-is-released");
const VERSION_TAKEN: ApiError = ApiError::Refused(StatusCode::CONFLICT, "version-taken");

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(read, replace))
        .routes(routes!(read_version, draft))
        .routes(routes!(release))
        .layer(DefaultBodyLimit::max(MAX_VERSION))
}

/// 1 to 64 of letters, digits, '.', '_', '+' and '-', beginning with a letter or digit.
pub fn is_version(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=64).contains(&text.len())
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(byte))
}

pub fn is_type(text: &str) -> bool {
    matches!(text, "Course" | "Lesson" | "Quiz" | "Resource")
}

/// Texts by language, none of them empty or longer than so many characters.
fn are_texts(texts: &BTreeMap<String, String>, longest: usize) -> bool {
    let text = |text: &String| !text.trim().is_empty() && text.chars().count() <= longest && !text.contains('\0');
    texts.len() <= MAX_LANGUAGES && texts.iter().all(|(language, each)| is_language(language) && text(each))
}

/// Everything is text here, so that each field is refused by name.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Course, Lesson, Quiz or Resource; all unless told.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// How many on a page: 1 to 200, 50 unless told.
    limit: Option<String>,
    /// The nextCursor of the page before.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ContentPage)]
struct Page {
    content: Vec<Content>,
    /// Pass it as `cursor` for the next page; null on the last.
    next_cursor: Option<String>,
}

/// List the catalogue, by id.
#[utoipa::path(get, path = "/api/global/content", tag = "content", params(ListQuery),
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
        problems.unless(query.kind.as_deref().is_none_or(is_type), "type", "field-content-type");
        problems.unless(query.cursor.as_deref().is_none_or(is_content_id), "cursor", "field-cursor");
        problems.refuse()?;
        let mut connection = state.connection().await?;
        let (kind, after) = (query.kind.as_deref(), query.cursor.as_deref());
        let found = content::list(&mut connection, kind, after, limit.in_sql()).await?;
        let (content, next_cursor) = limit.cut(found, |content| content.id.clone());
        Ok(Page { content, next_cursor })
    };
    speaks.answer(StatusCode::OK, "content-listed", page.await)
}

/// A version, as the catalogue has it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ContentVersion)]
struct VersionAnswer {
    version: String,
    /// draft or released
    state: &'static str,
    /// SHA-256 of the manifest, in hex; released, it is served at /content/{digest}.
    digest: String,
    /// SHA-256 of each language's body, in hex.
    languages: BTreeMap<String, String>,
    released_at: Option<Timestamp>,
}

impl From<Version> for VersionAnswer {
    fn from(version: Version) -> Self {
        let languages = version.manifest.languages.into_iter();
        Self {
            version: version.name,
            state: if version.released_at.is_some() { "released" } else { "draft" },
            digest: version.digest.to_string(),
            languages: languages.map(|(language, digest)| (language, digest.to_string())).collect(),
            released_at: version.released_at,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ContentAnswer)]
struct ContentAnswer {
    #[serde(flatten)]
    content: Content,
    /// Oldest first; the newest hundred.
    versions: Vec<VersionAnswer>,
}

/// Read content with its versions.
#[utoipa::path(get, path = "/api/global/content/{id}", tag = "content", params(("id" = String, Path)),
    responses((status = 200, body = Answer<ContentAnswer>), (status = 404)), security(("token" = [])))]
async fn read(
    State(state): State<AppState>,
    speaks: Speaks,
    _: May<ReadContent>,
    Path(id): Path<String>,
) -> Result<Response, Failed> {
    let found = async {
        let id = Some(id).filter(|id| is_content_id(id)).ok_or(NOT_FOUND)?;
        let mut connection = state.connection().await?;
        let content = content::find(&mut connection, &id).await?.ok_or(NOT_FOUND)?;
        let versions = content::versions(&mut connection, &id, None).await?;
        Ok(ContentAnswer { content, versions: versions.into_iter().map(VersionAnswer::from).collect() })
    };
    speaks.answer(StatusCode::OK, "content-found", found.await)
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewContent)]
struct Creation {
    /// 1 to 128 of a-z, 0-9, '.', '_' and '-'; it can never be changed.
    id: String,
    /// Course, Lesson, Quiz or Resource; it can never be changed.
    #[serde(rename = "type")]
    #[schema(example = "Course")]
    kind: String,
    /// By language; at least one.
    title: BTreeMap<String, String>,
    /// By language.
    #[serde(default)]
    description: BTreeMap<String, String>,
    /// Languages that it is meant to be had in.
    #[serde(default)]
    target_languages: Vec<String>,
    /// Whether it may be sent to nodes; it may unless told.
    is_distributable: Option<bool>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ContentReplacement)]
struct Replacement {
    title: BTreeMap<String, String>,
    #[serde(default)]
    description: BTreeMap<String, String>,
    #[serde(default)]
    target_languages: Vec<String>,
    is_distributable: Option<bool>,
}

fn wanted(replacement: Replacement, mut problems: Problems) -> Result<Wanted, ApiError> {
    let Replacement { title, description, target_languages, is_distributable } = replacement;
    problems.unless(are_texts(&title, 256) && !title.is_empty(), "title", "field-texts");
    problems.unless(are_texts(&description, 4096), "description", "field-texts");
    let known =
        target_languages.len() <= MAX_LANGUAGES && target_languages.iter().all(|language| is_language(language));
    problems.unless(known, "targetLanguages", "field-languages");
    problems.refuse()?;
    Ok(Wanted { title, description, target_languages, is_distributable: is_distributable.unwrap_or(true) })
}

/// Make content, without a version yet.
#[utoipa::path(post, path = "/api/global/content", tag = "content", request_body = Creation,
    responses((status = 201, body = Answer<Content>), (status = 409)), security(("token" = [])))]
async fn create(
    State(state): State<AppState>,
    speaks: Speaks,
    ClientAddress(address): ClientAddress,
    May { user, .. }: May<ManageContent>,
    Body(creation): Body<Creation>,
) -> Result<Response, Failed> {
    let made = async {
        let Creation { id, kind, title, description, target_languages, is_distributable } = creation;
        let mut problems = Problems::default();
        problems.unless(is_content_id(&id), "id", "field-content-id");
        problems.unless(is_type(&kind), "type", "field-content-type");
        let wanted = wanted(Replacement { title, description, target_languages, is_distributable }, problems)?;
        let mut connection = state.connection().await?;
        let mut transaction = connection.begin().await?;
        let made = content::insert(&mut transaction, &id, &kind, &wanted, state.clock.now()).await?.ok_or(TAKEN)?;
        note(&state, &mut transaction, &user, "create-content", &id, address, &json!({})).await?;
        transaction.commit().await?;
        Ok(made)
    };
    speaks.answer(StatusCode::CREATED, "content-created", made.await)
}

/// Change what content is called and meant for; its versions stay as they are.
#[utoipa::path(put, path = "/api/global/content/{id}", tag = "content", params(("id" = String, Path)),
    request_body = Replacement,
    responses((status = 200, body = Answer<Content>), (status = 404)), security(("token" = [])))]
async fn replace(
    State(state): State<AppState>,
    speaks: Speaks,
    ClientAddress(address): ClientAddress,
    May { user, .. }: May<ManageContent>,
    Path(id): Path<String>,
    Body(replacement): Body<Replacement>,
) -> Result<Response, Failed> {
    let changed = async {
        let id = Some(id).filter(|id| is_content_id(id)).ok_or(NOT_FOUND)?;
        let wanted = wanted(replacement, Problems::default())?;
        let mut connection = state.connection().await?;
        let mut transaction = connection.begin().await?;
        let changed = content::update(&mut transaction, &id, &wanted, state.clock.now()).await?.ok_or(NOT_FOUND)?;
        note(&state, &mut transaction, &user, "change-content", &id, address, &json!({})).await?;
        transaction.commit().await?;
        Ok(changed)
    };
    speaks.answer(StatusCode::OK, "content-changed", changed.await)
}

/// Read one version.
#[utoipa::path(get, path = "/api/global/content/{id}/versions/{version}", tag = "content",
    params(("id" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = Answer<VersionAnswer>), (status = 404)), security(("token" = [])))]
async fn read_version(
    State(state): State<AppState>,
    speaks: Speaks,
    _: May<ReadContent>,
    Path((id, version)): Path<(String, String)>,
) -> Result<Response, Failed> {
    let found = async {
        let mut connection = state.connection().await?;
        find_version(&mut connection, &id, &version).await.map(VersionAnswer::from)
    };
    speaks.answer(StatusCode::OK, "version-found", found.await)
}

/// A version of the catalogue.
///
/// # Errors
/// Not found.
pub async fn find_version(connection: &mut PgConnection, id: &str, version: &str) -> Result<Version, ApiError> {
    if !is_content_id(id) || !is_version(version) {
        return Err(NOT_FOUND);
    }
    content::versions(connection, id, Some(version)).await?.pop().ok_or(NOT_FOUND)
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ContentDraft)]
struct Draft {
    /// Content by language: an object of at most 1 MiB each.
    #[serde(default)]
    #[schema(value_type = Object)]
    languages: BTreeMap<String, Value>,
    /// Languages whose content was put at /content/{digest} before, by their digests.
    #[serde(default)]
    digests: BTreeMap<String, String>,
}

/// Make a draft of a version, or change it. Once it is released it is never changed again.
#[utoipa::path(put, path = "/api/global/content/{id}/versions/{version}", tag = "content",
    params(("id" = String, Path), ("version" = String, Path)), request_body = Draft,
    responses((status = 200, body = Answer<VersionAnswer>), (status = 404), (status = 409)), security(("token" = [])))]
async fn draft(
    State(state): State<AppState>,
    speaks: Speaks,
    ClientAddress(address): ClientAddress,
    May { user, .. }: May<ManageContent>,
    Path((id, version)): Path<(String, String)>,
    Body(draft): Body<Draft>,
) -> Result<Response, Failed> {
    speaks.answer(StatusCode::OK, "version-drafted", make_draft(&state, &user, address, &id, &version, draft).await)
}

/// A language's bytes in their one form; none for what is no content.
fn body(value: &Value) -> Option<Vec<u8>> {
    let bytes = canonical(value).filter(|_| value.is_object() && is_storable(value))?;
    (bytes.len() <= MAX_BODY).then_some(bytes)
}

async fn make_draft(
    state: &AppState,
    user: &SignedIn,
    address: Option<IpAddr>,
    id: &str,
    version: &str,
    draft: Draft,
) -> Result<VersionAnswer, ApiError> {
    let bodies: BTreeMap<_, _> =
        draft.languages.iter().map(|(language, value)| (language.clone(), body(value))).collect();
    let digests: BTreeMap<_, Option<Digest>> =
        draft.digests.iter().map(|(language, digest)| (language.clone(), digest.parse().ok())).collect();
    let count = bodies.len() + digests.len();
    let mut problems = Problems::default();
    problems.unless(is_version(version), "version", "field-version");
    let named = |language: &String| is_language(language);
    let apart = bodies.keys().all(|language| !digests.contains_key(language));
    let good = bodies.iter().all(|(language, body)| named(language) && body.is_some());
    problems.unless(good && apart && (1..=MAX_LANGUAGES).contains(&count), "languages", "field-content-languages");
    problems.unless(
        digests.iter().all(|(language, digest)| named(language) && digest.is_some()),
        "digests",
        "field-digests",
    );
    problems.refuse()?;
    let now = state.clock.now();
    let mut connection = state.connection().await?;
    let mut transaction = connection.begin().await?;
    let content = Some(id).filter(|id| is_content_id(id)).ok_or(NOT_FOUND)?;
    let content = content::find(&mut transaction, content).await?.ok_or(NOT_FOUND)?;
    let mut languages: BTreeMap<String, Digest> =
        digests.into_iter().filter_map(|(language, digest)| Some((language, digest?))).collect();
    let put_before: Vec<_> = languages.values().copied().collect();
    let mut problems = Problems::default();
    problems.unless(content::missing(&mut transaction, &put_before).await?.is_empty(), "digests", "field-digests-put");
    problems.refuse()?;
    for (language, body) in bodies {
        let Some(body) = body else { continue };
        let digest = Digest::of(&body);
        content::put(&mut transaction, &digest, &body, now).await?;
        languages.insert(language, digest);
    }
    let manifest = Manifest {
        content_id: content.id,
        kind: content.kind,
        version: version.to_owned(),
        title: content.title,
        languages,
        local_changes: None,
        locked_fields: Vec::new(),
        wanted_languages: Vec::new(),
        language_fallback: None,
    };
    let bytes = manifest.canonical();
    let digest = Digest::of(&bytes);
    content::put(&mut transaction, &digest, &bytes, now).await?;
    if !content::draft(&mut transaction, &manifest, &digest, now).await? {
        return Err(RELEASED);
    }
    let detail = json!({"version": version, "digest": digest.to_string()});
    note(state, &mut transaction, user, "draft-content", id, address, &detail).await?;
    let drafted = find_version(&mut transaction, id, version).await?;
    transaction.commit().await?;
    Ok(drafted.into())
}

/// Release a version: from now on it is served by its digests, and never changed. Again it changes nothing.
#[utoipa::path(post, path = "/api/global/content/{id}/versions/{version}/release", tag = "content",
    params(("id" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = Answer<VersionAnswer>), (status = 404), (status = 409)), security(("token" = [])))]
async fn release(
    State(state): State<AppState>,
    speaks: Speaks,
    ClientAddress(address): ClientAddress,
    May { user, .. }: May<ManageContent>,
    Path((id, version)): Path<(String, String)>,
) -> Result<Response, Failed> {
    let released = async {
        let mut connection = state.connection().await?;
        let mut transaction = connection.begin().await?;
        let found = find_version(&mut transaction, &id, &version).await?;
        if found.released_at.is_none() {
            if !content::release(&mut transaction, &found.manifest, &found.digest, state.clock.now()).await? {
                return Err(VERSION_TAKEN);
            }
            let detail = json!({"version": version, "digest": found.digest.to_string()});
            note(&state, &mut transaction, &user, "release-content", &id, address, &detail).await?;
        }
        let released = find_version(&mut transaction, &id, &version).await?;
        transaction.commit().await?;
        Ok(VersionAnswer::from(released))
    };
    speaks.answer(StatusCode::OK, "version-released", released.await)
}

async fn note(
    state: &AppState,
    connection: &mut PgConnection,
    user: &SignedIn,
    action: &str,
    content: &str,
    address: Option<IpAddr>,
    detail: &Value,
) -> Result<(), ApiError> {
    let actor = audit::person(user.id);
    Ok(audit::add(connection, &actor, action, content, address, detail, state.clock.now()).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_versions_are_fit_for_addresses() {
        for good in ["1", "1.0.0-rc.1+build", "v2"] {
            assert!(is_version(good), "{good}");
        }
        for bad in ["", ".1", "1 0", "1/0", "١", &"1".repeat(65)] {
            assert!(!is_version(bad), "{bad}");
        }
    }

    #[test]
    fn only_an_object_that_every_node_can_keep_is_content() {
        assert!(body(&json!({"lessons": []})).is_some());
        for bad in [json!([]), json!("x"), json!(null), json!({"a": "\0"}), json!({"a": "x".repeat(MAX_BODY)})] {
            assert_eq!(body(&bad), None);
        }
    }
}
