//! Clients that are not ours: Python's confluent-kafka with fastavro, and Kafka's console producer.

use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;

use millrace_oracle::SourceRecord;
use serde_json::{Value as Json, json};

use crate::{hex, unhex};

/// A record as stored in a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    pub topic: String,
    pub partition: i64,
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub value: Option<Vec<u8>>,
    /// In place of `value` where a schema was given.
    pub record: Option<Json>,
}

/// Where a record was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub partition: i64,
    pub offset: i64,
}

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// A folder that a script of the repository prints.
///
/// # Panics
/// Where the script fails.
pub fn provided_by(script: &str) -> PathBuf {
    provided(script, &[])
}

/// The folder of one of the environments of `scripts/python-env`.
///
/// # Panics
/// Where it cannot be made.
pub fn environment(name: &str) -> PathBuf {
    provided("scripts/python-env", &[name])
}

fn provided(script: &str, arguments: &[&str]) -> PathBuf {
    let path = repository(script);
    let output = Command::new(&path)
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(output.status.success(), "{} failed", path.display());
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

/// The interpreter: `MILLRACE_PYTHON`, or that of `scripts/python-env`.
fn python(script: &str) -> Command {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    let interpreter = PYTHON.get_or_init(|| match std::env::var_os("MILLRACE_PYTHON") {
        Some(path) => PathBuf::from(path),
        None => provided_by("scripts/python-env").join("bin/python"),
    });
    assert!(
        interpreter.is_file(),
        "no Python at {}: run `make test`, or name one with confluent-kafka and fastavro by MILLRACE_PYTHON",
        interpreter.display()
    );
    let mut command = Command::new(interpreter);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(script));
    command
}

/// Python's producer, fed as long as it lives.
pub struct Producer {
    child: Child,
    input: Option<BufWriter<ChildStdin>>,
    count: usize,
}

impl Producer {
    /// # Panics
    /// Where Python cannot be run.
    pub fn start(bootstrap: &str) -> Producer {
        let mut command = python("produce.py");
        command.arg(bootstrap).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("python can be run");
        let input = child.stdin.take().map(BufWriter::new);
        Producer { child, input, count: 0 }
    }

    fn write(&mut self, line: &Json) {
        let input = self.input.as_mut().expect("open until `finish`");
        writeln!(input, "{line}").expect("the producer lives; what it says stands above");
        self.count += 1;
    }

    /// Any bytes.
    ///
    /// # Panics
    /// Where the producer has died.
    pub fn send(&mut self, topic: &str, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.write(&json!({ "topic": topic, "key": key.map(hex), "value": value.map(hex) }));
    }

    /// A record as JSON, or a tombstone.
    ///
    /// # Panics
    /// As `send`.
    pub fn send_json(&mut self, prefix: &str, record: &SourceRecord) {
        let value = record.value.as_ref().map(ToString::to_string);
        self.send(
            &format!("{prefix}source.{}", record.topic),
            Some(record.key.as_bytes()),
            value.as_deref().map(str::as_bytes),
        );
    }

    /// A record in Avro single-object encoding, written by fastavro with the published schema.
    ///
    /// # Panics
    /// As `send`.
    pub fn send_avro(&mut self, prefix: &str, record: &SourceRecord) {
        let schema = repository(&format!("schemas/source/{}.avsc", record.topic)).display().to_string();
        let topic = format!("{prefix}source.{}", record.topic);
        self.write(&json!({ "topic": topic, "key": hex(record.key.as_bytes()), "record": record.value, "schema": schema }));
    }

    /// A record in Confluent's wire format, under a schema that evolved separately from ours: with
    /// one field more, and without one that the record does not use.
    ///
    /// # Panics
    /// As `send`.
    pub fn send_confluent(&mut self, prefix: &str, record: &SourceRecord, registry: &str) {
        let schema = repository(&format!("schemas/source/{}.avsc", record.topic)).display().to_string();
        let topic = format!("{prefix}source.{}", record.topic);
        self.write(&json!({ "topic": topic, "key": hex(record.key.as_bytes()), "record": record.value, "schema": schema, "registry": registry }));
    }

    /// Passes on what was written so far.
    ///
    /// # Panics
    /// As `send`.
    pub fn flush(&mut self) {
        self.input
            .as_mut()
            .expect("open until `finish`")
            .flush()
            .expect("the producer lives; what it says stands above");
    }

