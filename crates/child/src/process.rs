//! A program of others as a child process.
//!
//! It leads a process group of its own, so that its end is the end of everything it started. One
//! thread reads its standard output in lines of bounded length and hands them over in chunks; where
//! nobody takes them the program waits. Another reads its standard error for the log. The program
//! gets the environment of this process without our own variables, which may hold secrets of ours.

use std::collections::VecDeque;
use std::fs::{OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Read, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::mask::Masks;

/// The longest line. A record of a source topic has at most 1 MB; a state or a catalogue may be
/// longer.
pub(crate) const LINE_BYTES_MAX: usize = 16 << 20;

/// A chunk ends with the line that reaches this size.
const CHUNK_BYTES: usize = 256 << 10;

/// The most bytes that a call returns which is read as a whole.
const OUTPUT_BYTES_MAX: usize = 64 << 20;

/// How long a call may take that is read as a whole: an interpreter starts, a system is asked for
/// its tables.
const CALL_WITHIN: Duration = Duration::from_secs(600);

/// How long a program may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(2);

/// How long it may take to end after it closed its output.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// The file with a program's configuration. Some programs write a changed one there.
const CONFIG_FILE: &str = "config.json";

/// Lines of standard error that a reason quotes.
const QUOTED_LINES: usize = 3;

/// Why a program gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("`{program}` cannot be started")]
    Start {
        /// The command, as configured.
        program: String,
        /// Why not; `NotFound`: there is no such executable.
        #[source]
        source: std::io::Error,
    },
    /// A private file could not be written.
    #[error("a private file cannot be written")]
    Files(#[source] std::io::Error),
    /// It ended without success, or did not end.
    #[error("{0}")]
    Ended(String),
}

/// A folder that this user alone can read; deleted with its content.
#[derive(Debug)]
pub struct Folder(TempDir);

impl Folder {
    /// # Errors
    /// Where temporary files cannot be written.
    pub fn new() -> Result<Folder, ProcessError> {
        let made = tempfile::Builder::new()
            .prefix("millrace-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir();
        made.map(Folder).map_err(ProcessError::Files)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes the program's configuration, where a changed one is looked for after a run; its path,
    /// as an argument.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write_config(&self, config: &serde_json::Map<String, Value>) -> Result<String, ProcessError> {
        self.write(CONFIG_FILE, &Value::Object(config.clone()))
    }

    /// The configuration as the program left it.
    pub(crate) fn config(&self) -> Option<Value> {
        serde_json::from_slice(&std::fs::read(self.path().join(CONFIG_FILE)).ok()?).ok()
    }

    /// Writes a file; its path, as an argument.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, name: &str, content: &Value) -> Result<String, ProcessError> {
        let path: PathBuf = self.path().join(name);
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            file.write_all(content.to_string().as_bytes())
        };
        write().map_err(ProcessError::Files)?;
        Ok(path.display().to_string())
    }
}

/// A program with its first arguments and its environment.
#[derive(Clone, Debug)]
pub struct Program {
    /// The name of the source, for the log.
    pub source: String,
    /// The executable and its first arguments; not empty.
    pub command: Vec<String>,
    /// Variables beside those of this process.
    pub env: Vec<(String, millrace_connect::secret::Confidential)>,
    /// What its standard error must not show.
    pub masks: Arc<Masks>,
}

/// The outcome of a call that is read as a whole.
#[derive(Debug)]
pub struct Output {
    /// Its standard output.
    pub lines: Vec<Vec<u8>>,
    /// `None`: it ended well; otherwise how it ended, with the last lines of its standard error.
    pub failure: Option<String>,
}

/// A line of standard output.
#[derive(Debug)]
pub(crate) enum Line {
    Text(Vec<u8>),
    /// A line longer than [`LINE_BYTES_MAX`]; its bytes.
    TooLong(usize),
}

impl Program {
    /// Runs it to its end.
    ///
    /// # Errors
    /// Where it cannot be started, or does not end in time.
    pub async fn output(&self, arguments: &[String], folder: &Folder) -> Result<Output, ProcessError> {
        let mut process = self.start(arguments, folder)?;
        let mut lines = Vec::new();
        let mut bytes = 0;
        let read = async {
            while let Some(chunk) = process.lines.recv().await {
                for line in chunk {
                    if let Line::Text(text) = line {
                        bytes += text.len();
                        lines.push(text);
                    }
                }
                if bytes > OUTPUT_BYTES_MAX {
                    return Err(ProcessError::Ended(format!(
                        "`{}` writes more than {OUTPUT_BYTES_MAX} bytes",
                        self.shown(arguments)
                    )));
                }
            }
            Ok(())
        };
        let read = tokio::time::timeout(CALL_WITHIN, read).await;
        read.unwrap_or_else(|_| {
            Err(ProcessError::Ended(format!(
                "`{}` does not end within {} s",
                self.shown(arguments),
                CALL_WITHIN.as_secs()
            )))
        })?;
        let failure = process.end().await.err();
        Ok(Output { lines, failure })
    }

