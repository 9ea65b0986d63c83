//! The executable from outside: arguments, exit statuses, and that checking touches nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs `millrace` in a folder, without any environment.
fn millrace(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.current_dir(folder).env_clear().args(arguments).output().expect("the executable starts")
}

fn status(output: &Output) -> Option<i32> {
    output.status.code()
}

fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

const GOOD: &str = "kind: Segment\nmetadata: { name: good }\nspec: { subject: person, status: published, pql: 'workEmail.address = \"a@b.c\"' }\n";

#[test]
fn exit_statuses() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.toml"), "[topics]\nshrads = 4\n").unwrap();
    std::fs::write(
        folder.path().join("secret.toml"),
        "[registry]\nurls = [\"http://127.0.0.1:1\"]\ntoken = \"file:nowhere\"\n",
    )
    .unwrap();
    std::fs::write(folder.path().join("good.yaml"), GOOD).unwrap();
    std::fs::write(folder.path().join("bad.yaml"), GOOD.replace("workEmail.address", "workEmail.adress")).unwrap();
    let nobody = "http://127.0.0.1:1";
    let table: &[(&[&str], i32, &str)] = &[
        (&["juggle"], 64, "juggle"),
        (&["run", "--check-config"], 0, "millrace.source.person"),
        (&["run", "--check-config", "--output", "json"], 0, "\"shards\": 4"),
        (&["run", "--config", "bad.toml"], 64, "topics.shrads: unknown key; did you mean `shards`?"),
        (&["run", "--config", "secret.toml"], 64, "registry.token: cannot read the secret nowhere"),
        (
            &["run", "--check-config", "--config", "secret.toml"],
            64,
            "registry.token: cannot read the secret nowhere",
        ),
        (&["run", "--config", "absent.toml"], 64, "absent.toml"),
        (&["processor"], 64, "kafka.bootstrap"),
        (&["processor", "--create-topics"], 64, "kafka.bootstrap"),
        (&["topics", "acls"], 0, "--topic millrace.audience.membership"),
        (&["topics", "acls", "--output", "json"], 0, "\"resourceType\": \"transactionalId\""),
        (&["segment", "lint", "good.yaml"], 0, "good"),
        (&["segment", "lint", "absent.yaml"], 1, "cannot read absent.yaml"),
        (&["source", "file", "absent.jsonl"], 1, "millrace: cannot read absent.jsonl"),
        (
            &["source", "file", "good.yaml", "--from-line", "99"],
            64,
            "--from-line 99: good.yaml has 3 lines",
        ),
        (&["person", "erase", "email:a@b.c"], 64, "there is no `person erase` yet"),
        (&["person", "export", "--all"], 64, "there is no `person export` yet"),
        (&["dead-letter", "replay"], 64, "there is no `dead-letter replay` yet"),
        (&["segment", "list", "--server", "localhost:1"], 1, "no instance answers at http://localhost:1/"),
        (
            &["segment", "list", "--server", "8080"],
            64,
            "--server: `8080` names no host; write `host:port`",
        ),
        (&["audience", "import", "a", "good.yaml", "--allow-empty"], 64, "--replace"),
        (&["segment", "lint", "good.yaml", "bad.yaml"], 64, "bad.yaml"),
        (&["segment", "apply", "bad.yaml", "--server", nobody], 64, "adress"),
        (&["segment", "apply", "good.yaml", "--server", nobody], 1, "no instance answers"),
        (&["person", "show", "email:a@b.c", "--server", nobody], 1, "no instance answers"),
    ];
    for (arguments, expected, word) in table {
        let output = millrace(folder.path(), arguments);
        assert_eq!(status(&output), Some(*expected), "{arguments:?}\n{}", printed(&output));
        assert!(printed(&output).contains(word), "{arguments:?}\n{}", printed(&output));
    }
    assert!(!folder.path().join(".millrace").exists(), "a command that was to touch nothing made a folder");
}

