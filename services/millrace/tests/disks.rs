//! Files on disk, damaged, missing, another's, or full: a process from outside, on the embedded
//! log.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// How long to wait for anything; it arrives within a second or so, unless the machine is busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// A folder, free ports, and a process while one runs.
struct Place {
    folder: tempfile::TempDir,
    api: String,
    metrics: String,
    running: Option<Child>,
}

impl Place {
    fn new() -> Place {
        let ports: Vec<TcpListener> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let address = |at: usize| ports[at].local_addr().unwrap().to_string();
        Place {
            folder: tempfile::tempdir().unwrap(),
            api: address(0),
            metrics: address(1),
            running: None,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(".millrace").join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        command
            .current_dir(self.folder.path())
            .env_clear()
            .env("MILLRACE__TOPICS__SHARDS", "1")
            .env("MILLRACE__STATE__DISK_FREE_MIN", "1MiB")
            .env("MILLRACE__HTTP__API_ADDRESS", &self.api)
            .env("MILLRACE__HTTP__METRICS_ADDRESS", &self.metrics);
        command
    }

    /// A command with these arguments: its exit status, and what it wrote.
    fn call(&self, arguments: &[&str]) -> (Option<i32>, String) {
        said(&self.command().args(arguments).output().unwrap())
    }

    /// Sends one person under this number.
    fn bring(&self, number: u32) {
        let line = format!(r#"{{"topic":"person","key":"{number}@m.M","value":{{"workEmail":{{"address":"p{number}@acme.com"}}}}}}"#);
        let path = self.folder.path().join("lines.jsonl");
        fs::write(&path, line).unwrap();
        let (status, text) = self.call(&["source", "file", path.to_str().unwrap()]);
        assert_eq!(status, Some(0), "{text}");
    }

    fn knows(&self, number: u32) -> bool {
        self.call(&["person", "show", &format!("email:p{number}@acme.com")]).0 == Some(0)
    }

    fn start(&mut self) {
        let mut command = self.command();
        self.start_as(command.arg("run"));
        self.until("the process to be ready", |place| place.get("/readyz").contains(" 200 "));
    }

    fn start_as(&mut self, command: &mut Command) {
        let log = fs::File::create(self.folder.path().join("run.log")).unwrap();
        self.running = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("run.log")).unwrap_or_default()
    }

    /// The answer on the port of metrics and health; empty where nobody listens.
    fn get(&self, path: &str) -> String {
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect(&self.metrics) {
            let asked = stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes());
            let _ = asked.and_then(|()| stream.read_to_string(&mut answer));
        }
        answer
    }

