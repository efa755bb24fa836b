//! `/content/{digest}`: bytes by their digest. Whoever knows the digest of released content may have it: the digest is
//! the capability, so that any cache can stand before this, and nodes need no token.

use axum::{
    Json,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use fateh_common::{
    catalogue::{Digest, MANIFEST_PATH, MAX_BODY, Manifest, VERSION_PATH},
    service::{
        error::{ApiError, Failed, NOT_FOUND},
        extract::{Raw, Speaks},
        validation::{Problems, is_content_id, is_language},
    },
};
use headers::{HeaderMapExt, Range};
use serde::Serialize;
use sqlx::Connection;
use tower_http::compression::CompressionLayer;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Answer,
    content::{is_type, is_version},
};
use crate::{publisher::Publisher, state::AppState, storage::content};

/// Of what never changes.
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(get, put))
        // Not described: it is between programs of one release, and versioned by its path.
        .route(MANIFEST_PATH, axum::routing::post(release))
        .route(VERSION_PATH, axum::routing::get(released_version))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(CompressionLayer::new())
}

/// Get released content. Cached for a year, compressed for those who accept it, and in parts for those who ask.
#[utoipa::path(get, path = "/content/{digest}", tag = "content",
    params(("digest" = String, Path), ("range" = Option<String>, Header)),
    responses((status = 200, body = Object), (status = 206, body = String, content_type = "application/json"),
        (status = 304), (status = 404), (status = 416)))]
async fn get(
    State(state): State<AppState>,
    Speaks(language): Speaks,
    Path(digest): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failed> {
    let found = async {
        let digest: Digest = digest.parse().map_err(|_| NOT_FOUND)?;
        let read = async {
            let body = content::released(&mut *state.connection().await?, &digest).await?;
            body.map(Bytes::from).ok_or(NOT_FOUND)
        };
        let body = state.released_bodies.get(&digest, read).await?;
        Ok(serve(&digest, body, &headers))
    };
    found.await.map_err(|error| Failed(error, language))
}

/// The answer: all of it, a part, or that the client has it already.
fn serve(digest: &Digest, body: Bytes, headers: &HeaderMap) -> Response {
    let etag = format!("\"{digest}\"");
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let has_it = known.is_some_and(|tags| tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag));
    let kept = [
        (header::ETAG, HeaderValue::from_str(&etag).unwrap_or(HeaderValue::from_static("\"\""))),
        (header::CACHE_CONTROL, FOREVER),
        (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
    ];
    if has_it {
        return (StatusCode::NOT_MODIFIED, kept).into_response();
    }
    let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let length = body.len();
    match headers.typed_get::<Range>().map_or(Asked::All, |range| part(&range, length)) {
        Asked::All => (kept, [json], body).into_response(),
        Asked::Nothing => {
            let all = HeaderValue::from_str(&format!("bytes */{length}")).unwrap_or(FOREVER);
            (StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, all)]).into_response()
        }
        Asked::Part(first, end) => {
            let range = HeaderValue::from_str(&format!("bytes {first}-{}/{length}", end - 1)).unwrap_or(FOREVER);
            let body = body.slice(first..end);
            (StatusCode::PARTIAL_CONTENT, kept, [json, (header::CONTENT_RANGE, range)], body).into_response()
        }
    }
}

/// What a range asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Everything: several parts are not sent one by one.
    All,
    /// From a first byte to before an end.
    Part(usize, usize),
    /// What is not there.
    Nothing,
}

fn part(range: &Range, length: usize) -> Asked {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let total = u64::try_from(length).unwrap_or(u64::MAX);
    let mut parts = range.satisfiable_ranges(total);
    let Some(part) = parts.next() else { return Asked::Nothing };
    if parts.next().is_some() {
        return Asked::All;
    }
    let first = match part.0 {
        Included(first) => first,
        Excluded(before) => before + 1,
        Unbounded => 0,
    };
    let end = match part.1 {
        Included(last) => last.saturating_add(1),
        Excluded(end) => end,
        Unbounded => total,
    };
    let [first, end] = [first, end.min(total)].map(|at| usize::try_from(at).unwrap_or(length));
    if first < end { Asked::Part(first, end) } else { Asked::Nothing }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Kept {
    digest: String,
}

/// Put bytes under their digest. Again it changes nothing; they are served once a manifest that names them is released.
#[utoipa::path(put, path = "/content/{digest}", tag = "content", params(("digest" = String, Path)),
    request_body(content = Object, content_type = "application/json"),
    responses((status = 200, body = Answer<Kept>), (status = 201, body = Answer<Kept>)), security(("token" = [])))]
