//! The commands of a user's first hour, with the required results: against one process on the
//! embedded log.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/place.rs"]
mod place;

use std::fmt::Write;
use std::io::{Read, Write as _};
use std::net::TcpStream;

use millrace_telemetry::{Counter, Gauge, Histogram};
use place::{Place, printed};

/// Runs `millrace`, expects the exit status, and returns its output.
fn run(place: &Place, status: i32, arguments: &[&str]) -> String {
    let output = place.millrace(arguments);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}\n{}", printed(&output));
    printed(&output)
}

fn millrace() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_BIN_EXE_millrace"))
}

fn save(place: &Place, name: &str, bytes: impl AsRef<[u8]>) {
    std::fs::write(place.folder.path().join(name), bytes).unwrap();
}

/// One request over plain HTTP, with `rest` after its first line; returns the answer as received.
fn http(address: &str, request: &str, rest: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{request} HTTP/1.0\r\nHost: {address}\r\n{rest}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn person(key: &str, email: &str, first: &str, last: &str) -> String {
    format!(
        r#"{{"topic":"person","key":"{key}","value":{{"workEmail":{{"address":"{email}"}},"person":{{"name":{{"firstName":"{first}","lastName":"{last}"}}}},"b2b":{{"personScore":70}}}}}}"#
    )
}

const HOT: &str = "kind: Segment\nmetadata: { name: hot }\nspec:\n  pql: |\n    b2b.personScore > 50\n";

/// The deployment sees one text made of all definitions; the user has files.
#[test]
fn warnings_of_the_deployment_have_their_place_in_the_files() {
    let mut place = Place::new();
    place.start();
    for name in ["one", "two"] {
        let text = format!("# ours\nkind: Segment\nmetadata: {{ name: {name} }}\nspec:\n  pql: |\n    b2b.personScore > 50\n      or inSegment(\"nobody\")\n");
        save(&place, &format!("{name}.yaml"), text);
    }
    let text = run(&place, 0, &["segment", "apply", "one.yaml", "two.yaml"]);
    for name in ["one", "two"] {
        assert!(text.contains(&format!("{name}.yaml: segment {name}: warning[unknown-segment]")), "{text}");
    }
    assert_eq!(text.matches("--> line 7, column 10").count(), 2, "{text}");
    let text = run(&place, 0, &["segment", "preview", "two.yaml"]);
    assert!(!text.contains("--> line 1,"), "{text}");
}

/// Half of the records are bad, and nobody reads what is said of them.
#[test]
fn an_import_goes_on_where_nobody_reads_its_complaints() {
    let mut place = Place::new();
    place.start();
    let twice = r#"{"topic":"person","key":"x@m.M","value":{"b2b":{"personScore":1},"b2b":{"personScore":2}}}"#;
    let mut lines = String::new();
    for number in 0..2_000 {
        let email = format!("p{number}@acme.com");
        let _ = writeln!(lines, "{twice}\n{}", person(&format!("{number}@m.M"), &email, "Ann", "Miller"));
    }
    save(&place, "lines.jsonl", lines);
    let (read, write) = std::io::pipe().unwrap();
    drop(read);
    let status = place
        .command(millrace())
        .args(["source", "file", "lines.jsonl"])
        .stderr(write)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
    place.until("the last person", || place.millrace(&["person", "show", "p1999@acme.com"]).status.success());
    let text = run(&place, 1, &["source", "file", "lines.jsonl"]);
    assert!(
        text.contains("line 1: `b2b` is there twice") && text.contains("2000 lines were not taken"),
        "{text}"
    );
}

/// What SIGINT, SIGTERM and SIGHUP have in common.
#[test]
fn a_signal_ends_an_import_with_a_report() {
    let mut place = Place::new();
    place.start();
    for signal in ["-INT", "-TERM", "-HUP"] {
        let mut child = place
            .command(millrace())
            .args(["source", "file", "-"])
            .stdin(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A batch that was sent shows that the signals are watched for.
        let first = format!("first{}@acme.com", signal.to_lowercase());
        for number in 0..1_000 {
            let email = if number == 0 { first.clone() } else { format!("p{number}@acme.com") };
            writeln!(stdin, "{}", person(&format!("{number}@m.M"), &email, "Ann", "Miller")).unwrap();
        }
        stdin.flush().unwrap();
        place.until("the first batch", || {
            place.millrace(&["person", "show", &format!("email:{first}")]).status.success()
        });
        let sent = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{signal}: {}", printed(&output));
        assert!(printed(&output).contains("cut off"), "{signal}: {}", printed(&output));
    }
}

#[test]
fn persons_are_found_shown_and_explained() {
    let mut place = Place::new();
    place.start();
    save(&place, "hot.yaml", HOT);
    save(
        &place,
        "cool.yaml",
        "kind: Segment\nmetadata: { name: cool }\nspec: { pql: 'xEvent[eventType = \"a\" and timestamp occurs <= 1 day before now]' }\n",
    );
    assert_eq!(run(&place, 0, &["segment", "apply", "hot.yaml", "cool.yaml"]), "hot: applied\ncool: applied\n");
    let lines = [
        person("1@m.M", "ann@acme.com", "Ann", "Miller"),
        person("2@m.M", "bob@acme.com", "Bob", "Moss"),
        // An e-mail address in capitals, and a source key that is somebody else's address.
        person("ann@acme.org", "Cem@Acme.com", "Cem", "Ay"),
    ];
    save(&place, "people.jsonl", lines.join("\n"));
    assert_eq!(run(&place, 0, &["source", "file", "people.jsonl"]), "3 records appended\n");
    place.until("three members", || place.shell("millrace segment members hot").lines().count() == 3);
    assert!(run(&place, 0, &["segment", "members", "hot", "--limit", "1"]).contains("there are more; `--all` lists them"));
    let members = run(&place, 0, &["segment", "members", "hot", "--all"]);
    let named = |line: &str| line.starts_with("b2b_person:1@m.M ") && line.ends_with(" Ann Miller");
    assert!(members.lines().any(named), "{members}");
    assert!(run(&place, 0, &["segment", "members", "cool"]).contains("cool has no members now"));
    values_are_no_members(&place);

    for (text, expected) in [
        ("mill", "b2b_person:1@m.M  Ann Miller  email:ann@acme.com"),
        ("BOB@ACME", "b2b_person:2@m.M  Bob Moss  email:bob@acme.com"),
        ("zebra", "no person has `zebra` in a name or an identity"),
    ] {
        let found = run(&place, 0, &["person", "find", text]);
        assert!(found.contains(expected) && found.lines().count() == 1, "{text}\n{found}");
    }
    assert_eq!(run(&place, 0, &["person", "find", "acme", "--limit", "2"]).lines().count(), 3);
    assert_eq!(run(&place, 0, &["person", "find", "acme"]).lines().count(), 3);

    for id in ["ann@acme.com", "email:ann@acme.com", "1@m.M", "b2b_person:1@m.M"] {
        let shown = run(&place, 0, &["person", "show", id]);
        assert!(shown.starts_with("b2b_person:1@m.M\n") && shown.contains("hot: in since "), "{id}\n{shown}");
        // Never entered: no record was written about it.
        assert!(!shown.contains("cool"), "{shown}");
    }
    assert!(run(&place, 0, &["person", "show", "ann@acme.org"]).starts_with("b2b_person:ann@acme.org\n"));
    assert!(run(&place, 1, &["person", "show", "dan@acme.com"]).contains("`millrace person find dan@acme.com`"));
    let explained = run(&place, 0, &["person", "explain", "ann@acme.com", "--segment", "hot"]);
    assert!(explained.contains("last written of hot: in since "), "{explained}");
    let explained = run(&place, 0, &["person", "explain", "ann@acme.com", "--segment", "cool"]);
    assert!(explained.contains("nothing was written of it so far"), "{explained}");

    // A real exit is shown with its times, also where time alone changes nothing.
    place.shell(r#"echo '{"topic":"person","key":"1@m.M","value":{"workEmail":{"address":"ann@acme.com"},"b2b":{"personScore":10}}}' | millrace source file"#);
    place.until("the exit", || place.shell("millrace person show 1@m.M").contains("hot: out since "));
    let shown = run(&place, 0, &["person", "show", "1@m.M"]);
    assert!(shown.contains(", had entered at "), "{shown}");
    let explained = run(&place, 0, &["person", "explain", "1@m.M", "--segment", "hot", "--output", "json"]);
    let explained: serde_json::Value = serde_json::from_str(&explained).unwrap();
    assert_eq!((&explained["status"], &explained["membership"]["status"]), (&"exited".into(), &"exited".into()));
    assert!(explained["membership"]["evaluatedAt"].is_string() && explained["membership"]["lastQualificationTime"].is_string());

    let page = http(&place.api, "GET /", "\r\n");
    assert!(
        page.starts_with("HTTP/1.0 200") && page.contains("API of a running Millrace instance"),
        "{page}"
    );
    // As `curl -T` sends it: without a content type.
    let put = format!("Content-Length: {}\r\n\r\n{HOT}", HOT.len());
    let answer = http(&place.api, "PUT /v1/segments/hot", &put);
    assert!(answer.starts_with("HTTP/1.0 204"), "{answer}");
}

/// Unknown names, and definitions that have no members say so, in the words that help.
fn values_are_no_members(place: &Place) {
    assert!(run(place, 1, &["segment", "members", "nope"]).contains("there is no segment `nope`"));
    assert!(run(place, 1, &["segment", "members", "hott"]).contains("there is no segment `hott`; did you mean `hot`?"));
    assert!(run(place, 1, &["account", "show", "Townsend"]).contains("`millrace account find Townsend`"));
    let score = "kind: ComputedAttribute\nmetadata: { name: score }\nspec: { pql: 'b2b.personScore' }\n";
    let later = "kind: Segment\nmetadata: { name: later }\nspec: { status: draft, pql: 'b2b.personScore > 1' }\n";
    save(place, "score.yaml", score);
    save(place, "later.yaml", later);
    let applied = run(place, 0, &["segment", "apply", "score.yaml", "later.yaml"]);
    assert_eq!(applied, "score: applied\nlater: kept as a draft: only published definitions are evaluated\n");
    assert!(
        run(place, 64, &["segment", "members", "score"]).contains("`score` is a computed attribute: it has values and no members; `person show` shows them")
    );
    assert!(run(place, 64, &["person", "explain", "1@m.M", "--segment", "score"]).contains("is a computed attribute"));
    assert!(run(place, 0, &["segment", "show", "score"]).contains("a value for each person; `person show` shows it"));
    assert!(run(place, 0, &["segment", "members", "later"]).contains("later is draft; only published segments have members"));
    for name in ["score", "later"] {
        run(place, 0, &["segment", "delete", name]);
    }
}

#[test]
fn lines_are_named_reported_and_resumed() {
    let mut place = Place::new();
    place.start();
    let good = person("1@m.M", "ann@acme.com", "Ann", "Miller");
    let bytes = [
        b"\xEF\xBB\xBF",
        good.as_bytes(),
        b"\r\n\xFF\r\n\r\n",
        br#"{"topic":"person","key":"2@m.M","value":{"workEmial":{"address":"b@b.c"}}}"#,
        b"\r\n",
        br#"{"topic":"person","key":"3@m.M","value":{"isDeleted":"perhaps"}}"#,
        b"\r\nno JSON",
    ]
    .concat();
    save(&place, "lines.jsonl", bytes);
    let said = run(&place, 1, &["source", "file", "lines.jsonl"]);
    for word in [
        "line 2: no UTF-8 text from byte 1 on",
        "line 5: dead letter: wrong-type: ",
        "line 6: ",
        "person.workEmial: no such field, in 1 record; kept under `extra`",
        "3 records appended",
        "2 lines were not taken; 1 record is a dead letter",
    ] {
        assert!(said.contains(word), "{word}\n{said}");
    }
    let said = run(&place, 1, &["source", "file", "lines.jsonl", "--strict"]);
    assert!(
        said.contains("line 4: no such field: workEmial") && said.contains("2 records appended"),
        "{said}"
    );
    let said = run(&place, 1, &["source", "file", "lines.jsonl", "--from-line", "5", "--output", "json"]);
    assert!(
        said.contains("\"accepted\": 1") && said.contains("\"deadLetters\": 1") && said.contains("\"lastLine\": 6"),
        "{said}"
    );

    // Interrupted: the lines before are in, and the output says where to resume.
    let mut many = String::new();
    for number in 0..2_500 {
        let _ = writeln!(many, "{}", person(&format!("{number}@m.M"), &format!("p{number}@acme.com"), "P", "Q"));
    }
    save(&place, "many.jsonl", &many);
    let script = "(head -n 1500 many.jsonl; until millrace person show 999@m.M; do :; done >/dev/null 2>&1
        kill -9 $RUNNING; tail -n 1000 many.jsonl) | millrace source file";
    let running = place.running_id();
    let mut command = place.command(std::path::Path::new("bash"));
    let output = command.env("RUNNING", running.to_string()).args(["-c", script]).output().unwrap();
    let said = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    place.kill();
    assert!(
        said.contains("cut off: 1000 records appended, the lines up to 1000 are done; go on with `--from-line 1001`"),
        "{said}"
    );
    place.start();
    assert_eq!(
        run(&place, 0, &["source", "file", "many.jsonl", "--from-line", "1001"]),
        "1500 records appended\n"
    );
    place.until("the last person", || place.millrace(&["person", "show", "2499@m.M"]).status.success());
}

#[test]
fn no_row_is_swallowed_and_no_audience_emptied_by_accident() {
    let mut place = Place::new();
    place.start();
    save(&place, "partners.yaml", "kind: ExternalAudience\nmetadata: { name: partners }\n");
    run(&place, 0, &["segment", "apply", "partners.yaml"]);
    save(&place, "all.csv", "name,member\nAnn,email:a@b.c\nBob,email:b@b.c\nCem,email:c@b.c\n");
    let imported = || run(&place, 0, &["audience", "import", "partners", "all.csv", "--replace"]);
    assert_eq!(imported(), "partners: 3 members brought in, 0 members taken out\ncolumns left aside: name\n");
    // The mark that Ann's name opens is never closed: Bob and Cem are rows of their own all the same.
    save(&place, "open.csv", "name,member\n\"Ann,email:a@b.c\nBob,email:b@b.c\nCem,email:c@b.c\n");
    let said = run(&place, 1, &["audience", "import", "partners", "open.csv", "--replace"]);
    for word in [
        "line 2: a quotation mark that is never closed",
        "1 of 3 lines names no member",
        "nobody was replaced",
    ] {
        assert!(said.contains(word), "{word}\n{said}");
    }
    let said = run(&place, 1, &["audience", "import", "partners", "open.csv"]);
    assert!(said.contains("partners: 2 members brought in, 0 members taken out"), "{said}");
    save(&place, "none.csv", "name,member\n");
    let said = run(&place, 64, &["audience", "import", "partners", "none.csv", "--replace"]);
    assert!(
        said.contains("that would take all 3 out of `partners`") && said.contains("--allow-empty"),
        "{said}"
    );
    let said = run(&place, 0, &["audience", "import", "partners", "none.csv", "--replace", "--allow-empty"]);
    assert_eq!(said, "partners: 0 members brought in, 3 members taken out\ncolumns left aside: name\n");
}

#[test]
fn two_thousand_definitions_are_one_batch() {
    const COUNT: usize = 2_000;
    let mut place = Place::new();
    place.start();
    let mut text = String::new();
    for number in 0..COUNT {
        let _ = write!(text, "---\n{}", HOT.replace("hot", &format!("s{number}")).replace("50", &number.to_string()));
    }
    save(
        &place,
        "wrong.yaml",
        format!("{text}---\n{}", HOT.replace("personScore", "personScor").replace("hot", "last")),
    );
    let said = run(&place, 64, &["segment", "apply", "wrong.yaml"]);
    assert!(said.contains(&format!("line {}, column", COUNT * 6 + 6)), "{said}");
    assert!(run(&place, 0, &["segment", "list"]).contains("no segments"));
    save(&place, "many.yaml", &text);
    assert_eq!(run(&place, 0, &["segment", "apply", "many.yaml"]).lines().count(), COUNT);
    place.until("all to be in force", || {
        place.shell("millrace segment list").lines().filter(|line| line.starts_with('s')).count() == COUNT
    });
}

/// Every metric that a healthy deployment without connectors can show is shown once its cause has
/// occurred, all of them caused from outside.
#[test]
fn every_metric_can_be_seen() {
    let mut place = Place::new();
    save(&place, "millrace.toml", "[identity.max_claims_per_identity]\nemail = 1\n");
    let start = |place: &mut Place| place.start_with(&["--config", "millrace.toml"]);
    start(&mut place);
    save(&place, "hot.yaml", HOT);
    run(&place, 0, &["segment", "apply", "hot.yaml"]);
    // Two records share a device: a cluster. Two share an address, of which one record may claim
    // one: it is set aside.
    let device = r#""identities":[{"namespace":"ecid","id":"7"}],"b2b""#;
    let lines = [
        person("1@m.M", "ann@acme.com", "Ann", "Miller").replace("\"b2b\"", device),
        person("2@m.M", "bob@acme.com", "Bob", "Moss").replace("\"b2b\"", device),
        person("3@m.M", "ann@acme.com", "Ann", "Miller"),
        r#"{"topic":"person","key":"4@m.M","value":{"isDeleted":"perhaps"}}"#.to_owned(),
        // No rate is configured for this currency.
        r#"{"topic":"opportunity","key":"5@c.C","value":{"opportunityAmount":{"amount":5,"currencyCode":"EUR"}}}"#.to_owned(),
    ];
    save(&place, "people.jsonl", lines.join("\n"));
    run(&place, 1, &["source", "file", "people.jsonl"]);
    let missing = |names: &[String]| -> Vec<String> {
        let metrics = http(&place.metrics, "GET /metrics", "\r\n");
        let seen = |name: &str| {
            metrics
                .lines()
                .any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
        };
        names.iter().filter(|name| !seen(name)).cloned().collect()
    };
    // Those of connectors and of the collector need one; invariant_violations, transactions_aborted, slow_steps and
    // rules_exhausted need a fault.
    let elsewhere = [
        Counter::CollectorEvents.name(),
        Counter::CollectorRequests.name(),
        Counter::SinkDeliveries.name(),
        Counter::SourceRecords.name(),
        Counter::SourceRequests.name(),
        Counter::InvariantViolations.name(),
        Counter::TransactionsAborted.name(),
        Counter::SlowSteps.name(),
        Counter::RulesExhausted.name(),
        Gauge::CollectorHeld.name(),
        Gauge::SinkBacklog.name(),
        Gauge::SourceLag.name(),
        Gauge::SourceQuotaLeft.name(),
        Gauge::SourceQuotaResets.name(),
        Gauge::SourceLoad.name(),
    ];
    let single = Counter::ALL
        .iter()
        .map(|counter| counter.name())
        .chain(Gauge::ALL.iter().map(|gauge| gauge.name()));
    let histograms = Histogram::ALL.iter().filter(|histogram| **histogram != Histogram::CollectorAppend);
    let histograms = histograms.map(|histogram| format!("{}_count", histogram.name()));
    let names: Vec<String> = single.filter(|name| !elsewhere.contains(name)).map(str::to_owned).chain(histograms).collect();
    place.until("every metric", || {
        let missing = missing(&names);
        if !missing.is_empty() {
            eprintln!("missing: {missing:?}");
        }
        missing.is_empty()
    });
}
