//! The operator's binary: arguments in, exit code out.

use clap::Parser;
use fateh_common::{
    telemetry::{LogFormat, Telemetry, traces::Collector},
    tls,
};
use fateh_operator::{Settings, run, trial};
use tikv_jemallocator::Jemalloc;

/// Reconciles LocalNodes and DatabaseServers.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Arguments {
    #[command(flatten)]
    settings: Option<Settings>,
    #[command(subcommand)]
    instead: Option<Instead>,
}

/// What is done in place of running the operator.
#[derive(clap::Subcommand)]
enum Instead {
    /// Makes a node, waits until it serves, and deletes it again, data included.
    Trial(trial::Trial),
}

/// Set up in `.cargo/config.toml`.
#[global_allocator]
static MEMORY: Jemalloc = Jemalloc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { settings, instead } = Arguments::parse();
    tls::use_ring()?;
    if let Some(Instead::Trial(trial)) = instead {
        Telemetry { log_format: LogFormat::Text, traces: Collector::default() }.start("fateh-trial")?;
        return trial.run().await.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "the trial failed");
            error.into()
        });
    }
    // Clap asks for the settings unless there is something else to do.
    let settings = settings.unwrap_or_else(Settings::parse);
    let traces = settings.telemetry.start("fateh-operator")?;
    let ended = run(settings).await.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "the operator stopped");
        error.into()
    });
    traces.finish();
    ended
}
