//! Definitions on the control topic: accepted ones, refused ones, and the results.

use millrace_model::Timestamp;
use millrace_oracle::worlds::{HOUR_MS, NOON_MS, event, record};
use millrace_test_scenarios::Cluster;
use serde_json::json;

use super::stage::ids;

/// A person with a score of 90, at noon.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new(3, 1, Timestamp(NOON_MS));
    cluster.source(&record("person", "1@m.M", NOON_MS, json!({ "b2b": { "personScore": 90 } })));
    cluster.settle();
    cluster
}

fn define(cluster: &mut Cluster, key: &str, text: Option<&str>) {
    cluster.define(key, text);
    cluster.settle();
}

const CONTRACT: &str = r#"kind: Segment
metadata: { name: new-product-upsell, description: "Bodea upsell" }
spec:
  subject: person            # or account
  status: published          # draft | published | inactive
  timeZone: UTC
  pql: |
    b2b.personScore > 80
  destinations: [marketo-1, linkedin]
"#;

fn with(status: &str) -> String {
    CONTRACT.replace("status: published ", &format!("status: {status} "))
}

#[test]
fn yaml_and_json_are_taken() {
    let document: serde_json::Value = json!({
        "kind": "Segment", "metadata": { "name": "as-json" },
        "spec": { "subject": "person", "status": "published", "timeZone": "Europe/Berlin", "pql": "b2b.personScore > 80", "destinations": [] },
    });
    let mut cluster = cluster();
    define(&mut cluster, "new-product-upsell", Some(CONTRACT));
    define(&mut cluster, "as-json", Some(&document.to_string()));
    define(
        &mut cluster,
        "shortest",
        Some("kind: Segment\nmetadata: { name: shortest }\nspec: { pql: true }\n"),
    );
    define(
        &mut cluster,
        "a1-2",
        Some("---\nkind: Segment\nmetadata: { name: a1-2 }\nspec: { pql: 'not(isDeleted)' }\n"),
    );
    for name in ["new-product-upsell", "as-json", "shortest", "a1-2"] {
        assert_eq!(cluster.members(name), ids(&["b2b_person:1@m.M"]), "{name}");
    }
    assert!(cluster.dead_letters.is_empty(), "{:?}", cluster.refused);
}

#[test]
fn a_draft_is_silent_and_inactive_everyone_leaves_once() {
    let mut cluster = cluster();
    define(&mut cluster, "new-product-upsell", Some(&with("draft")));
    assert!(cluster.changes.is_empty());
    for (status, changes, members) in [
        ("published", 1, 1),
        ("published", 1, 1),
        ("inactive", 2, 0),
        ("inactive", 2, 0),
        ("draft", 2, 0),
        ("published", 3, 1),
    ] {
        define(&mut cluster, "new-product-upsell", Some(&with(status)));
        assert_eq!(
            (cluster.changes.len(), cluster.members("new-product-upsell").len()),
            (changes, members),
            "{status}"
        );
    }
    define(&mut cluster, "new-product-upsell", None);
    assert_eq!((cluster.changes.len(), cluster.members("new-product-upsell").len()), (4, 0), "deleted");
    define(&mut cluster, "new-product-upsell", None);
    define(&mut cluster, "never-there", None);
    assert_eq!((cluster.changes.len(), cluster.dead_letters.len()), (4, 0), "there is nothing to delete");
    define(&mut cluster, "new-product-upsell", Some(CONTRACT));
    assert_eq!(cluster.members("new-product-upsell").len(), 1, "as if it had never been there");
}

