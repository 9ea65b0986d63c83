//! Versions, deletions, partial updates, and the merge of several sources' records.

use millrace_oracle::SourceRecord;
use millrace_oracle::worlds::{NOON_MS, key, record, tombstone};
use serde_json::{Value as Json, json};

use super::stage::{Stage, check};

const P: &str = "1@m.M";
const ID: &str = "b2b_person:1@m.M";
const ME: &[&str] = &[ID];
const NOBODY: &[&str] = &[];

fn person(at: i64, fields: Json) -> SourceRecord {
    record("person", P, NOON_MS + at, fields)
}

/// A partial update: these paths only, whatever else is in `fields`.
fn partial(at: i64, paths: &[&str], fields: Json) -> SourceRecord {
    let mut fields = fields;
    fields["changedFields"] = json!(paths);
    person(at, fields)
}

fn deleted(at: i64) -> SourceRecord {
    person(at, json!({ "isDeleted": true }))
}

fn score(at: i64, score: i64) -> SourceRecord {
    person(at, json!({ "b2b": { "personScore": score } }))
}

#[test]
fn the_version_orders_changes_however_it_is_written() {
    let written = |modified_at: Json, arrives_at: i64, score: i64| {
        let mut record = person(0, json!({ "b2b": { "personScore": score } }));
        let fields = record.value.as_mut().expect("just made");
        fields["modifiedAt"] = modified_at;
        record.timestamp_ms = NOON_MS + arrives_at;
        record
    };
    // Each is later than the one before.
    let versions = [
        written(json!("2026-03-18T13:59:59.998+02:00"), 50, 1),
        written(json!("2026-03-18T06:59:59.999-05:00"), 10, 2),
        written(json!(NOON_MS), 0, 3),
        written(Json::Null, 1, 4),
        written(json!("2026-03-18T12:00:00.002Z"), 9, 5),
        written(json!("2026-03-19"), 43_199_000, 6),
    ];
    for last in 1..=versions.len() {
        check("the latest version", &versions[..last], &[(&format!("b2b.personScore = {last}"), ME)]);
    }
}

#[test]
fn an_older_version_changes_nothing_and_of_equal_ones_the_later_wins() {
    let mut stage = Stage::new(&["b2b.personScore > 80"]);
    stage.send(score(5, 90));
    stage.send(score(4, 10));
    stage.expect("older", ME);
    assert_eq!(stage.cluster.counted["resolve person stale"], 1);
    stage.send(score(5, 20));
    stage.expect("equal, later in the topic", NOBODY);
    stage.send(score(5, 99));
    stage.expect("and once more", ME);
}

#[test]
fn a_deletion_is_a_change_with_a_version() {
    check(
        "deleted last",
        &[score(1, 90), deleted(2)],
        &[("b2b.personScore > 80", NOBODY), ("true", NOBODY)],
    );
    check("deleted before", &[score(3, 90), deleted(2)], &[("b2b.personScore > 80", ME)]);
    let after = partial(3, &["workEmail.address"], json!({ "workEmail": { "address": "a@b.c" } }));
    let cases: &[(&str, &[&str])] = &[("b2b.personScore.isNull() and workEmail.address = \"a@b.c\"", ME)];
    check(
        "a partial update after a deletion is a record of just its paths",
        &[score(1, 90), deleted(2), after],
        cases,
    );
    let deletion = partial(2, &["isDeleted"], json!({ "isDeleted": true }));
    check("a deletion sent as a partial update", &[score(1, 90), deletion], &[("true", NOBODY)]);
}

#[test]
fn a_tombstone_cuts_off_what_was_before_it() {
    let mut stage = Stage::new(&["b2b.personScore > 80"]);
    stage.send(score(50, 90));
    stage.send(tombstone("person", P, NOON_MS));
    stage.expect("removed, whatever its version was", NOBODY);
    stage.send(score(1, 85));
    stage.expect("begun anew under an older version", ME);
    stage.send(deleted(60));
    stage.send(tombstone("person", P, NOON_MS));
    stage.send(partial(2, &["b2b.personScore"], json!({ "b2b": { "personScore": 95 } })));
    stage.expect("begun again after a deletion, with a partial update", ME);
    stage.send(tombstone("person", P, NOON_MS));
    stage.send(tombstone("person", P, NOON_MS));
    stage.expect("twice", NOBODY);
}

