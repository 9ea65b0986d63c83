//! A deployment of `millrace` on the test's Kafka: its configuration, its processes, and commands
//! to it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use millrace_kafka_harness::KafkaBroker;
use millrace_oracle::{Rule, Subject};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

pub use crate::child::Running;
use crate::wait_for;

/// A shard without an owner is reassigned after this: the shortest time that a busy machine allows.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

/// How long a process may take to own its shards. Two cores, and everything else on them.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// How long a command may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(60);

/// The token that the tests and the commands send to the API.
const TOKEN: &str = "token-of-the-tests";

/// The token that instances send each other.
const INTERNAL_TOKEN: &str = "token-of-the-instances";

/// How much of a log a message shows.
const TAIL_BYTES: usize = 4_000;

/// The executable under test: `MILLRACE_BIN`, or the one that `cargo build -p millrace` left next
/// to these tests.
///
/// # Panics
/// Where there is none: a test that judged nothing would pass.
pub fn executable() -> PathBuf {
    let named = std::env::var_os("MILLRACE_BIN").map(PathBuf::from);
    let found = named.unwrap_or_else(|| {
        let own = std::env::current_exe().expect("a test knows its own path");
        // target/debug/deps/system-0123
        own.ancestors().nth(2).expect("tests lie two folders deep").join("millrace")
    });
    assert!(
        found.is_file(),
        "no executable to test at {}: run `make test`, or build with `cargo build -p millrace`, or name one by MILLRACE_BIN",
        found.display()
    );
    found
}

/// One deployment, with topics of its own.
pub struct Deployment {
    pub bootstrap: String,
    /// Stands before the name of every topic.
    pub prefix: String,
    shards: u32,
    /// Further settings, as TOML.
    more: String,
    folder: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Deployment {
    /// Settings of a deployment by the name of `name`; nothing is created yet.
    ///
    /// # Panics
    /// Where the disk cannot be written to.
    pub fn new(broker: &KafkaBroker, name: &str, shards: u32) -> Deployment {
        Deployment::with_settings(broker, name, shards, "")
    }

    /// As `new`, with further sections of settings.
    ///
    /// # Panics
    /// As `new`.
    pub fn with_settings(broker: &KafkaBroker, name: &str, shards: u32, more: &str) -> Deployment {
        let deployment = Deployment {
            bootstrap: broker.bootstrap().to_owned(),
            prefix: format!("{name}."),
            shards,
            more: more.to_owned(),
            folder: tempfile::Builder::new().prefix("millrace-e2e-").tempdir().expect("a folder"),
        };
        let api = free_address();
        fs::write(deployment.file("common.toml"), deployment.settings("commands", api, free_address())).expect("a writable folder");
        deployment
    }

    /// As `new`, with its topics.
    ///
    /// # Panics
    /// Where they cannot be created.
    pub fn with_topics(broker: &KafkaBroker, name: &str, shards: u32) -> Deployment {
        let deployment = Deployment::new(broker, name, shards);
        deployment.millrace(&["topics", "create"]).succeeded();
        deployment
    }

    /// The full name of a topic, such as `source.person`.
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self, instance: &str, api: SocketAddr, metrics: SocketAddr) -> String {
        let Deployment {
            bootstrap,
            prefix,
            shards,
            more,
            ..
        } = self;
        let session_ms = SESSION_TIMEOUT.as_millis();
        let state = self.state(instance);
        format!(
            r#"log_level = "info"
[topics]
prefix = "{prefix}"
shards = {shards}
source_partitions = {shards}
[kafka]
bootstrap = "{bootstrap}"
application_id = "{prefix}application"
instance = "{instance}"
[kafka.properties]
"session.timeout.ms" = {session_ms}
"heartbeat.interval.ms" = 1500
[state]
path = "{}"
cache = "32MiB"
write_buffers = "32MiB"
[http]
api_address = "{api}"
metrics_address = "{metrics}"
internal_token = "{INTERNAL_TOKEN}"
[auth]
client_token = "{TOKEN}"
[auth.tokens.test]
role = "operator"
token = "{TOKEN}"
[loop]
flush_interval = "5s"
{more}"#,
            state.display()
        )
    }