#[test]
fn what_cannot_be_used_changes_nothing() {
    let mut cluster = cluster();
    define(&mut cluster, "new-product-upsell", Some(CONTRACT));
    let refused = [
        ("new-product-upsell", CONTRACT.replace("timeZone", "timezone"), "bad-definition", "timezone"),
        ("new-product-upsell", CONTRACT.replace("UTC", "Mars/Olympus"), "bad-definition", "Mars/Olympus"),
        ("new-product-upsell", CONTRACT.replace("person  ", "campaign"), "bad-definition", "campaign"),
        (
            "new-product-upsell",
            CONTRACT.replace("personScore", "personSkore"),
            "bad-definition",
            "b2b.personSkore",
        ),
        ("new-product-upsell", CONTRACT.replace("> 80", ""), "bad-definition", "not-boolean"),
        (
            "new-product-upsell",
            CONTRACT.replace("kind: Segment", "kind: Audience"),
            "bad-definition",
            "Audience",
        ),
        (
            "new-product-upsell",
            format!("{CONTRACT}---\n{}", CONTRACT.replace("new-product-upsell", "another")),
            "bad-definition",
            "one definition",
        ),
        ("another", CONTRACT.to_owned(), "key-mismatch", "another"),
        (
            "Upper_Case",
            CONTRACT.replace("new-product-upsell", "Upper_Case"),
            "bad-definition",
            "Upper_Case",
        ),
        ("new-product-upsell", "{".to_owned(), "bad-definition", "YAML"),
        ("new-product-upsell", String::new(), "bad-definition", "no definition"),
    ];
    for (at, (key, text, reason, detail)) in refused.iter().enumerate() {
        define(&mut cluster, key, Some(text));
        assert_eq!(
            (cluster.dead_letters.len(), cluster.dead_letters.last().map(String::as_str)),
            (at + 1, Some(*reason)),
            "{text}"
        );
        let headers = &cluster.refused[at].headers;
        let text = headers
            .iter()
            .find(|(name, _)| name == "millrace.detail")
            .map(|(_, value)| String::from_utf8_lossy(value))
            .unwrap_or_default();
        assert!(text.contains(detail), "{text}");
    }
    assert_eq!(cluster.members("new-product-upsell"), ids(&["b2b_person:1@m.M"]));
    assert_eq!(cluster.changes.len(), 1);
}

#[test]
fn days_are_those_of_the_time_zone() {
    let mut cluster = cluster();
    for zone in ["UTC", "Europe/Berlin", "America/New_York"] {
        let name = zone.to_lowercase().replace(['/', '_'], "-");
        let spec = json!({ "timeZone": zone, "pql": "exists v from xEvent where v.timestamp occurs today" });
        let text = json!({ "kind": "Segment", "metadata": { "name": name }, "spec": spec });
        define(&mut cluster, &name, Some(&text.to_string()));
    }
    cluster.source(&event("v", NOON_MS, &["email:ann@acme.com"], json!({ "eventType": "x" })));
    cluster.settle();
    let inside = |cluster: &Cluster| ["utc", "europe-berlin", "america-new-york"].map(|name| cluster.members(name).len());
    assert_eq!(inside(&cluster), [1, 1, 1]);
    cluster.advance(Timestamp(NOON_MS + 11 * HOUR_MS - 1));
    assert_eq!(inside(&cluster), [1, 1, 1]);
    cluster.advance(Timestamp(NOON_MS + 11 * HOUR_MS));
    assert_eq!(inside(&cluster), [1, 0, 1], "midnight in Berlin");
    cluster.advance(Timestamp(NOON_MS + 12 * HOUR_MS));
    assert_eq!(inside(&cluster), [0, 0, 1]);
    cluster.advance(Timestamp(NOON_MS + 16 * HOUR_MS));
    assert_eq!(inside(&cluster), [0, 0, 0]);
}

#[test]
fn a_segment_of_segments_follows_those_it_names() {
    let mut cluster = cluster();
    let segment = |name: &str, pql: &str| json!({ "kind": "Segment", "metadata": { "name": name }, "spec": { "pql": pql } }).to_string();
    define(&mut cluster, "both", Some(&segment("both", r#"inSegment("hot") and not(inSegment("cold"))"#)));
    assert!(cluster.members("both").is_empty(), "what is not there yet is empty");
    define(&mut cluster, "hot", Some(&segment("hot", "b2b.personScore > 80")));
    assert_eq!(cluster.members("both").len(), 1);
    define(&mut cluster, "cold", Some(&segment("cold", "b2b.personScore > 0")));
    assert!(cluster.members("both").is_empty());
    define(&mut cluster, "cold", None);
    assert_eq!(cluster.members("both").len(), 1);
    define(&mut cluster, "hot", Some(&segment("hot", r#"inSegment("both")"#)));
    assert_eq!((cluster.dead_letters.len(), cluster.members("both").len()), (1, 1), "a circle is refused");
}
