//! A server of a test's own, and commands to it.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::http::{Answer, Request};
use crate::wait_for;

/// How much of a log a message shows.
const TAIL_BYTES: usize = 4_000;

/// The executable under test: `MILLRACE_BIN`, or the one that `cargo build -p millrace` left next
/// to these tests.
///
/// # Panics
/// Where there is none: a test that attacked nothing would pass.
pub fn executable() -> PathBuf {
    let named = std::env::var_os("MILLRACE_BIN").map(PathBuf::from);
    let found = named.unwrap_or_else(|| {
        let own = std::env::current_exe().expect("a test knows its own path");
        // target/debug/deps/limits-0123
        own.ancestors().nth(2).expect("tests lie two folders deep").join("millrace")
    });
    assert!(
        found.is_file(),
        "no executable to attack at {}: run `make attack`, or build with `cargo build -p millrace`, or name one by MILLRACE_BIN",
        found.display()
    );
    found
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end.
///
/// # Panics
/// Where it cannot be run.
pub fn command(arguments: &[&str]) -> Outcome {
    let output = Command::new(executable())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the executable can be run");
    Outcome {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// `millrace run` on an embedded log. It ends with its owner.
pub struct Server {
    pub api: SocketAddr,
    pub metrics: SocketAddr,
    process: Child,
    folder: TempDir,
}

impl Server {
    /// A server with the default settings, ready.
    ///
    /// # Panics
    /// Where it does not become ready.
    pub fn start() -> Server {
        Server::with_settings("", "")
    }

    /// As `start`, with further keys of the section `[http]`, and further sections, both as TOML.
    ///
    /// # Panics
    /// As `start`.
    pub fn with_settings(http: &str, sections: &str) -> Server {
        Server::in_folder(folder(), http, sections)
    }

    /// As `with_settings`, in a folder that may hold what an earlier server left (`log/`, `state/`)
    /// and files that settings name.
    ///
    /// # Panics
    /// As `start`.
    pub fn in_folder(folder: TempDir, http: &str, sections: &str) -> Server {
        let process = spawn(folder.path(), http, sections);
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Server {
            api: nowhere,
            metrics: nowhere,
            process,
            folder,
        };
        (server.api, server.metrics) = wait_for("the ports", || server.listening());
        server.wait_ready();
        server
    }

    /// Starts a server that must refuse to run, and waits until it has ended.
    ///
    /// # Panics
    /// Where it goes on.
    pub fn refused(folder: &TempDir, http: &str, sections: &str) -> (Option<i32>, String) {
        let mut process = spawn(folder.path(), http, sections);
        let ended = wait_for("the server to refuse", || match process.try_wait() {
            Ok(Some(status)) => Ok(Ok(status)),
            Ok(None) if log(folder.path()).contains("\"listening\"") => Ok(Err("it listens")),
            other => Err(format!("{other:?}")),
        });
        if ended.is_err() {
            // It must not outlive the test that fails.
            let _ = process.kill();
            let _ = process.wait();
        }
        (ended.expect("refused").code(), log(folder.path()))
    }

    /// The addresses of the ports, as its log names them.
    fn listening(&mut self) -> Result<(SocketAddr, SocketAddr), String> {
        if let Ok(Some(status)) = self.process.try_wait() {
            panic!("the server ended with {status}\n{}", self.tail());
        }
        let log = self.log();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let fields = lines.find(|line| line["message"] == "listening").ok_or("its log names none yet")?;
        let address = |name: &str| fields[name].as_str().and_then(|text| text.parse().ok());
        address("api").zip(address("metrics")).ok_or_else(|| format!("no addresses: {fields}"))
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    /// With the end of its log where it does not become ready.
    pub fn wait_ready(&self) {
        wait_for("the server to be ready", || match self.readyz() {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}\n{}", self.tail())),
        });
    }

    /// Reads its readiness once.
    ///
    /// # Errors
    /// Where there is no answer.
    pub fn readyz(&self) -> std::io::Result<Answer> {
        let request = Request {
            method: "GET",
            path: "/readyz",
            headers: &[],
            body: &[],
        };
        request.send(self.metrics)
    }

    /// # Panics
    /// With the end of its log where there is no answer.
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], &[])
    }

    /// # Panics
    /// As `get`.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let request = Request { method, path, headers, body };
        request
            .send(self.api)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", self.tail()))
    }

    /// Where its API answers.
    pub fn url(&self) -> String {
        format!("http://{}", self.api)
    }

    /// Runs a command that asks this server.
    ///
    /// # Panics
    /// Where it cannot be run.
    pub fn millrace(&self, arguments: &[&str]) -> Outcome {
        command(&[&["--server", &self.url()], arguments].concat())
    }

    /// The most memory it has held so far, in bytes.
    ///
    /// # Panics
    /// Where the system does not say.
    pub fn memory_peak(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.tail()));
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kib.expect("the kernel says it in kB") * 1024
    }

    /// The folder that holds its log, its state and its settings.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its output so far.
    pub fn log(&self) -> String {
        log(self.folder.path())
    }

    /// Ends it as an operator does, and gives back how it ended and its folder.
    ///
    /// # Panics
    /// Where it does not end.
    pub fn terminate(mut self) -> (ExitStatus, TempDir) {
        let pid = self.process.id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -s TERM \"$0\"", &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -s TERM {pid}");
        let status = wait_for("the server to end", || match self.process.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}\n{}", self.tail())),
        });
        (status, self.take_folder())
    }

    /// Ends it as a crash does, and gives its folder back.
    pub fn kill(mut self) -> TempDir {
        self.take_folder()
    }

    fn take_folder(&mut self) -> TempDir {
        end(&mut self.process);
        std::mem::replace(&mut self.folder, folder())
    }

    fn tail(&self) -> String {
        let log = self.log();
        let from = log.len().saturating_sub(TAIL_BYTES);
        let from = (from..=log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or_default();
        format!("--- the end of its log ---\n{}", &log[from..])
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

fn end(process: &mut Child) {
    // Both fail only where it has ended already.
    let _ = process.kill();
    let _ = process.wait();
}

/// A temporary folder for a server.
///
/// # Panics
/// Where the disk cannot be written to.
pub fn folder() -> TempDir {
    tempfile::Builder::new().prefix("millrace-attack-").tempdir().expect("a folder")
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("server.log")).unwrap_or_default()
}

fn spawn(folder: &Path, http: &str, sections: &str) -> Child {
    let place = folder.display();
    // An address in `http` counts instead of these.
    let default = |key: &str| {
        if http.contains(key) {
            String::new()
        } else {
            format!("{key} = \"127.0.0.1:0\"\n")
        }
    };
    let ports = default("api_address") + &default("metrics_address");
    let settings = format!(
        "log_level = \"info\"\nlog_format = \"json\"\n[log]\npath = \"{place}/log\"\n[state]\npath = \"{place}/state\"\ncache = \"16MiB\"\nwrite_buffers = \"16MiB\"\n[http]\n{ports}{http}\n{sections}"
    );
    fs::write(folder.join("millrace.toml"), settings).expect("a writable folder");
    let log = File::create(folder.join("server.log")).expect("a writable folder");
    let mut command = Command::new(executable());
    command.arg("--config").arg(folder.join("millrace.toml")).arg("run");
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file can be shared")).stderr(log);
    command.spawn().expect("the executable can be run")
}
