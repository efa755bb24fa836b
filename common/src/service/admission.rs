//! How many requests are under way at once: those beyond are refused where they stand. It lies around everything else,
//! and its answer is written beforehand, because a refusal is to cost as little as it can.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll},
};

use axum::{
    body::Bytes,
    extract::Request,
    http::{HeaderMap, response::Parts},
    response::Response,
};
use tokio::sync::Semaphore;
use tower::{Layer, Service};

use super::{error::OVERLOADED, layers, metrics::Requests};
use crate::envelope::Language;

/// The refusal in each language, written once.
struct Refusals {
    arabic: (Parts, Bytes),
    english: (Parts, Bytes),
}

static REFUSALS: LazyLock<Refusals> = LazyLock::new(|| {
    let written = |language| {
        let (mut parts, body) = OVERLOADED.written(language);
        layers::secure(&mut parts.headers);
        (parts, body)
    };
    Refusals { arabic: written(Language::Arabic), english: written(Language::English) }
});

fn refuse(headers: &HeaderMap) -> Response {
    let (parts, body) = match Language::negotiate(headers) {
        Language::Arabic => &REFUSALS.arabic,
        Language::English => &REFUSALS.english,
    };
    let mut parts = parts.clone();
    if let Some(id) = layers::given_id(headers) {
        parts.headers.insert(layers::REQUEST_ID, id.clone());
    }
    Response::from_parts(parts, body.clone().into())
}

/// The places for requests under way, shared by all connections.
#[derive(Clone)]
pub struct Admission {
    places: Arc<Semaphore>,
    requests: Requests,
}

impl Admission {
    /// So many requests at once; those that are refused are counted among `requests`.
    pub fn new(places: usize, requests: Requests) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), requests }
    }
}

impl<S> Layer<S> for Admission {
    type Service = Admitting<S>;

    fn layer(&self, inner: S) -> Admitting<S> {
        Admitting { inner, admission: self.clone() }
    }
}

/// A service that only so many requests reach.
#[derive(Clone)]
pub struct Admitting<S> {
    inner: S,
    admission: Admission,
}

impl<S> Service<Request> for Admitting<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Admission { places, requests } = &self.admission;
        let Ok(place) = Arc::clone(places).try_acquire_owned() else {
            requests.refused(request.method());
            return Box::pin(std::future::ready(Ok(refuse(request.headers()))));
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let _place = place;
            answer.await
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::StatusCode};
    use prometheus::Registry;
    use tokio::sync::Notify;
    use tower::{ServiceExt, service_fn};

    use super::*;

    fn admission(places: usize) -> Admission {
        Admission::new(places, Requests::new("tested", &Registry::new()).unwrap())
    }

    /// One place, and a service that answers when it is let.
    fn one_place(
        go: &Arc<Notify>,
    ) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + use<> {
        let go = Arc::clone(go);
        admission(1).layer(service_fn(move |_: Request| {
            let go = Arc::clone(&go);
            async move {
                go.notified().await;
                Ok(Response::default())
            }
        }))
    }

    async fn ask(service: impl Service<Request, Response = Response, Error = Infallible>) -> StatusCode {
        let Ok(answer) = service.oneshot(Request::new(Body::empty())).await;
        answer.status()
    }

    #[tokio::test]
    async fn a_place_is_free_again_when_its_request_is_answered_or_gone() {
        let go = Arc::new(Notify::new());
        let service = one_place(&go);
        let mut first = Box::pin(ask(service.clone()));
        assert!(now(&mut first).is_none(), "the first has the place");
        assert_eq!(ask(service.clone()).await, StatusCode::SERVICE_UNAVAILABLE);
        go.notify_one();
        assert_eq!(first.await, StatusCode::OK);
        let mut left = Box::pin(ask(service.clone()));
        assert!(now(&mut left).is_none());
        drop(left);
        go.notify_one();
        assert_eq!(ask(service).await, StatusCode::OK);
    }

    #[tokio::test]
    async fn a_refusal_speaks_the_language_that_is_asked_for_and_says_when_to_come_again() {
        let service = admission(0).layer(service_fn(async |_: Request| Ok(Response::default())));
        for (language, message) in [("ar", "الخدمة"), ("en", "The service")] {
            let request = Request::builder().header("accept-language", language).body(Body::empty()).unwrap();
            let Ok(answer) = service.clone().oneshot(request).await;
            assert_eq!(answer.headers()["retry-after"], "1");
            assert_eq!(answer.headers()["content-type"], "application/json");
            assert_eq!(answer.headers()["cache-control"], "no-store");
            let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            let body = String::from_utf8(body.to_vec()).unwrap();
            assert!(body.contains(message) && body.contains(r#""error":"overloaded""#), "{body}");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_counted_and_keeps_the_id_that_was_given_to_the_request() {
        let registry = Registry::new();
        let admission = Admission::new(0, Requests::new("tested", &registry).unwrap());
        let service = admission.layer(service_fn(async |_: Request| Ok(Response::default())));
        let given = "0199c5f2-5b0e-7c3e-9d5a-3f1b2c4d5e6f";
        for (id, kept) in [(given, Some(given)), ("<b>someone@example.com", None)] {
            let request = Request::builder().header("x-request-id", id).body(Body::empty()).unwrap();
            let Ok(answer) = service.clone().oneshot(request).await;
            assert_eq!(answer.headers().get("x-request-id").map(|id| id.to_str().unwrap()), kept);
        }
        let counted = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let line = r#"tested_http_request_duration_seconds_count{method="GET",route="none",status="503"} 2"#;
        assert!(counted.contains(line), "{counted}");
    }

    /// What it is, if it is done when it is looked at once.
    fn now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        match Pin::new(future).poll(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }
}
