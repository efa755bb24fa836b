//! What a program says of itself while it runs: structured logs on standard output, and traces when it is told where
//! they go.

pub mod traces;

use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterFn, LevelFilter, filter_fn},
    fmt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use traces::{Collector, Traces, TracesError};

/// What a program is told about its logs and traces.
#[derive(Clone, Debug, clap::Args)]
pub struct Telemetry {
    /// `json` or `text`.
    #[arg(long, env = "FATEH_LOG_FORMAT", default_value = "json")]
    pub log_format: LogFormat,
    /// Where traces are sent by OTLP over HTTP.
    #[command(flatten)]
    pub traces: Collector,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, for collectors.
    #[default]
    Json,
    /// For people.
    Text,
}

impl std::str::FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err("expected json or text"),
        }
    }
}

impl Telemetry {
    /// Starts logs, and traces where they are wanted, of the program `service`.
    ///
    /// # Errors
    /// When traces are wanted and cannot be sent.
    pub fn start(&self, service: &'static str) -> Result<Traces, TracesError> {
        let traces = Traces::start(&self.traces, service)?;
        let spans = traces.layer().map(|layer| layer.with_filter(traced()));
        // Without `RUST_LOG`, everything from `info` upwards is written.
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
        let registry = tracing_subscriber::registry().with(spans);
        match self.log_format {
            LogFormat::Json => {
                let lines = fmt::layer().json().flatten_event(true).with_span_list(false);
                registry.with(lines.with_filter(filter)).init();
            }
            LogFormat::Text => registry.with(fmt::layer().with_filter(filter)).init(),
        }
        Ok(traces)
    }
}

/// Spans of our own and of requests to the API server, and no event: the texts of errors are for the log alone.
fn traced() -> FilterFn<impl Fn(&Metadata<'_>) -> bool> {
    filter_fn(|metadata| {
        let ours = ["fateh_", "kube_client", "kube_runtime"].iter().any(|crate_| metadata.target().starts_with(crate_));
        ours && metadata.is_span() && *metadata.level() <= Level::DEBUG
    })
    .with_max_level_hint(LevelFilter::DEBUG)
}
