//! Ten thousand unusable records, of many kinds, in a good stream: each becomes one unchanged dead
//! letter, and the good stream's result stays the same.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_kafka_harness::KafkaBroker;
use millrace_oracle::worlds::random::Random;
use millrace_oracle::worlds::rules;
use millrace_test_e2e::deployment::Deployment;
use millrace_test_e2e::judge::{self, DeadLetter};
use millrace_test_e2e::outside::Producer;
use millrace_test_e2e::{now_ms, wait_for, worlds};

const BAD: usize = 10_000;
const WORLDS: usize = 8;
const CHANGES: usize = 120;

/// An unusable record: its topic, its bytes, and the reason.
struct Bad {
    topic: &'static str,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    reason: &'static str,
}

fn bad(random: &mut Random, number: usize) -> Bad {
    let own = || Some(format!("bad-{number}").into_bytes());
    let of = |topic, key, value: Option<&[u8]>, reason| Bad {
        topic,
        key,
        value: value.map(<[u8]>::to_vec),
        reason,
    };
    let text = |topic, value: &str, reason| of(topic, own(), Some(value.as_bytes()), reason);
    let far = now_ms() + 86_400_000;
    match random.below(26) {
        0 => text("person", "", "empty"),
        1 => text("person", "{\"personKey\":", "malformed-json"),
        2 => text("person", "{\"b2b\":{\"personScore\":1e999}}", "wrong-type"),
        3 => text("person", "{\"isDeleted\":true,\"isDeleted\":false}", "malformed-json"),
        4 => text(
            "person",
            &format!("{{\"extra\":{{\"x\":{}{}}}}}", "[".repeat(200), "]".repeat(200)),
            "malformed-json",
        ),
        5 => text("account", "[1,2]", "unknown-encoding"),
        6 => text("account", "plain words", "unknown-encoding"),
        7 => of("account", own(), Some(b"\x00\x00\x00\x00\x07\x02"), "unknown-encoding"),
        8 => of("account", own(), Some(b"{\"accountName\":\"\xff\xfe\"}"), "bad-utf8"),
        9 => of("account", Some(b"bad-\xc3\x28".to_vec()), Some(b"{}"), "bad-utf8"),
        10 => text("opportunity", r#"{"opportunityAmount":{"amount":"a lot"}}"#, "wrong-type"),
        11 => text("opportunity", r#"{"isWon":"perhaps"}"#, "wrong-type"),
        12 => text("opportunity", r#"{"modifiedAt":"the day before yesterday"}"#, "wrong-type"),
        13 => text("opportunity", r#"{"changedFields":["opportunityAmuont"]}"#, "unknown-changed-field"),
        // A broker accepts no record without key on a compacted topic; blanks are not a key.
        14 => of("account-person", Some(b" ".to_vec()), Some(b"{\"isActive\":true}"), "missing-key"),
        15 => of("account-person", Some(b"".to_vec()), None, "tombstone-without-key"),
        16 => text("person", r#"{"personKey":{"sourceKey":"somebody-else@m1.Marketo"}}"#, "key-mismatch"),
        17 => text("account-link", r#"{"members":{"sourceKey":"a"}}"#, "wrong-type"),
        18 => of("person", own(), Some(&[0xc3, 0x01, 1, 2, 3, 4, 5, 6, 7, 8, 9]), "unknown-fingerprint"),
        19 => of("person", own(), Some(&[0xc3, 0x01, 1]), "bad-avro"),
        20 => of("activity", own(), None, "tombstone-on-activity"),
        21 => text("activity", r#"{"timestamp":0}"#, "missing-id"),
        22 => text("activity", &format!("{{\"_id\":\"bad-{number}\"}}"), "missing-timestamp"),
        23 => of(
            "activity",
            None,
            Some(format!("{{\"_id\":\"bad-{number}\",\"timestamp\":0}}").as_bytes()),
            "no-identity",
        ),
        24 => text("activity", &format!("{{\"_id\":\"bad-{number}\",\"timestamp\":{far}}}"), "from-the-future"),
        _ => of("campaign", Some(vec![b'k'; 1_025]), Some(b"{}"), "oversize"),
    }
}

#[test]
fn ten_thousand_bad_records_are_as_many_dead_letters_and_change_nothing() {
    let deployment = Deployment::with_topics(KafkaBroker::shared(), "malformed", 3);
    deployment.apply(&rules::all());
    let mut nodes = [deployment.node("only")];
    nodes[0].start();

    let good = worlds::side_by_side(77, WORLDS, CHANGES, now_ms());
    let mut random = Random::new(99);
    let mut producer = Producer::start(&deployment.bootstrap);
    let mut sent: Vec<(usize, Bad)> = Vec::new();
    for (at, record) in good.iter().enumerate() {
        producer.send_json(&deployment.prefix, record);
        while sent.len() < BAD * (at + 1) / good.len() {
            let bad = bad(&mut random, sent.len());
            producer.send(&deployment.topic(&format!("source.{}", bad.topic)), bad.key.as_deref(), bad.value.as_deref());
            sent.push((at + 1 + sent.len(), bad));
        }
    }
    let places = producer.finish();
    let letter = |(at, bad): (usize, Bad)| DeadLetter {
        topic: deployment.topic(&format!("source.{}", bad.topic)),
        partition: places[at].partition,
        offset: places[at].offset,
        key: bad.key,
        value: bad.value,
        reason: bad.reason.to_owned(),
    };
    let mut expected: Vec<DeadLetter> = sent.into_iter().map(letter).collect();
    expected.sort();
    assert_eq!(expected.len(), BAD);

    nodes[0].wait_ready();
    let found = wait_for("ten thousand dead letters", Duration::from_secs(90), || {
        let found = judge::dead_letters(&deployment)?;
        if found.len() >= BAD {
            Ok(found)
        } else {
            Err(format!("{} so far\n{}", found.len(), nodes[0].tail()))
        }
    });
    assert_eq!(by_reason(&found), by_reason(&expected));
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    let is_bad = |topic: &str, partition, offset| {
        expected
            .binary_search_by(|bad| (bad.topic.as_str(), bad.partition, bad.offset).cmp(&(topic, partition, offset)))
            .is_ok()
    };
    let records = judge::sources(&deployment, |row| is_bad(&row.topic, row.partition, row.offset));
    assert_eq!(records.len(), good.len());
    let changes = judge::settled(&deployment, &mut nodes, &records, &rules::all(), Duration::from_secs(60));
    assert_eq!(nodes[0].metric("millrace_dead_letters_total", "").map(|count| count as usize), Ok(BAD));
    assert_eq!(
        judge::dead_letters(&deployment).map(|letters| letters.len()),
        Ok(BAD),
        "nothing is refused twice"
    );
    println!(
        "{} good records, {BAD} dead letters of {:?}, {} membership changes",
        good.len(),
        by_reason(&found),
        changes.len()
    );
}

fn by_reason(letters: &[DeadLetter]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for letter in letters {
        *counts.entry(letter.reason.as_str()).or_default() += 1;
    }
    counts
}
