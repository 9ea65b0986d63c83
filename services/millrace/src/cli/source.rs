//! The arguments of `source`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum SourceCommand {
    /// JSON lines {"topic", "key", "value"[, "timestamp"]}; "topic" may be the kind alone, such as `person`, and "value" null removes the record
    File(SourceFileOptions),
    /// Run connectors of Airbyte's as child processes, until the process is stopped
    Airbyte {
        /// The sources to read; without a name every configured one of this type
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Read CloudEvents from topics of Kafka until the process is stopped
    Cloudevents {
        /// The sources to read; without a name every configured one of this type
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Read changes of database tables, as Debezium writes them to Kafka, until the process is stopped
    Debezium {
        /// The sources to read; without a name every configured one of this type
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Read from Marketo until the process is stopped
    Marketo {
        /// The sources to read; without a name every configured one of this type
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Read from Salesforce until the process is stopped
    Salesforce {
        /// The sources to read; without a name every configured one of this type
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Run Singer taps as child processes, until the process is stopped
    Singer {
        /// The sources to read; without a name every configured one of this type
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// The status of the running instance's sources
    List,
    /// Read a handful of real records, show them raw and mapped; write nothing
    Preview { name: String },
    /// Pause a source; survives restarts
    Pause { name: String },
    /// Resume a paused source
    Resume { name: String },
}

#[derive(Debug, Args)]
pub struct SourceFileOptions {
    /// `-`: standard input
    #[arg(default_value = "-")]
    pub path: PathBuf,
    /// Begin at this line: where an earlier call was interrupted
    #[arg(long, default_value_t = 1, value_name = "LINE", value_parser = clap::value_parser!(u64).range(1..))]
    pub from_line: u64,
    /// Refuse records with fields in no schema. Without it such fields are kept under `extra`, and
    /// reported
    #[arg(long)]
    pub strict: bool,
}
