//! Output records in every encoding, and everything ever written read back.

use std::path::Path;

use expect_test::expect;
use serde_json::json;

use super::*;
use crate::DecodeError;

fn membership() -> Membership {
    Membership {
        segment: "new-product-upsell".to_owned(),
        segment_version: 3,
        subject_type: "person".to_owned(),
        subject_id: "b2b_person:7@m1.Marketo".to_owned(),
        status: Status::Realized,
        last_qualification_time: Timestamp(1_767_225_600_000),
        evaluated_at: Timestamp(1_767_225_600_001),
        valid_until: Some(Timestamp(1_769_904_000_000)),
        sequence: 12,
        identities: [("b2b_person", "7@m1.Marketo"), ("email", "p2@townsend.com")]
            .into_iter()
            .filter_map(|(namespace, id)| Identity::new(namespace, id))
            .collect(),
        cause: Cause {
            kind: CauseKind::Record,
            topic: Some("millrace.source.activity".to_owned()),
            key: Some("7@m1.Marketo".to_owned()),
            event_id: Some("e1".to_owned()),
        },
        merged_into: None,
    }
}

fn exit() -> Membership {
    let cause = Cause {
        kind: CauseKind::Merge,
        topic: None,
        key: None,
        event_id: None,
    };
    Membership {
        status: Status::Exited,
        valid_until: None,
        identities: Vec::new(),
        cause,
        merged_into: Some("b2b_person:1@m1.Marketo".to_owned()),
        ..membership()
    }
}

fn state() -> DestinationState {
    DestinationState {
        destination: "linkedin".to_owned(),
        audience: "new-product-upsell".to_owned(),
        identity: Identity::new("email", "p2@townsend.com").unwrap(),
        state: Presence::Present,
        attributes: [
            ("jobTitle".to_owned(), json!("VP")),
            ("score".to_owned(), json!(7.5)),
            ("tags".to_owned(), json!(["a", null])),
        ]
        .into(),
        changed_at: Timestamp(1_767_225_600_001),
    }
}

fn absent() -> DestinationState {
    DestinationState {
        state: Presence::Absent,
        attributes: BTreeMap::new(),
        ..state()
    }
}

const CODECS: [OutputCodec; 3] = [
    OutputCodec::Json,
    OutputCodec::SingleObject,
    OutputCodec::Confluent {
        membership: 7,
        destination_state: 8,
    },
];

#[test]
fn every_encoding_reads_back() {
    for codec in CODECS {
        for record in [membership(), exit()] {
            let bytes = codec.encode_membership(&record).unwrap();
            assert_eq!(OutputCodec::decode_membership(&bytes, None).unwrap(), record, "{codec:?}");
        }
        for record in [state(), absent()] {
            let bytes = codec.encode_destination_state(&record).unwrap();
            assert_eq!(OutputCodec::decode_destination_state(&bytes, None).unwrap(), record, "{codec:?}");
        }
    }
}