/// Arguments as people type them.
#[test]
fn arguments_are_understood_or_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let table: &[(&[&str], i32, &str)] = &[
        (&["--version"], 0, "millrace"),
        (&["--help"], 0, "demo"),
        (&["health", "--address", "127.0.0.1:1"], 1, "no instance answers at http://127.0.0.1:1/"),
        (&["segment", "list", "--server", "no address"], 64, "is no address"),
        (&["health", "--address", "9090"], 64, "--address: `9090` names no host"),
        (&["health", "--address", "http://127.0.0.1:1"], 1, "no instance answers at http://127.0.0.1:1/"),
        (&["help"], 0, "Examples:"),
        (&["help", "segment", "apply"], 0, "millrace segment apply upsell.yaml other.yaml"),
        (&["version"], 0, "millrace 0."),
        (&["person", "find", "a", "--limit", "0"], 64, "nothing would be listed; at least 1"),
        (&["person", "show", " "], 64, "the id is empty"),
        (&["account", "show", ""], 64, "the id is empty"),
        (&["person", "delete", "email:a@b.c"], 64, "there is no `person erase` yet"),
    ];
    for (arguments, expected, word) in table {
        let output = millrace(folder.path(), arguments);
        assert_eq!(status(&output), Some(*expected), "{arguments:?}\n{}", printed(&output));
        assert!(printed(&output).contains(word), "{arguments:?}\n{}", printed(&output));
    }
}

#[test]
fn the_demo_tells_the_story_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let output = millrace(folder.path(), &["demo"]);
    let text = printed(&output);
    assert_eq!(status(&output), Some(0), "{text}");
    let audiences: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("audience: "))
        .map(|line| line.split("   ").next().unwrap())
        .collect();
    assert_eq!(audiences, ["nobody", "nobody", "p2", "p1, p2", "p2", "nobody", "p2", "nobody"], "{text}");
}

#[test]
fn a_file_may_hold_several_definitions_and_begin_with_what_divides_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let two = format!("# ours\n---\n{GOOD}---\n{}", GOOD.replace("good", "better"));
    std::fs::write(path.join("two.yaml"), &two).unwrap();
    std::fs::write(path.join("one.yaml"), format!("---\n{GOOD}")).unwrap();
    std::fs::write(
        path.join("wrong.yaml"),
        two.replacen("workEmail.address", "workEmail.adress", 2).replacen("adress", "address", 1),
    )
    .unwrap();
    let output = millrace(path, &["segment", "lint", "two.yaml"]);
    assert_eq!((status(&output), printed(&output).as_str()), (Some(0), "good: good\nbetter: good\n"));
    assert_eq!(status(&millrace(path, &["segment", "lint", "one.yaml"])), Some(0));
    let nobody = ["--server", "http://127.0.0.1:1"];
    let output = millrace(path, &[&["segment", "preview", "one.yaml"], &nobody[..]].concat());
    assert!(printed(&output).contains("no instance answers"), "{}", printed(&output));
    // The instance gets no request if one of them is wrong.
    let output = millrace(path, &[&["segment", "apply", "wrong.yaml"], &nobody[..]].concat());
    assert_eq!(status(&output), Some(64), "{}", printed(&output));
    assert!(printed(&output).contains("segment better: error"), "{}", printed(&output));
}

#[test]
fn a_destination_that_is_not_configured_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("millrace.toml"), "[destinations.marketo-1]\nnamespace = \"email\"\n").unwrap();
    std::fs::write(
        path.join("good.yaml"),
        GOOD.replace("status: published,", "status: published, destinations: [marketo-2],"),
    )
    .unwrap();
    let output = millrace(path, &["segment", "lint", "good.yaml", "--config", "millrace.toml"]);
    assert_eq!(status(&output), Some(0), "{}", printed(&output));
    assert!(
        printed(&output).contains("warning[unknown-destination]: no destination `marketo-2` is configured here"),
        "{}",
        printed(&output)
    );
    assert!(printed(&output).contains("did you mean `marketo-1`?"), "{}", printed(&output));
    // Where none is configured at all, nothing is sent there either.
    let output = millrace(path, &["segment", "lint", "good.yaml"]);
    assert!(printed(&output).contains("warning[unknown-destination]"), "{}", printed(&output));
}