async fn put(
    State(state): State<AppState>,
    speaks: Speaks,
    publisher: Publisher,
    Path(digest): Path<String>,
    Raw(body): Raw,
) -> Result<Response, Failed> {
    let put = async {
        let named: Option<Digest> = digest.parse().ok();
        let mut problems = Problems::default();
        problems.unless(named == Some(Digest::of(&body)), "digest", "field-digest-of-body");
        let is_object = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&body).is_ok();
        problems.unless(is_object, "body", "field-content-body");
        problems.refuse()?;
        let digest = named.ok_or(NOT_FOUND)?;
        let now = state.clock.now();
        let new = content::put(&mut *state.connection().await?, &digest, &body, now).await?;
        tracing::info!(%digest, by = publisher.actor(), new, "content was put");
        Ok(new)
    };
    let put = put.await;
    let status = if matches!(put, Ok(true)) { StatusCode::CREATED } else { StatusCode::OK };
    speaks.answer(status, "content-put", put.map(|_| Kept { digest }))
}

/// The manifest of a released version of the catalogue that may be sent to nodes. For the operator.
async fn released_version(
    State(state): State<AppState>,
    Speaks(language): Speaks,
    publisher: Publisher,
    Path((id, version)): Path<(String, String)>,
) -> Result<Response, Failed> {
    let found = async {
        publisher.must_be_the_operator()?;
        let mut connection = state.connection().await?;
        let found = super::content::find_version(&mut connection, &id, &version).await?;
        let content = content::find(&mut connection, &id).await?.filter(|content| content.is_distributable);
        if content.is_none() || found.released_at.is_none() {
            return Err(NOT_FOUND);
        }
        Ok(Json(found.manifest).into_response())
    };
    found.await.map_err(|error| Failed(error, language))
}

/// Releases a manifest of inline content and its bodies. For the operator.
async fn release(
    State(state): State<AppState>,
    Speaks(language): Speaks,
    publisher: Publisher,
    Raw(body): Raw,
) -> Result<Response, Failed> {
    let released = async {
        publisher.must_be_the_operator()?;
        let manifest: Option<Manifest> = serde_json::from_slice(&body).ok();
        let manifest = manifest.filter(|manifest| is_whole(manifest) && manifest.canonical() == body);
        let mut problems = Problems::default();
        problems.unless(manifest.is_some(), "manifest", "field-manifest");
        problems.refuse()?;
        let manifest = manifest.ok_or(NOT_FOUND)?;
        let (digest, now) = (Digest::of(&body), state.clock.now());
        let mut connection = state.connection().await?;
        let mut transaction = connection.begin().await?;
        let bodies: Vec<_> = manifest.languages.values().copied().collect();
        if let Some(missing) = content::missing(&mut transaction, &bodies).await?.first() {
            let named = vec![("digest", missing.to_string())];
            return Err(ApiError::Because(StatusCode::CONFLICT, "body-missing", named));
        }
        content::put(&mut transaction, &digest, &body, now).await?;
        if !content::release(&mut transaction, &manifest, &digest, now).await? {
            return Err(ApiError::Refused(StatusCode::CONFLICT, "version-taken"));
        }
        transaction.commit().await?;
        Ok((StatusCode::OK, Json(Kept { digest: digest.to_string() })).into_response())
    };
    released.await.map_err(|error| Failed(error, language))
}

/// Whether every part of a manifest is as it should be.
fn is_whole(manifest: &Manifest) -> bool {
    is_content_id(&manifest.content_id)
        && is_type(&manifest.kind)
        && is_version(&manifest.version)
        && !manifest.languages.is_empty()
        && manifest.languages.keys().chain(manifest.title.keys()).all(|language| is_language(language))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_is_sent_as_it_is_asked_for() {
        let asked = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, HeaderValue::from_str(text).unwrap());
            headers.typed_get::<Range>().map_or(Asked::All, |range| part(&range, 10))
        };
        for (text, expected) in [
            ("bytes=0-3", Asked::Part(0, 4)),
            ("bytes=4-", Asked::Part(4, 10)),
            ("bytes=-3", Asked::Part(7, 10)),
            ("bytes=8-99", Asked::Part(8, 10)),
            ("bytes=9-9", Asked::Part(9, 10)),
            ("bytes=10-", Asked::Nothing),
            ("bytes=0-1,4-5", Asked::All),
            ("lines=0-1", Asked::All),
        ] {
            assert_eq!(asked(text), expected, "{text}");
        }
    }

    #[test]
    fn who_has_the_content_is_sent_none_of_it() {
        let digest = Digest::of(b"{}");
        let answer = |name: header::HeaderName, value: &str| {
            let headers = HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())]);
            serve(&digest, Bytes::from_static(b"{}"), &headers)
        };
        for (tags, status) in [
            (format!("\"{digest}\""), StatusCode::NOT_MODIFIED),
            (format!("\"x\", W/\"{digest}\""), StatusCode::NOT_MODIFIED),
            ("\"x\"".to_owned(), StatusCode::OK),
        ] {
            let answer = answer(header::IF_NONE_MATCH, &tags);
            assert_eq!(answer.status(), status, "{tags}");
            assert_eq!(answer.headers()[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
        }
        let beyond = answer(header::RANGE, "bytes=2-");
        assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
        assert_eq!(beyond.headers()[header::CONTENT_RANGE], "bytes */2");
    }
}
