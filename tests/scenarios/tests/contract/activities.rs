//! Activities: their persons, how often they count, what they link, and how long.

use millrace_model::Timestamp;
use millrace_oracle::SourceRecord;
use millrace_oracle::worlds::{DAY_MS, MINUTE_MS, NOON_MS, event, key, record, tombstone};
use serde_json::{Value as Json, json};

use super::stage::{Stage, check, ids};

const ME: &[&str] = &["b2b_person:1@m.M"];
const NOBODY: &[&str] = &[];

fn visit(id: &str, at: i64, identities: &[&str], fields: Json) -> SourceRecord {
    let mut fields = fields;
    fields["eventType"] = json!("web.webpagedetails.pageViews");
    event(id, NOON_MS + at, identities, fields)
}

/// A version of an event: modified at `version`, of the page `page`.
fn version(id: &str, version: i64, page: &str) -> SourceRecord {
    let mut record = visit(id, -DAY_MS, &["b2b_person:1@m.M"], json!({ "web": { "webPageDetails": { "name": page } } }));
    record.value.as_mut().expect("just made")["modifiedAt"] = json!(NOON_MS + version);
    // It is sent when it happens: a version far ahead of the broker's clock is not believed.
    record.timestamp_ms = NOON_MS + version;
    record
}

fn withdrawn(mut record: SourceRecord) -> SourceRecord {
    record.value.as_mut().expect("an event")["isDeleted"] = json!(true);
    record
}

fn person() -> SourceRecord {
    record("person", "1@m.M", NOON_MS, json!({ "workEmail": { "address": "ann@acme.com" } }))
}

