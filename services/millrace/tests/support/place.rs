//! A process on the embedded log in a folder of its own, with a shell.

#![allow(dead_code, reason = "each test target uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

/// A folder, free ports, and a process while one runs.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub api: String,
    pub metrics: String,
    running: Option<Child>,
}

impl Place {
    pub fn new() -> Place {
        let ports: Vec<TcpListener> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let address = |at: usize| ports[at].local_addr().unwrap().to_string();
        Place {
            folder: tempfile::tempdir().unwrap(),
            api: address(0),
            metrics: address(1),
            running: None,
        }
    }

    pub fn command(&self, program: &Path) -> Command {
        let own = PathBuf::from(env!("CARGO_BIN_EXE_millrace"));
        let mut command = Command::new(program);
        command
            .current_dir(self.folder.path())
            .env(
                "PATH",
                format!("{}:{}", own.parent().unwrap().display(), std::env::var("PATH").unwrap_or_default()),
            )
            .env("MILLRACE__HTTP__API_ADDRESS", &self.api)
            .env("MILLRACE__HTTP__METRICS_ADDRESS", &self.metrics);
        command
    }

    /// Starts `millrace run` and waits until it is ready.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    pub fn start_with(&mut self, arguments: &[&str]) {
        let log = std::fs::File::create(self.folder.path().join("run.log")).unwrap();
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_millrace")));
        self.running = Some(command.arg("run").args(arguments).stdout(Stdio::null()).stderr(log).spawn().unwrap());
        self.until("the process to be ready", || {
            let answer = self
                .command(Path::new("bash"))
                .args([
                    "-c",
                    &format!(
                        "exec 3<>/dev/tcp/{}; printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3; head -1 <&3",
                        self.metrics.replace(':', "/")
                    ),
                ])
                .output();
            answer.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(" 200 "))
        });
    }

    /// The id of the running process.
    pub fn running_id(&self) -> u32 {
        self.running.as_ref().map(Child::id).unwrap()
    }

    /// Kills the process; its unfinished work stays unfinished.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.running.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Runs `millrace` with these arguments.
    pub fn millrace(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_millrace")));
        command.args(arguments).output().unwrap()
    }

    pub fn shell(&self, script: &str) -> String {
        let output = self.command(Path::new("bash")).args(["-euo", "pipefail", "-c", script]).output().unwrap();
        assert!(output.status.success(), "{script}\n{}", printed(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Every change of membership so far: subject, status.
    pub fn changes(&self) -> Vec<(String, String)> {
        let lines = self.shell("millrace sink file --once");
        let change = |line: &str| {
            let record: Json = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let record = record.get("value").cloned().unwrap_or(record);
            let text = |name: &str| record[name].as_str().unwrap_or_else(|| panic!("{name} in {line}")).to_owned();
            (text("subjectId"), text("status"))
        };
        lines.lines().map(change).collect()
    }

    /// Waits; the event arrives within a second or so, unless the machine is busy.
    pub fn until(&self, what: &str, done: impl Fn() -> bool) {
        let begun = Instant::now();
        while !done() {
            let log = || std::fs::read_to_string(self.folder.path().join("run.log")).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_secs(90), "waited for {what}\n{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
