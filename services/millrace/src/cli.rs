//! The command line: its commands, and their help.

mod arguments;
mod bench;
mod destination;
mod sink;
mod source;

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

pub use self::arguments::meant;
pub use self::bench::{BenchOptions, Scenario};
pub use self::destination::DestinationCommand;
pub use self::sink::{SinkCommand, SinkFileOptions, SinkOptions};
pub use self::source::{SourceCommand, SourceFileOptions};

/// Real-time B2B customer data platform: who is in which audience, the moment the last fact
/// arrives, and why.
#[derive(Debug, Parser)]
#[command(
    name = "millrace",
    version,
    max_term_width = 110,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = OPTIONS_AND_EXAMPLES
)]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command are described here, once: in the help of each command they would hide
/// its own.
const OPTIONS_AND_EXAMPLES: &str = "\
Options of every command:
      --config <FILE>    Configuration, TOML or YAML; `docs/configuration.md` lists the keys. Variables
                         MILLRACE__SECTION__KEY go over it [env: MILLRACE_CONFIG]
      --check-config     Show the effective configuration and the topics it means, touch nothing
      --output <FORM>    How answers are written: text (for people, the default) or json (for programs)
      --server <ADDRESS> The running instance that is asked, such as localhost:8080; the configured API
                         address if absent

Examples:
  millrace demo                                     a story on this machine, from beginning to end
  millrace run                                      an instance on this machine, for the commands below
  millrace segment apply upsell.yaml                put a rule in force
  millrace source file records.jsonl                bring records
  millrace person show ann@acme.com                 what is known of somebody
  millrace person explain ann@acme.com --segment upsell
  millrace segment members upsell
  millrace sink file                                changes of membership as they come

`millrace COMMAND --help` says more about each.";

/// Options of every command; see `OPTIONS_AND_EXAMPLES`.
#[derive(Clone, Debug, Default, Args)]
pub struct Common {
    #[arg(long, global = true, hide = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[arg(long, global = true, hide = true)]
    pub check_config: bool,
    #[arg(long, global = true, hide = true, value_enum, default_value_t)]
    pub output: Output,
    #[arg(long, global = true, hide = true, value_name = "ADDRESS")]
    pub server: Option<String>,
}

/// Printed below the help of each command.
const EVERY_COMMAND: &str = "`millrace --help` lists the options of every command: --config, --check-config, --output, --server.";

/// The command line with examples, and the pointer to the common options, below the help of each
/// command.
pub fn command_line() -> clap::Command {
    below(Cli::command(), "")
}

fn below(command: clap::Command, path: &str) -> clap::Command {
    let names: Vec<String> = command.get_subcommands().map(|inner| inner.get_name().to_owned()).collect();
    names.iter().fold(command, |command, name| {
        command.mut_subcommand(name, |inner| {
            let path = format!("{path}{name} ");
            let examples: Vec<&str> = EXAMPLES.iter().copied().filter(|example| example.starts_with(&path)).collect();
            let text = match examples.as_slice() {
                [] => EVERY_COMMAND.to_owned(),
                examples => format!(
                    "Examples:\n{}\n{EVERY_COMMAND}",
                    examples.iter().map(|example| format!("  millrace {example}\n")).collect::<String>()
                ),
            };
            below(inner.after_help(text), &path)
        })
    })
}

