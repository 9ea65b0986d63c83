//! Each sentence of the contract about versions, deletions and merging, as a table.

use serde_json::{Value as Json, json};

use super::*;

/// One change: (modifiedAt, fields). `Json::Null` is a tombstone.
fn held(changes: &[(i64, Json)]) -> Option<Json> {
    let records: Vec<SourceRecord> = changes.iter().map(|(at, fields)| change("person", "k", *at, fields)).collect();
    replay("k", &records.iter().collect::<Vec<_>>()).map(|record| merge(&[&record]))
}

fn change(topic: &str, key: &str, at: i64, fields: &Json) -> SourceRecord {
    let mut value = fields.clone();
    if let Some(object) = value.as_object_mut() {
        object.insert("modifiedAt".to_owned(), json!(at));
    }
    SourceRecord {
        topic: topic.to_owned(),
        key: key.to_owned(),
        value: (!fields.is_null()).then_some(value),
        timestamp_ms: 999,
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn one_key() {
    let deleted = json!({ "isDeleted": true });
    type Case = (&'static str, Vec<(i64, Json)>, Option<Json>);
    let table: Vec<Case> = vec![
        (
            "a whole record",
            vec![(1, json!({"a": 1, "b": {"c": 2, "d": null}}))],
            Some(json!({"a": 1, "b": {"c": 2}})),
        ),
        (
            "a later one replaces it",
            vec![(1, json!({"a": 1, "b": 1})), (2, json!({"a": 2}))],
            Some(json!({"a": 2})),
        ),
        (
            "an older one changes nothing",
            vec![(2, json!({"a": 2})), (1, json!({"a": 1, "b": 1}))],
            Some(json!({"a": 2})),
        ),
        (
            "of equal ones the later in the topic wins",
            vec![(1, json!({"a": 1, "b": 1})), (1, json!({"a": 2}))],
            Some(json!({"a": 2})),
        ),
        (
            "a partial update takes its paths only",
            vec![(1, json!({"a": 1, "b": 1})), (2, json!({"changedFields": ["a"], "a": 2, "b": 2}))],
            Some(json!({"a": 2, "b": 1})),
        ),
        (
            "an older whole record holds where nothing newer speaks",
            vec![(2, json!({"changedFields": ["a"], "a": 2})), (1, json!({"a": 1, "b": 1}))],
            Some(json!({"a": 2, "b": 1})),
        ),
        (
            "a whole record in between settles older partial updates",
            vec![
                (1, json!({"changedFields": ["a"], "a": 1})),
                (3, json!({"changedFields": ["c"], "c": 3})),
                (2, json!({"b": 2})),
            ],
            Some(json!({"b": 2, "c": 3})),
        ),
        (
            "partial updates out of order",
            vec![
                (3, json!({"changedFields": ["a"], "a": 3})),
                (2, json!({"changedFields": ["a", "b"], "a": 2, "b": 2})),
            ],
            Some(json!({"a": 3, "b": 2})),
        ),
        (
            "a path absent or null in a partial update is gone",
            vec![(1, json!({"a": 1, "b": 1, "c": 1})), (2, json!({"changedFields": ["a", "b"], "a": null}))],
            Some(json!({"c": 1})),
        ),
        (
            "a path that covers several leaves",
            vec![(1, json!({"w": {"x": 1, "y": 1}, "z": 1})), (2, json!({"changedFields": ["w"], "w": {"x": 2}}))],
            Some(json!({"w": {"x": 2}, "z": 1})),
        ),
        (
            "a part of money",
            vec![
                (1, json!({"m": {"amount": 1, "currencyCode": "EUR"}})),
                (2, json!({"changedFields": ["m.amount"], "m": {"amount": 2}})),
            ],
            Some(json!({"m": {"amount": 2, "currencyCode": "EUR"}})),
        ),
        (
            "a part of money where there is none",
            vec![(1, json!({"changedFields": ["m.amount"], "m": {"amount": null}, "a": 1}))],
            Some(json!({})),
        ),
        (
            "a part of a key is all of it",
            vec![
                (1, json!({"k": {"sourceKey": "1@i.T", "sourceID": "1"}})),
                (2, json!({"changedFields": ["k.sourceKey"], "k": {"sourceKey": "2@i.T"}})),
            ],
            Some(json!({"k": {"sourceKey": "2@i.T"}})),
        ),
        (
            "a partial update with nothing under it",
            vec![(1, json!({"changedFields": ["a"], "a": 1, "b": 1}))],
            Some(json!({"a": 1})),
        ),
        ("deleted", vec![(1, json!({"a": 1})), (2, deleted.clone())], None),
        (
            "an older update that arrives later does not resurrect",
            vec![(2, deleted.clone()), (1, json!({"a": 1}))],
            None,
        ),
        ("a newer one does", vec![(2, deleted.clone()), (3, json!({"a": 1}))], Some(json!({"a": 1}))),
        (
            "an older delete removes nothing newer",
            vec![(2, json!({"a": 1})), (1, deleted.clone())],
            Some(json!({"a": 1})),
        ),
        (
            "an older delete removes what is older still under a partial update",
            vec![(1, json!({"a": 1, "b": 1})), (3, json!({"changedFields": ["a"], "a": 3})), (2, deleted.clone())],
            Some(json!({"a": 3})),
        ),
        (
            "a partial update after a delete is a record of just those paths",
            vec![(1, json!({"a": 1, "b": 1})), (2, deleted.clone()), (3, json!({"changedFields": ["a"], "a": 3}))],
            Some(json!({"a": 3})),
        ),
        (
            "of an equal delete the later in the topic wins",
            vec![(1, deleted.clone()), (1, json!({"a": 1}))],
            Some(json!({"a": 1})),
        ),
        ("and the other way", vec![(1, json!({"a": 1})), (1, deleted)], None),
        ("a tombstone removes what is there", vec![(1, json!({"a": 1})), (0, Json::Null)], None),
        (
            "records after it begin anew, older ones too",
            vec![(5, json!({"a": 5, "b": 5})), (0, Json::Null), (1, json!({"a": 1}))],
            Some(json!({"a": 1})),
        ),
        (
            "partial ones too",
            vec![(5, json!({"a": 5, "b": 5})), (0, Json::Null), (1, json!({"changedFields": ["a"], "a": 1}))],
            Some(json!({"a": 1})),
        ),
        (
            "it cuts off a delete as well",
            vec![(5, json!({"isDeleted": true})), (0, Json::Null), (1, json!({"a": 1}))],
            Some(json!({"a": 1})),
        ),
    ];
    for (sentence, changes, expected) in table {
        assert_eq!(held(&changes), expected, "{sentence}");
    }
}

#[test]
fn without_a_version_the_broker_s_timestamp_is_it() {
    let unversioned = |timestamp_ms, value| SourceRecord {
        topic: "person".to_owned(),
        key: "k".to_owned(),
        value: Some(value),
        timestamp_ms,
    };
    let records = [
        unversioned(20, json!({"a": 20})),
        change("person", "k", 10, &json!({"a": 10})),
        unversioned(5, json!({"a": 5})),
    ];
    assert_eq!(
        replay("k", &records.iter().collect::<Vec<_>>()).map(|record| merge(&[&record])),
        Some(json!({"a": 20}))
    );
    let dated = SourceRecord {
        value: Some(json!({"a": 1, "modifiedAt": "1970-01-01T00:00:01Z"})),
        ..records[0].clone()
    };
    assert_eq!(modified_at(dated.value.as_ref().unwrap(), 5), 1_000);
}

/// Expects the merged view of several keys' changes, in either order.
fn check_merged(sentence: &str, keys: &[(&str, Vec<(i64, Json)>)], expected: &Json) {
    let records: Vec<Record> = keys
        .iter()
        .filter_map(|(key, changes)| {
            let changes: Vec<SourceRecord> = changes.iter().map(|(at, fields)| change("person", key, *at, fields)).collect();
            replay(key, &changes.iter().collect::<Vec<_>>())
        })
        .collect();
    assert_eq!(&merge(&records.iter().collect::<Vec<_>>()), expected, "{sentence}");
    assert_eq!(&merge(&records.iter().rev().collect::<Vec<_>>()), expected, "{sentence}, in the other order");
}

#[test]
fn several_records_of_one_thing() {
    type Case = (&'static str, Vec<(&'static str, Vec<(i64, Json)>)>, Json);
    let table: Vec<Case> = vec![
        (
            "per leaf the latest",
            vec![("k1", vec![(1, json!({"a": 1, "b": 1}))]), ("k2", vec![(2, json!({"a": 2}))])],
            json!({"a": 2, "b": 1}),
        ),
        (
            "of equally late ones the least key",
            vec![("k2", vec![(1, json!({"a": 2}))]), ("k1", vec![(1, json!({"a": 1}))])],
            json!({"a": 1}),
        ),
        (
            "null never wins",
            vec![("k1", vec![(1, json!({"a": 1}))]), ("k2", vec![(2, json!({"a": null}))])],
            json!({"a": 1}),
        ),
        (
            "nor does what a partial update took away",
            vec![
                ("k1", vec![(1, json!({"a": 1}))]),
                ("k2", vec![(2, json!({"a": 2})), (3, json!({"changedFields": ["a"], "a": null}))]),
            ],
            json!({"a": 1}),
        ),
        (
            "arrays are whole",
            vec![("k1", vec![(1, json!({"a": [1, 2, 3]}))]), ("k2", vec![(2, json!({"a": [4]}))])],
            json!({"a": [4]}),
        ),
        (
            "an amount and its currency are one",
            vec![
                ("k1", vec![(1, json!({"m": {"amount": 1, "currencyCode": "EUR"}}))]),
                ("k2", vec![(2, json!({"m": {"amount": 2}}))]),
            ],
            json!({"m": {"amount": 2}}),
        ),
        (
            "no amount never wins over an amount, whatever currency comes with it",
            vec![
                ("k1", vec![(1, json!({"m": {"amount": 1, "currencyCode": "EUR"}}))]),
                ("k2", vec![(2, json!({"m": {"amount": null, "currencyCode": "USD"}}))]),
            ],
            json!({"m": {"amount": 1, "currencyCode": "EUR"}}),
        ),
        (
            "a key is one",
            vec![
                ("k1", vec![(1, json!({"x": {"sourceKey": "1", "sourceID": "1"}}))]),
                ("k2", vec![(2, json!({"x": {"sourceKey": "2"}}))]),
            ],
            json!({"x": {"sourceKey": "2"}}),
        ),
        (
            "other objects are merged",
            vec![("k1", vec![(1, json!({"x": {"p": 1, "q": 1}}))]), ("k2", vec![(2, json!({"x": {"p": 2}}))])],
            json!({"x": {"p": 2, "q": 1}}),
        ),
        (
            "a leaf is as new as the change that settled it",
            vec![
                ("k1", vec![(1, json!({"a": 1, "b": 1})), (5, json!({"changedFields": ["a"], "a": 5}))]),
                ("k2", vec![(3, json!({"a": 3, "b": 3}))]),
            ],
            json!({"a": 5, "b": 3}),
        ),
    ];
    for (sentence, keys, expected) in table {
        check_merged(sentence, &keys, &expected);
    }
}

#[test]
fn a_part_of_a_consent() {
    let with = |consent: Json| json!({ "consents": { "marketing": { "email": consent } } });
    let partial = |path: &str, consent: Json| {
        let mut value = with(consent);
        value["changedFields"] = json!([path]);
        value
    };
    let by_phone = || partial("consents.marketing.email.reason", json!({"reason": "by phone"}));
    let yes = || partial("consents.marketing.email.val", json!({"val": "y"}));
    type Case = (&'static str, Vec<(&'static str, Vec<(i64, Json)>)>, Json);
    let table: Vec<Case> = vec![
        (
            "a reason leaves the decision",
            vec![
                ("k1", vec![(6, with(json!({"val": "n", "reason": "asked"}))), (9, by_phone())]),
                ("k2", vec![(5, with(json!({"val": "y"})))]),
            ],
            with(json!({"val": "n", "reason": "by phone"})),
        ),
        (
            "and makes it no newer one",
            vec![
                ("k1", vec![(1, with(json!({"val": "y"}))), (9, by_phone())]),
                ("k2", vec![(5, with(json!({"val": "n"})))]),
            ],
            with(json!({"val": "n"})),
        ),
        (
            "a reason alone is no decision",
            vec![
                ("k1", vec![(9, with(json!({"reason": "by phone"})))]),
                ("k2", vec![(5, with(json!({"val": "y"})))]),
            ],
            with(json!({"val": "y"})),
        ),
        (
            "a val is one of its own",
            vec![("k1", vec![(1, with(json!({"val": "n", "reason": "asked"}))), (9, yes())])],
            with(json!({"val": "y"})),
        ),
        (
            "one from the future is as old as its record",
            vec![
                ("k1", vec![(1, with(json!({"val": "y", "time": "9999-01-01T00:00:00Z"})))]),
                ("k2", vec![(5, with(json!({"val": "n"})))]),
            ],
            with(json!({"val": "n"})),
        ),
    ];
    for (sentence, keys, expected) in table {
        check_merged(sentence, &keys, &expected);
    }
}
