//! `kubectl fateh`: the fleet, its rollouts and its money at the command line.

mod arguments;
mod cluster;
mod completion;
mod conflicts;
mod logs;
mod output;
mod report;
mod rollout;
mod status;
mod steer;
mod tree;

use std::process::ExitCode;

use arguments::{Arguments, Command};
use clap::Parser;
use cluster::{Cluster, Failure};
use fateh_common::clock::Clock;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // The one TLS provider of the programs; that another was chosen before cannot be.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if let Some(words) = completion::asked() {
        return completion::answer(&words).await;
    }
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads has seen enough, as `| head` has.
        Err(Failure::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { kubeconfig, context, output, command } = arguments;
    if let Command::Completion { shell } = command {
        return completion::script(shell);
    }
    let cluster = Cluster::connect(kubeconfig.as_deref(), context).await?;
    let clock = Clock::system();
    match command {
        Command::Status { selector } => output.print(&status::fleet(&cluster, selector.as_deref(), clock.now()).await?),
        Command::Tree { node } => output.print(&tree::of(&cluster, &node).await?),
        Command::Rollout { distribution, watch: false } => output.print(&rollout::of(&cluster, &distribution).await?),
        Command::Rollout { distribution, watch: true } => rollout::watch(&cluster, &distribution, output).await,
        Command::Approve { distribution, stage } => steer::approve(&cluster, &distribution, stage.as_deref()).await,
        Command::Pause { distribution } => steer::pause(&cluster, &distribution).await,
        Command::Resume { distribution } => steer::resume(&cluster, &distribution).await,
        Command::Retry { distribution } => steer::retry(&cluster, &distribution, clock.now()).await,
        Command::Conflicts { distribution } => output.print(&conflicts::list(&cluster, distribution.as_deref()).await?),
        Command::Logs { node, follow, tail, previous } => logs::print(&cluster, &node, follow, tail, previous).await,
        Command::Report { selector } => output.print(&report::of(&cluster, selector.as_deref()).await?),
        Command::Completion { .. } => Ok(()),
    }
}
