//! What the wildcard route brings: hosts under the base domain that no node serves at the moment.

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{Html, IntoResponse, Response},
};
use fateh_common::{envelope::Language, service::words};
use fateh_crds::NodeState;

use crate::state::AppState;

/// How soon a browser may ask again, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("300");

/// Answers requests for the hosts of nodes; all others go on to the hub.
pub async fn answer(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let Some(slug) = slug_of(host, &state.base_domain) else { return next.run(request).await };
    let node = state.fleet.node(&slug);
    let key = match node.map(|node| node.spec.state) {
        Some(NodeState::Suspended) => "holding-suspended",
        // Its own route takes over as soon as it has one.
        Some(NodeState::Active) => "holding-soon",
        Some(NodeState::Inactive) | None => return page(StatusCode::NOT_FOUND, "holding-unknown"),
    };
    let mut page = page(StatusCode::SERVICE_UNAVAILABLE, key);
    page.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    page
}

/// The first label of a host under the base domain; none for the hub itself and for every other host.
fn slug_of(host: &str, base_domain: &str) -> Option<String> {
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let host = name.map_or(host, |(name, _)| name).trim_end_matches('.').to_ascii_lowercase();
    let slug = host.strip_suffix(base_domain)?.strip_suffix('.')?;
    (slug != "hub").then(|| slug.to_owned())
}

/// A page that is as plain as it can be: nothing to load, and nothing of the request in it.
fn page(status: StatusCode, key: &str) -> Response {
    let [arabic, english] = [Language::Arabic, Language::English].map(|language| words::text(language, key));
    let html = format!(
        "<!doctype html>\n<html lang=\"ar\" dir=\"rtl\">\n<head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{arabic}</title></head>\n\
         <body><h1>{arabic}</h1>\n<p lang=\"en\" dir=\"ltr\">{english}</p></body>\n</html>\n"
    );
    let safe = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (status, safe, Html(html)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_under_the_base_domain_are_nodes() {
        for (host, slug) in [
            ("riyadh.fateh.test", Some("riyadh")),
            ("RIYADH.Fateh.Test:8443", Some("riyadh")),
            ("riyadh.fateh.test.", Some("riyadh")),
            ("a.b.fateh.test", Some("a.b")),
            ("hub.fateh.test", None),
            ("hub.fateh.test:8443", None),
            ("fateh.test", None),
            ("evilfateh.test", None),
            ("fateh-hub.fateh-system:8080", None),
            ("127.0.0.1:8080", None),
            ("[::1]:8080", None),
            ("", None),
        ] {
            assert_eq!(slug_of(host, "fateh.test").as_deref(), slug, "{host}");
        }
    }
}
