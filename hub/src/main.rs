//! The hub's binary: arguments in, exit code out.

use clap::Parser;
use fateh_common::tls;
use fateh_hub::{Arguments, run};
use tikv_jemallocator::Jemalloc;

/// Set up in `.cargo/config.toml`.
#[global_allocator]
static MEMORY: Jemalloc = Jemalloc;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    tls::use_ring()?;
    let traces = arguments.telemetry.start("fateh-hub")?;
    let ended = run(arguments).await.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "the hub stopped");
        error.into()
    });
    traces.finish();
    ended
}