    fn until(&mut self, what: &str, done: impl Fn(&Place) -> bool) {
        let begun = Instant::now();
        while !done(self) {
            let ended = self.running.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "waited for {what}, {ended:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Asks the process to end and waits until it has.
    fn stop(&mut self) -> ExitStatus {
        let mut child = self.running.take().unwrap();
        let asked = Command::new("kill").arg(child.id().to_string()).status().unwrap();
        assert!(asked.success());
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.running.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.kill();
    }
}

fn said(output: &Output) -> (Option<i32>, String) {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

/// Every file below a folder, with its bytes.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

/// A folder in which a process ran, took two persons, and ended cleanly.
fn place_with_two() -> Place {
    let mut place = Place::new();
    place.start();
    place.bring(1);
    place.bring(2);
    place.until("both persons", |place| place.knows(1) && place.knows(2));
    assert!(place.stop().success(), "{}", place.log());
    place
}

#[test]
fn a_port_or_a_folder_that_is_taken_is_reported_at_once_and_once() {
    let mut place = Place::new();
    place.start();
    let (status, text) = place.call(&["run"]);
    assert_eq!((status, text.matches(&place.api).count()), (Some(1), 1), "{text}");
    assert!(
        text.contains(&format!("cannot listen on {} (http.api_address)", place.api)) && !text.contains("shard"),
        "{text}"
    );
    let run = |settings: &[(&str, &str)]| {
        let free = [
            ("MILLRACE__HTTP__API_ADDRESS", "127.0.0.1:0"),
            ("MILLRACE__HTTP__METRICS_ADDRESS", "127.0.0.1:0"),
        ];
        let mut command = place.command();
        said(&command.arg("run").envs(free).envs(settings.iter().copied()).output().unwrap())
    };
    let (status, text) = run(&[]);
    assert_eq!((status, text.matches("in use").count()), (Some(1), 1), "{text}");
    assert!(
        text.contains("the folder .millrace/state (state.path) is in use by another process") && !text.contains("shard"),
        "{text}"
    );
    let (status, text) = run(&[("MILLRACE__STATE__PATH", "elsewhere")]);
    assert_eq!((status, text.matches("open in another process").count()), (Some(1), 1), "{text}");
}

#[test]
fn a_damaged_log_is_refused_and_saved() {
    let mut place = place_with_two();
    let segment = place.path("log/0000000001-0000000001.journal");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.len() - 40;
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let before = files(&place.path("."));
    let (status, text) = place.call(&["run"]);
    assert_eq!(status, Some(1), "{text}");
    for word in [
        "0000000001-0000000001.journal is damaged at byte",
        "nothing was changed",
        "millrace log check",
        "millrace log salvage",
    ] {
        assert!(text.contains(word), "{word}\n{text}");
    }
    let (status, text) = place.call(&["log", "check"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("DAMAGED") && text.contains("at byte "), "{text}");
    let (status, text) = place.call(&["log", "check", ".millrace/log", "--output", "json"]);
    assert!(status == Some(1) && text.contains("\"damage\": ["), "{text}");
    let (status, text) = place.call(&["log", "salvage", ".millrace/log", "--to", "saved"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("records were carried over into saved"), "{text}");
    assert!(text.contains("begin anew") && text.contains("millrace.internal.changelog"), "{text}");
    assert!(!text.contains("millrace.source.person,"), "{text}");
    assert_eq!(files(&place.path(".")), before, "log and state were changed");

    // As the message says: the new log in place of the old one. State of the old one is refused,
    // and rebuilt once it is gone.
    fs::rename(place.path("log"), place.path("old")).unwrap();
    fs::rename(place.folder.path().join("saved"), place.path("log")).unwrap();
    let (status, text) = place.call(&["run"]);
    assert!(status == Some(1) && text.contains("was built from another log"), "{text}");
    fs::remove_dir_all(place.path("state")).unwrap();
    place.start();
    place.until("both persons", |place| place.knows(1) && place.knows(2));
    assert_eq!(place.call(&["log", "check", "old"]).0, Some(1));
}

/// Sends twice sixty persons with two records each, their scores changed by the second round, and
/// the rule about them.
fn send_scores(place: &Place) {
    const RULE: &str = "kind: Segment\nmetadata: { name: acme }\nspec: { pql: b2b.personScore >= 10 }\n";
    let line = |number: u32, score: u32| {
        let (instance, person) = (number % 2, number / 2);
        let score = (person + score) % 20;
        format!(
            r#"{{"topic":"person","key":"{number}@m{instance}.M","value":{{"workEmail":{{"address":"p{person}@acme.com"}},"b2b":{{"personScore":{score}}}}}}}"#
        )
    };
    fs::write(place.folder.path().join("rule.yaml"), RULE).unwrap();
    for (name, score) in [("first", 0), ("second", 7)] {
        let lines: Vec<String> = (0..120).map(|number| line(number, score)).collect();
        fs::write(place.folder.path().join(name), lines.join("\n")).unwrap();
        let (status, text) = place.call(&["source", "file", name]);
        assert_eq!(status, Some(0), "{text}");
    }
    let (status, text) = place.call(&["segment", "apply", "rule.yaml"]);
    assert_eq!(status, Some(0), "{text}");
}

/// Half of the sixty persons, by the count of the segment and by its members.
fn scores_are_right(place: &Place) -> bool {
    let (_, text) = place.call(&["segment", "list", "--output", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let (_, members) = place.call(&["segment", "members", "acme", "--all"]);
    listed[0]["members"] == 30 && members.lines().count() == 30
}

/// Wherever the damage is: what was saved, with everything sent again, gives the audiences of the
/// records, and their counts.
#[test]
fn a_salvaged_log_gives_right_audiences() {
    let mut place = Place::new();
    place.start();
    send_scores(&place);
    place.until("the audience", scores_are_right);
    assert!(place.stop().success(), "{}", place.log());
    let whole = files(&place.path("log"));
    for tenth in [3, 5, 7, 9] {
        fs::remove_dir_all(place.path("state")).unwrap();
        fs::remove_dir_all(place.path("log")).unwrap();
        for (path, bytes) in &whole {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut bytes = bytes.clone();
            if path.extension().is_some_and(|extension| extension == "journal") {
                let at = bytes.len() * tenth / 10;
                bytes[at] ^= 4;
            }
            fs::write(path, bytes).unwrap();
        }
        let (status, text) = place.call(&["log", "salvage", ".millrace/log", "--to", "saved"]);
        assert_eq!(status, Some(0), "{text}");
        fs::remove_dir_all(place.path("log")).unwrap();
        fs::rename(place.folder.path().join("saved"), place.path("log")).unwrap();
        place.start();
        send_scores(&place);
        place.until(&format!("the audience, damaged at {tenth}/10"), scores_are_right);
        assert!(place.stop().success(), "{}", place.log());
    }
}

/// The log has another prefix than the configuration: which of its topics follow from others is not
/// known then.
#[test]
fn a_log_of_another_prefix_is_not_salvaged_in_halves() {
    let place = place_with_two();
    let segment = place.path("log/0000000001-0000000001.journal");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.len() - 40;
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let mut command = place.command();
    command.env("MILLRACE__TOPICS__PREFIX", "other.");
    let (status, text) = said(&command.args(["log", "salvage", ".millrace/log", "--to", "saved"]).output().unwrap());
    assert!(status == Some(1) && text.contains("has no topic other.internal.changelog"), "{text}");
}

#[test]
fn a_log_that_is_gone_beside_its_state_is_missed() {
    let mut place = place_with_two();
    fs::rename(place.path("log"), place.path("aside")).unwrap();
    let before = files(&place.path("state"));
    for _ in 0..2 {
        let (status, text) = place.call(&["run"]);
        assert!(
            status == Some(1) && text.contains("the log .millrace/log is gone") && text.contains("Put the log back"),
            "{text}"
        );
        assert!(!place.path("log").exists());
    }
    let same: Vec<_> = files(&place.path("state")).into_iter().filter(|(path, _)| !path.ends_with("lock")).collect();
    assert_eq!(same, before.into_iter().filter(|(path, _)| !path.ends_with("lock")).collect::<Vec<_>>());
    fs::rename(place.path("aside"), place.path("log")).unwrap();
    place.start();
    assert!(place.knows(1) && place.knows(2));
}

/// An earlier copy of the log is whole, and lacks records that the state has seen.
#[test]
fn state_that_is_ahead_of_its_log_is_not_wiped() {
    let mut place = Place::new();
    place.start();
    place.bring(1);
    place.until("the first person", |place| place.knows(1));
    assert!(place.stop().success());
    let copy: Vec<_> = files(&place.path("log"));
    place.start();
    place.bring(2);
    place.until("the second person", |place| place.knows(2));
    assert!(place.stop().success());
    copy.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    let mut command = place.command();
    place.start_as(command.arg("run"));
    place.until("the refusal", |place| place.get("/readyz").contains("is ahead of the log"));
    assert!(place.stop().success(), "{}", place.log());
    fs::remove_dir_all(place.path("state")).unwrap();
    place.start();
    assert!(place.knows(1) && !place.knows(2));
}

#[test]
fn a_limit_of_memory_is_met_with_words() {
    let mut place = Place::new();
    let limited = |place: &Place, kib: u64| {
        let mut shell = Command::new("sh");
        let settings = place.command();
        let settings = settings.get_envs().filter_map(|(name, value)| Some((name, value?)));
        shell
            .envs(settings)
            .current_dir(place.folder.path())
            .args(["-c", &format!("ulimit -v {kib} && exec '{}' run", env!("CARGO_BIN_EXE_millrace"))]);
        shell
    };
    let refused = |place: &Place, kib: u64| {
        let (status, text) = said(&limited(place, kib).output().unwrap());
        assert!(
            status == Some(64) && text.contains(&format!("allows this process {} MiB of memory", kib >> 10)),
            "{status:?} {text}"
        );
        text
    };
    let text = refused(&place, 300_000);
    let needed: u64 = text.split("it needs ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap();
    refused(&place, (needed << 10) - 1);
    // What it says is enough.
    let mut enough = limited(&place, needed << 10);
    place.start_as(&mut enough);
    place.until("the process to be ready", |place| place.get("/readyz").contains(" 200 "));
    place.bring(1);
    place.until("the person", |place| place.knows(1));
    assert!(place.stop().success(), "{}", place.log());
}

/// Turns a bit, this many tenths into the file.
fn flip(path: &Path, tenths: usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() * tenths / 10;
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// A change made to a file.
type Harm = fn(&Path);

#[test]
fn damaged_state_heals_from_the_changelog() {
    let mut place = place_with_two();
    let state = place.path("state/shard-0");
    let whole = files(&state);
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let kinds: Vec<&PathBuf> = whole
        .iter()
        .map(|(path, _)| path)
        .filter(|path| ["FORMAT", "CURRENT", "MANIFEST", "sst"].iter().any(|kind| name(path).contains(kind)))
        .collect();
    assert!(kinds.len() >= 4, "{kinds:?}");
    let harms: [(&str, Harm); 6] = [
        ("missing", |path| fs::remove_file(path).unwrap()),
        ("flipped at the front", |path| flip(path, 1)),
        ("flipped in the middle", |path| flip(path, 5)),
        ("cut short", |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("emptied", |path| fs::write(path, "").unwrap()),
        ("zeroed", |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, vec![0; bytes.len()]).unwrap();
        }),
    ];
    for path in kinds {
        for (kind, harm) in &harms {
            fs::remove_dir_all(place.path("state")).unwrap();
            for (path, bytes) in &whole {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
            }
            harm(path);
            place.start();
            place.until(&format!("the persons, {} {kind}", name(path)), |place| place.knows(1) && place.knows(2));
            place.kill();
        }
    }
}

/// The state on a real file system of 32 MiB, in a mount namespace of the process.
#[test]
fn a_full_disk_of_the_state_is_waited_for() {
    let mut place = Place::new();
    let state = place.path("state");
    fs::create_dir_all(&state).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=32m none '{}' && exec '{}' run",
        state.display(),
        env!("CARGO_BIN_EXE_millrace")
    );
    let mut command = Command::new("unshare");
    // A user who may not mount becomes root in a user namespace.
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    command.args(if root { &["--mount"][..] } else { &["--mount", "--map-root-user"] });
    let settings = place.command();
    let settings = settings.get_envs().filter_map(|(name, value)| Some((name, value?)));
    command
        .args(["sh", "-c", &script])
        .envs(settings)
        .env("MILLRACE__STATE__DISK_FREE_MIN", "8MiB")
        .current_dir(place.folder.path());
    place.start_as(&mut command);
    place.until("the process to be ready (a tmpfs in a namespace is needed)", |place| {
        place.get("/readyz").contains(" 200 ")
    });
    place.bring(1);
    place.until("the first person", |place| place.knows(1));

    // As the process sees its disk.
    let seen = PathBuf::from(format!("/proc/{}/root{}", place.running.as_ref().unwrap().id(), state.display()));
    let filler = seen.join("filler");
    fs::write(&filler, vec![1; 26 << 20]).unwrap();
    place.until("readiness to say so", |place| {
        let answer = place.get("/readyz");
        answer.contains(" 503 ") && answer.contains("MiB free and needs")
    });
    place.bring(2);
    let metrics = place.get("/metrics");
    assert!(metrics.contains("millrace_shards_owned{state=\"waiting\"} 1"), "{metrics}");
    assert!(metrics.contains("millrace_state_disk_free_bytes"), "{metrics}");
    assert!(!place.knows(2), "input was taken");
    assert_eq!(place.log().matches("no input is taken").count(), 1, "{}", place.log());

    fs::remove_file(&filler).unwrap();
    place.until("it to go on by itself", |place| place.get("/readyz").contains(" 200 ") && place.knows(2));

    // Full to the last byte, with rows in memory: it still ends, and loses nothing.
    place.bring(3);
    place.until("the third person", |place| place.knows(3));
    assert!(fs::write(&filler, vec![1; 64 << 20]).is_err());
    place.until("readiness to say so", |place| place.get("/readyz").contains(" 503 "));
    place.bring(4);
    assert!(place.stop().success(), "{}", place.log());
    place.start();
    place.until("everybody", |place| (1..=4).all(|number| place.knows(number)));
}