#[test]
fn the_demo_ends_quietly_where_nobody_reads_on_and_at_once_where_a_port_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command
        .current_dir(folder.path())
        .env_clear()
        .arg("demo")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((status(&output), printed(&output).as_str()), (Some(0), ""));

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    std::fs::write(folder.path().join("taken.toml"), format!("[http]\napi_address = \"{address}\"\n")).unwrap();
    let output = millrace(folder.path(), &["demo", "--serve", "--config", "taken.toml"]);
    assert_eq!((status(&output), output.stdout.len()), (Some(1), 0), "{}", printed(&output));
    assert!(printed(&output).contains(&format!("cannot listen on {address}")), "{}", printed(&output));
}

/// A definition of this name with this rule, in a file of its own.
fn define(folder: &Path, name: &str, pql: &str) -> String {
    let file = format!("{name}.yaml");
    let text = format!("# ours\nkind: Segment\nmetadata: {{ name: {name} }}\nspec:\n  pql: |\n    {pql}\n");
    std::fs::write(folder.join(&file), text).unwrap();
    file
}

#[test]
fn lint_looks_at_all_files_together() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let warm = define(path, "warm", "b2b.personScore > 50");
    let refers = define(path, "refers", "inSegment(\"warn\") and xEvent[timestamp occurs <= 3 years before now]");
    let first = define(path, "first", "b2b.isConverted or inSegment(\"second\")");
    let second = define(path, "second", "not(inSegment(\"first\"))");
    let output = millrace(path, &["segment", "lint", &warm, &refers]);
    let text = printed(&output);
    assert_eq!(status(&output), Some(0), "{text}");
    for word in [
        "segment refers: warning[unknown-segment]: there is no segment `warn`",
        "did you mean `warm`?",
        "warning[long-window]",
        "complete from",
    ] {
        assert!(text.contains(word), "{word}\n{text}");
    }
    let output = millrace(path, &["segment", "lint", "--output", "json", &warm, &refers]);
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(findings[0]["segment"], "refers");
    // The rule is in the sixth line of the file, after four blanks.
    assert_eq!(
        (&findings[0]["file"], &findings[0]["line"], &findings[0]["column"]),
        (&"refers.yaml".into(), &6.into(), &5.into())
    );
    for command in ["lint", "apply"] {
        let output = millrace(path, &["segment", command, &first, &second, "--server", "http://127.0.0.1:1"]);
        assert_eq!(status(&output), Some(64), "{}", printed(&output));
        assert!(
            printed(&output).contains("error[cycle]: segments refer to each other in a circle: first → second → first"),
            "{}",
            printed(&output)
        );
    }
}

#[test]
fn rules_are_laid_out_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let wild = define(path, "wild", "b2b.personScore>50   AND b2b.isConverted");
    let tame = define(path, "tame", "b2b.isConverted");
    std::fs::write(path.join("rule.pql"), "b2b.personScore>50").unwrap();
    let formatted = "# ours\nkind: Segment\nmetadata: { name: wild }\nspec:\n  pql: |\n    b2b.personScore > 50 and b2b.isConverted\n";
    let table: &[(&[&str], i32, &str)] = &[
        (&["segment", "fmt", &wild], 0, formatted),
        (&["segment", "fmt", "rule.pql"], 0, "b2b.personScore > 50\n"),
        (&["segment", "fmt", "--check", &tame], 0, "tame.yaml: as it should be"),
        (&["segment", "fmt", "--check", &tame, &wild], 1, "wild.yaml: would change"),
        (&["segment", "fmt", "--write", "-"], 64, "standard input cannot be written"),
        (&["segment", "fmt", "--write", "--check", &tame], 64, "--check"),
        (&["segment", "fmt", "--write", &tame, &wild, "absent.yaml"], 1, "absent.yaml"),
        (&["segment", "fmt", "--check", &wild], 1, "wild.yaml"),
        (&["segment", "fmt", "--write", &tame, &wild], 0, "wild.yaml: written"),
        (&["segment", "fmt", "--check", &tame, &wild], 0, "wild.yaml: as it should be"),
    ];
    for (arguments, expected, word) in table {
        let output = millrace(path, arguments);
        assert_eq!(status(&output), Some(*expected), "{arguments:?}\n{}", printed(&output));
        assert!(printed(&output).contains(word), "{arguments:?}\n{}", printed(&output));
    }
    assert_eq!(std::fs::read_to_string(path.join(&wild)).unwrap(), formatted);
    let broken = define(path, "broken", "b2b.personScore >");
    define(path, "wild", "b2b.personScore>50");
    let output = millrace(path, &["segment", "fmt", "--write", &wild, &broken]);
    assert_eq!(status(&output), Some(64), "{}", printed(&output));
    assert!(printed(&output).contains("broken.yaml: error[unexpected-token]"), "{}", printed(&output));
    assert!(
        std::fs::read_to_string(path.join(&wild)).unwrap().contains("personScore>50"),
        "written although another file is wrong"
    );
}

