//! A connector: how it is called, and what its lines mean.

use millrace_child::protocol::{Message, Protocol, Row};
use millrace_child::{Config, Folder, ProcessError, Program};
use millrace_connect::source::{Rows, SourceError, Step};
use millrace_model::Timestamp;
use serde_json::{Map, Value, json};

use crate::catalog::{Chosen, choose, secrets};

/// The row with a state for all streams together.
const STATE: &str = "state";

/// Rows with the state of one stream; `["<namespace>","<name>"]` follows.
const STREAM_STATE: &str = "state/";

/// The column in which connectors that read a database's log say that a row was deleted, and when.
const DELETED_AT: &str = "_ab_cdc_deleted_at";

/// The protocol, with what is known of one connector.
#[derive(Debug, Default)]
pub struct Connector {
    chosen: Option<Chosen>,
}

impl Connector {
    async fn look(&mut self, program: &Program, folder: &Folder, settings: &Config, config: &Map<String, Value>) -> Result<(), SourceError> {
        let specification = ask(program, folder, &["spec".to_owned()], "SPEC").await?;
        for secret in secrets(&specification["spec"]["connectionSpecification"], config) {
            program.masks.add(&secret);
        }
        let file = folder.write_config(config)?;
        let with_config = |word: &str| [word.to_owned(), "--config".to_owned(), file.clone()];
        let answer = ask(program, folder, &with_config("check"), "CONNECTION_STATUS").await?;
        let status = &answer["connectionStatus"];
        if status["status"] != "SUCCEEDED" {
            let reason = status["message"].as_str().unwrap_or("without a reason");
            return Err(SourceError::Denied(
                program.masks.apply(&format!("the connector's check failed: {reason}")).into(),
            ));
        }
        let answer = ask(program, folder, &with_config("discover"), "CATALOG").await?;
        self.chosen = Some(choose(&answer["catalog"], settings).map_err(|reason| SourceError::Refused(reason.into()))?);
        Ok(())
    }

    fn reads_all(&self, stream: &str) -> bool {
        self.chosen.as_ref().is_some_and(|chosen| chosen.whole.contains(stream))
    }
}

/// Calls the connector for one message.
async fn ask(program: &Program, folder: &Folder, arguments: &[String], kind: &str) -> Result<Value, SourceError> {
    let output = program.output(arguments, folder).await?;
    let mut reason = output.failure;
    for line in &output.lines {
        let Ok(line) = serde_json::from_slice::<Value>(line) else { continue };
        if line["type"] == kind {
            return Ok(line);
        }
        match read(line) {
            Some(Message::Failed { text, .. }) => reason = Some(text),
            Some(Message::Log { loud: true, text }) => tracing::warn!(source = program.source, "{}", program.masks.apply(&text)),
            _ => {}
        }
    }
    let word = arguments.first().map(String::as_str).unwrap_or_default();
    let reason = reason.unwrap_or_else(|| format!("it sends no {kind}"));
    Err(SourceError::Refused(
        program.masks.apply(&format!("`{word}` of the connector: {reason}")).into(),
    ))
}

impl Protocol for Connector {
    fn prepare<'a>(&'a mut self, program: &'a Program, folder: &'a Folder, settings: &'a Config, config: &'a Map<String, Value>) -> Step<'a, ()> {
        Box::pin(self.look(program, folder, settings, config))
    }

    fn arguments(&self, folder: &Folder, config: &Map<String, Value>, rows: &Rows) -> Result<Vec<String>, ProcessError> {
        let catalog = self.chosen.as_ref().map(|chosen| chosen.catalog.clone()).unwrap_or_default();
        let mut arguments = vec!["read".to_owned(), "--config".to_owned(), folder.write_config(config)?];
        arguments.extend(["--catalog".to_owned(), folder.write("catalog.json", &catalog)?]);
        // A stream that is read in full continues within its run alone.
        let resumes = rows.get("sync").is_some();
        let of_streams = rows.under(STREAM_STATE).filter(|(named, _)| resumes || !self.reads_all(&stream_of(named)));
        let states: Vec<&Value> = rows.get(STATE).into_iter().chain(of_streams.map(|(_, state)| state)).collect();
        if !states.is_empty() {
            arguments.extend(["--state".to_owned(), folder.write("state.json", &json!(states))?]);
        }
        Ok(arguments)
    }

    fn message(&self, line: Value) -> Option<Message> {
        read(line)
    }

    fn lists_all(&self, stream: &str) -> bool {
        self.reads_all(stream)
    }

    fn forgets(&self, row: &str) -> bool {
        row.strip_prefix(STREAM_STATE).is_some_and(|named| self.reads_all(&stream_of(named)))
    }
}

