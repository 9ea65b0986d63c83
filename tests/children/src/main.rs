//! A Singer tap and an Airbyte connector in one, for tests: it reads a table from a file and, where
//! that says so, misbehaves as real ones do: lines that are no messages, halves of lines, the end in
//! the middle of a stream, records twice, records of streams that nobody asked for.
//!
//! ```text
//! scripted singer  --config FILE (--discover | --catalog FILE [--state FILE])
//! scripted airbyte (spec | check --config FILE | discover --config FILE | read --config FILE --catalog FILE [--state FILE])
//! ```
//!
//! The configuration names the file of the table, and a file that counts the starts: each start
//! misbehaves in a way of its own.
//!
//! ```text
//! {"rows": {"<id>": {"seq": n, "score": text}}, "wild": bool, "versions": bool, "fail": text, "rotate": bool}
//! ```

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::exit;

use millrace_log::random::Random;
use serde_json::{Value, json};

const STREAM: &str = "people";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let airbyte = arguments.first().is_some_and(|word| word == "airbyte");
    let asked = |word: &str| arguments.iter().any(|one| one == word);
    let file = |name: &str| {
        let at = arguments.iter().position(|one| one == name)?;
        json_file(arguments.get(at + 1)?)
    };
    if asked("spec") {
        let token = json!({"type": "string", "airbyte_secret": true});
        return say(&json!({"type": "SPEC", "spec": {"connectionSpecification": {"properties": {"token": token}}}}));
    }
    let config = file("--config").unwrap_or_default();
    let world = config["world"].as_str().and_then(json_file).unwrap_or_default();
    if asked("check") {
        let status = match world["fail"].as_str() {
            Some(reason) => json!({"status": "FAILED", "message": format!("{reason}, token {}", config["token"])}),
            None => json!({"status": "SUCCEEDED"}),
        };
        return say(&json!({"type": "CONNECTION_STATUS", "connectionStatus": status}));
    }
    if asked("--discover") {
        let streams = [STREAM, "orders"].map(|name| json!({"tap_stream_id": name, "stream": name, "schema": {"type": "object"}}));
        let catalog = json!({"streams": streams});
        return println!("{catalog:#}");
    }
    if asked("discover") {
        let modes = json!(["full_refresh", "incremental"]);
        let streams = [STREAM, "orders"].map(
            |name| json!({"name": name, "json_schema": {}, "supported_sync_modes": modes, "source_defined_cursor": true, "default_cursor_field": ["seq"]}),
        );
        return say(&json!({"type": "CATALOG", "catalog": {"streams": streams}}));
    }
    let catalog = file("--catalog").unwrap_or_default();
    let chosen = catalog["streams"].as_array().and_then(|streams| {
        let name = |one: &Value| one["stream"]["name"].as_str().or(one["stream"].as_str()).unwrap_or_default().to_owned();
        streams.iter().find(|one| name(one) == STREAM).cloned()
    });
    let full = chosen.is_some_and(|chosen| chosen["replication_method"] == "FULL_TABLE" || chosen["sync_mode"] == "full_refresh");
    let state = file("--state").unwrap_or_default();
    let seq = if airbyte { &state[0]["stream"]["stream_state"]["seq"] } else { &state["seq"] };
    let starts = counted(config["starts"].as_str().unwrap_or_default());
    let mut program = Program {
        airbyte,
        wild: world["wild"] == true,
        version: (world["versions"] == true).then_some(1_000 + starts),
        random: Random::new(starts),
        resumed: seq.as_u64(),
    };
    if world["rotate"] == true {
        rotate(&config, airbyte);
    }
    program.run(&rows(&world), full);
}

/// Ids with sequence numbers and scores.
fn rows(world: &Value) -> BTreeMap<u64, (u64, String)> {
    let rows = world["rows"].as_object().into_iter().flatten();
    rows.map(|(id, row)| {
        let score = row["score"].as_str().unwrap_or_default().to_owned();
        (id.parse().unwrap_or_default(), (row["seq"].as_u64().unwrap_or_default(), score))
    })
    .collect()
}

fn json_file(path: impl AsRef<std::path::Path>) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// How often this was started.
fn counted(path: &str) -> u64 {
    let before: u64 = std::fs::read_to_string(path).ok().and_then(|text| text.parse().ok()).unwrap_or_default();
    replace(path, &(before + 1).to_string());
    before + 1
}

/// Writes a file whole or not at all, whenever the program is ended.
fn replace(path: &str, text: &str) {
    let next = format!("{path}.next");
    if let Err(error) = std::fs::write(&next, text).and_then(|()| std::fs::rename(&next, path)) {
        eprintln!("ERROR {path}: {error}");
        exit(4);
    }
}

