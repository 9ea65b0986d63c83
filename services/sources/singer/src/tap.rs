//! A tap: how it is called, and what its lines mean.

use std::collections::BTreeSet;

use millrace_child::protocol::{Message, Protocol, Row};
use millrace_child::{Config, Folder, Mode, ProcessError, Program};
use millrace_connect::source::{Rows, SourceError, Step};
use millrace_model::{Cause, Timestamp};
use serde_json::{Map, Value};

use crate::catalog::select;

/// The row with the tap's state.
const STATE: &str = "state";

/// The column in which taps say that a row was deleted, and when.
const DELETED_AT: &str = "_sdc_deleted_at";

/// The protocol, with what is known of one tap.
#[derive(Debug, Default)]
pub struct Tap {
    /// With the configured streams selected; `None`: the tap knows no catalogue.
    catalog: Option<Value>,
    /// Streams that a complete run lists whole.
    whole: BTreeSet<String>,
}

impl Tap {
    async fn look(&mut self, program: &Program, folder: &Folder, settings: &Config, config: &Map<String, Value>) -> Result<(), SourceError> {
        let catalog = match settings.catalog.as_deref().unwrap_or("discover") {
            "discover" => Some(discovered(program, folder, config).await?),
            "none" => None,
            path => Some(from_file(path)?),
        };
        let full = settings.streams.iter().filter(|(_, stream)| stream.mode == Some(Mode::Full));
        self.whole = full.map(|(name, _)| name.clone()).collect();
        self.catalog = None;
        if let Some(mut catalog) = catalog {
            self.whole = select(&mut catalog, settings).map_err(|reason| SourceError::Refused(reason.into()))?;
            self.catalog = Some(catalog);
        }
        Ok(())
    }
}

async fn discovered(program: &Program, folder: &Folder, config: &Map<String, Value>) -> Result<Value, SourceError> {
    let arguments = ["--config".to_owned(), folder.write_config(config)?, "--discover".to_owned()];
    let output = program.output(&arguments, folder).await?;
    if let Some(failure) = output.failure {
        return Err(SourceError::Refused(program.masks.apply(&failure).into()));
    }
    let text = output.lines.join(&b'\n');
    // Some taps print a greeting first.
    let from = text.iter().position(|byte| *byte == b'{').unwrap_or_default();
    serde_json::from_slice(&text[from..]).map_err(|error| SourceError::Refused(Cause::of("the tap's catalogue is no JSON", error)))
}

fn from_file(path: &str) -> Result<Value, SourceError> {
    let text = std::fs::read(path).map_err(|error| SourceError::Refused(Cause::of(format!("catalog `{path}`"), error)))?;
    serde_json::from_slice(&text).map_err(|error| SourceError::Refused(Cause::of(format!("catalog `{path}`"), error)))
}

impl Protocol for Tap {
    fn prepare<'a>(&'a mut self, program: &'a Program, folder: &'a Folder, settings: &'a Config, config: &'a Map<String, Value>) -> Step<'a, ()> {
        Box::pin(self.look(program, folder, settings, config))
    }

    fn arguments(&self, folder: &Folder, config: &Map<String, Value>, rows: &Rows) -> Result<Vec<String>, ProcessError> {
        let mut arguments = vec!["--config".to_owned(), folder.write_config(config)?];
        if let Some(catalog) = &self.catalog {
            arguments.extend(["--catalog".to_owned(), folder.write("catalog.json", catalog)?]);
        }
        if let Some(state) = rows.get(STATE) {
            arguments.extend(["--state".to_owned(), folder.write("state.json", state)?]);
        }
        Ok(arguments)
    }

    fn message(&self, line: Value) -> Option<Message> {
        let Value::Object(mut line) = line else { return None };
        let stream = line.get("stream").and_then(Value::as_str).map(str::to_owned);
        match line.get("type")?.as_str()? {
            "RECORD" => {
                let Some(Value::Object(fields)) = line.remove("record") else { return None };
                let version = line.get("version").and_then(Value::as_i64);
                Some(record(stream?, fields, version, instant(line.get("time_extracted"))))
            }
            "SCHEMA" => Some(Message::Stream(stream?)),
            "STATE" => Some(Message::State {
                row: STATE.to_owned(),
                value: line.remove("value")?,
            }),
            "ACTIVATE_VERSION" => Some(Message::Activate {
                stream: stream?,
                version: line.get("version")?.as_i64()?,
            }),
            "BATCH" => Some(Message::Failed {
                text: "the tap sends files of records (BATCH), which are not read; leave `batch_config` out of its configuration".to_owned(),
                denied: true,
            }),
            _ => None,
        }
    }

    fn lists_all(&self, stream: &str) -> bool {
        self.whole.contains(stream)
    }

    /// A tap says itself where its next run continues.
    fn forgets(&self, _: &str) -> bool {
        false
    }
}

fn record(stream: String, mut fields: Map<String, Value>, version: Option<i64>, read_at: Option<Timestamp>) -> Message {
    let deleted = fields.remove(DELETED_AT).filter(|at| !at.is_null());
    let deleted_at = deleted.map(|at| instant(Some(&at)).or(read_at).unwrap_or(Timestamp(i64::MAX)));
    Message::Record(Box::new(Row {
        stream,
        namespace: None,
        fields,
        version,
        read_at,
        deleted_at,
    }))
}

fn instant(value: Option<&Value>) -> Option<Timestamp> {
    Timestamp::parse(value?.as_str()?).ok()
}