/// The stream of a row's name.
fn stream_of(named: &str) -> String {
    let parts: Option<(Option<String>, String)> = serde_json::from_str(named).ok();
    parts.map(|(_, name)| name).unwrap_or_default()
}

fn read(line: Value) -> Option<Message> {
    let Value::Object(mut line) = line else { return None };
    let kind = line.get("type")?.as_str()?.to_owned();
    match kind.as_str() {
        "RECORD" => record(line.remove("record")?),
        "STATE" => state(line.remove("state")?),
        "LOG" => {
            let log = line.get("log")?;
            Some(Message::Log {
                loud: matches!(log["level"].as_str(), Some("FATAL" | "ERROR" | "WARN")),
                text: log["message"].as_str().unwrap_or_default().to_owned(),
            })
        }
        "TRACE" => Some(trace(line.get("trace")?)),
        "CONTROL" => match line.remove("control")?.get_mut("connectorConfig")?.get_mut("config")?.take() {
            Value::Object(config) => Some(Message::Config(config)),
            _ => None,
        },
        "SPEC" | "CATALOG" | "CONNECTION_STATUS" | "DESTINATION_CATALOG" => Some(Message::Nothing),
        _ => None,
    }
}

fn record(mut record: Value) -> Option<Message> {
    let Value::Object(mut fields) = record.get_mut("data")?.take() else {
        return None;
    };
    let read_at = record["emitted_at"]
        .as_i64()
        .or_else(|| record["emitted_at"].as_f64().map(|at| at as i64))
        .map(Timestamp);
    let deleted = fields.remove(DELETED_AT).filter(|at| !at.is_null());
    let deleted_at = deleted.map(|at| {
        let at = at.as_str().and_then(|at| Timestamp::parse(at).ok());
        at.or(read_at).unwrap_or(Timestamp(i64::MAX))
    });
    Some(Message::Record(Box::new(Row {
        stream: record["stream"].as_str()?.to_owned(),
        namespace: record["namespace"].as_str().map(str::to_owned),
        fields,
        version: None,
        read_at,
        deleted_at,
    })))
}

/// Per stream, for all together, or in the form from before both.
fn state(state: Value) -> Option<Message> {
    let (row, value) = match (state["type"].as_str(), &state["stream"]) {
        (Some("STREAM"), Value::Object(stream)) => {
            let descriptor = stream.get("stream_descriptor")?;
            (format!("{STREAM_STATE}{}", json!([descriptor["namespace"], descriptor["name"]])), state)
        }
        (Some("GLOBAL"), _) => (STATE.to_owned(), state),
        (Some("LEGACY") | None, _) => (STATE.to_owned(), json!({"type": "LEGACY", "data": state.get("data")?})),
        _ => return None,
    };
    Some(Message::State { row, value })
}

fn trace(trace: &Value) -> Message {
    let stream = |part: &str| trace[part]["stream_descriptor"]["name"].as_str().map(str::to_owned);
    match trace["type"].as_str() {
        Some("ERROR") => {
            let error = &trace["error"];
            let of = stream("error").map_or_else(String::new, |stream| format!("stream `{stream}`: "));
            let message = error["message"].as_str().unwrap_or("an error without a message");
            let inner = error["internal_message"].as_str().map_or_else(String::new, |inner| format!(" ({inner})"));
            Message::Failed {
                text: format!("{of}{message}{inner}"),
                denied: error["failure_type"] == "config_error",
            }
        }
        Some("STREAM_STATUS") => match (stream("stream_status"), trace["stream_status"]["status"].as_str()) {
            (Some(stream), Some("COMPLETE")) => Message::Status { stream, complete: true },
            // One that says when it starts says when it is done.
            (Some(stream), Some("STARTED" | "RUNNING" | "INCOMPLETE")) => Message::Status { stream, complete: false },
            _ => Message::Nothing,
        },
        _ => Message::Nothing,
    }
}
