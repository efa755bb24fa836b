//! The hub's binary: arguments in, exit code out.

use clap::Parser;
use fateh_hub::{Arguments, run};

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    fateh_common::telemetry::init(arguments.log_format);
    run(arguments).await.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "the hub stopped");
        error.into()
    })
}