    /// The state directory of a process.
    pub fn state(&self, instance: &str) -> PathBuf {
        self.file(&format!("state-{instance}"))
    }

    /// Writes a file into the deployment's folder.
    ///
    /// # Panics
    /// Where the disk cannot be written to.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.file(name);
        fs::write(&path, text).expect("a writable folder");
        path.display().to_string()
    }

    /// Runs a command under the deployment's settings.
    ///
    /// # Panics
    /// Where it does not end in time.
    pub fn millrace(&self, arguments: &[&str]) -> Outcome {
        let settings = self.file("common.toml").display().to_string();
        run(&[&["--config", &settings], arguments].concat(), &[])
    }

    /// As `millrace`, with environment variables.
    ///
    /// # Panics
    /// As `millrace`.
    pub fn millrace_under(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Outcome {
        let settings = self.file("common.toml").display().to_string();
        run(&[&["--config", &settings], arguments].concat(), environment)
    }

    /// Puts rules in force through `segment apply`.
    ///
    /// # Panics
    /// Where they are refused.
    pub fn apply(&self, rules: &[Rule]) {
        let files: Vec<String> = rules.iter().map(|rule| self.write(&format!("{}.json", rule.name), &definition(rule))).collect();
        let arguments: Vec<&str> = ["segment", "apply"].into_iter().chain(files.iter().map(String::as_str)).collect();
        self.millrace(&arguments).succeeded();
    }

    /// A process of this deployment, not started yet.
    ///
    /// # Panics
    /// Where the disk cannot be written to.
    pub fn node(&self, instance: &str) -> Node {
        self.service(instance, &["processor"])
    }

    /// As `node`, of another service: its command.
    ///
    /// # Panics
    /// As `node`.
    pub fn service(&self, instance: &str, command: &[&str]) -> Node {
        let (api, metrics) = (free_address(), free_address());
        let settings = self.file(&format!("{instance}.toml"));
        fs::write(&settings, self.settings(instance, api, metrics)).expect("a writable folder");
        Node {
            instance: instance.to_owned(),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            settings,
            state: self.state(instance),
            log: self.file(&format!("{instance}.log")),
            api,
            metrics,
            process: None,
        }
    }
}

/// The document of a rule in force.
pub fn definition(rule: &Rule) -> String {
    let subject = match rule.subject {
        Subject::Person => "person",
        Subject::Account => "account",
    };
    let spec = json!({ "subject": subject, "status": "published", "timeZone": rule.time_zone, "pql": rule.pql });
    json!({ "kind": "Segment", "metadata": { "name": rule.name }, "spec": spec }).to_string()
}

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Outcome {
    let mut command = Command::new(executable());
    command
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = Running::start(&mut command);
    let mut stdout = child.0.stdout.take().expect("piped");
    let mut stderr = child.0.stderr.take().expect("piped");
    let out = std::thread::spawn(move || text(&mut stdout));
    let err = std::thread::spawn(move || text(&mut stderr));
    let status = wait_for(&format!("millrace {}", arguments.join(" ")), COMMAND_WITHIN, || child.ended());
    Outcome {
        status: status.code(),
        stdout: out.join().expect("a reader does not panic"),
        stderr: err.join().expect("a reader does not panic"),
    }
}

