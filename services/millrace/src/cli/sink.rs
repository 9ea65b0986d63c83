//! The arguments of `sink`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Command, SourceCommand};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub struct SinkOptions {
    #[command(subcommand)]
    pub command: Option<SinkCommand>,
    /// A kind of sink, `marketo`, `linkedin`, `kafka`, `postgres`, `http` or `webhook`: all configured destinations of that kind, or
    /// those named after it; or the names of destinations. Runs their sinks, on Kafka, until the
    /// process is stopped. Several processes with the same destination share its partitions
    #[arg(value_name = "TYPE|NAME", required = true)]
    pub which: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum SinkCommand {
    /// Membership changes as JSON lines
    File(SinkFileOptions),
}

#[derive(Debug, Args)]
pub struct SinkFileOptions {
    /// `-`: standard output
    #[arg(default_value = "-")]
    pub path: PathBuf,
    /// Only changes from now on
    #[arg(long)]
    pub from_end: bool,
    /// End when everything present has been written
    #[arg(long, conflicts_with = "from_end")]
    pub once: bool,
}

impl Command {
    /// Whether it runs services, which write logs in the configured form.
    pub fn serves(&self) -> bool {
        matches!(
            self,
            Command::Run
                | Command::Processor(_)
                | Command::Collector
                | Command::Source(SourceCommand::Marketo { .. })
                | Command::Sink(SinkOptions { command: None, .. })
        )
    }

    /// Whether its process may run sources and sinks, and so has their secrets.
    pub fn may_run_connectors(&self) -> bool {
        !matches!(self, Command::Processor(_) | Command::Collector)
    }
}