    /// Waits until everything is acknowledged; returns where each record was stored, in the order
    /// of sending.
    ///
    /// # Panics
    /// Where a record was not accepted.
    pub fn finish(mut self) -> Vec<Place> {
        self.flush();
        drop(self.input.take());
        let output = self.child.stdout.take().expect("piped");
        let mut places = Vec::new();
        for line in BufReader::new(output).lines() {
            let place: Json = serde_json::from_str(&line.expect("output can be read")).expect("a JSON line");
            places.push(Place {
                partition: number(&place["partition"]),
                offset: number(&place["offset"]),
            });
        }
        let status = self.child.wait().expect("a child can be waited for");
        assert!(status.success(), "the producer failed: {status}");
        assert_eq!(places.len(), self.count, "every record is acknowledged");
        places
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All committed records of the topics, in order within each partition. With a schema, values are
/// single objects of it.
///
/// # Errors
/// Why they cannot be read.
pub fn read(bootstrap: &str, topics: &[String], schema: Option<&str>) -> Result<Vec<Read>, String> {
    let mut command = python("consume.py");
    command.arg(bootstrap).args(topics);
    if let Some(schema) = schema {
        command.arg("--schema").arg(repository(schema));
    }
    collect(command)
}

/// As `read`, of values in Confluent's wire format, under the schemas that the registry has of
/// them.
///
/// # Errors
/// Why they cannot be read.
pub fn read_confluent(bootstrap: &str, topics: &[String], registry: &str) -> Result<Vec<Read>, String> {
    let mut command = python("consume.py");
    command.arg(bootstrap).args(topics).args(["--registry", registry]);
    collect(command)
}

/// The JSON that a script of this crate prints.
///
/// # Errors
/// Why it printed none.
pub fn python_json(script: &str, arguments: &[&str]) -> Result<Json, String> {
    let mut command = python(script);
    let output = command.args(arguments).stdin(Stdio::null()).output().expect("python can be run");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{script}: {error}"))
}

fn collect(mut command: Command) -> Result<Vec<Read>, String> {
    let output = command.stdin(Stdio::null()).output().expect("python can be run");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(parse).collect())
}

fn parse(line: &str) -> Read {
    let row: Json = serde_json::from_str(line).expect("a JSON line");
    let bytes = |value: &Json| value.as_str().map(unhex);
    let header = |pair: &Json| (text(&pair[0]), bytes(&pair[1]).unwrap_or_default());
    Read {
        topic: text(&row["topic"]),
        partition: number(&row["partition"]),
        offset: number(&row["offset"]),
        timestamp_ms: number(&row["timestamp"]),
        key: bytes(&row["key"]),
        headers: row["headers"].as_array().expect("headers are a list").iter().map(header).collect(),
        value: bytes(&row["value"]),
        record: row.get("record").cloned(),
    }
}

fn text(value: &Json) -> String {
    value.as_str().expect("a text").to_owned()
}

fn number(value: &Json) -> i64 {
    value.as_i64().expect("a whole number")
}

impl Read {
    /// The last header of this name, as text.
    pub fn header(&self, name: &str) -> Option<String> {
        let found = self.headers.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    }
}

/// Produces JSON with Kafka's own console producer.
///
/// # Panics
/// Where it fails.
pub fn console_produce(bootstrap: &str, prefix: &str, records: &[SourceRecord]) {
    let mut topics: Vec<&str> = records.iter().map(|record| record.topic.as_str()).collect();
    topics.sort_unstable();
    topics.dedup();
    let libraries = format!("{}/libs/*", provided_by("scripts/kafka").display());
    for topic in topics {
        let mut command = Command::new("java");
        command.args([
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-cp",
            &libraries,
            "org.apache.kafka.tools.ConsoleProducer",
        ]);
        command.args([
            "--bootstrap-server",
            bootstrap,
            "--topic",
            &format!("{prefix}source.{topic}"),
            "--reader-property",
            "parse.key=true",
        ]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("java can be run");
        let mut input = child.stdin.take().expect("piped");
        for record in records.iter().filter(|record| record.topic == topic) {
            let value = record.value.as_ref().expect("the console producer writes no tombstones");
            // A tab separates key and value.
            writeln!(input, "{}\t{value}", record.key).expect("the console producer lives");
        }
        drop(input);
        let output = child.wait_with_output().expect("a child can be waited for");
        assert!(output.status.success(), "console producer: {}", String::from_utf8_lossy(&output.stderr));
    }
}