fn text(pipe: &mut impl std::io::Read) -> String {
    let mut bytes = Vec::new();
    // Output before an error is worth showing.
    let _ = pipe.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Outcome {
    /// # Panics
    /// Where the status is another, with what the command printed.
    pub fn ended_with(self, status: i32) -> Outcome {
        assert_eq!(self.status, Some(status), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// # Panics
    /// Where the status is not 0.
    pub fn succeeded(self) -> Outcome {
        self.ended_with(0)
    }

    /// What a command with `--output json` printed.
    ///
    /// # Panics
    /// Where it is not JSON.
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}:\n{}", self.stdout))
    }
}

/// A process of a deployment: `millrace processor`, or another service.
pub struct Node {
    pub instance: String,
    command: Vec<String>,
    settings: PathBuf,
    state: PathBuf,
    log: PathBuf,
    api: SocketAddr,
    metrics: SocketAddr,
    process: Option<Running>,
}

impl Node {
    /// Starts it; `wait_ready` waits.
    ///
    /// # Panics
    /// Where it runs already, or cannot be run.
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.instance);
        let log = File::options().create(true).append(true).open(&self.log).expect("a writable folder");
        let mut command = Command::new(executable());
        command.arg("--config").arg(&self.settings).args(&self.command);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file can be shared")).stderr(log);
        self.process = Some(Running::start(&mut command));
    }

    /// Ends it at once, as a crash does: SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Deletes its state directory, as the loss of its disk does.
    ///
    /// # Panics
    /// Where it runs.
    pub fn lose_state(&mut self) {
        assert!(self.process.is_none(), "{} runs", self.instance);
        // It may have died before it made one.
        let _ = fs::remove_dir_all(&self.state);
    }

    /// Stops it in the middle of whatever it does (SIGSTOP), until `resume`.
    ///
    /// # Panics
    /// Where it does not run.
    pub fn pause(&self) {
        self.running().signal("STOP");
    }

    /// # Panics
    /// Where it does not run.
    pub fn resume(&self) {
        self.running().signal("CONT");
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    ///
    /// # Panics
    /// Where it does not run, or does not end.
    pub fn terminate(&mut self) -> Option<i32> {
        self.running().signal("TERM");
        let mut process = self.process.take().expect("just asked");
        let what = format!("{} to end\n{}", self.instance, self.tail());
        wait_for(&what, Duration::from_secs(30), || process.ended()).code()
    }

    fn running(&self) -> &Running {
        self.process.as_ref().unwrap_or_else(|| panic!("{} does not run", self.instance))
    }

    /// Whether it has ended by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().and_then(|process| process.ended().ok())
    }

    /// Waits until it owns shards and they run.
    ///
    /// # Panics
    /// With the end of its log where it does not become ready.
    pub fn wait_ready(&self) {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let answer = get(self.metrics, "/readyz");
            match answer {
                Ok((200, _)) => return,
                other if Instant::now() > deadline => panic!("{} is not ready: {other:?}\n{}", self.instance, self.tail()),
                _ => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    /// A page of its metrics port.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn health(&self, path: &str) -> Result<(u16, String), String> {
        get(self.metrics, path)
    }

    /// A page of its API.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn ask(&self, path: &str) -> Result<(u16, String), String> {
        get(self.api, path)
    }

    /// Where its API answers.
    pub fn url(&self) -> String {
        format!("http://{}", self.api)
    }

    /// The sum over the series of a metric whose labels contain `label`.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn metric(&self, name: &str, label: &str) -> Result<f64, String> {
        let (status, page) = self.health("/metrics")?;
        if status != 200 {
            return Err(format!("/metrics answers {status}"));
        }
        let series = page
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(label));
        Ok(series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Its counters, for messages of failing tests.
    pub fn counts(&self) -> String {
        let page = self.health("/metrics").map_or_else(|error| error, |(_, page)| page);
        let nonzero = |line: &&str| !line.starts_with('#') && !line.contains("_bucket{") && !line.ends_with(" 0");
        let lines: Vec<&str> = page.lines().filter(nonzero).collect();
        format!("--- the metrics of {} ---\n{}", self.instance, lines.join("\n"))
    }

    /// The end of its log.
    pub fn tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let from = text.len().saturating_sub(TAIL_BYTES);
        let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        let mut tail = format!("--- the end of the log of {} ---\n", self.instance);
        tail.write_str(&text[from..]).expect("a text takes any text");
        tail
    }

    /// Its whole log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its settings file, for commands that call it.
    pub fn settings(&self) -> &Path {
        &self.settings
    }
}

/// An address nobody listens on now.
pub fn free_address() -> SocketAddr {
    ([127, 0, 0, 1], millrace_kafka_harness::free_port()).into()
}

/// Status and body of a page.
fn get(address: SocketAddr, path: &str) -> Result<(u16, String), String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.0\r\nhost: {address}\r\nauthorization: Bearer {TOKEN}\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = ask().map_err(|error| format!("{address}{path}: {error}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("{address}{path}: no answer"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or_else(|| format!("{address}{path}: {head}"))?, body.to_owned()))
}
