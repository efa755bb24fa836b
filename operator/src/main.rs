//! The operator's binary: arguments in, exit code out.

use clap::Parser;
use fateh_operator::{Settings, run};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings::parse();
    fateh_common::telemetry::init(settings.log_format);
    run(settings).await.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "the operator stopped");
        error.into()
    })
}
