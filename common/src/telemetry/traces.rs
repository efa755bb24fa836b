//! Traces: spans of one request or reconcile across programs, by OTLP over HTTP, joined by W3C trace context.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use axum::http::{HeaderMap, Method, StatusCode, Uri, uri::Scheme};
use opentelemetry::{
    Context, global,
    trace::{SpanContext, Status, TraceContextExt, TraceState, TracerProvider},
};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracer, SdkTracerProvider},
};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt};
use tracing_subscriber::registry::LookupSpan;

/// Where OTLP over HTTP takes spans, at the endpoint.
const TRACES_PATH: &str = "v1/traces";
/// How long a batch may take; one that a collector does not take by then is lost, and nothing waits for it.
const DEADLINE: Duration = Duration::from_secs(5);

/// Where traces are sent, and how many.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Collector {
    /// A collector in the cluster that takes traces by OTLP over HTTP, for example `http://collector.monitoring:4318`;
    /// unset: there are no traces.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_parser = endpoint)]
    pub otlp_endpoint: Option<Uri>,
    /// Share of the traces that are sent, from 0 to 1; one that a caller began, and does not want sent, is not.
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", default_value = "1", value_parser = ratio)]
    pub trace_ratio: f64,
}

fn endpoint(text: &str) -> Result<Uri, &'static str> {
    let endpoint: Uri = text.parse().unwrap_or_default();
    // Programs in the cluster carry no file of authorities; a collector there passes spans on by TLS.
    let fits = endpoint.scheme() == Some(&Scheme::HTTP) && endpoint.port_u16().is_some() && endpoint.path() == "/";
    if fits { Ok(endpoint) } else { Err("expected http://host:port") }
}

fn ratio(text: &str) -> Result<f64, &'static str> {
    text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio)).ok_or("expected a share from 0 to 1")
}

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The client cannot be made.
    #[error("prepare the way to the collector of traces")]
    Client(#[from] reqwest::Error),
    /// The exporter cannot be made.
    #[error("prepare the export of traces")]
    Exporter(#[from] ExporterBuildError),
}

/// The way of a program's spans to the collector, if there is one.
#[derive(Debug)]
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    pub(super) fn start(collector: &Collector, service: &'static str) -> Result<Self, TracesError> {
        let Some(endpoint) = &collector.otlp_endpoint else { return Ok(Self(None)) };
        // On a thread of its own: a client that blocks may not be made where tasks run.
        let client = thread::spawn(|| {
            reqwest::blocking::Client::builder()
                .tls_certs_only([])
                .timeout(DEADLINE)
                .redirect(reqwest::redirect::Policy::none())
                .build()
        });
        let client = client.join().expect("making a client does not panic")?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(format!("{endpoint}{TRACES_PATH}"))
            .with_timeout(DEADLINE)
            .build()?;
        global::set_text_map_propagator(TraceContextPropagator::new());
        // A caller's wish is not enough: whether a trace is sent follows from its identifier, so all programs agree.
        let share = Sampler::TraceIdRatioBased(collector.trace_ratio);
        let sampler = Sampler::parent_based(share.clone()).with_remote_parent_sampled(share);
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(sampler)
            // With what the environment says in `OTEL_RESOURCE_ATTRIBUTES`.
            .with_resource(Resource::builder().with_service_name(service).build())
            .build();
        SENT.store(true, Ordering::Relaxed);
        Ok(Self(Some(provider)))
    }

    pub(super) fn layer<S>(&self) -> Option<OpenTelemetryLayer<S, SdkTracer>>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let tracer = self.0.as_ref()?.tracer("fateh");
        Some(OpenTelemetryLayer::new(tracer).with_location(false).with_threads(false))
    }

    /// Sends what is left; a collector that is away is not waited for long.
    pub fn finish(self) {
        if let Some(Err(error)) = self.0.map(|provider| provider.shutdown_with_timeout(DEADLINE)) {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// Whether anything is made of spans; nothing is spent on them otherwise.
static SENT: AtomicBool = AtomicBool::new(false);

/// Makes `span`, which has the fields `otel.name` and `otel.kind`, what a server does for a request: a part of the trace that its caller began, if one did.
pub fn serves(span: &Span, method: &Method, route: &str, headers: &HeaderMap) {
    if !SENT.load(Ordering::Relaxed) {
        return;
    }
    span.record("otel.name", format!("{method} {route}")).record("otel.kind", "server");
    let caller = global::get_text_map_propagator(|propagator| propagator.extract(&HeaderExtractor(headers)));
    let caller = caller.span().span_context().clone();
    if caller.is_valid() {
        // Without the state that came with it, which is any text of the caller's.
        let plain = TraceState::default();
        let caller = SpanContext::new(caller.trace_id(), caller.span_id(), caller.trace_flags(), true, plain);
        // A span that is filtered out has no parent either.
        let _ = span.set_parent(Context::new().with_remote_span_context(caller));
    }
    span.set_attribute("http.request.method", method.to_string());
    span.set_attribute("http.route", route.to_owned());
}

/// Notes what the request was answered with.
pub fn answered(span: &Span, status: StatusCode) {
    if !SENT.load(Ordering::Relaxed) {
        return;
    }
    span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.set_status(Status::error(""));
    }
}

/// Headers of a request by which what another program does for it becomes a part of this trace; none without traces.
#[must_use]
pub fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    if SENT.load(Ordering::Relaxed) {
        let context = Span::current().context();
        global::get_text_map_propagator(|propagator| {
            propagator.inject_context(&context, &mut HeaderInjector(&mut headers));
        });
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_within_the_cluster() {
        for (text, fits) in [
            ("http://collector.monitoring:4318", true),
            ("http://collector.monitoring:4318/", true),
            ("http://collector.monitoring", false),
            ("http://collector.monitoring:4318/v1/traces", false),
            ("https://collector:4318", false),
            ("collector:4318", false),
            ("http://", false),
        ] {
            assert_eq!(endpoint(text).is_ok(), fits, "{text}");
        }
        for (text, fits) in [("0", true), ("0.25", true), ("1", true), ("1.1", false), ("-1", false), ("NaN", false)] {
            assert_eq!(ratio(text).is_ok(), fits, "{text}");
        }
    }
}
