//! A real Apache Kafka for tests: one node, broker and controller in one process, on loopback, with
//! its data in a temporary folder.
//!
//! The libraries come from `scripts/kafka`, which fetches them once. The broker runs under a small
//! shell that waits for the test's end of a pipe, then kills it and deletes its data: a test that
//! panics, is killed, or never drops its broker leaves nothing on disk.
//!
//! What it is *not*: a cluster. It has no replicas, so it loses unwritten data if the machine
//! fails; it survives `kill` and `restart`.

mod settings;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use tempfile::TempDir;

/// How long a start may take on a machine that is busy with everything else.
const START_WITHIN: Duration = Duration::from_secs(180);

/// What the broker prints last when it starts.
const STARTED: &str = "Kafka Server started";

/// Runs a command with a folder until its standard input ends, and then deletes the folder; or
/// until it reads `kill`, and then leaves the folder.
const WATCHDOG: &str = r#"
folder="$1"; shift
"$@" </dev/null & exec >&- 2>&-
read -r order
kill -9 $!; wait
[ "$order" = kill ] || rm -rf -- "$folder"
"#;

/// A running broker; dropping it ends it and deletes its data.
pub struct KafkaBroker {
    /// Before the folder: fields are dropped in order.
    process: Option<Process>,
    folder: TempDir,
    libraries: PathBuf,
    bootstrap: String,
}

struct Process {
    watchdog: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl KafkaBroker {
    /// Starts a broker and waits until it serves.
    ///
    /// # Panics
    /// Where it does not, with its output.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// As `start`, with further broker settings.
    ///
    /// # Panics
    /// As `start`.
    #[must_use]
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        let libraries = libraries();
        // Between the choice of a port and its use another process may take it.
        let mut failures = String::new();
        for _ in 0..3 {
            match Self::try_start(libraries.clone(), settings) {
                Ok(broker) => return broker,
                Err(failure) => failures.push_str(&failure),
            }
        }
        panic!("no kafka broker:\n{failures}");
    }

    /// One broker for all tests of a process, for tests that only need topics of their own.
    ///
    /// # Panics
    /// As `start`.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<KafkaBroker> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    fn try_start(libraries: PathBuf, settings: &[(&str, &str)]) -> Result<Self, String> {
        let folder = tempfile::Builder::new()
            .prefix("millrace-kafka-")
            .tempdir()
            .map_err(|error| error.to_string())?;
        let (port, controller_port) = (free_port(), free_port());
        settings::write(folder.path(), port, controller_port, settings).map_err(|error| error.to_string())?;
        let mut broker = Self {
            process: None,
            folder,
            libraries,
            bootstrap: format!("127.0.0.1:{port}"),
        };
        broker.format()?;
        broker.process = Some(broker.launch()?);
        Ok(broker)
    }

    /// `bootstrap.servers` of clients.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Ends the broker at once, as a crash does. Its accepted records stay on disk.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            if let Some(mut orders) = process.watchdog.stdin.take() {
                // If the pipe is closed, the watchdog has ended, and the broker with it.
                let _ = orders.write_all(b"kill\n");
            }
            drop(process);
        }
    }

    /// Starts it again, after `kill` or in its place: same address, same data.
    ///
    /// # Panics
    /// As `start`.
    pub fn restart(&mut self) {
        self.kill();
        match self.launch() {
            Ok(process) => self.process = Some(process),
            Err(failure) => panic!("the broker does not start again:\n{failure}"),
        }
    }

    /// The broker's output since its start, for messages of failing tests.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.as_ref().map_or_else(String::new, Process::printed)
    }

    fn java(&self, arguments: &[&str]) -> Vec<String> {
        let path = format!("{}/*", self.libraries.display());
        let log4j = format!("-Dlog4j2.configurationFile={}", self.path(settings::LOG4J));
        // A short life on a small machine: little memory, no time spent on optimising.
        let options = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &path, &log4j];
        options.iter().chain(arguments).map(|argument| (*argument).to_owned()).collect()
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn format(&self) -> Result<(), String> {
        let command = self.java(&["kafka.tools.StorageTool", "format", "-t", settings::CLUSTER, "-c", &self.path(settings::SERVER)]);
        let output = Command::new(&command[0])
            .args(&command[1..])
            .output()
            .map_err(|error| format!("{}: {error}", command[0]))?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    fn launch(&self) -> Result<Process, String> {
        let mut command = Command::new("sh");
        command
            .args(["-c", WATCHDOG, "kafka-watchdog", &self.path("")])
            .args(self.java(&["kafka.Kafka", &self.path(settings::SERVER)]));
        command
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut watchdog = command.spawn().map_err(|error| error.to_string())?;
        let output = watchdog.stdout.take().ok_or("no standard output")?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let (started, start) = mpsc::channel();
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if line.contains(STARTED) {
                    // Nobody waits any more if the start took too long.
                    let _ = started.send(());
                }
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let process = Process { watchdog, log };
        // An error here is the time-out, or the end of the broker: its output has ended, and the
        // sender with it.
        start.recv_timeout(START_WITHIN).map_err(|_| process.printed())?;
        Ok(process)
    }
}

impl Process {
    fn printed(&self) -> String {
        let mut text = self.log.lock().unwrap_or_else(PoisonError::into_inner).join("\n");
        text.push('\n');
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        // The watchdog ends when the broker has.
        let _ = self.watchdog.wait();
    }
}

/// The folder of Kafka's libraries.
fn libraries() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/kafka");
    let output = Command::new(&script).stderr(Stdio::inherit()).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    assert!(output.status.success(), "{} failed", script.display());
    Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("libs")
}

/// Ports from which the system takes none for the near end of a connection: a process that is killed
/// and started again finds its port free.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// A port nobody listens on now, and that no other call of this process has returned.
///
/// # Panics
/// Where none is left.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    // Processes that run at the same time begin at different places.
    let begin = std::process::id().wrapping_mul(61);
    let candidates = (0..count).map(|_| {
        let place = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % count;
        PORTS.start + u16::try_from(place).expect("less than the number of ports")
    });
    let mut free = candidates.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("a free port")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_serves_until_it_is_killed_and_again_after_a_restart() {
        let connects = |broker: &KafkaBroker| std::net::TcpStream::connect(broker.bootstrap()).is_ok();
        let mut broker = KafkaBroker::start();
        assert!(connects(&broker));
        broker.kill();
        assert!(!connects(&broker));
        broker.restart();
        assert!(connects(&broker));
    }
}
