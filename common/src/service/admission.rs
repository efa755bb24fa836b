//! How many requests are under way at once: those beyond are refused where they stand, and the others given up when they
//! take too long. A service of its own because a refusal is to cost as little as it can: tower's layers for the same,
//! and axum's to answer for their errors, clone all the layers within for each request.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Bytes,
    extract::Request,
    http::{HeaderMap, StatusCode, response::Parts},
    response::{IntoResponse, Response},
};
use tokio::sync::Semaphore;
use tower::{Layer, Service};

use super::error::{ApiError, Failed, OVERLOADED};
use crate::envelope::Language;

/// The refusal in each language, written once.
struct Refusals {
    arabic: (Parts, Bytes),
    english: (Parts, Bytes),
}

static REFUSALS: LazyLock<Refusals> = LazyLock::new(|| Refusals {
    arabic: OVERLOADED.written(Language::Arabic),
    english: OVERLOADED.written(Language::English),
});

fn refuse(headers: &HeaderMap) -> Response {
    let (parts, body) = match Language::negotiate(headers) {
        Language::Arabic => &REFUSALS.arabic,
        Language::English => &REFUSALS.english,
    };
    Response::from_parts(parts.clone(), body.clone().into())
}

/// The places for requests under way, shared by all routes.
#[derive(Clone)]
pub struct Admission {
    places: Arc<Semaphore>,
    deadline: Duration,
}

impl Admission {
    /// So many requests at once, and none for longer than `deadline`.
    pub fn new(places: usize, deadline: Duration) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), deadline }
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
        let Admission { places, deadline } = &self.admission;
        let Ok(place) = Arc::clone(places).try_acquire_owned() else {
            return Box::pin(std::future::ready(Ok(refuse(request.headers()))));
        };
        let language = Language::negotiate(request.headers());
        let answer = tokio::time::timeout(*deadline, self.inner.call(request));
        Box::pin(async move {
            let _place = place;
            let late = ApiError::Refused(StatusCode::GATEWAY_TIMEOUT, "timeout");
            answer.await.unwrap_or_else(|_| Ok(Failed(late, language).into_response()))
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tokio::sync::Notify;
    use tower::{ServiceExt, service_fn};

    use super::*;

    /// One place, and a service that answers when it is let.
    fn one_place(
        go: &Arc<Notify>,
        deadline: Duration,
    ) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + use<> {
        let go = Arc::clone(go);
        Admission::new(1, deadline).layer(service_fn(move |_: Request| {
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
        let service = one_place(&go, Duration::MAX);
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
        let places = Admission::new(0, Duration::MAX);
        let service = places.layer(service_fn(async |_: Request| Ok(Response::default())));
        for (language, message) in [("ar", "الخدمة"), ("en", "The service")] {
            let request = Request::builder().header("accept-language", language).body(Body::empty()).unwrap();
            let Ok(answer) = service.clone().oneshot(request).await;
            assert_eq!(answer.headers()["retry-after"], "1");
            assert_eq!(answer.headers()["content-type"], "application/json");
            let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            let body = String::from_utf8(body.to_vec()).unwrap();
            assert!(body.contains(message) && body.contains(r#""error":"overloaded""#), "{body}");
        }
    }

    #[tokio::test]
    async fn what_takes_too_long_is_given_up() {
        assert_eq!(ask(one_place(&Arc::default(), Duration::ZERO)).await, StatusCode::GATEWAY_TIMEOUT);
    }

    /// What it is, if it is done when it is looked at once.
    fn now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        match Pin::new(future).poll(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }
}
