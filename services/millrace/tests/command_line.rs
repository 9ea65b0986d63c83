//! The executable from outside: arguments, exit statuses, and that checking touches nothing.

use std::path::Path;
use std::process::{Command, Output};

/// Runs `millrace` in a folder, without any environment.
fn millrace(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.current_dir(folder).env_clear().args(arguments).output().expect("the executable starts")
}

fn status(output: &Output) -> Option<i32> {
    output.status.code()
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

const GOOD: &str = "kind: Segment\nmetadata: { name: good }\nspec: { subject: person, status: published, pql: 'workEmail.address = \"a@b.c\"' }\n";

#[test]
fn exit_statuses() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.toml"), "[topics]\nshrads = 4\n").unwrap();
    std::fs::write(folder.path().join("good.yaml"), GOOD).unwrap();
    std::fs::write(folder.path().join("bad.yaml"), GOOD.replace("workEmail.address", "workEmail.adress")).unwrap();
    let nobody = "http://127.0.0.1:1";
    let table: &[(&[&str], i32, &str)] = &[
        (&["--version"], 0, "millrace"),
        (&["--help"], 0, "demo"),
        (&["juggle"], 64, "juggle"),
        (&["run", "--check-config"], 0, "millrace.source.person"),
        (&["run", "--check-config", "--output", "json"], 0, "\"shards\": 4"),
        (&["run", "--config", "bad.toml"], 64, "topics.shrads: unknown key; did you mean `shards`?"),
        (&["run", "--config", "absent.toml"], 64, "absent.toml"),
        (&["processor"], 64, "kafka.bootstrap"),
        (&["segment", "lint", "good.yaml"], 0, "good"),
        (&["segment", "lint", "good.yaml", "bad.yaml"], 64, "bad.yaml"),
        (&["segment", "apply", "bad.yaml", "--server", nobody], 64, "adress"),
        (&["segment", "apply", "good.yaml", "--server", nobody], 1, "no instance answers"),
        (&["person", "show", "email:a@b.c", "--server", nobody], 1, "no instance answers"),
    ];
    for (arguments, expected, word) in table {
        let output = millrace(folder.path(), arguments);
        assert_eq!(status(&output), Some(*expected), "{arguments:?}\n{}", told(&output));
        assert!(told(&output).contains(word), "{arguments:?}\n{}", told(&output));
    }
    assert!(!folder.path().join(".millrace").exists(), "a command that was to touch nothing made a folder");
}

#[test]
fn the_demo_tells_the_story_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let output = millrace(folder.path(), &["demo"]);
    let text = told(&output);
    assert_eq!(status(&output), Some(0), "{text}");
    let audiences: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("audience: "))
        .map(|line| line.split("   ").next().unwrap())
        .collect();
    assert_eq!(audiences, ["nobody", "nobody", "p2", "p1, p2", "p2", "nobody", "p2", "nobody"], "{text}");
}
