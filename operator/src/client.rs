//! The client that reconciles use: it writes only while the fence is open, asks again when the API server had a bad
//! moment, and gives up in time.

use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
};
use tokio::time::Sleep;
use tower::{
    BoxError,
    buffer::BufferLayer,
    filter::FilterLayer,
    retry::{Policy, RetryLayer},
    timeout::TimeoutLayer,
};

use crate::leadership::Fence;

/// An API server that has not begun to answer by then is asked again by a later pass.
const DEADLINE: Duration = Duration::from_secs(15);
/// How often a request is repeated, and how long it waits before the first time.
const REPEATS: u32 = 4;
const FIRST_DELAY: Duration = Duration::from_millis(40);
const LONGEST_DELAY: Duration = Duration::from_secs(2);
/// Requests that may wait to be sent; kube's own client holds as many.
const IN_FLIGHT: usize = 1024;
const APPLY: &str = "application/apply-patch+yaml";

/// A write that was not sent, because another operator may be leading.
#[derive(Debug, thiserror::Error)]
#[error("this operator's lease may have ended")]
struct FenceShut;

/// A client whose writes are refused while the fence is shut, whatever a reconcile believes.
///
/// # Errors
/// When the configuration cannot be used.
pub fn fenced(mut config: Config, fence: Fence) -> Result<Client, kube::Error> {
    // Its repeats would pass the fence by.
    config.default_retry = false;
    let check = FilterLayer::new(move |request: Request<Body>| {
        let reads = request.method() == Method::GET;
        if reads || fence.is_open() { Ok(request) } else { Err(BoxError::from(FenceShut)) }
    });
    let builder = ClientBuilder::try_from(config)?;
    let again = RetryLayer::new(Again { repeats: 0 });
    // Buffered, because a repeated request needs the way to the server once more.
    let buffer = BufferLayer::new(IN_FLIGHT);
    let builder = builder.with_layer(&check).with_layer(&buffer).with_layer(&again);
    Ok(builder.with_layer(&TimeoutLayer::new(DEADLINE)).build())
}

/// Repeats a request that met a bad moment. Each of the operator's requests may be carried out twice.
#[derive(Clone)]
struct Again {
    repeats: u32,
}

/// Whether an answer, or none, may be another the next time.
fn passes<T>(request: &Request<Body>, result: &Result<Response<T>, BoxError>) -> bool {
    match result {
        Err(error) => !error.is::<FenceShut>(),
        Ok(response) => match response.status() {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => true,
            // An apply that crossed another write; one that names a version is no better then.
            StatusCode::CONFLICT => request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == APPLY),
            _ => false,
        },
    }
}

fn delay(repeats: u32, asked_for: Option<u64>, random: u8) -> Duration {
    let grown = FIRST_DELAY * 3_u32.saturating_pow(repeats);
    let asked_for = asked_for.map(Duration::from_secs).unwrap_or_default();
    grown.max(asked_for).min(LONGEST_DELAY).mul_f64(0.75 + f64::from(random) / 512.0)
}

impl<T> Policy<Request<Body>, Response<T>, BoxError> for Again {
    type Future = Sleep;

    fn retry(&mut self, request: &mut Request<Body>, result: &mut Result<Response<T>, BoxError>) -> Option<Sleep> {
        let conflict = result.as_ref().is_ok_and(|response| response.status() == StatusCode::CONFLICT);
        let most = if conflict { 1 } else { REPEATS };
        if self.repeats >= most || !passes(request, result) {
            return None;
        }
        let after = result.as_ref().ok().and_then(|response| response.headers().get(header::RETRY_AFTER));
        let after = after.and_then(|value| value.to_str().ok()?.parse().ok());
        let delay = delay(self.repeats, after, rand::random());
        self.repeats += 1;
        Some(tokio::time::sleep(delay))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        let mut clone = Request::new(request.body().try_clone()?);
        clone.method_mut().clone_from(request.method());
        clone.uri_mut().clone_from(request.uri());
        clone.headers_mut().clone_from(request.headers());
        clone.extensions_mut().clone_from(request.extensions());
        Some(clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_passes_is_asked_again() {
        let request = |kind: &str| Request::patch("/").header(header::CONTENT_TYPE, kind).body(Body::empty()).unwrap();
        for (kind, code, again) in [
            (APPLY, 200, false),
            (APPLY, 403, false),
            (APPLY, 404, false),
            (APPLY, 409, true),
            ("application/merge-patch+json", 409, false),
            (APPLY, 422, false),
            (APPLY, 429, true),
            (APPLY, 500, true),
            (APPLY, 504, true),
        ] {
            let answer = Ok(Response::builder().status(code).body(()).unwrap());
            assert_eq!(passes(&request(kind), &answer), again, "{code}");
        }
        assert!(passes::<()>(&request(APPLY), &Err("connection reset".into())));
        assert!(!passes::<()>(&request(APPLY), &Err(FenceShut.into())));
    }

    #[test]
    fn waits_grow_follow_the_servers_word_and_stay_short() {
        let total: Duration = (0..REPEATS).map(|repeats| delay(repeats, None, u8::MAX)).sum();
        assert!(delay(0, None, 0) < delay(1, None, 0) && total < DEADLINE / 2);
        assert!(delay(0, Some(1), 0) >= Duration::from_millis(750));
        assert!(delay(0, Some(3600), u8::MAX) <= LONGEST_DELAY.mul_f64(1.25));
    }
}
