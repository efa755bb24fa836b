//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::output::Format;

/// The fleet of nodes, content rollouts and revenue of a Fateh platform.
#[derive(Debug, Parser)]
#[command(name = "kubectl-fateh", bin_name = "kubectl fateh", version)]
pub struct Arguments {
    /// File that says how the cluster is reached; unless given, as kubectl has it.
    #[arg(long, global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// Context of that file.
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// How it is shown.
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub output: Format,
    /// What is to be done.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// All nodes: how they are, how many users, how much content and revenue they have.
    Status {
        /// Only nodes with these labels, for example fateh-platform.com/region=mena.
        #[arg(short = 'l', long)]
        selector: Option<String>,
    },
    /// A node and everything that was made for it, with the state of each.
    Tree {
        /// Name of the LocalNode.
        node: String,
    },
    /// A rollout: its stages, its counts, what it waits for and which nodes failed.
    Rollout {
        /// Name of the ContentDistribution.
        distribution: String,
        /// Go on showing it until it is complete or wants a person.
        #[arg(short, long)]
        watch: bool,
    },
    /// Let a rollout into the stage that waits for approval.
    Approve {
        /// Name of the ContentDistribution.
        distribution: String,
        /// The stage to approve, also before its time; unless given, the one that waits.
        #[arg(long)]
        stage: Option<String>,
    },
    /// Stop a rollout where it is; what nodes were told goes on.
    Pause {
        /// Name of the ContentDistribution.
        distribution: String,
    },
    /// Let a rollout that was paused go on.
    Resume {
        /// Name of the ContentDistribution.
        distribution: String,
    },
    /// Let the nodes of a rollout that failed try again.
    Retry {
        /// Name of the ContentDistribution.
        distribution: String,
    },
    /// Nodes that serve edits of their own which wait for their partner's decision.
    Conflicts {
        /// Only those of this ContentDistribution.
        distribution: Option<String>,
    },
    /// What the pods of a node say.
    Logs {
        /// Name of the LocalNode.
        node: String,
        /// Go on showing it.
        #[arg(short, long)]
        follow: bool,
        /// So many lines of each pod, from the end.
        #[arg(long, default_value_t = 100)]
        tail: i64,
        /// What the containers said that ran before.
        #[arg(short, long)]
        previous: bool,
    },
    /// Revenue as the nodes report it, by node, by country and in all.
    Report {
        /// Only nodes with these labels, for example fateh-platform.com/country=SA.
        #[arg(short = 'l', long)]
        selector: Option<String>,
    },
    /// Print what a shell needs to complete commands.
    Completion {
        /// The shell.
        #[arg(value_enum)]
        shell: Shell,
    },
}