/// Accepts the token that the last run handed over, or the one before it: a run may be killed before
/// its token is kept.
fn rotate(config: &Value, airbyte: bool) {
    let accepted = format!("{}.accepted", config["starts"].as_str().unwrap_or_default());
    let expected = std::fs::read_to_string(&accepted).unwrap_or_else(|_| "token-0".to_owned());
    let token = config["token"].as_str().unwrap_or_default();
    if token != expected && format!("{token}x") != expected {
        eprintln!("ERROR the token {} was used before", config["token"]);
        exit(3);
    }
    let next = format!("{expected}x");
    replace(&accepted, &next);
    let mut changed = config.clone();
    changed["token"] = json!(next);
    if airbyte {
        say(&json!({"type": "CONTROL", "control": {"type": "CONNECTOR_CONFIG", "emitted_at": 1, "connectorConfig": {"config": changed}}}));
    } else {
        // As taps do that have no message for it.
        let path = std::env::args().skip_while(|one| one != "--config").nth(1).unwrap_or_default();
        replace(&path, &changed.to_string());
    }
}

/// Writes a line; a reader that is gone ends the program, as it ends others.
fn say(line: &Value) {
    write(&format!("{line}\n"));
}

fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        exit(1);
    }
}

struct Program {
    airbyte: bool,
    wild: bool,
    version: Option<u64>,
    random: Random,
    resumed: Option<u64>,
}

impl Program {
    fn run(&mut self, rows: &BTreeMap<u64, (u64, String)>, full: bool) {
        self.status("STARTED");
        if !self.airbyte {
            say(&json!({"type": "SCHEMA", "stream": STREAM, "schema": {}, "key_properties": ["id"]}));
        }
        let mut order: Vec<(u64, u64, &String)> = rows.iter().map(|(id, (seq, score))| (*seq, *id, score)).collect();
        order.sort_unstable();
        let from = if full { 0 } else { self.resumed.unwrap_or_default() };
        if let Some(seq) = self.resumed.filter(|_| !full) {
            self.state(seq);
        }
        for (seq, id, score) in order.into_iter().filter(|(seq, _, _)| *seq > from) {
            self.misbehave(id, seq, score);
            self.record(STREAM, id, seq, score);
            if self.random.chance(300) && !full {
                self.state(seq);
            }
            if self.wild && self.random.chance(100) {
                self.record("orders", id, seq, score);
            }
        }
        if let Some(version) = self.version.filter(|_| full) {
            say(&json!({"type": "ACTIVATE_VERSION", "stream": STREAM, "version": version}));
        }
        if !full {
            let last = rows.values().map(|(seq, _)| *seq).max().unwrap_or_default();
            self.state(last.max(from));
        }
        self.status("COMPLETE");
    }

    fn record(&self, stream: &str, id: u64, seq: u64, score: &str) {
        let fields = json!({"id": id, "seq": seq, "score": score, "email": format!("{id}-{seq}@x.example")});
        if self.airbyte {
            return say(&json!({"type": "RECORD", "record": {"stream": stream, "data": fields, "emitted_at": 1_000 + seq}}));
        }
        let mut line = json!({"type": "RECORD", "stream": stream, "record": fields});
        if let Some(version) = self.version {
            line["version"] = json!(version);
        }
        say(&line);
    }

    fn state(&self, seq: u64) {
        if self.airbyte {
            let stream = json!({"stream_descriptor": {"name": STREAM}, "stream_state": {"seq": seq}});
            return say(&json!({"type": "STATE", "state": {"type": "STREAM", "stream": stream}}));
        }
        say(&json!({"type": "STATE", "value": {"seq": seq}}));
    }

    fn status(&self, status: &str) {
        if self.airbyte {
            let stream = json!({"stream_descriptor": {"name": STREAM}, "status": status});
            say(&json!({"type": "TRACE", "trace": {"type": "STREAM_STATUS", "emitted_at": 1, "stream_status": stream}}));
        }
    }

    fn misbehave(&mut self, id: u64, seq: u64, score: &str) {
        if !self.wild {
            return;
        }
        match self.random.below(60) {
            0 => write("INFO this is no message\n"),
            1 => write("{\"type\": \"RECORD\", \"stream\": \"peo\n"),
            2 => write("\n\n\u{0}\n"),
            3 => {
                write("{\"type\": \"RECORD\", \"stream\": \"people\", \"rec");
                exit(1);
            }
            4 => exit(1),
            5 => {
                eprintln!("CRITICAL the system does not answer");
                exit(2);
            }
            6 => std::process::abort(),
            // Airbyte's say when they are done, so this one is found out.
            7 if self.airbyte => exit(0),
            8 => self.record(STREAM, id, seq, score),
            _ => {}
        }
    }
}