#[test]
fn rules_are_converted_there_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let rule = "exists v from xEvent where v.eventType = \"a\" and v.timestamp occurs <= 1 month before now";
    let file = define(path, "one", rule);
    std::fs::write(path.join("rule.pql"), rule).unwrap();
    for (file, ending) in [(file.as_str(), "json.yaml"), ("rule.pql", "json.pql")] {
        let json = millrace(path, &["segment", "convert", "--to", "json", file]);
        assert_eq!(status(&json), Some(0), "{}", printed(&json));
        assert!(printed(&json).contains("\"nodeType\": \"quantification\""), "{}", printed(&json));
        std::fs::write(path.join(ending), &json.stdout).unwrap();
        let text = millrace(path, &["segment", "convert", "--to", "text", ending]);
        assert_eq!(status(&text), Some(0), "{}", printed(&text));
        assert!(printed(&text).contains(rule), "{}", printed(&text));
    }
    assert_eq!(status(&millrace(path, &["segment", "lint", "json.yaml"])), Some(0));
    let broken = define(path, "broken", "b2b.personScore >");
    let output = millrace(path, &["segment", "convert", "--to", "json", &broken]);
    assert_eq!(status(&output), Some(64));
    assert!(printed(&output).contains("broken.yaml: error[unexpected-token]"), "{}", printed(&output));
}

/// Every warning that a rule or a configuration can cause reaches the person who typed the command:
/// a unit test may bypass the code in between.
#[test]
fn every_warning_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let table = [
        ("currencies", "sum(accounts.opportunities.opportunityAmount.amount) > 1000000"),
        ("expensive", "exists a from xEvent, b from xEvent where a.extra.x = b.extra.y"),
        ("constant", "b2b.isConverted or true"),
        ("contradiction", "b2b.personScore > 80 and b2b.personScore < 20"),
        ("event-type", "exists v from xEvent where v.eventType = \"web.webpagedetails.pageView\""),
        ("long-window", "xEvent[eventType = \"a\" and timestamp occurs <= 3 years before now]"),
        (
            "empty-window",
            "xEvent[eventType = \"a\" and timestamp occurs between date(2026,1,2) and date(2026,1,1)]",
        ),
        ("unknown-segment", "inSegment(\"nobody\")"),
        ("unknown-attribute", "computed.rank > 1"),
        ("null-comparison", "b2b.personScore = null"),
    ];
    for (code, rule) in table {
        let file = define(path, "one", rule);
        let output = millrace(path, &["segment", "lint", &file]);
        assert_eq!(status(&output), Some(0), "{rule}\n{}", printed(&output));
        assert!(
            printed(&output).contains(&format!("one.yaml: segment one: warning[{code}]")),
            "{rule}\n{}",
            printed(&output)
        );
    }
    // With a rate, money of two currencies adds up.
    std::fs::write(path.join("rates.toml"), "[currency.rates]\nEUR = 1.08\n").unwrap();
    let file = define(path, "one", table[0].1);
    assert_eq!(printed(&millrace(path, &["segment", "lint", &file, "--config", "rates.toml"])), "one: good\n");
    // The default currency is no rate.
    std::fs::write(path.join("rates.toml"), "[currency]\ndefault = \"EUR\"\nrates = { EUR = 1 }\n").unwrap();
    let output = millrace(path, &["segment", "lint", &file, "--config", "rates.toml"]);
    assert!(printed(&output).contains("only amounts in EUR are added up"), "{}", printed(&output));
}

