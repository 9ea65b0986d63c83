//! The collector of a real process on the embedded log: clients that are not ours send, the
//! commands of docs/collector.md run as written, the page-view snippet runs in Node; then what they
//! sent is asked back, also after the process was killed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/place.rs"]
mod place;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use place::{Place, printed};

const KEY: &str = "a-key-of-programs-1";
const PUBLIC: &str = "a-key-in-web-pages";

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The folder with the clients.
fn clients() -> PathBuf {
    let environment = Command::new(here("../../scripts/python-env")).arg("collector").output().unwrap();
    assert!(environment.status.success(), "{}", printed(&environment));
    PathBuf::from(String::from_utf8(environment.stdout).unwrap().trim())
}

fn said(program: PathBuf, arguments: &[&str]) -> String {
    let output = Command::new(&program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{} {arguments:?}\n{}", program.display(), printed(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

const TRIAL: &str = "kind: Segment\nmetadata: { name: trial }\nspec:\n  pql: |\n    workEmail.address = \"ann@townsend.com\" \
                     and exists a from accounts where a.accountOrganization.industry = \"Finance\" \
                     and exists v from xEvent where v.eventType = \"Trial Started\" and v.extra.plan = \"gold\" and v.timestamp occurs <= 1 month before now\n";

/// A process that collects, and the collector's address.
fn collecting() -> (Place, String) {
    let mut place = Place::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = format!(
        "[topics]\nshards = 2\n[collector]\naddress = \"{port}\"\n[collector.keys.shop]\nkey = \"file:shop.key\"\n\
         [collector.keys.site]\nkey = \"file:site.key\"\nsource = \"shop\"\npublic = true\n"
    );
    std::fs::write(place.folder.path().join("shop.key"), KEY).unwrap();
    std::fs::write(place.folder.path().join("site.key"), format!("{PUBLIC}\n")).unwrap();
    std::fs::write(place.folder.path().join("m.toml"), settings).unwrap();
    std::fs::write(place.folder.path().join("trial.yaml"), TRIAL).unwrap();
    place.start_with(&["--config", "m.toml"]);
    place.shell("millrace segment apply trial.yaml");
    (place, format!("http://{port}"))
}

fn asked(place: &Place, path: &str) -> Value {
    let answer = reqwest::blocking::get(format!("http://{}/v1/{path}", place.api)).unwrap();
    answer.json().unwrap()
}

/// The types of a person's events, in ascending order.
fn events(place: &Place, person: &str) -> Vec<String> {
    let answer = asked(place, &format!("persons/{person}/events"));
    let items = answer["items"].as_array().into_iter().flatten();
    let mut types: Vec<String> = items
        .map(|event| {
            event["attributes"]["eventType"]
                .as_str()
                .or(event["eventType"].as_str())
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    types.sort();
    types
}

#[test]
fn what_foreign_clients_send_is_known_once_and_survives_a_kill() {
    let clients = clients();
    let (mut place, collector) = collecting();
    let python = |script: &str, more: &[&str]| {
        let script = here("tests/collector").join(script);
        let arguments: Vec<&str> = [script.to_str().unwrap(), &collector, KEY].into_iter().chain(more.iter().copied()).collect();
        said(clients.join("bin/python"), &arguments)
    };
    for packed in ["plain", "gzip"] {
        assert_eq!(python("send_calls.py", &[packed]), "0");
    }
    assert_eq!(python("send_cloud_events.py", &[]), "[200, 200, 200]");
    let script = here("tests/collector/send_calls.cjs");
    let arguments = [script.to_str().unwrap(), clients.to_str().unwrap(), &collector, KEY];
    assert_eq!(said(clients.join("bin/node"), &arguments), "0");

    place.kill();
    place.start_with(&["--config", "m.toml"]);
    let ann = "b2b_person/u1@shop.Segment";
    let expected = [
        "Signed Up",
        "Trial Started",
        "application.screenViews",
        "application.screenViews",
        "invoice.paid",
        "invoice.paid",
        "invoice.paid",
        "invoice.paid",
        "web.webpagedetails.pageViews",
        "web.webpagedetails.pageViews",
    ];
    let id = || asked(&place, &format!("persons/{ann}"))["id"].as_str().unwrap_or_default().to_owned();
    place.until("the events of every client", || events(&place, &id()) == expected);
    place.until("the audience", || place.changes().iter().any(|(_, status)| status == "realized"));
    let person = asked(&place, &format!("persons/{ann}"));
    assert_eq!(person["attributes"]["person"]["name"]["firstName"], "Ann", "{person}");
    assert_eq!(person["attributes"]["extra"]["seats"], 5, "{person}");
    assert_eq!(person["accounts"][0]["name"], "Townsend", "{person}");
    let identities = person["identities"].to_string();
    for id in ["browser-1", "old-1", "ann@townsend.com"] {
        assert!(identities.contains(id), "{id} in {identities}");
    }
    let ben = asked(&place, "persons/email/ben@townsend.com");
    assert_eq!(events(&place, ben["id"].as_str().unwrap()), ["Report Opened"], "{ben}");
    assert_eq!(asked(&place, "dead-letters"), serde_json::json!([]));
}

#[test]
fn the_commands_of_the_documentation_do_what_it_says() {
    let (place, collector) = collecting();
    let text = std::fs::read_to_string(here("../../docs/collector.md")).unwrap();
    let (_, section) = text.split_once("\n## Try it\n").unwrap();
    let commands = section.split("```console\n").nth(1).and_then(|rest| rest.split("\n```").next()).unwrap();
    let answers = place.shell(&format!("KEY={KEY}; COLLECTOR={collector}\n{commands}"));
    assert_eq!(answers.matches("\"success\":true").count(), 6, "{answers}");
    let id = || asked(&place, "persons/email/ann@townsend.com")["id"].as_str().unwrap_or_default().to_owned();
    let expected = ["Trial Started", "call", "invoice.paid", "invoice.sent"];
    place.until("the four events", || events(&place, &id()) == expected);
    let account = asked(&place, "accounts/townsend@shop.Segment/persons");
    assert_eq!(account["items"].as_array().map(Vec::len), Some(1), "{account}");
}

#[test]
fn the_snippet_waits_for_consent_repeats_and_counts_once() {
    let node = clients().join("bin/node");
    let (place, collector) = collecting();
    let (script, snippet) = (here("tests/collector/snippet.cjs"), here("../collector/src/snippet.js"));
    let arguments = [script.to_str().unwrap(), snippet.to_str().unwrap(), &collector, PUBLIC];
    assert_eq!(said(node, &arguments), "ok");
    place.until("the page views", || {
        let id = asked(&place, "persons/b2b_person/u9@shop.Segment")["id"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        events(&place, &id) == ["Clicked", "web.webpagedetails.pageViews", "web.webpagedetails.pageViews"]
    });
}
