//! Foreign systems that audiences are sent to: a Marketo instance, simulated in a process of its
//! own and read by a client that is not ours; and a webhook's listener.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value as Json;

use crate::deployment::{Running, executable};
use crate::outside;

/// A running simulator; dropping it ends it.
pub struct Marketo {
    _process: Running,
    pub url: String,
}

/// A static list and the calls of the instance.
#[derive(Debug)]
pub struct Listed {
    /// Addresses; `None`: there is no such list.
    pub members: Option<BTreeSet<String>>,
    /// Calls by all programs before this reading, since the instance began.
    pub calls: i64,
    /// Calls of this reading.
    pub own: i64,
}

impl Marketo {
    /// The executable lies next to that of `millrace`: `cargo build -p millrace-simulators`.
    ///
    /// # Panics
    /// Where it is not there, or does not start.
    pub fn start() -> Marketo {
        let path = executable().with_file_name("millrace-simulators");
        let mut command = Command::new(&path);
        command.arg("marketo").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        assert!(
            path.is_file(),
            "no simulator at {}: `cargo build -p millrace-simulators` makes it",
            path.display()
        );
        let mut process = Running::start(&mut command);
        let mut url = String::new();
        let output = process.0.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut url).expect("the simulator prints its address");
        Marketo {
            _process: process,
            url: url.trim().to_owned(),
        }
    }

    /// # Errors
    /// Why the list cannot be read.
    pub fn list(&self, name: &str) -> Result<Listed, String> {
        let read = outside::python_json("marketo.py", &[&self.url, name])?;
        let number = |field: &str| read[field].as_i64().ok_or_else(|| format!("no {field}: {read}"));
        let text = |member: &Json| member.as_str().map(str::to_owned);
        Ok(Listed {
            members: read["members"].as_array().map(|members| members.iter().filter_map(text).collect()),
            calls: number("calls")?,
            own: number("own")?,
        })
    }
}

/// What a webhook heard.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    pub calls: u64,
    /// Changes in those calls.
    pub changes: u64,
    /// The last word per audience and id: whether it is present.
    pub last: BTreeMap<(String, String), bool>,
    /// How often each change was heard.
    pub times: BTreeMap<String, u64>,
}

impl Heard {
    /// The ids that are present in an audience by the last word.
    pub fn present(&self, audience: &str) -> BTreeSet<String> {
        let present = self.last.iter().filter(|((of, _), present)| **present && of == audience);
        present.map(|((_, id), _)| id.clone()).collect()
    }
}

/// A listener on a thread of its own that outlives every process of the test.
pub struct Webhook {
    pub address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
}

/// How long a call takes: so that kills fall into it.
const CALL_TAKES: Duration = Duration::from_millis(30);

impl Webhook {
    /// # Panics
    /// Where there is no port.
    pub fn start() -> Webhook {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let heard = Arc::new(Mutex::new(Heard::default()));
        let shared = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let heard = Arc::clone(&shared);
                // A caller that is killed breaks off.
                std::thread::spawn(move || drop(serve(stream, &heard)));
            }
        });
        Webhook { address, heard }
    }

    /// Everything so far.
    pub fn heard(&self) -> Heard {
        lock(&self.heard).clone()
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers the calls of one connection.
fn serve(stream: TcpStream, heard: &Mutex<Heard>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or_default();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        take(&body, &mut lock(heard));
        std::thread::sleep(CALL_TAKES);
        writer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
    }
}

fn take(body: &[u8], heard: &mut Heard) {
    let message: Json = serde_json::from_slice(body).expect("the body of a webhook is JSON");
    let data = &message["data"];
    let text = |value: &Json| value.as_str().unwrap_or_else(|| panic!("no text: {message}")).to_owned();
    heard.calls += 1;
    for change in data["changes"].as_array().unwrap_or_else(|| panic!("no changes: {message}")) {
        heard.changes += 1;
        *heard.times.entry(change["changeId"].to_string()).or_default() += 1;
        heard
            .last
            .insert((text(&data["audience"]), text(&change["id"])), change["status"] == "realized");
    }
}