/// One call of each command, as people type it; a test parses them.
pub const EXAMPLES: &[&str] = &[
    "demo --serve",
    "run --config millrace.toml",
    "processor --config millrace.toml",
    "collector --config millrace.toml",
    "topics create --config millrace.toml",
    "topics check --config millrace.toml",
    "topics acls --principal User:millrace",
    "health --live",
    "segment apply upsell.yaml other.yaml",
    "segment lint upsell.yaml",
    "segment preview upsell.yaml --sample 5",
    "segment fmt --write upsell.yaml",
    "segment convert --to json upsell.yaml",
    "segment list --output json",
    "segment show upsell",
    "segment members upsell --all",
    "segment history upsell",
    "segment rollback upsell --to 12",
    "segment delete upsell",
    "audience import partners members.csv",
    "audience import partners members.jsonl --replace",
    "person find ann",
    "person show ann@acme.com",
    "person show email:ann@acme.com --output json",
    "person explain ann@acme.com --segment upsell",
    "person explain ann@acme.com --segment upsell --at 2026-03-31T12:00:00Z",
    "account find townsend",
    "account show 1001@crm1.Salesforce",
    "account explain 1001@crm1.Salesforce --segment large",
    "dead-letter list --limit 10",
    "source file records.jsonl",
    "source file records.jsonl --from-line 120001",
    "source airbyte --config millrace.toml",
    "source cloudevents --config millrace.toml",
    "source debezium --config millrace.toml",
    "source marketo --config millrace.toml",
    "source salesforce --config millrace.toml",
    "source singer --config millrace.toml",
    "source salesforce --config millrace.toml",
    "source list",
    "source preview marketo1",
    "source pause marketo1",
    "source resume marketo1",
    "destination list",
    "destination status hook --output json",
    "destination preview hook --sample 3",
    "destination confirm hook --audience upsell",
    "destination retry hook",
    "destination reconcile marketo-lists",
    "log check data/log",
    "log salvage data/log --to saved",
    "sink marketo --config millrace.toml",
    "sink webhook hook --config millrace.toml",
    "sink file changes.jsonl --once",
    "bench --persons 100000 --only visits,expiry",
];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Play the Bodea story on this machine, with nothing installed: who is in the audience after
    /// each fact, and why
    Demo(DemoOptions),
    /// Run everything in one process: on the embedded log, or on Kafka where that is configured
    Run,
    /// Run the shards assigned to this process, on Kafka
    Processor(ProcessorOptions),
    /// Take events of web sites and programs over HTTP into the source topics
    Collector,
    /// Topics of this deployment
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Segment definitions
    #[command(subcommand)]
    Segment(SegmentCommand),
    /// External audiences
    #[command(subcommand)]
    Audience(AudienceCommand),
    /// Unified persons
    #[command(subcommand)]
    Person(PersonCommand),
    /// Unified accounts
    #[command(subcommand)]
    Account(AccountCommand),
    /// Unusable records
    #[command(subcommand)]
    DeadLetter(DeadLetterCommand),
    /// Foreign systems that audiences are sent to
    #[command(subcommand)]
    Destination(DestinationCommand),
    /// Put records into the source topics
    #[command(subcommand)]
    Source(SourceCommand),
    /// Keep destinations equal to their audiences, in a process of its own; or write membership
    /// changes to a file
    Sink(SinkOptions),
    /// Whether the instance on this machine is ready: exit status 0 if so, 1 if not
    Health(HealthOptions),
    /// The embedded log: what a damaged one still holds, and how to save it
    #[command(subcommand)]
    Log(LogCommand),
    /// Measure this machine: load, visits, latency, fan-out, expiry, backfill, recovery
    Bench(BenchOptions),
}

#[derive(Debug, Args)]
pub struct DemoOptions {
    /// Keep the API up after the story, to look around
    #[arg(long)]
    pub serve: bool,
}

#[derive(Debug, Args)]
pub struct ProcessorOptions {
    /// Create missing topics first, as `topics create` does
    #[arg(long)]
    pub create_topics: bool,
}

