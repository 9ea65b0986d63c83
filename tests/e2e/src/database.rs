//! A real PostgreSQL whose log others may follow, and a Kafka Connect with the Debezium connector
//! that does.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::deployment::{Running, free_address};
use crate::{outside, wait_for};

const READY_WITHIN: Duration = Duration::from_secs(180);

/// PostgreSQL refuses to run as root: `nobody` runs it there.
const NOBODY: &str = "65534";

/// A running server; dropping it ends it and deletes its data.
pub struct Postgres {
    _process: Running,
    address: SocketAddr,
    _folder: TempDir,
}

impl Postgres {
    /// Starts a server with a log that can be followed row by row.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn start() -> Postgres {
        let folder = tempfile::Builder::new().prefix("millrace-postgres-").tempdir().expect("a folder");
        let (server, data) = (folder.path().join("postgres"), folder.path().join("data"));
        // The cache may lie where another user cannot read.
        done(
            Command::new("cp")
                .arg("-r")
                .arg(outside::provided_by("scripts/debezium").join("postgres"))
                .arg(&server),
        );
        if root() {
            done(Command::new("chown").args(["-R", NOBODY]).arg(folder.path()));
        }
        let program = |name: &str| {
            let mut command = as_nobody(&server.join("bin").join(name));
            command.current_dir(folder.path());
            command
        };
        let plain = ["-U", "postgres", "-A", "trust", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"];
        done(program("initdb").args(plain).arg(&data));
        let address = free_address();
        let log = File::create(folder.path().join("log")).expect("a writable folder");
        let mut command = program("postgres");
        command
            .arg("-D")
            .arg(&data)
            .args(["-F", "-h", "127.0.0.1", "-p", &address.port().to_string(), "-k", ""]);
        command.args(["-c", "wal_level=logical"]).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a file can be shared")).stderr(log);
        let postgres = Postgres {
            _process: Running::start(&mut command),
            address,
            _folder: folder,
        };
        wait_for("PostgreSQL to answer", READY_WITHIN, || postgres.ask("postgres", "SELECT 1"));
        postgres
    }

    /// Runs statements in a database, one transaction each call.
    ///
    /// # Panics
    /// Where one fails.
    pub fn run(&self, database: &str, statements: &str) {
        self.ask(database, statements).unwrap_or_else(|error| panic!("{error}\n{statements}"));
    }

    /// PostgreSQL's protocol for simple queries, without their results.
    fn ask(&self, database: &str, statements: &str) -> Result<(), String> {
        let talk = || -> std::io::Result<Option<String>> {
            let mut stream = TcpStream::connect(self.address)?;
            stream.set_read_timeout(Some(Duration::from_secs(30)))?;
            let hello = [&[0, 3, 0, 0][..], b"user\0postgres\0database\0", database.as_bytes(), b"\0\0"].concat();
            stream.write_all(&sized(&hello))?;
            let refused = until_ready(&mut stream)?;
            if refused.is_some() {
                return Ok(refused);
            }
            stream.write_all(b"Q")?;
            stream.write_all(&sized(&[statements.as_bytes(), b"\0"].concat()))?;
            until_ready(&mut stream)
        };
        match talk() {
            Ok(None) => Ok(()),
            Ok(Some(refusal)) => Err(refusal),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// A message with its length before it, which counts itself.
fn sized(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len() + 4).expect("a short message");
    [&length.to_be_bytes()[..], content].concat()
}

/// Reads messages until the server waits for the next query; the text of an error among them.
fn until_ready(stream: &mut impl Read) -> std::io::Result<Option<String>> {
    let mut refusal = None;
    loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head)?;
        let [kind, length @ ..] = head;
        let mut content = vec![0; (u32::from_be_bytes(length) as usize).saturating_sub(4)];
        stream.read_exact(&mut content)?;
        match kind {
            b'Z' => return Ok(refusal),
            b'E' => {
                let text = String::from_utf8_lossy(&content).replace('\0', " ");
                if text.contains("FATAL") {
                    // The server ends the connection.
                    return Ok(Some(text));
                }
                refusal = Some(text);
            }
            _ => {}
        }
    }
}

fn root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("`id` is there everywhere");
    id.stdout.trim_ascii() == b"0"
}

/// A program as a user that PostgreSQL accepts.
fn as_nobody(program: &Path) -> Command {
    if !root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    let user = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".to_owned()];
    command.args(user).arg(program);
    command
}

fn done(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A running Kafka Connect; dropping it ends it at once, as a crash does.
pub struct Connect {
    _process: Running,
    log: PathBuf,
    _folder: TempDir,
}

impl Connect {
    /// Starts a worker with one Debezium connector per database: all tables of `public`, topics
    /// `<database>.public.<table>`. `more` are further properties of the connectors.
    ///
    /// # Panics
    /// Where it cannot be run.
    pub fn start(bootstrap: &str, postgres: &Postgres, databases: &[&str], more: &[(&str, &str)]) -> Connect {
        let folder = tempfile::Builder::new().prefix("millrace-connect-").tempdir().expect("a folder");
        let provided = outside::provided_by("scripts/debezium");
        let worker = [
            ("bootstrap.servers", bootstrap.to_owned()),
            ("key.converter", "org.apache.kafka.connect.json.JsonConverter".to_owned()),
            ("value.converter", "org.apache.kafka.connect.json.JsonConverter".to_owned()),
            ("offset.storage.file.filename", folder.path().join("offsets").display().to_string()),
            ("offset.flush.interval.ms", "1000".to_owned()),
            ("plugin.path", provided.join("plugins").display().to_string()),
            ("listeners", format!("http://{}", free_address())),
        ];
        let mut files = vec![properties(folder.path(), "worker", &worker)];
        for database in databases {
            let mut connector = vec![
                ("name", (*database).to_owned()),
                ("connector.class", "io.debezium.connector.postgresql.PostgresConnector".to_owned()),
                ("plugin.name", "pgoutput".to_owned()),
                ("database.hostname", "127.0.0.1".to_owned()),
                ("database.port", postgres.address.port().to_string()),
                ("database.user", "postgres".to_owned()),
                ("database.password", "none".to_owned()),
                ("database.dbname", (*database).to_owned()),
                ("slot.name", format!("{database}_slot")),
                ("publication.name", format!("{database}_publication")),
                ("topic.prefix", (*database).to_owned()),
                ("schema.include.list", "public".to_owned()),
                ("poll.interval.ms", "50".to_owned()),
                ("topic.creation.default.replication.factor", "1".to_owned()),
                ("topic.creation.default.partitions", "2".to_owned()),
            ];
            connector.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
            files.push(properties(folder.path(), database, &connector));
        }
        let log = folder.path().join("log");
        let file = File::create(&log).expect("a writable folder");
        let mut command = Command::new("java");
        command.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
        command
            .arg(format!("{}/*", provided.join("libs").display()))
            .arg("org.apache.kafka.connect.cli.ConnectStandalone");
        command.args(files).current_dir(folder.path()).stdin(Stdio::null());
        command.stdout(file.try_clone().expect("a file can be shared")).stderr(file);
        Connect {
            _process: Running::start(&mut command),
            log,
            _folder: folder,
        }
    }

    /// Its log, for messages of failing tests.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

fn properties(folder: &Path, name: &str, pairs: &[(&str, String)]) -> PathBuf {
    let mut text = String::new();
    for (name, value) in pairs {
        writeln!(text, "{name}={value}").expect("a text takes any text");
    }
    let path = folder.join(format!("{name}.properties"));
    fs::write(&path, text).expect("a writable folder");
    path
}