#[test]
fn json_as_consumers_see_it() {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    expect![[r#"{"segment":"new-product-upsell","segmentVersion":3,"subjectType":"person","subjectId":"b2b_person:7@m1.Marketo","status":"realized","lastQualificationTime":"2026-01-01T00:00:00.000Z","evaluatedAt":"2026-01-01T00:00:00.001Z","validUntil":"2026-02-01T00:00:00.000Z","sequence":12,"identities":[{"namespace":"b2b_person","id":"7@m1.Marketo"},{"namespace":"email","id":"p2@townsend.com"}],"cause":{"kind":"record","topic":"millrace.source.activity","key":"7@m1.Marketo","eventId":"e1"},"mergedInto":null}"#]]
        .assert_eq(&text(OutputCodec::Json.encode_membership(&membership()).unwrap()));
    expect![[r#"{"destination":"linkedin","audience":"new-product-upsell","identity":{"namespace":"email","id":"p2@townsend.com"},"state":"present","attributes":{"jobTitle":"VP","score":7.5,"tags":["a",null]},"changedAt":"2026-01-01T00:00:00.001Z"}"#]]
        .assert_eq(&text(OutputCodec::Json.encode_destination_state(&state()).unwrap()));
    assert_eq!(membership().key(), "new-product-upsell|b2b_person:7@m1.Marketo");
    assert_eq!(state().key(), "new-product-upsell|email:p2@townsend.com");
}

#[test]
fn headers_of_the_binary_encodings() {
    let single = OutputCodec::SingleObject.encode_membership(&membership()).unwrap();
    let confluent = CODECS[2].encode_membership(&membership()).unwrap();
    assert_eq!(single[..2], [0xC3, 0x01]);
    assert_eq!(confluent[..5], [0, 0, 0, 0, 7]);
    assert_eq!(single[10..], confluent[5..]);
    assert_eq!(CODECS[2].encode_destination_state(&state()).unwrap()[..5], [0, 0, 0, 0, 8]);
}

#[test]
fn later_fields_and_other_encodings_of_instants_are_borne() {
    let json = json!({
        "segment": "s", "segmentVersion": 1, "subjectType": "person", "subjectId": "b2b_person:p", "status": "exited", "lastQualificationTime": 5,
        "evaluatedAt": "1970-01-01T00:00:00.006Z", "sequence": 1, "cause": {"kind": "timer"}, "added": {"later": true}
    });
    let read = OutputCodec::decode_membership(json.to_string().as_bytes(), None).unwrap();
    assert_eq!(
        (read.last_qualification_time, read.evaluated_at, read.valid_until, read.merged_into),
        (Timestamp(5), Timestamp(6), None, None)
    );
}

#[test]
fn bytes_that_are_no_output_record() {
    let good = OutputCodec::SingleObject.encode_membership(&membership()).unwrap();
    let table: [(&[u8], &str); 8] = [
        (b"", "malformed-json"),
        (b"{}", "malformed-json"),
        (&[0xC3, 0x01, 0], "bad-avro"),
        (&[0xC3, 0x01, 0, 0, 0, 0, 0, 0, 0, 0], "unknown-fingerprint"),
        (&[0, 0, 0], "bad-avro"),
        (&[0, 0, 0, 0, 7], "bad-avro"),
        (&good[..good.len() - 1], "bad-avro"),
        (&[&good[..], &[0]].concat(), "bad-avro"),
    ];
    for (bytes, expected) in table {
        match OutputCodec::decode_membership(bytes, None) {
            Err(OutputError::Unreadable(DecodeError::Rejected(rejection))) => assert_eq!(rejection.reason, expected, "{bytes:?}"),
            other => panic!("{bytes:?}: {other:?}"),
        }
    }
}

/// The fixtures were written by released versions. They are never rewritten: a new version of a
/// schema adds its own. A missing one is written once, when `UPDATE_EXPECT` is set.
#[test]
fn fixtures_stay_readable() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let fixture = |name: &str, written: Vec<u8>| -> Vec<u8> {
        let path = folder.join(name);
        if !path.exists() && std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &written).unwrap();
        }
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    for (codec, ending) in CODECS.into_iter().zip(["json", "single-object.bin", "confluent.bin"]) {
        for (name, record) in [("membership-1-realized", membership()), ("membership-1-exited", exit())] {
            let bytes = fixture(&format!("{name}.{ending}"), codec.encode_membership(&record).unwrap());
            assert_eq!(OutputCodec::decode_membership(&bytes, None).unwrap(), record, "{name}.{ending}");
        }
        for (name, record) in [("destination-state-1-present", state()), ("destination-state-1-absent", absent())] {
            let bytes = fixture(&format!("{name}.{ending}"), codec.encode_destination_state(&record).unwrap());
            assert_eq!(OutputCodec::decode_destination_state(&bytes, None).unwrap(), record, "{name}.{ending}");
        }
    }
}
