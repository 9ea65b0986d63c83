//! Against the simulated account: its segments equal the desired state.

mod kills;
mod mapped;
mod stage;
mod troubles;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use millrace_connect::sink::OrderKind;
use millrace_simulators::linkedin::{Early, Refusals, Settings};
use millrace_test_sinks::email;
use serde_json::json;

use self::stage::Stage;
use crate::{Config, Raw};

#[test]
fn a_segment_becomes_the_audience_in_few_calls() {
    let mut stage = Stage::new(1, json!({}));
    for number in 0..900 {
        stage.desire("hot", &email(number), true);
    }
    let mut task = stage.task();
    stage.settle(&mut task);
    assert_eq!(stage.members(), stage.expected());
    let start = ["GET dmpSegments", "POST dmpSegments", "GET dmpSegments"];
    let ideal = ["POST dmpSegments/users"];
    assert_eq!(stage.calls(), [&start[..], &ideal[..]].concat());
    println!(
        "900 members: {} calls, ideal {} and {} at the start",
        stage.calls().len(),
        ideal.len(),
        start.len()
    );
    for number in 0..300 {
        stage.desire("hot", &email(number), false);
    }
    stage.settle(&mut task);
    assert_eq!(stage.members(), stage.expected());
    assert_eq!(stage.calls().len(), start.len() + 2 * ideal.len());
    let status = task.status();
    assert_eq!((status.desired, status.delivered, status.pending, status.refused), (600, 600, 0, 0));
}

