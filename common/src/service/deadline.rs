//! Requests that take too long are given up. A service of its own because tower's layer for it, and axum's to answer for
//! its errors, clone all the layers within for each request.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::Request,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use tower::{Layer, Service};

use super::error::{ApiError, Failed};
use crate::envelope::Language;

/// How long a request may take.
#[derive(Clone, Copy)]
pub struct Deadline(pub Duration);

impl<S> Layer<S> for Deadline {
    type Service = Bounded<S>;

    fn layer(&self, inner: S) -> Bounded<S> {
        Bounded { inner, deadline: *self }
    }
}

/// A service that answers in time.
#[derive(Clone)]
pub struct Bounded<S> {
    inner: S,
    deadline: Deadline,
}

impl<S> Service<Request> for Bounded<S>
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
        let language = Language::negotiate(request.headers());
        let answer = tokio::time::timeout(self.deadline.0, self.inner.call(request));
        Box::pin(async move {
            let late = ApiError::Refused(StatusCode::GATEWAY_TIMEOUT, "timeout");
            answer.await.unwrap_or_else(|_| Ok(Failed(late, language).into_response()))
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tower::{ServiceExt, service_fn};

    use super::*;

    #[tokio::test]
    async fn what_takes_too_long_is_given_up() {
        let slow = Deadline(Duration::ZERO).layer(service_fn(async |_: Request| {
            tokio::time::sleep(Duration::MAX).await;
            Ok(Response::default())
        }));
        let Ok(answer) = slow.oneshot(Request::new(Body::empty())).await;
        assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    }
}
