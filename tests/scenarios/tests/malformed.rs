//! Ten thousand records of many bad kinds in a good stream: each is counted and dead-lettered, and
//! the good stream's result is the same as without them.

use bytes::Bytes;
use millrace_model::Timestamp;
use millrace_oracle::worlds::random::{self, Random};
use millrace_oracle::worlds::rules;
use millrace_oracle::{Config, Oracle};
use millrace_test_scenarios::Cluster;

const BAD: usize = 10_000;

/// An unusable record, and its topic.
fn malformed(random: &mut Random, number: usize, now_ms: i64) -> (&'static str, Option<Vec<u8>>, Option<Vec<u8>>) {
    let key = Some(format!("bad-{number}").into_bytes());
    let text = |text: &str| Some(text.as_bytes().to_vec());
    match random.below(16) {
        0 => ("person", key, text("")),
        1 => ("person", key, text("{\"personKey\":")),
        2 => ("account", key, text("[1,2]")),
        3 => ("account", key, text("plain words")),
        4 => ("opportunity", key, text(r#"{"opportunityAmount":{"amount":"a lot"}}"#)),
        5 => ("opportunity", key, text(r#"{"isWon":"perhaps"}"#)),
        6 => ("opportunity", key, text(r#"{"modifiedAt":"the day before yesterday"}"#)),
        7 => ("activity", key, text(r#"{"eventType":"web.webpagedetails.pageViews"}"#)),
        8 => ("activity", key, None),
        9 => {
            let far = now_ms + 86_400_000;
            (
                "activity",
                key,
                Some(format!(r#"{{"_id":"far-{number}","timestamp":{far},"personKey":{{"sourceKey":"1@m1.Marketo"}}}}"#).into_bytes()),
            )
        }
        10 => ("person", key, Some(vec![0xc3, 0x01, 1, 2, 3, 4, 5, 6, 7, 8, 9])),
        11 => ("person", key, Some(vec![0xff, 0xfe, 0x7b])),
        12 => ("account-link", key, text(r#"{"members":{"sourceKey":"a"}}"#)),
        13 => ("account-person", None, None),
        14 => (
            "person",
            key,
            text(r#"{"personKey":{"sourceKey":"somebody-else@m1.Marketo"},"person":{"name":{"firstName":"Eve"}}}"#),
        ),
        _ => {
            let mut deep = vec![b'{'];
            deep.extend(br#""extra":"#);
            deep.extend(std::iter::repeat_n(b'[', 5_000));
            ("person", key, Some(deep))
        }
    }
}

#[test]
fn ten_thousand_bad_records_change_nothing() {
    let stream = random::stream(4_711, 150);
    let rules = rules::all();
    let mut random = Random::new(99);
    let mut cluster = Cluster::new(3, 7, Timestamp(stream.start_ms));
    rules.iter().for_each(|rule| cluster.publish(rule));
    cluster.settle();
    let mut sent = 0;
    for (at, record) in stream.records.iter().enumerate() {
        cluster.advance_unsettled(Timestamp(record.timestamp_ms));
        cluster.source(record);
        while sent < BAD * (at + 1) / stream.records.len() {
            let (topic, key, value) = malformed(&mut random, sent, record.timestamp_ms);
            cluster.source_bytes(topic, key.as_deref(), value.map(Bytes::from), record.timestamp_ms);
            sent += 1;
        }
        cluster.settle();
    }
    assert_eq!(sent, BAD);
    assert_eq!(cluster.dead_letters.len(), BAD, "each bad record is one dead letter");
    let mut reasons: Vec<&str> = cluster.dead_letters.iter().map(String::as_str).collect();
    reasons.sort_unstable();
    reasons.dedup();
    assert!(reasons.len() >= 9, "many reasons, not one for all: {reasons:?}");
    let world = Oracle::evaluate(&stream.records, &rules, cluster.now.0, &Config::default());
    for rule in &rules {
        assert_eq!(cluster.members(&rule.name), world.members[&rule.name], "{}: {}", rule.name, rule.pql);
    }
}