#[test]
fn slips_in_the_environment_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, value: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        let command = command.current_dir(folder.path()).env_clear().env(name, value);
        command.args(["run", "--check-config"]).output().unwrap()
    };
    let output = run("MILLRACE_TOPICS_SHARDS", "8");
    assert_eq!(status(&output), Some(0));
    assert!(
        printed(&output).contains("warning: the environment variable `MILLRACE_TOPICS_SHARDS` is not read; did you mean `MILLRACE__TOPICS__SHARDS`?"),
        "{}",
        printed(&output)
    );
    let output = run("MILLRACE__TOPICS_SHARDS", "8");
    assert_eq!(status(&output), Some(64));
    assert!(printed(&output).contains("did you mean `MILLRACE__TOPICS__SHARDS`?"), "{}", printed(&output));
    let output = run("MILLRACE_SERVICE_HOST", "10.0.0.1");
    assert!(!printed(&output).contains("warning"), "{}", printed(&output));
}

#[test]
fn files_as_people_save_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let broken = GOOD.replace("workEmail.address", "workEmail.adress");
    std::fs::write(path.join("marked.yaml"), format!("\u{feff}{}", GOOD.replace('\n', "\r\n"))).unwrap();
    std::fs::write(path.join("config.toml"), "\u{feff}[topics]\r\nshards = 8\r\n").unwrap();
    std::fs::write(path.join("bytes.yaml"), b"kind: Segment\n# \xFF\n").unwrap();
    std::fs::write(path.join("wide.yaml"), b"\xFF\xFEk\0i\0").unwrap();
    std::fs::write(path.join("two.yaml"), format!("# ours\n---\n{GOOD}---\n{}", broken.replace("good", "bad"))).unwrap();
    std::fs::write(path.join("bytes.toml"), b"[topics]\nprefix = \"\xFF\"\n").unwrap();
    let table: &[(&[&str], i32, &str)] = &[
        (&["segment", "lint", "marked.yaml"], 0, "good: good"),
        (&["run", "--check-config", "--config", "config.toml"], 0, "shards: 8"),
        (&["segment", "lint", "bytes.yaml"], 1, "cannot read bytes.yaml: line 2 is no UTF-8 text"),
        (&["segment", "lint", "wide.yaml"], 1, "the file is UTF-16; save it as UTF-8"),
        (&["segment", "lint", "two.yaml"], 64, "two.yaml: segment bad: error[unknown-field]"),
        // The line of the file, not of the rule.
        (&["segment", "lint", "two.yaml"], 64, "line 9, column "),
        (&["run", "--check-config", "--config", "bytes.toml"], 64, "line 2 is no UTF-8 text"),
    ];
    for (arguments, expected, word) in table {
        let output = millrace(path, arguments);
        assert_eq!(status(&output), Some(*expected), "{arguments:?}\n{}", printed(&output));
        assert!(printed(&output).contains(word), "{arguments:?}\n{}", printed(&output));
    }
}

#[test]
fn an_empty_name_of_the_configuration_counts_as_absent() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("good.yaml"), GOOD).unwrap();
    std::fs::write(folder.path().join("bad.toml"), "[topics]\nshrads = 4\n").unwrap();
    let named = |config: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        command.current_dir(folder.path()).env_clear().env("MILLRACE_CONFIG", config);
        command.args(["segment", "lint", "good.yaml"]).output().unwrap()
    };
    assert_eq!(status(&named("")), Some(0), "{}", printed(&named("")));
    assert!(printed(&named("bad.toml")).contains("topics.shrads"), "{}", printed(&named("bad.toml")));
}

#[test]
fn variables_that_are_no_text_are_others_or_are_named() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("good.yaml"), GOOD).unwrap();
    let given = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        command.current_dir(folder.path()).env_clear().env(name, std::ffi::OsStr::from_bytes(b"\xff"));
        command.args(["segment", "lint", "good.yaml"]).output().unwrap()
    };
    assert_eq!(status(&given("OTHERS")), Some(0), "{}", printed(&given("OTHERS")));
    let output = given("MILLRACE__LOG_LEVEL");
    assert_eq!(status(&output), Some(64), "{}", printed(&output));
    assert!(printed(&output).contains("`MILLRACE__LOG_LEVEL` is not UTF-8"), "{}", printed(&output));
}

