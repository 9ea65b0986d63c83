//! A Kafka Connect with the Debezium connector, which follows the log of a real PostgreSQL.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

pub use millrace_postgres_harness::Postgres;

use crate::deployment::{Running, free_address};
use crate::outside;

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
                ("database.port", postgres.address().port().to_string()),
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