    pub(crate) fn start(&self, arguments: &[String], folder: &Folder) -> Result<Process, ProcessError> {
        let (executable, first) = self
            .command
            .split_first()
            .ok_or_else(|| ProcessError::Ended("no command is configured".to_owned()))?;
        let mut command = Command::new(executable);
        command.args(first).args(arguments).current_dir(folder.path()).process_group(0);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MILLRACE_") {
                command.env_remove(name);
            }
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value.reveal())));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = |source| ProcessError::Start {
            program: executable.clone(),
            source,
        };
        let mut child = command.spawn().map_err(started)?;
        let (sender, lines) = mpsc::channel(2);
        let errors = Arc::new(Mutex::new(VecDeque::new()));
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let process = Process {
            child,
            lines,
            errors: Arc::clone(&errors),
            shown: self.shown(arguments),
            reaped: false,
        };
        let (name, masks) = (self.source.clone(), Arc::clone(&self.masks));
        let spawned = std::thread::Builder::new().name("child-output".to_owned()).spawn(move || {
            if let Some(stdout) = stdout {
                pass_lines(stdout, &sender);
            }
        });
        spawned.map_err(started)?;
        let spawned = std::thread::Builder::new().name("child-errors".to_owned()).spawn(move || {
            if let Some(stderr) = stderr {
                log_lines(stderr, &name, &masks, &errors);
            }
        });
        spawned.map_err(started)?;
        Ok(process)
    }

    /// The executable and what it is asked for, without files.
    fn shown(&self, arguments: &[String]) -> String {
        let asked = arguments.iter().filter(|argument| !argument.starts_with('/'));
        self.command.iter().take(1).chain(asked).map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

/// A running program. Dropping it ends it and everything that it started.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub lines: mpsc::Receiver<Vec<Line>>,
    errors: Arc<Mutex<VecDeque<String>>>,
    shown: String,
    /// The child's number, which is that of its group, may belong to somebody else from now on.
    reaped: bool,
}

impl Process {
    /// Whether the program itself has ended; what it started may still write.
    pub fn exited(&self) -> bool {
        let Some(pid) = Pid::from_raw(self.child.id().try_into().unwrap_or_default()) else {
            return true;
        };
        // The child stays a zombie, so that its number, which is that of its group, is not given away.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(pid), options), Ok(None))
    }

    /// Waits for the end after the output was closed.
    ///
    /// # Errors
    /// How it ended, if not well.
    pub async fn end(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + ENDS_WITHIN;
        while !self.exited() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let ended = self.exited();
        match self.kill() {
            Some(status) if ended && status.success() => Ok(()),
            Some(status) if ended => Err(self.failure(&format!("ended with {status}"))),
            _ => Err(self.failure("closed its output and did not end")),
        }
    }

    /// A reason, with the last lines of standard error.
    pub fn failure(&self, how: &str) -> String {
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let quoted = errors.iter().map(String::as_str).collect::<Vec<_>>().join(" | ");
        let separator = if quoted.is_empty() { "" } else { ": " };
        format!("`{}` {how}{separator}{quoted}", self.shown)
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.child.id().try_into().unwrap_or_default()) {
            // The group is gone where all of it has ended.
            let _ = kill_process_group(pid, signal);
        }
    }

    /// Ends the whole group, the program last waited for.
    pub fn kill(&mut self) -> Option<ExitStatus> {
        if !self.exited() {
            self.signal(Signal::TERM);
            let deadline = Instant::now() + GRACE;
            while !self.exited() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        self.signal(Signal::KILL);
        self.reaped = true;
        self.child.wait().ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.lines.close();
        if !self.reaped {
            self.kill();
        }
    }
}

/// Hands lines over until the output ends or nobody takes them.
fn pass_lines(stdout: ChildStdout, to: &mpsc::Sender<Vec<Line>>) {
    let mut reader = BufReader::with_capacity(64 << 10, stdout);
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    loop {
        let line = bounded_line(&mut reader, LINE_BYTES_MAX);
        let ended = line.is_none();
        if let Some(line) = line {
            bytes += match &line {
                Line::Text(text) => text.len(),
                Line::TooLong(_) => 0,
            };
            chunk.push(line);
        }
        let whole = ended || bytes >= CHUNK_BYTES || !reader.buffer().contains(&b'\n');
        if whole && !chunk.is_empty() && to.blocking_send(std::mem::take(&mut chunk)).is_err() {
            return;
        }
        if whole {
            bytes = 0;
        }
        if ended {
            return;
        }
    }
}

/// The next line without its end; `None` at the end of the output, or where it cannot be read.
pub(crate) fn bounded_line(reader: &mut impl BufRead, bytes_max: usize) -> Option<Line> {
    let mut text = Vec::new();
    let mut length = 0;
    loop {
        let buffer = match reader.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => &[],
        };
        if buffer.is_empty() {
            return (length > 0).then(|| whole(text, length, bytes_max));
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        length += part.len();
        if length <= bytes_max {
            text.extend_from_slice(part);
        } else {
            text = Vec::new();
        }
        let taken = end.map_or(buffer.len(), |end| end + 1);
        reader.consume(taken);
        if end.is_some() {
            return Some(whole(text, length, bytes_max));
        }
    }
}

fn whole(text: Vec<u8>, length: usize, bytes_max: usize) -> Line {
    if length <= bytes_max { Line::Text(text) } else { Line::TooLong(length) }
}

/// Standard error to the log; the last lines are kept for reasons.
fn log_lines(stderr: impl Read, source: &str, masks: &Masks, last: &Mutex<VecDeque<String>>) {
    let mut reader = BufReader::new(stderr);
    while let Some(line) = bounded_line(&mut reader, 16 << 10) {
        let Line::Text(text) = line else { continue };
        let line = masks.apply(String::from_utf8_lossy(&text).trim_end());
        if line.trim().is_empty() {
            continue;
        }
        let loud = ["ERROR", "CRITICAL", "FATAL", "WARNING", "Traceback"].iter().any(|word| line.contains(word));
        if loud {
            tracing::warn!(source, "{line}");
        } else {
            tracing::debug!(source, "{line}");
        }
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        last.push_back(line);
        if last.len() > QUOTED_LINES {
            last.pop_front();
        }
    }
}