/// `2>&1 | head -1`.
#[test]
fn a_closed_standard_error_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let warm = define(folder.path(), "warm", "inSegment(\"nobody\")");
    for (arguments, expected) in [(["segment", "fmt", "absent.yaml"], 1), (["segment", "lint", &warm], 0)] {
        let (read, write) = std::io::pipe().unwrap();
        drop(read);
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        command
            .current_dir(folder.path())
            .env_clear()
            .args(arguments)
            .stdout(write.try_clone().unwrap())
            .stderr(write);
        assert_eq!(command.status().unwrap().code(), Some(expected), "{arguments:?}");
    }
}

#[test]
fn a_file_keeps_its_mark_and_line_ends_when_it_is_laid_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = define(folder.path(), "windows", "b2b.personScore>50");
    let path = folder.path().join(&file);
    let windows = format!("\u{feff}{}", std::fs::read_to_string(&path).unwrap().replace('\n', "\r\n"));
    std::fs::write(&path, &windows).unwrap();
    let output = millrace(folder.path(), &["segment", "fmt", "--write", &file]);
    assert_eq!((status(&output), printed(&output)), (Some(0), format!("{file}: written\n")));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), windows.replace("personScore>50", "personScore > 50"));
    assert_eq!(status(&millrace(folder.path(), &["segment", "fmt", "--check", &file])), Some(0));
}

#[test]
fn what_is_not_about_the_rule_is_placed_where_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let file = |text: &str| std::fs::write(folder.path().join("file.yaml"), text).unwrap();
    let place = |arguments: &[&str]| {
        let text = printed(&millrace(folder.path(), arguments));
        text.split("--> ").nth(1).and_then(|rest| rest.lines().next()).unwrap_or(&text).to_owned()
    };
    file("kind: Segment\nmetadata: { name: a }\nspec:\n  pql: b2b.isConverted\n  destinations: [crm]\n");
    assert_eq!(place(&["segment", "lint", "file.yaml"]), "line 5, column 3");
    file("kind: Segment\nmetadata: { name: a }\nspec:\n  pql: \"\"\n");
    assert!(
        place(&["segment", "lint", "file.yaml"]).starts_with("line 4"),
        "{}",
        place(&["segment", "lint", "file.yaml"])
    );
}

#[test]
fn every_wrong_sink_and_source_is_reported_before_anything_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = "[destinations.hook]\nnamespace = \"email\"\nsink = \"webhok\"\n[sources.m1]\ntype = \"pipedrive\"\n\
                 [sources.e1]\ntype = \"cloudevents\"\ninstance = \"e1\"\ntopics = [\"millrace.dead-letter\"]\n[kafka]\nbootstrap = \"127.0.0.1:1\"\n";
    let right = "[destinations.hook]\nnamespace = \"email\"\nsink = \"http\"\nsettings = { url = \"http://127.0.0.1:1/\", privateAddresses = true }\n";
    std::fs::write(folder.path().join("wrong.toml"), wrong).unwrap();
    std::fs::write(folder.path().join("right.toml"), right).unwrap();
    for arguments in [&["run", "--config", "wrong.toml"][..], &["run", "--check-config", "--config", "wrong.toml"]] {
        let output = millrace(folder.path(), arguments);
        assert_eq!(status(&output), Some(64), "{}", printed(&output));
        let own = "sources.e1.topics: `millrace.dead-letter` is a topic of this deployment";
        for word in ["destinations.hook.sink: `webhok`", "sources.m1.type: `pipedrive`", own] {
            assert!(printed(&output).contains(word), "{word}\n{}", printed(&output));
        }
        assert!(!folder.path().join(".millrace").exists());
    }
    let output = millrace(folder.path(), &["run", "--check-config", "--config", "right.toml"]);
    assert_eq!(status(&output), Some(0), "{}", printed(&output));
}
