//! A real PostgreSQL for tests: one server on loopback, with its data in a temporary folder.
//!
//! The server comes from `scripts/debezium`, which fetches it once. PostgreSQL refuses to run as
//! root; `nobody` runs it there. It runs under a small shell that waits for the test's end of a
//! pipe, then ends it and deletes its data: a test that is killed, or never drops its server, leaves
//! nothing on disk.
//!
//! What it is *not*: a client of anybody's. It speaks as much of the protocol as statements need.

mod protocol;

pub use protocol::ask;

use std::fs::File;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a start may take on a machine that is busy with everything else.
const READY_WITHIN: Duration = Duration::from_secs(180);

const NOBODY: &str = "65534";

/// Runs a server with a folder until its standard input ends, and then deletes the folder; or until
/// it reads `kill`, and then leaves the folder. `QUIT` ends a server at once, as a crash does,
/// but leaves none of its processes running.
const WATCHDOG: &str = r#"
folder="$1"; shift
"$@" </dev/null & exec >&- 2>&-
read -r order
kill -QUIT $!; wait
[ "$order" = kill ] || rm -rf -- "$folder"
"#;

/// A row of an answer; `None` is null.
pub type Row = Vec<Option<String>>;

/// A running server; dropping it ends it and deletes its data.
pub struct Postgres {
    process: Option<Running>,
    address: SocketAddr,
    settings: Vec<String>,
    folder: TempDir,
}

/// The shell around the server.
struct Running(Child);

impl Running {
    fn kill(&mut self) {
        if let Some(mut orders) = self.0.stdin.take() {
            // Where the pipe is closed, the shell has ended, and the server with it.
            let _ = orders.write_all(b"kill\n");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It fails only where the shell has ended already.
        let _ = self.0.wait();
    }
}

impl Postgres {
    /// Starts a server with a log that can be followed row by row.
    ///
    /// # Panics
    /// Where it does not start.
    #[must_use]
    pub fn start() -> Postgres {
        Postgres::start_with(&[], &[])
    }

    /// One server for all tests of a process, for tests that only need databases of their own.
    ///
    /// # Panics
    /// As `start`.
    #[must_use]
    pub fn shared() -> &'static Postgres {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Postgres::start)
    }

    /// The same, with files in its data folder, each with its content, and further settings such as
    /// `ssl=on`.
    ///
    /// # Panics
    /// As `start`.
    #[must_use]
    pub fn start_with(files: &[(&str, &str)], settings: &[&str]) -> Postgres {
        let folder = tempfile::Builder::new().prefix("millrace-postgres-").tempdir().expect("a folder");
        let server = folder.path().join("postgres");
        // The cache may lie where another user cannot read.
        done(Command::new("cp").arg("-r").arg(provided().join("postgres")).arg(&server));
        give(folder.path());
        let plain = ["-U", "postgres", "-A", "trust", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"];
        let mut initdb = program(folder.path(), "initdb");
        done(initdb.args(plain).arg(folder.path().join("data")));
        for (name, content) in files {
            let path = folder.path().join("data").join(name);
            std::fs::write(&path, content).expect("a writable folder");
            done(Command::new("chmod").arg("600").arg(&path));
            give(&path);
        }
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let mut postgres = Postgres {
            process: None,
            address: port.expect("a free port"),
            settings: settings.iter().map(|setting| (*setting).to_owned()).collect(),
            folder,
        };
        postgres.resume();
        postgres
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the server at once, as a crash does. What it acknowledged stays on disk.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Starts the server again after `kill`, and waits until it serves.
    ///
    /// # Panics
    /// Where it does not.
    pub fn resume(&mut self) {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if self.process.is_none() {
                self.process = Some(self.launch());
            }
            match protocol::ask(self.address, "postgres", "SELECT 1") {
                Ok(_) => return,
                Err(reason) => assert!(Instant::now() < deadline, "PostgreSQL does not answer: {reason}\n{}", self.log()),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn launch(&self) -> Running {
        let path = self.folder.path().join("log");
        let log = File::options().create(true).append(true).open(path).expect("a writable folder");
        let server = program(self.folder.path(), "postgres");
        let mut command = Command::new("sh");
        command.args(["-c", WATCHDOG, "sh"]).arg(self.folder.path()).current_dir(self.folder.path());
        command.arg(server.get_program()).args(server.get_args());
        command.arg("-D").arg(self.folder.path().join("data"));
        command.args(["-F", "-h", "127.0.0.1", "-p", &self.address.port().to_string(), "-k", ""]);
        command.args(["-c", "wal_level=logical"]).stdin(Stdio::piped());
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        command.stdout(log.try_clone().expect("a file can be shared")).stderr(log);
        Running(command.spawn().expect("there is a shell"))
    }

    /// What the server has written about itself.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Runs statements in a database, one transaction each call.
    ///
    /// # Panics
    /// Where one fails.
    pub fn run(&self, database: &str, statements: &str) {
        drop(self.rows(database, statements));
    }

    /// The same, with the rows that they return.
    ///
    /// # Panics
    /// Where one fails.
    #[must_use]
    pub fn rows(&self, database: &str, statements: &str) -> Vec<Row> {
        protocol::ask(self.address, database, statements).unwrap_or_else(|error| panic!("{error}\n{statements}"))
    }

    /// The rows of a query as Python's client sees them: JSON, a list of lists of texts.
    ///
    /// # Panics
    /// Where the query fails.
    #[must_use]
    pub fn seen(&self, database: &str, query: &str) -> String {
        static PYTHON: OnceLock<PathBuf> = OnceLock::new();
        let environment = || PathBuf::from(printed(Command::new(repository("scripts/python-env")).arg("postgres")));
        let mut python = Command::new(PYTHON.get_or_init(environment).join("bin/python"));
        let script = repository("tests/postgres-harness/python/rows.py");
        printed(python.arg(script).args([&self.address.port().to_string(), database, query]))
    }
}

/// A file of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// What a command prints.
fn printed(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?} failed");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The folder with the server, as the script prints it.
fn provided() -> PathBuf {
    PathBuf::from(printed(&mut Command::new(repository("scripts/debezium"))))
}

fn root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("`id` is there everywhere");
    id.stdout.trim_ascii() == b"0"
}

/// Makes a path that of the user who runs the server.
fn give(path: &Path) {
    if root() {
        done(Command::new("chown").args(["-R", NOBODY]).arg(path));
    }
}

/// A program of the server, as a user that it accepts.
fn program(folder: &Path, name: &str) -> Command {
    let program = folder.join("postgres/bin").join(name);
    let mut command = if root() {
        let mut command = Command::new("setpriv");
        let user = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".to_owned()];
        command.args(user).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir(folder);
    command
}

fn done(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
