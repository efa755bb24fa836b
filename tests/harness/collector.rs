//! A collector of traces, as programs under test see it: it keeps what they send by OTLP over HTTP.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{Router, body::Bytes, extract::State, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{AnyValue, KeyValue, any_value::Value},
};
use prost::Message;

use crate::variable;

/// A span, as far as tests look at it.
#[derive(Clone, Debug)]
pub struct Span {
    /// `service.name` of the program.
    pub service: String,
    /// What was done.
    pub name: String,
    /// Trace, in hex.
    pub trace: String,
    /// Identifier, in hex.
    pub id: String,
    /// Identifier of the span that it is a part of, in hex; empty: of none.
    pub parent: String,
    /// What is said of it, as `key=value`.
    pub attributes: Vec<String>,
}

/// What was received since it began to listen.
#[derive(Debug, Default)]
pub struct Collector {
    spans: Mutex<Vec<Span>>,
    bodies: Mutex<Vec<Bytes>>,
}

impl Collector {
    /// Listens where the programs under test were told that their traces go.
    pub async fn start() -> Arc<Self> {
        let collector = Arc::new(Self::default());
        let address = variable("FATEH_COLLECTOR");
        let listener = tokio::net::TcpListener::bind(&address).await;
        let listener = listener.unwrap_or_else(|error| panic!("listen at {address}: {error}"));
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&collector));
        tokio::spawn(async move { axum::serve(listener, router).await });
        collector
    }

    /// The spans that fit.
    pub fn spans(&self, fits: impl Fn(&Span) -> bool) -> Vec<Span> {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.iter().filter(|span| fits(span)).cloned().collect()
    }

    /// Whether anything that was received holds a text.
    pub fn holds(&self, text: &str) -> bool {
        let bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        bodies.iter().any(|body| body.windows(text.len()).any(|part| part == text.as_bytes()))
    }
}

async fn take(State(collector): State<Arc<Collector>>, body: Bytes) -> Vec<u8> {
    let request = ExportTraceServiceRequest::decode(body.clone()).unwrap_or_else(|error| panic!("no traces: {error}"));
    collector.bodies.lock().unwrap_or_else(PoisonError::into_inner).push(body);
    let mut spans = collector.spans.lock().unwrap_or_else(PoisonError::into_inner);
    for of_resource in request.resource_spans {
        let resource = of_resource.resource.map(|resource| said(&resource.attributes)).unwrap_or_default();
        let service = resource.iter().find_map(|it| it.strip_prefix("service.name=")).unwrap_or_default();
        spans.extend(of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans).map(|span| Span {
            service: service.to_owned(),
            name: span.name,
            trace: hex::encode(&span.trace_id),
            id: hex::encode(&span.span_id),
            parent: hex::encode(&span.parent_span_id),
            attributes: said(&span.attributes),
        }));
    }
    ExportTraceServiceResponse::default().encode_to_vec()
}

fn said(attributes: &[KeyValue]) -> Vec<String> {
    let value = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|it| format!("{}={}", it.key, value(&it.value))).collect()
}
