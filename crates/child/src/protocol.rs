//! What a protocol says: how its programs are called, and what a line of theirs means.

use millrace_connect::mapping::Fields;
use millrace_connect::source::{Rows, SourceError, Step};
use millrace_model::{Cause, Timestamp};
use serde_json::{Map, Value};

use crate::process::{Folder, ProcessError, Program};
use crate::settings::Config;

/// A message of a program.
#[derive(Debug)]
pub enum Message {
    /// The program is about to send records of a stream; it may have none.
    Stream(String),
    /// A record.
    Record(Box<Row>),
    /// Where the program continues: a row of the source, its new value. It covers every record
    /// before it.
    State {
        /// The row's name.
        row: String,
        /// The state.
        value: Value,
    },
    /// The records of this version are all that the stream has.
    Activate {
        /// The stream.
        stream: String,
        /// The version that its records carry.
        version: i64,
    },
    /// The program has read a stream to its end, or has not.
    Status {
        /// The stream.
        stream: String,
        /// Whether it was read to its end.
        complete: bool,
    },
    /// The program changed its configuration: the next run takes this one.
    Config(Map<String, Value>),
    /// For the log.
    Log {
        /// Whether a person should look.
        loud: bool,
        /// The text; secrets are masked later.
        text: String,
    },
    /// The program says what went wrong: its run fails, once it has ended.
    Failed {
        /// The text; secrets are masked later.
        text: String,
        /// A person must act: wrong credentials, wrong settings.
        denied: bool,
    },
    /// A message of the protocol that means nothing here.
    Nothing,
}

/// A record of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its stream.
    pub stream: String,
    /// Its namespace, where the protocol has them.
    pub namespace: Option<String>,
    /// Its fields.
    pub fields: Fields,
    /// The version of the listing that it belongs to, where the program numbers its listings.
    pub version: Option<i64>,
    /// When the program read it.
    pub read_at: Option<Timestamp>,
    /// When it was deleted at the source, where the record says that it was.
    pub deleted_at: Option<Timestamp>,
}

/// How programs of one protocol are spoken to.
pub trait Protocol: Send + Sync {
    /// Asks the program what it needs and what it has, before the first run of this process and
    /// after every failed one. Checks that the configured streams exist. `config` is the program's
    /// configuration as it is now.
    fn prepare<'a>(&'a mut self, program: &'a Program, folder: &'a Folder, settings: &'a Config, config: &'a Map<String, Value>) -> Step<'a, ()>;

    /// The arguments of a run that continues from `rows`; writes the files that they name. Called
    /// after `prepare`.
    ///
    /// # Errors
    /// Where a file cannot be written.
    fn arguments(&self, folder: &Folder, config: &Map<String, Value>, rows: &Rows) -> Result<Vec<String>, ProcessError>;

    /// What a line means; `None`: it is no message of the protocol.
    fn message(&self, line: Value) -> Option<Message>;

    /// Whether a complete run lists all that the stream has.
    fn lists_all(&self, stream: &str) -> bool;

    /// Whether a row is a state that ends with a complete run, because the next one begins anew.
    fn forgets(&self, row: &str) -> bool;
}

impl From<ProcessError> for SourceError {
    /// A program that cannot be started needs a person; one that ended badly may recover.
    fn from(error: ProcessError) -> SourceError {
        match error {
            ProcessError::Ended(reason) => SourceError::Retry {
                reason: reason.into(),
                after: None,
            },
            ProcessError::Start { .. } | ProcessError::Files(_) => SourceError::Refused(Cause::of("the program", error)),
        }
    }
}