#[derive(Debug, Args)]
pub struct HealthOptions {
    /// Whether it lives, ready or not
    #[arg(long)]
    pub live: bool,
    /// Its metrics port, `host:port`; the configured one if absent
    #[arg(long)]
    pub address: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum TopicsCommand {
    /// Create missing topics; leave existing ones
    Create,
    /// Compare the topics with the catalogue
    Check,
    /// The permissions that this deployment's user needs on Kafka, as arguments of kafka-acls
    Acls {
        /// The user, as Kafka names it
        #[arg(long, default_value = "User:millrace")]
        principal: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum SegmentCommand {
    /// Check definitions and apply them: all of them, or none where one is wrong
    Apply {
        /// YAML or JSON files; `-`: standard input
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Check definitions, touch nothing
    Lint {
        /// YAML or JSON files; `-`: standard input
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// How many and which subjects a definition would include now, why, and who would enter and
    /// leave; changes nothing
    Preview {
        /// A YAML or JSON file with one definition; `-`: standard input
        file: PathBuf,
        /// Subjects shown of each kind
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=100))]
        sample: u16,
    },
    /// Lay out the rules of definitions, or single rules, in the standard form; without options to
    /// standard output
    Fmt(FmtOptions),
    /// Turn rules between text and JSON form, in definitions or by themselves; to standard output
    Convert {
        /// The form to turn them into
        #[arg(long, value_enum)]
        to: RuleForm,
        /// YAML or JSON files of definitions, or files with one rule; `-`: standard input
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// The definitions in force, with their numbers of members
    List,
    /// The members of a segment, one subject per line
    Members {
        name: String,
        /// At most this many
        #[arg(long, default_value_t = 100, conflicts_with = "all", value_parser = arguments::at_least_one)]
        limit: usize,
        /// All of them
        #[arg(long)]
        all: bool,
    },
    /// One definition
    Show { name: String },
    /// The versions of a definition, newest first
    History { name: String },
    /// Put an earlier version in force again, as a new version
    Rollback {
        name: String,
        /// The version; if left out, the one in force before
        #[arg(long, value_name = "VERSION")]
        to: Option<u64>,
    },
    /// Delete a definition with its history; its members exit
    Delete { name: String },
}

#[derive(Debug, Args)]
pub struct FmtOptions {
    /// Write nothing, print which files would change; exit status 1 if one would
    #[arg(long, conflicts_with = "write")]
    pub check: bool,
    /// Write the files that change
    #[arg(long)]
    pub write: bool,
    /// YAML or JSON files of definitions, or files with one rule; `-`: standard input
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
}

/// A form of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RuleForm {
    /// As people write them.
    Text,
    /// The tree that programs exchange.
    Json,
}

#[derive(Debug, Subcommand)]
pub enum AudienceCommand {
    /// Import members: JSON lines {"member": "namespace:id"[, "validUntil"]}, or a .csv file with a
    /// head that names `member` or `namespace` and `id`
    Import {
        name: String,
        /// `-`: JSON lines on standard input
        file: PathBuf,
        /// The file is the complete list of members: remove all others. One line that is not a
        /// member stops the whole import
        #[arg(long)]
        replace: bool,
        /// With `--replace`, the list may be empty: everybody is removed
        #[arg(long, requires = "replace")]
        allow_empty: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum PersonCommand {
    /// Persons by part of a name, an e-mail address or a source key. Scans all persons: with
    /// millions of them it takes more than milliseconds
    Find {
        text: String,
        /// At most this many
        #[arg(long, default_value_t = 20, value_parser = arguments::at_least_one)]
        limit: usize,
    },
    /// Everything known of a person, with its sources
    Show {
        /// `namespace:id` (`email:p2@townsend.com`), an e-mail address, or the source key of a
        /// record
        id: String,
    },
    /// Why a person is in a segment, or is not
    Explain {
        /// `namespace:id` (`email:p2@townsend.com`), an e-mail address, or the source key of a
        /// record
        id: String,
        #[arg(long)]
        segment: String,
        /// An instant of the past within the retained history, RFC 3339; now if absent
        #[arg(long, value_name = "INSTANT")]
        at: Option<String>,
    },
    #[command(hide = true, alias = "delete")]
    Erase(Missing),
    #[command(hide = true)]
    Export(Missing),
}

/// A command that people look for and that does not exist yet, with any arguments.
#[derive(Debug, Args)]
pub struct Missing {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub rest: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Accounts by part of a name or a source key
    Find {
        text: String,
        /// At most this many
        #[arg(long, default_value_t = 20, value_parser = arguments::at_least_one)]
        limit: usize,
    },
    /// Everything known of an account, with its sources
    Show {
        /// The source key of any of its records, such as `1001@crm1.Salesforce`
        key: String,
    },
    /// Why an account is in a segment, or is not
    Explain {
        /// The source key of any of its records
        key: String,
        #[arg(long)]
        segment: String,
        /// An instant of the past within the retained history, RFC 3339; now if absent
        #[arg(long, value_name = "INSTANT")]
        at: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum DeadLetterCommand {
    /// The newest, with their reasons
    List {
        /// At most this many
        #[arg(long, default_value_t = 100, value_parser = arguments::at_least_one)]
        limit: usize,
    },
    #[command(hide = true)]
    Replay(Missing),
}

#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Read the whole log and report what is damaged or missing; change nothing. Exit status 1 if
    /// anything is
    Check {
        /// The folder of a log that no process has open; if left out, `log.path`
        dir: Option<PathBuf>,
    },
    /// Make a new log of what was sent to a damaged one, or of all in one of an earlier format;
    /// leave the old one as it is
    Salvage {
        /// The folder of a log that no process has open
        dir: PathBuf,
        /// The folder of the new log, missing or empty
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        command_line().debug_assert();
    }

    #[test]
    fn every_command_has_an_example_that_holds() {
        fn leaves(command: &clap::Command, path: &str, found: &mut Vec<String>) {
            for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
                let path = format!("{path}{} ", inner.get_name());
                if inner.has_subcommands() {
                    leaves(inner, &path, found)
                } else {
                    found.push(path)
                }
            }
        }
        for example in EXAMPLES {
            let parsed = command_line().try_get_matches_from(["millrace"].into_iter().chain(example.split(' ')));
            assert!(parsed.is_ok(), "{example}: {parsed:?}");
        }
        let mut found = Vec::new();
        leaves(&command_line(), "", &mut found);
        for path in found {
            assert!(EXAMPLES.iter().any(|example| format!("{example} ").starts_with(&path)), "{path}");
        }
    }

    #[test]
    fn common_options_are_described_once() {
        let mut whole = command_line();
        let main = whole.render_long_help().to_string();
        for option in ["--config <", "--check-config", "--output <", "--server <"] {
            assert_eq!(main.matches(option).count(), 1, "{option}\n{main}");
        }
        let lint = whole.find_subcommand_mut("segment").and_then(|segment| segment.find_subcommand_mut("lint"));
        let lint = lint.expect("the command is there").render_long_help().to_string();
        assert!(!lint.contains("--output <") && lint.contains("millrace segment lint upsell.yaml"), "{lint}");
    }
}
