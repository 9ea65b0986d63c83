//! A schema registry that is not ours: Apicurio Registry, over Confluent's API, on loopback, with
//! everything in memory.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::deployment::{Running, free_address};
use crate::{outside, wait_for};

const READY_WITHIN: Duration = Duration::from_secs(120);

/// A running registry; dropping it ends it.
pub struct Registry {
    _process: Running,
    address: SocketAddr,
    _folder: TempDir,
}

impl Registry {
    /// Starts a registry and waits until it answers.
    ///
    /// # Panics
    /// Where it does not.
    pub fn start() -> Registry {
        let libraries = outside::provided_by("scripts/registry");
        let runner = std::fs::read_dir(&libraries)
            .expect("a folder")
            .filter_map(Result::ok)
            .map(|entry| entry.path());
        let runner = runner
            .into_iter()
            .find(|path| path.to_string_lossy().ends_with("-runner.jar"))
            .expect("the registry has a runner");
        let (folder, address) = (tempfile::tempdir().expect("a folder"), free_address());
        let log = folder.path().join("log");
        let file = File::create(&log).expect("a writable folder");
        let mut command = Command::new("java");
        command.args(["-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dquarkus.http.host=127.0.0.1"]);
        command
            .arg(format!("-Dquarkus.http.port={}", address.port()))
            .arg("-jar")
            .arg(runner)
            .current_dir(folder.path());
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file can be shared"))
            .stderr(file);
        let mut registry = Registry {
            _process: Running::start(&mut command),
            address,
            _folder: folder,
        };
        wait_for("the registry to answer", READY_WITHIN, || {
            if let Ok(status) = registry._process.ended() {
                panic!("the registry ended: {status}\n{}", std::fs::read_to_string(&log).unwrap_or_default());
            }
            registry.get("/subjects").map(|_| ())
        });
        registry
    }

    /// The base address of Confluent's API.
    pub fn url(&self) -> String {
        format!("http://{}/apis/ccompat/v7", self.address)
    }

    /// Names under which schemas are filed.
    ///
    /// # Panics
    /// Where the registry does not answer.
    pub fn subjects(&self) -> Vec<String> {
        let subjects = self.get("/subjects").expect("the registry answers");
        subjects
            .as_array()
            .expect("a list")
            .iter()
            .map(|name| name.as_str().expect("a text").to_owned())
            .collect()
    }

    fn get(&self, path: &str) -> Result<Json, String> {
        let ask = || {
            let mut stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(2))?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            write!(stream, "GET /apis/ccompat/v7{path} HTTP/1.0\r\nHost: registry\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        };
        let answer: String = ask().map_err(|error: std::io::Error| error.to_string())?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| answer.clone())?;
        if !head.lines().next().unwrap_or_default().contains(" 200 ") {
            return Err(answer);
        }
        serde_json::from_str(body).map_err(|error| format!("{error}: {answer}"))
    }
}