#[test]
fn a_partial_update_takes_its_paths_only() {
    let whole = person(
        1,
        json!({
            "workEmail": { "address": "a@b.c" }, "person": { "name": { "firstName": "Ann", "lastName": "Lee" } },
            "extendedWorkDetails": { "departments": ["HR", "Sales"], "jobTitle": "COO" }, "extra": { "a": { "x": 1, "y": 2 } },
        }),
    );
    let update = |paths: &[&str]| {
        let fields = json!({
            "workEmail": { "address": "z@z.z" }, "person": { "name": { "firstName": "Eve", "lastName": "Zed" } },
            "extendedWorkDetails": { "departments": ["IT"] }, "extra": { "a": { "x": 5 } },
        });
        partial(2, paths, fields)
    };
    let table: &[(&[&str], &str)] = &[
        (
            &["person.name.firstName"],
            r#"person.name.firstName = "Eve" and person.name.lastName = "Lee" and workEmail.address = "a@b.c""#,
        ),
        (
            &["person.name"],
            r#"person.name.firstName = "Eve" and person.name.lastName = "Zed" and workEmail.address = "a@b.c""#,
        ),
        (
            &["extendedWorkDetails.departments"],
            r#"extendedWorkDetails.departments = ["IT"] and extendedWorkDetails.jobTitle = "COO""#,
        ),
        (
            &["extendedWorkDetails"],
            r#"extendedWorkDetails.departments = ["IT"] and extendedWorkDetails.jobTitle.isNull()"#,
        ),
        (&["extra.a.x"], "extra.a.x = 5 and extra.a.y = 2"),
        (&["extra.a"], "extra.a.x = 5 and extra.a.y.isNull()"),
        (
            &["b2b.personScore", "extra.none"],
            r#"person.name.firstName = "Ann" and b2b.personScore.isNull()"#,
        ),
        (&[], r#"person.name.firstName = "Ann" and workEmail.address = "a@b.c""#),
    ];
    for (paths, pql) in table {
        // Also before the whole record: older values still hold where no newer one exists.
        check(&format!("{paths:?}"), &[whole.clone(), update(paths)], &[(pql, ME)]);
    }
    let alone = r#"person.name.firstName = "Eve" and person.name.lastName.isNull() and workEmail.address.isNull()"#;
    check("nothing under it", &[update(&["person.name.firstName"])], &[(alone, ME)]);
    check(
        "nothing under it, and nothing in it",
        &[partial(1, &["person.name.firstName"], json!({}))],
        &[("true", ME)],
    );
    check("no paths and nothing under it", &[partial(1, &[], json!({}))], &[("true", NOBODY)]);
}

#[test]
fn every_path_has_its_own_version() {
    let name = |at, name: &str| partial(at, &["person.name.firstName"], json!({ "person": { "name": { "firstName": name } } }));
    let both = |at, first: &str, last: &str| partial(at, &["person.name"], json!({ "person": { "name": { "firstName": first, "lastName": last } } }));
    let whole = person(
        3,
        json!({ "person": { "name": { "firstName": "C", "lastName": "C" } }, "b2b": { "personScore": 3 } }),
    );
    let changes = [name(1, "A"), whole, both(4, "D", "D"), name(5, "E"), name(2, "B")];
    let pql = r#"person.name.firstName = "E" and person.name.lastName = "D" and b2b.personScore = 3"#;
    check("five changes of one record", &changes, &[(pql, ME)]);
}

#[test]
fn a_path_into_an_amount_leaves_the_currency() {
    let deal = |at, fields: Json| {
        let mut fields = fields;
        fields["accountKey"] = key("a@c.S");
        record("opportunity", "o@c.S", NOON_MS + at, fields)
    };
    let whole = |currency: &str| deal(1, json!({ "opportunityAmount": { "amount": 100, "currencyCode": currency } }));
    let part = deal(
        2,
        json!({ "changedFields": ["opportunityAmount.amount"], "opportunityAmount": { "amount": 200 } }),
    );
    let rest = [
        record("account", "a@c.S", NOON_MS, json!({})),
        person(0, json!({ "b2b": { "accountKey": key("a@c.S") } })),
    ];
    let records = |currency: &str| [rest.to_vec(), vec![whole(currency), part.clone()]].concat();
    let sum = "sum(select o.opportunityAmount.amount from accounts.opportunities) = 200";
    check("in dollars", &records("USD"), &[(sum, ME)]);
    let currency = r#"exists o from accounts.opportunities where o.opportunityAmount.currencyCode = "EUR""#;
    check("in a currency without a rate", &records("EUR"), &[(sum, NOBODY), (currency, ME)]);
}

#[test]
fn a_path_into_a_key_is_all_of_it() {
    let moved = partial(2, &["b2b.accountKey.sourceKey"], json!({ "b2b": { "accountKey": key("b@c.S") } }));
    let records = [
        record("account", "a@c.S", NOON_MS, json!({ "accountName": "A" })),
        record("account", "b@c.S", NOON_MS, json!({ "accountName": "B" })),
        person(
            1,
            json!({ "b2b": { "accountKey": { "sourceKey": "a@c.S", "sourceID": "a", "sourceInstanceID": "c", "sourceType": "S" } } }),
        ),
        moved,
    ];
    let cases: &[(&str, &[&str])] = &[
        (r#"exists a from accounts where a.accountName = "B""#, ME),
        (r#"b2b.accountKey.sourceID = "b""#, ME),
    ];
    check("another account", &records, cases);
}

/// Two records of one person, tied by their address.
fn twin(at: i64, fields: Json) -> SourceRecord {
    let mut fields = fields;
    fields["workEmail"] = json!({ "address": " ANN@acme.com" });
    record("person", "2@c.S", NOON_MS + at, fields)
}

fn first(at: i64, fields: Json) -> SourceRecord {
    let mut fields = fields;
    fields["workEmail"] = json!({ "address": "Ann@Acme.com" });
    person(at, fields)
}

#[test]
fn records_of_one_person_merge_leaf_by_leaf() {
    let records = [
        first(
            1,
            json!({ "b2b": { "personScore": 10, "personStatus": "Open" }, "extendedWorkDetails": { "departments": ["HR", "IT"] }, "extra": { "a": 1 } }),
        ),
        twin(
            2,
            json!({ "b2b": { "personScore": 20, "personStatus": null }, "extendedWorkDetails": { "departments": ["Sales"] }, "extra": { "b": 2 } }),
        ),
    ];
    let cases: &[(&str, &[&str])] = &[
        ("b2b.personScore = 20", ME),
        (r#"b2b.personStatus = "Open""#, ME),
        (r#"extendedWorkDetails.departments = ["Sales"]"#, ME),
        ("extra.a = 1 and extra.b = 2", ME),
        // As the source spells it, though both are one address.
        (r#"workEmail.address = " ANN@acme.com""#, ME),
        (r#"workEmail.address = "ann@acme.com""#, NOBODY),
    ];
    check("the later wins, null never does, arrays are whole", &records, cases);
    let tied = [
        first(1, json!({ "b2b": { "personScore": 10 } })),
        twin(1, json!({ "b2b": { "personScore": 20 } })),
    ];
    check("of equal versions the least key's", &tied, &[("b2b.personScore = 10", ME)]);
    let newer_leaf = [
        records[0].clone(),
        records[1].clone(),
        partial(3, &["b2b.personScore"], json!({ "b2b": { "personScore": 30 } })),
    ];
    check(
        "a partial update makes its path newer",
        &newer_leaf,
        &[("b2b.personScore = 30", ME), (r#"extendedWorkDetails.departments = ["Sales"]"#, ME)],
    );
}

#[test]
fn an_amount_and_its_currency_are_one_value() {
    let deal = |source_key: &str, at, amount: Json| {
        let twin = if source_key == "o@c.S" {
            Json::Null
        } else {
            json!({ "externalKey": key("o@c.S") })
        };
        let fields = json!({ "accountKey": key("a@c.S"), "opportunityAmount": amount, "extSourceSystemAudit": twin });
        record("opportunity", source_key, NOON_MS + at, fields)
    };
    let rest = [
        record("account", "a@c.S", NOON_MS, json!({})),
        person(0, json!({ "b2b": { "accountKey": key("a@c.S") } })),
    ];
    let with = |deals: [SourceRecord; 2]| [rest.to_vec(), deals.to_vec()].concat();
    let sum = |amount: i64| format!("sum(select o.opportunityAmount.amount from accounts.opportunities) = {amount}");
    let euros = json!({ "amount": 100, "currencyCode": "EUR" });
    let later = with([deal("o@c.S", 1, euros.clone()), deal("7@m.M", 2, json!({ "amount": 200 }))]);
    check("the later amount without the older's currency", &later, &[(&sum(200), ME)]);
    let none = with([
        deal("o@c.S", 1, json!({ "amount": 100 })),
        deal("7@m.M", 2, json!({ "amount": null, "currencyCode": "EUR" })),
    ]);
    check("no amount never wins over an amount", &none, &[(&sum(100), ME)]);
    let foreign = with([deal("o@c.S", 1, json!({ "amount": 100 })), deal("7@m.M", 2, euros)]);
    check(
        "a currency without a rate adds nothing",
        &foreign,
        &[(&sum(0), ME), ("accounts.opportunities.count() = 1", ME)],
    );
}

#[test]
fn valid_then_invalid_then_valid_again() {
    let mut stage = Stage::new(&["b2b.personScore > 80"]);
    for (when, record, expected) in [
        ("in", score(1, 90), ME),
        ("the value goes", partial(2, &["b2b.personScore"], json!({})), NOBODY),
        ("and comes", partial(3, &["b2b"], json!({ "b2b": { "personScore": 81 } })), ME),
        ("the record is deleted", deleted(4), NOBODY),
        ("and written again", score(5, 82), ME),
        ("a whole record without the field", person(6, json!({})), NOBODY),
        ("in at last", score(7, 100), ME),
    ] {
        stage.send(record);
        stage.expect(when, expected);
    }
    assert_eq!(stage.cluster.changes.len(), 7);
}
