//! `millrace`: the one executable.

mod backend;
mod cli;
mod client;
mod commands;
mod engine;
mod gateway;
mod hosts;
mod node;
mod observer;
mod orders;
mod refusal;
mod remote;
mod settings;
mod shown;
mod sinks;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{
    AccountCommand, AudienceCommand, Cli, Command, DeadLetterCommand, DestinationCommand, PersonCommand, RuleForm, SegmentCommand, SinkCommand, SourceCommand, TopicsCommand,
};
use crate::settings::Settings;

/// Shards allocate in short bursts on threads of their own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(help) => return refusal::of_arguments(&help),
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refusal::tell(&error),
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let settings = Settings::load(&cli.common)?;
    if cli.common.check_config {
        return commands::check_config::run(&settings);
    }
    match cli.command {
        Command::Demo(options) => commands::demo::run(&settings, &options),
        Command::Run => commands::run::run(&settings),
        Command::Processor => commands::processor::run(&settings),
        Command::Topics(TopicsCommand::Create) => commands::topics::create(&settings),
        Command::Topics(TopicsCommand::Check) => commands::topics::check(&settings),
        Command::Segment(SegmentCommand::Apply { files }) => commands::segment::apply(&settings, &files),
        Command::Segment(SegmentCommand::Lint { files }) => commands::segment::lint(&settings, &files),
        Command::Segment(SegmentCommand::Preview { file, sample }) => commands::segment::preview(&settings, &file, sample.into()),
        Command::Segment(SegmentCommand::Fmt(options)) => commands::segment::fmt(&settings, &options),
        Command::Segment(SegmentCommand::Convert { to, files }) => commands::segment::convert(&settings, form(to), &files),
        Command::Segment(SegmentCommand::List) => commands::segment::list(&settings),
        Command::Segment(SegmentCommand::Show { name }) => commands::segment::show(&settings, &name),
        Command::Segment(SegmentCommand::History { name }) => commands::segment::history(&settings, &name),
        Command::Segment(SegmentCommand::Rollback { name, to }) => commands::segment::rollback(&settings, &name, to),
        Command::Segment(SegmentCommand::Delete { name }) => commands::segment::delete(&settings, &name),
        Command::Audience(AudienceCommand::Import { name, file, replace }) => commands::audience::import(&settings, &name, &file, replace),
        Command::Person(PersonCommand::Show { id }) => commands::person::show(&settings, &id),
        Command::Person(PersonCommand::Explain { id, segment, at }) => commands::person::explain(&settings, &id, &segment, at.as_deref()),
        Command::Account(AccountCommand::Show { key }) => commands::account::show(&settings, &key),
        Command::Account(AccountCommand::Explain { key, segment, at }) => commands::account::explain(&settings, &key, &segment, at.as_deref()),
        Command::DeadLetter(DeadLetterCommand::List { limit }) => commands::dead_letter::list(&settings, limit),
        Command::Destination(command) => commands::destination::run(&settings, &command),
        Command::Source(SourceCommand::File { path }) => commands::source_file::run(&settings, &path),
        Command::Sink(SinkCommand::File(options)) => commands::sink_file::run(&settings, &options),
        Command::Bench(options) => commands::bench::run(&settings, &options),
    }
}

fn form(form: RuleForm) -> millrace_segment::Form {
    match form {
        RuleForm::Text => millrace_segment::Form::Text,
        RuleForm::Json => millrace_segment::Form::Json,
    }
}