/// The account's segments as LinkedIn's own client reads them.
fn seen_by_linkedins_client(stage: &Stage) -> serde_json::Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let made = Command::new(root.join("scripts/python-env"))
        .arg("linkedin")
        .output()
        .expect("scripts/python-env runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let folder = PathBuf::from(String::from_utf8(made.stdout).expect("a path").trim());
    let output = Command::new(folder.join("bin/node"))
        .env("NODE_PATH", folder.join("node_modules"))
        .arg(root.join("tests/simulators/node/linkedin.js"))
        .args([
            "segments",
            &stage.linkedin.url(),
            &stage.linkedin.consent().0,
            "urn:li:sponsoredAccount:516848833",
            "209908",
        ])
        .output()
        .expect("Node runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Members cannot be read over the interface: the client sees the segment and its numbers.
#[test]
fn linkedin_api_client_sees_what_the_sink_wrote() {
    let mut stage = Stage::new(13, json!({"segments": {"hot": "Hot leads"}}));
    for number in 0..400 {
        stage.desire("hot", &email(number), true);
    }
    stage.settle(&mut stage.task());
    let seen = seen_by_linkedins_client(&stage);
    let segment = &seen["elements"][0];
    assert_eq!(seen["paging"]["total"], 1);
    assert_eq!([&segment["name"], &segment["sourceSegmentId"], &segment["type"]], ["Hot leads", "hot", "USER"]);
    assert_eq!(
        (&segment["inputCount"], &segment["destinations"][0]["status"]),
        (&json!(400), &json!("BUILDING"))
    );
}

#[test]
fn more_members_than_a_call_takes() {
    let mut stage = Stage::new(2, json!({"records_per_call": 1000}));
    for number in 0..2_500 {
        stage.desire("hot", &email(number), true);
    }
    let mut task = stage.task();
    stage.settle(&mut task);
    assert_eq!(stage.members(), stage.expected());
    let sizes: Vec<usize> = stage
        .linkedin
        .history()
        .iter()
        .map(|request| request.elements)
        .filter(|count| *count > 0)
        .collect();
    assert_eq!(sizes, [1_000, 1_000, 500]);
}

#[test]
fn a_restarted_sink_finds_its_segment() {
    let mut stage = Stage::new(3, json!({"segments": {"hot": "Hot leads"}}));
    stage.desire("hot", &email(1), true);
    stage.settle(&mut stage.task());
    stage.desire("hot", &email(2), true);
    stage.settle(&mut stage.task());
    assert_eq!(stage.members(), stage.expected());
    let segments = stage.linkedin.with(|world| {
        world
            .segments
            .values()
            .map(|one| (one.name.clone(), one.source_segment_id.clone()))
            .collect::<Vec<_>>()
    });
    assert_eq!(segments, [("Hot leads".to_owned(), "hot".to_owned())]);
}

#[test]
fn a_segment_named_by_its_id() {
    let mut stage = Stage::new(4, json!({}));
    let id = stage.linkedin.with(|world| world.create("made by hand", "other", false, None));
    stage.settings["segments"] = json!({ "hot": id });
    stage.desire("hot", &email(1), true);
    let mut task = stage.task();
    stage.settle(&mut task);
    let members = stage.linkedin.with(|world| {
        world.settle();
        world.segments.values().map(|segment| segment.members.len()).collect::<Vec<_>>()
    });
    assert_eq!(members, [1]);
}

#[test]
fn nothing_is_sent_before_a_new_segment_is_ready() {
    for (early, ready_ms) in [(Early::Lost, 5_000), (Early::NotFound, 5_000), (Early::NotFound, 120_000)] {
        let account = Settings {
            early,
            ready_ms,
            ..Settings::default()
        };
        let mut stage = Stage::with(5, "email", json!({}), account);
        for number in 0..20 {
            stage.desire("hot", &email(number), true);
        }
        stage.settle(&mut stage.task());
        assert_eq!(stage.members(), stage.expected(), "{early:?} {ready_ms}");
        let created = stage.linkedin.with(|world| world.segments.len());
        assert_eq!(created, 1, "{early:?} {ready_ms}");
    }
}

#[test]
fn of_two_segments_that_were_created_at_once_one_stays() {
    let mut stage = Stage::new(6, json!({}));
    stage.desire("hot", &email(1), true);
    let mut task = stage.task();
    while stage.linkedin.with(|world| world.segments.is_empty()) {
        task.step().map_err(|(_, error)| error).expect("no failure");
    }
    // Another process created one before, and did not see this one's.
    let other = stage.linkedin.with(|world| {
        let mut other = world.segments.values().next().cloned().expect("created");
        other.id -= 1;
        world.segments.insert(other.id, other.clone());
        other.id
    });
    stage.settle(&mut task);
    assert_eq!(stage.linkedin.with(|world| world.segments.keys().copied().collect::<Vec<_>>()), [other]);
    assert_eq!(stage.members(), stage.expected());
}

#[test]
fn flapping_comes_to_one_change() {
    let mut stage = Stage::new(7, json!({}));
    for _ in 0..100 {
        stage.desire("hot", &email(0), false);
        stage.desire("hot", &email(0), true);
    }
    stage.settle(&mut stage.task());
    assert_eq!(stage.members(), stage.expected());
    let elements: usize = stage.linkedin.history().iter().map(|request| request.elements).sum();
    assert_eq!(elements, 1);
}

/// In the namespace `email` two persons with one address are one key, which stays present until the
/// last of them leaves (`tests/scenarios/tests/activation.rs`). Another namespace may hold two
/// spellings of one address.
#[test]
fn two_persons_with_one_address() {
    let mut stage = Stage::with(8, "crm_mail", json!({}), Settings::default());
    stage.desire("hot", "pat@townsend.example", true);
    stage.desire("hot", "Pat@Townsend.example", true);
    let mut task = stage.task();
    stage.settle(&mut task);
    stage.desire("hot", "Pat@Townsend.example", false);
    stage.settle(&mut task);
    assert_eq!(stage.members(), stage.expected(), "the other spelling's removal takes nobody off");
    assert_eq!(stage.members().len(), 1);
    let reasons = stage.reasons_of_dead_letters();
    assert!(reasons.len() == 1 && reasons[0].contains("normal form"), "{reasons:?}");
    assert_eq!(stage.headers_of_dead_letters("millrace.destination.request"), ["ADD (address) at hot"]);
}

#[test]
fn an_element_that_linkedin_refuses_is_a_dead_letter_alone() {
    for refusals in [Refusals::Singly, Refusals::Whole] {
        let account = Settings {
            refusals,
            ..Settings::default()
        };
        let mut stage = Stage::with(9, "email", json!({}), account);
        for number in 0..40 {
            stage.desire("hot", &email(number), true);
        }
        stage.desire_with("hot", "bad@townsend.example", true, &[("country", json!("Germany"))]);
        let mut task = stage.task();
        stage.settle(&mut task);
        stage.desired.remove(&("hot".to_owned(), "bad@townsend.example".to_owned()));
        assert_eq!(stage.members(), stage.expected(), "{refusals:?}");
        assert_eq!(stage.reasons_of_dead_letters().len(), 1, "{refusals:?}: {:?}", stage.reasons_of_dead_letters());
        let sent = stage.headers_of_dead_letters("millrace.destination.request");
        assert!(!sent[0].contains("townsend"), "{sent:?}");
        // Corrected, it is sent.
        stage.desire_with("hot", "bad@townsend.example", true, &[("country", json!("DE"))]);
        stage.order(&mut task, OrderKind::Retry);
        assert_eq!(stage.members(), stage.expected(), "{refusals:?}");
    }
}

#[test]
fn companies_by_domain_name_and_page() {
    let table = [
        (
            "domain",
            "townsend.example",
            "companyEmailDomain=townsend.example companyWebsiteDomain=townsend.example",
        ),
        ("name", "Townsend Ltd.", "companyName=townsend ltd."),
        (
            "page",
            "https://www.linkedin.com/company/townsend",
            "companyPageUrl=https://www.linkedin.com/company/townsend",
        ),
        ("organization", "urn:li:organization:1035", "organizationUrn=urn:li:organization:1035"),
    ];
    for (ids, id, member) in table {
        let mut stage = Stage::with(10, "company", json!({ "ids": ids }), Settings::default());
        stage.desire_with("hot", id, true, &[("country", json!("GB")), ("industries", json!("Wool"))]);
        let mut task = stage.task();
        stage.settle(&mut task);
        assert_eq!(stage.members(), BTreeSet::from([("hot".to_owned(), member.to_owned())]), "{ids}");
        assert!(stage.linkedin.with(|world| world.segments.values().all(|segment| segment.companies)));
        // Nothing is known of it but its id: that must be enough to take it off.
        stage.desire("hot", id, false);
        stage.settle(&mut task);
        assert_eq!(stage.members(), BTreeSet::new(), "{ids}");
    }
}

#[test]
fn settings_are_checked() {
    let raw = |more: serde_json::Value, attributes: &[&str]| {
        let mut all = json!({"account": "urn:li:sponsoredAccount:7", "source_platform": "M", "client_id": "a", "client_secret": "b", "refresh_token": "c"});
        all.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        serde_json::from_value::<Raw>(all)
            .map_err(|error| error.to_string())
            .and_then(|raw| Config::new(raw, attributes).map_err(|error| error.to_string()))
    };
    let right = raw(json!({"segments": {"hot": 10804, "warm": "Warm"}, "ids": "sha256"}), &["firstName", "country"]).expect("right");
    assert_eq!(right.account, "urn:li:sponsoredAccount:7");
    assert_eq!(right.version_ends.to_string(), "2027-08-15T00:00:00.000Z");
    let table: [(serde_json::Value, &[&str], &str); 8] = [
        (json!({"account": "x"}), &[], "account: `x` is no number of an ad account"),
        (
            json!({"access_token": "d"}),
            &[],
            "refresh_token: either this or `access_token` is needed, not both",
        ),
        (
            json!({"client_id": ""}),
            &[],
            "refresh_token: `client_id` and `client_secret` are needed with it",
        ),
        (json!({"version": "2026-08"}), &[], "version: `2026-08` is not of the form YYYYMM"),
        (
            json!({"records_per_call": 5001, "url": "ftp://x"}),
            &[],
            "records_per_call: 5001 is not in 1 to 5000",
        ),
        (json!({"segments": {"hot": true}}), &[], "segments.hot: true is neither an id nor a name"),
        (
            json!({"ids": "domain"}),
            &["companyName"],
            "attributes.companyName: these ids can be sent with industries, city, state, country, postalCode only",
        ),
        (json!({"ids": "phone"}), &[], "unknown variant `phone`"),
    ];
    for (settings, attributes, expected) in table {
        let error = raw(settings.clone(), attributes).expect_err("wrong");
        assert!(error.contains(expected), "{settings}: {error}");
    }
}
