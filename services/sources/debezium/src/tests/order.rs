//! Versions: the order of the topic, whatever clocks say.

use millrace_model::Timestamp;
use serde_json::json;

use crate::order::{Order, Position};

#[test]
fn places_of_a_log_compare() {
    let table = [
        (
            json!({"sequence": "[\"9\",\"10\"]", "lsn": 10}),
            json!({"sequence": "[\"10\",\"9\"]", "lsn": 9}),
        ),
        (json!({"sequence": "[null,\"9\"]"}), json!({"sequence": "[\"9\",\"9\"]"})),
        (
            json!({"file": "mysql-bin.000009", "pos": 99, "row": 0}),
            json!({"file": "mysql-bin.000010", "pos": 4, "row": 0}),
        ),
        (json!({"file": "b.1", "pos": 9, "row": 0}), json!({"file": "b.1", "pos": 10, "row": 0})),
        (
            json!({"commit_lsn": "00000027:00000758:0005", "change_lsn": "00000027:00000758:0003", "event_serial_no": 1}),
            json!({"commit_lsn": "00000027:00000ac0:0002", "change_lsn": "00000027:00000758:0004", "event_serial_no": 1}),
        ),
        (json!({"commit_scn": "9", "scn": "5"}), json!({"commit_scn": "10", "scn": "4"})),
    ];
    for (first, second) in table {
        let (first, second) = (Position::of(&first), Position::of(&second));
        assert!(first.is_some() && first < second, "{first:?} {second:?}");
    }
    assert_eq!(Position::of(&json!({"lsn": null, "sequence": null})), None);
}

#[test]
fn versions_keep_the_order_of_the_topic() {
    let mut order = Order::default();
    let place = |lsn: u64| Position::of(&json!({"sequence": format!("[\"{lsn}\",\"{lsn}\"]")}));
    let recorded = Timestamp(10_000);
    let mut version = |at: Option<i64>, position: Option<Position>| order.version(at.map(Timestamp), position.as_ref(), recorded).0;
    // A snapshot reads a row at 1,000; a change that follows it was committed at 990.
    assert_eq!(version(Some(1_000), None), 1_000);
    assert_eq!(version(Some(990), place(1)), 1_000);
    assert_eq!(version(Some(1_100), place(2)), 1_100);
    // The end of the stream again: both are older than what is known.
    assert_eq!(version(Some(990), place(1)), 990);
    assert_eq!(version(Some(1_100), place(2)), 1_100);
    assert_eq!(version(Some(1_200), place(3)), 1_200);
    // A clock far ahead lifts the next ones no further than their own records.
    assert_eq!(version(Some(99_000), place(4)), 99_000);
    assert_eq!(version(Some(1_300), place(5)), 10_000);
    // Without a time of the database, the record's.
    assert_eq!(version(None, None), 10_000);
}
