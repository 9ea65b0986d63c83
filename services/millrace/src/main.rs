//! `millrace`: the one executable.

mod answers;
mod assembly;
mod budgets;
mod cli;
mod client;
mod collector;
mod commands;
mod csv;
mod disk;
mod files;
mod gateway;
mod hosts;
mod instance;
mod memory;
mod observer;
mod orders;
mod ports;
mod progress;
mod refusal;
mod remote;
mod rules;
mod settings;
mod shown;
mod sinks;
mod sources;

use std::process::ExitCode;

use clap::FromArgMatches;
use millrace_api::backend::Replace;

use crate::cli::{
    AccountCommand, AudienceCommand, Cli, Command, DeadLetterCommand, LogCommand, PersonCommand, RuleForm, SegmentCommand, SourceCommand, TopicsCommand,
};
use crate::settings::Settings;

/// Shards allocate in short bursts on threads of their own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let parsed = cli::command_line()
        .try_get_matches_from(cli::meant(std::env::args_os()))
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(help) => return refusal::of_arguments(&help),
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refusal::print(&error),
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let settings = Settings::load(&cli.common)?;
    // Services log them, in the configured form.
    if !cli.command.serves() || cli.common.check_config {
        settings.warn();
    }
    if cli.common.check_config {
        return commands::check_config::run(&settings, cli.command.may_run_connectors());
    }
    match cli.command {
        Command::Demo(options) => commands::demo::run(&settings, &options),
        Command::Run => commands::run::run(&settings),
        Command::Processor(options) => commands::processor::run(&settings, &options),
        Command::Collector => commands::collector::run(&settings),
        Command::Topics(TopicsCommand::Create) => commands::topics::create(&settings),
        Command::Topics(TopicsCommand::Check) => commands::topics::check(&settings),
        Command::Topics(TopicsCommand::Acls { principal }) => commands::acls::run(&settings, &principal),
        Command::Health(options) => commands::health::run(&settings, &options),
        Command::Segment(SegmentCommand::Apply { files }) => commands::segment::apply(&settings, &files),
        Command::Segment(SegmentCommand::Lint { files }) => commands::segment::lint(&settings, &files),
        Command::Segment(SegmentCommand::Preview { file, sample }) => commands::segment::preview(&settings, &file, sample.into()),
        Command::Segment(SegmentCommand::Fmt(options)) => commands::segment::fmt(&settings, &options),
        Command::Segment(SegmentCommand::Convert { to, files }) => commands::segment::convert(&settings, form(to), &files),
        Command::Segment(SegmentCommand::List) => commands::segment::list(&settings),
        Command::Segment(SegmentCommand::Show { name }) => commands::segment::show(&settings, &name),
        Command::Segment(SegmentCommand::Members { name, limit, all }) => commands::segment::members(&settings, &name, (!all).then_some(limit)),
        Command::Segment(SegmentCommand::History { name }) => commands::segment::history(&settings, &name),
        Command::Segment(SegmentCommand::Rollback { name, to }) => commands::segment::rollback(&settings, &name, to),
        Command::Segment(SegmentCommand::Delete { name }) => commands::segment::delete(&settings, &name),
        Command::Audience(AudienceCommand::Import {
            name,
            file,
            replace,
            allow_empty,
        }) => commands::audience::import(&settings, &name, &file, replacement(replace, allow_empty)),
        Command::Person(PersonCommand::Find { text, limit }) => commands::person::find(&settings, &text, limit),
        Command::Person(PersonCommand::Erase(_)) => commands::missing::answer(commands::missing::ERASE),
        Command::Person(PersonCommand::Export(_)) => commands::missing::answer(commands::missing::EXPORT),
        Command::Person(PersonCommand::Show { id }) => commands::person::show(&settings, &id),
        Command::Person(PersonCommand::Explain { id, segment, at }) => commands::person::explain(&settings, &id, &segment, at.as_deref()),
        Command::Account(AccountCommand::Find { text, limit }) => commands::account::find(&settings, &text, limit),
        Command::Account(AccountCommand::Show { key }) => commands::account::show(&settings, &key),
        Command::Account(AccountCommand::Explain { key, segment, at }) => commands::account::explain(&settings, &key, &segment, at.as_deref()),
        Command::DeadLetter(DeadLetterCommand::List { limit }) => commands::dead_letter::list(&settings, limit),
        Command::DeadLetter(DeadLetterCommand::Replay(_)) => commands::missing::answer(commands::missing::REPLAY),
        Command::Source(command) => source(&settings, &command),
        Command::Destination(command) => commands::destination::run(&settings, &command),
        Command::Sink(options) => commands::sink::command(&settings, &options),
        Command::Log(LogCommand::Check { dir }) => commands::log::check(&settings, dir.as_deref()),
        Command::Log(LogCommand::Salvage { dir, to }) => commands::log::salvage(&settings, &dir, &to),
        Command::Bench(options) => commands::bench::run(&settings, &options),
    }
}

fn source(settings: &Settings, command: &SourceCommand) -> anyhow::Result<()> {
    let (kind, names) = match command {
        SourceCommand::File(options) => return commands::source_file::run(settings, options),
        SourceCommand::List => return commands::source_run::list(settings),
        SourceCommand::Preview { name } => return commands::source_run::preview(settings, name),
        SourceCommand::Pause { name } => return commands::source_run::pause(settings, name, true),
        SourceCommand::Resume { name } => return commands::source_run::pause(settings, name, false),
        SourceCommand::Airbyte { names } => ("airbyte", names),
        SourceCommand::Cloudevents { names } => ("cloudevents", names),
        SourceCommand::Debezium { names } => ("debezium", names),
        SourceCommand::Marketo { names } => ("marketo", names),
        SourceCommand::Salesforce { names } => ("salesforce", names),
        SourceCommand::Singer { names } => ("singer", names),
    };
    commands::source_run::run(settings, kind, names)
}

fn replacement(replace: bool, allow_empty: bool) -> Replace {
    match (replace, allow_empty) {
        (false, _) => Replace::Nobody,
        (true, false) => Replace::All,
        (true, true) => Replace::AllEvenByNobody,
    }
}

fn form(form: RuleForm) -> millrace_segment::Form {
    match form {
        RuleForm::Text => millrace_segment::Form::Text,
        RuleForm::Json => millrace_segment::Form::Json,
    }
}
