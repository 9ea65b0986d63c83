//! docs/quickstart.md, typed in by somebody in a hurry: its commands are run as they stand there, by a shell, against a process on the embedded log,
//! which is then killed without warning and goes on where it was.

#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

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

    fn command(&self, program: &Path) -> Command {
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
    fn start(&mut self) {
        self.start_with(&[]);
    }

    fn start_with(&mut self, arguments: &[&str]) {
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

    /// Kills the process; what it did not finish is not finished.
    fn kill(&mut self) {
        if let Some(mut child) = self.running.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn shell(&self, script: &str) -> String {
        let output = self.command(Path::new("bash")).args(["-euo", "pipefail", "-c", script]).output().unwrap();
        assert!(output.status.success(), "{script}\n{}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Every change of membership so far: subject, status.
    fn changes(&self) -> Vec<(String, String)> {
        let lines = self.shell("millrace sink file --once");
        let change = |line: &str| {
            let record: Json = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let record = record.get("value").cloned().unwrap_or(record);
            let text = |name: &str| record[name].as_str().unwrap_or_else(|| panic!("{name} in {line}")).to_owned();
            (text("subjectId"), text("status"))
        };
        lines.lines().map(change).collect()
    }

    /// Waits; what is awaited comes within a second or so, unless the machine is busy.
    fn until(&self, what: &str, done: impl Fn() -> bool) {
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

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The code blocks under the heading with this number.
fn blocks(number: u32) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/quickstart.md")).unwrap();
    let (_, section) = text.split_once(&format!("\n## {number}. ")).expect("the section is there");
    let section = section.split("\n## ").next().unwrap();
    section.split("\n```\n").skip(1).step_by(2).map(str::to_owned).collect()
}

/// What section 4 shows of the screen: the lines of its indented blocks.
fn screens() -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/quickstart.md")).unwrap();
    let lines: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.starts_with("## 4. "))
        .take_while(|line| !line.starts_with("## 5. "))
        .collect();
    let screens = lines.split(|line| !line.starts_with("    ")).filter(|screen| !screen.is_empty());
    screens.map(|screen| screen.iter().map(|line| line.trim().to_owned()).collect()).collect()
}

#[test]
fn the_quickstart_does_what_it_says() {
    let mut place = Place::new();
    place.start();
    let said: Vec<String> = [2, 3, 4].iter().flat_map(|number| blocks(*number)).map(|block| place.shell(&block)).collect();
    assert_eq!(said.len(), 4, "{said:?}");
    place.until("p1 to be in", || !place.changes().is_empty());
    let p1 = place.changes()[0].0.clone();
    assert_eq!(place.changes(), [(p1.clone(), "realized".to_owned())]);
    let explained = place.shell("millrace person explain email:p1@townsend.com --segment upsell");
    assert!(
        explained.starts_with("b2b_person:1001@marketo1.Marketo is in upsell") && explained.contains("b2b_opportunity:006B@crm2.Salesforce"),
        "{explained}"
    );
    let [apart, linked]: [Vec<String>; 2] = screens().try_into().unwrap();
    assert!(linked.iter().all(|line| explained.contains(line)), "{linked:?}\n{explained}");
    assert!(place.shell("millrace segment list").contains("upsell"));
    assert!(place.shell("millrace person show email:p1@townsend.com").contains("1001@marketo1.Marketo"));

    // A file may hold several definitions, and begin with what divides them.
    let one = "kind: Segment\nmetadata: { name: one }\nspec: { pql: b2b.isConverted }\n";
    std::fs::write(
        place.folder.path().join("two.yaml"),
        format!("# ours\n---\n{one}---\n{}", one.replace("one", "two")),
    )
    .unwrap();
    assert_eq!(place.shell("millrace segment apply two.yaml"), "one: applied\ntwo: applied\n");
    place.until("both to be in force", || place.shell("millrace segment list").contains("two "));

    let refused = place
        .command(Path::new(env!("CARGO_BIN_EXE_millrace")))
        .args(["segment", "delete", "nope"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    assert!(told(&refused).contains("there is no segment `nope`"), "{}", told(&refused));
    // Whoever reads logs from a file or a pipe wants no colours.
    assert!(!std::fs::read_to_string(place.folder.path().join("run.log")).unwrap().contains('\u{1b}'));

    // Killed without warning: nothing is lost, nothing is told again.
    place.kill();
    // Other numbers of partitions are for topics that do not exist yet.
    std::fs::write(place.folder.path().join("more.toml"), "[topics]\nsource_partitions = 7\n").unwrap();
    place.start_with(&["--config", "more.toml"]);
    assert_eq!(place.changes(), [(p1.clone(), "realized".to_owned())]);
    place.shell(r#"echo '{"topic":"account-link","key":"townsend@mdm.MDM","value":null}' | millrace source file"#);
    place.until("p1 to be out", || place.changes().len() > 1);
    assert_eq!(place.changes(), [(p1.clone(), "realized".to_owned()), (p1, "exited".to_owned())]);
    let explained = place.shell("millrace person explain email:p1@townsend.com --segment upsell");
    assert!(apart.iter().all(|line| explained.contains(line)), "{apart:?}\n{explained}");

    // Lines that are no records are named, the others are taken.
    let script = r#"printf '%s\n' '{"topic":"person","key":"2@m.M","value":{}}' 'no record' '{"topic":"persons","key":"k","value":{}}' | millrace source file"#;
    let output = place.command(Path::new("bash")).args(["-c", script]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(told(&output).contains("line 2") && told(&output).contains("line 3"), "{}", told(&output));
    place.shell(r#"echo '{"topic":"person","key":"3@m.M","value":{"isDeleted":"perhaps"}}' | millrace source file"#);
    place.until("the dead letter", || place.shell("millrace dead-letter list").contains("wrong-type"));
}