#[test]
fn an_id_counts_once_and_its_latest_version_holds() {
    let on = |page: &str| format!(r#"xEvent[web.webPageDetails.name = "{page}"].count() = 1 and xEvent.count() = 1"#);
    check(
        "repeated",
        &[version("v", 1, "A"), version("v", 1, "A"), version("v", 1, "A")],
        &[(&on("A"), ME)],
    );
    check(
        "replaced",
        &[version("v", 1, "A"), version("v", 3, "C"), version("v", 2, "B")],
        &[(&on("C"), ME)],
    );
    check("two ids", &[version("v", 1, "A"), version("w", 1, "A")], &[("xEvent.count() = 2", ME)]);
    let gone: &[(&str, &[&str])] = &[("xEvent.count() = 0", ME), ("xEvent.count() > 0", NOBODY)];
    check("withdrawn", &[person(), version("v", 1, "A"), withdrawn(version("v", 2, ""))], gone);
    check(
        "withdrawn and sent again",
        &[person(), version("v", 1, "A"), withdrawn(version("v", 2, "")), version("v", 3, "C")],
        &[(&on("C"), ME)],
    );
    check(
        "withdrawn before",
        &[person(), version("v", 3, "A"), withdrawn(version("v", 2, ""))],
        &[(&on("A"), ME)],
    );
    let mut bare = withdrawn(version("v", 2, ""));
    let fields = bare.value.as_mut().and_then(Json::as_object_mut).expect("an event");
    fields.retain(|name, _| ["_id", "isDeleted", "modifiedAt", "identities"].contains(&name.as_str()));
    check("withdrawn by its id alone", &[person(), version("v", 1, "A"), bare], gone);
}

/// Once for each of two persons who both report it, and once when they turn out to be one.
#[test]
fn an_id_counts_once_per_person() {
    let two = [
        record("person", "2@m.M", NOON_MS, json!({ "workEmail": { "address": "bob@acme.com" } })),
        person(),
        visit("v", -1, &["email:ann@acme.com"], json!({})),
        visit("v", 0, &["email:bob@acme.com"], json!({})),
    ];
    check("two persons", &two, &[("xEvent.count() = 1", &["b2b_person:1@m.M", "b2b_person:2@m.M"])]);
    let both = json!({ "workEmail": { "address": "ann@acme.com" }, "identities": [{ "namespace": "email", "id": "bob@acme.com" }] });
    let united = [&two[..], &[record("person", "2@m.M", NOON_MS + 1, both)]].concat();
    check("one person", &united, &[("xEvent.count() = 1", ME), ("xEvent.count() = 2", NOBODY)]);
}

#[test]
fn the_key_names_the_person_where_the_value_does_not() {
    let keyed = |key: &str| {
        let mut record = visit("v", -1, &["b2b_person:x"], json!({}));
        record.key = key.to_owned();
        record.value.as_mut().and_then(Json::as_object_mut).expect("an event").remove("identities");
        record
    };
    for key in ["1@m.M", "b2b_person:1@m.M", "B2B_Person: 1@m.M", "email:ann@acme.com", "Email: ANN@acme.com "] {
        check(key, &[person(), keyed(key)], &[("xEvent.count() = 1", ME)]);
    }
    let by_key_object = visit("v", -1, &["ecid:e"], json!({ "personKey": key("1@m.M") }));
    check("personKey and identities", &[person(), by_key_object], &[("xEvent.count() = 1", ME)]);
    let mut other_key = visit("v", -1, &["email:ann@acme.com"], json!({}));
    other_key.key = "email:somebody@else.com".to_owned();
    check("what the value says goes before the key", &[person(), other_key], &[("xEvent.count() = 1", ME)]);
}

#[test]
fn activities_link_the_identities_they_carry_while_they_are_kept() {
    let login = visit("login", -DAY_MS, &["ecid:e1", "email:ann@acme.com"], json!({}));
    let anonymous = visit("v", -2 * DAY_MS, &["ecid:e1"], json!({ "web": { "webPageDetails": { "name": "Pricing" } } }));
    let pricing = r#"exists v from xEvent where v.web.webPageDetails.name = "Pricing""#;
    check(
        "linked by a visit",
        &[person(), anonymous.clone(), login.clone()],
        &[(pricing, ME), ("xEvent.count() = 2", ME)],
    );
    let mut stage = Stage::new(&[pricing]);
    [person(), anonymous, login.clone()].into_iter().for_each(|record| stage.send(record));
    stage.expect("linked", ME);
    let mut later = withdrawn(login);
    later.value.as_mut().expect("an event")["modifiedAt"] = json!(NOON_MS);
    stage.send(later);
    stage.expect("the link goes with the event", &["ecid:e1"]);
}

/// A profile that moves is sent in parts, none of which is too large for the log.
#[test]
fn many_large_activities_move_in_parts() {
    let mut stage = Stage::new(&["xEvent.count() = 101"]);
    let text = "x".repeat(20_000);
    for number in 0..100 {
        stage
            .cluster
            .source(&visit(&format!("v{number}"), -DAY_MS, &["ecid:e1"], json!({ "extra": { "text": text } })));
    }
    stage.cluster.settle();
    stage.cluster.source(&visit("login", -1, &["email:ann@acme.com", "ecid:e1"], json!({})));
    stage.cluster.source(&person());
    stage.cluster.settle();
    assert_eq!(stage.cluster.members(&Stage::segment()), ids(ME));
    assert!(
        (100_000..1_000_000).contains(&stage.cluster.message_bytes_max),
        "{}",
        stage.cluster.message_bytes_max
    );
}

#[test]
fn activities_are_kept_for_400_days() {
    let mut stage = Stage::new(&["xEvent.count() = 1"]);
    let at = -10 * DAY_MS;
    stage.send(person());
    stage.send(visit("login", at, &["email:ann@acme.com", "ecid:e1"], json!({})));
    stage.expect("kept", ME);
    stage.cluster.advance(Timestamp(NOON_MS + at + 400 * DAY_MS - 1));
    stage.expect("on its last day", ME);
    stage.cluster.advance(Timestamp(NOON_MS + at + 400 * DAY_MS));
    stage.expect("gone, and its link with it", NOBODY);
    stage.send(visit("new", 389 * DAY_MS, &["ecid:e1"], json!({})));
    stage.expect("the device is somebody by itself now", &["ecid:e1"]);
    stage.send(visit("too old", -11 * DAY_MS, &["email:ann@acme.com"], json!({})));
    stage.expect("what comes too late is not kept", &["ecid:e1"]);
}

#[test]
fn an_activity_a_little_ahead_exists_from_its_own_time_on() {
    let mut stage = Stage::new(&["xEvent.count() = 1"]);
    stage.send(visit("soon", 5 * MINUTE_MS, &["email:ann@acme.com"], json!({})));
    stage.expect("not there yet, and so nobody", NOBODY);
    stage.cluster.advance(Timestamp(NOON_MS + 5 * MINUTE_MS - 1));
    stage.expect("not yet", NOBODY);
    stage.cluster.advance(Timestamp(NOON_MS + 5 * MINUTE_MS));
    stage.expect("from its time on", &["email:ann@acme.com"]);
}

#[test]
fn what_cannot_be_an_activity_is_a_dead_letter() {
    let mut stage = Stage::new(&["xEvent.count() = 1"]);
    stage.send(visit("v", 0, &["email:ann@acme.com"], json!({})));
    stage.cluster.source(&visit("far", 5 * MINUTE_MS + 1, &["email:ann@acme.com"], json!({})));
    stage.cluster.source(&tombstone("activity", "email:ann@acme.com", NOON_MS));
    stage.cluster.settle();
    let mut reasons = std::mem::take(&mut stage.cluster.dead_letters);
    reasons.sort();
    assert_eq!(reasons, ["from-the-future", "tombstone-on-activity"]);
    stage.expect("the pipeline goes on, and nothing was removed", &["email:ann@acme.com"]);
}
