//! The cost of decoding a visit of about 500 bytes and of writing a membership. The aim is under 10
//! µs per visit.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use millrace_model::{Identity, Schema, SourceKind, Timestamp};
use millrace_wire::{Cause, CauseKind, Decoder, Membership, OutputCodec, Status};

const NOW: Timestamp = Timestamp(1_767_225_600_000);

const VISIT: &str = r#"{"_id":"8f14e45f-ceea-467f-9b3a-1d2f3a4b5c6d","timestamp":"2025-12-31T12:34:56.789Z","eventType":"web.webpagedetails.pageViews","personKey":{"sourceType":"Marketo","sourceInstanceID":"marketo1","sourceID":"1001","sourceKey":"1001@marketo1.Marketo"},"web":{"webPageDetails":{"URL":"https://www.bodea.example/products/new-product?src=mail","name":"New product","webPageID":"1174","queryParameters":"src=mail"},"webReferrer":{"URL":"https://search.example/"}},"environment":{"ipV4":"192.0.2.7"}}"#;

fn decode(c: &mut Criterion) {
    let decoder = Decoder::builder(Arc::new(Schema::built_in().unwrap())).unwrap().build();
    let visit = |bytes: &[u8]| {
        decoder
            .decode(SourceKind::Activity, Some(b"1001@marketo1.Marketo"), Some(black_box(bytes)), NOW, NOW)
            .unwrap()
    };
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Bytes(VISIT.len() as u64));
    group.bench_function("visit, JSON", |b| b.iter(|| visit(VISIT.as_bytes())));

    let avro = avro_visit();
    assert_eq!(visit(&avro), visit(VISIT.as_bytes()));
    group.throughput(Throughput::Bytes(avro.len() as u64));
    group.bench_function("visit, Avro", |b| b.iter(|| visit(&avro)));
    group.finish();
}

/// The same visit in Avro single-object encoding.
fn avro_visit() -> Vec<u8> {
    use apache_avro::types::Value as Avro;
    let text = |text: &str| Avro::String(text.to_owned());
    let record = |fields: &[(&str, Avro)]| Avro::Record(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect());
    let key = [
        ("sourceType", "Marketo"),
        ("sourceInstanceID", "marketo1"),
        ("sourceID", "1001"),
        ("sourceKey", "1001@marketo1.Marketo"),
    ];
    let page = [
        ("URL", "https://www.bodea.example/products/new-product?src=mail"),
        ("name", "New product"),
        ("webPageID", "1174"),
        ("queryParameters", "src=mail"),
    ];
    let value = record(&[
        ("_id", text("8f14e45f-ceea-467f-9b3a-1d2f3a4b5c6d")),
        ("timestamp", Avro::Long(1_767_184_496_789)),
        ("eventType", text("web.webpagedetails.pageViews")),
        ("personKey", record(&key.map(|(name, value)| (name, text(value))))),
        (
            "web",
            record(&[
                ("webPageDetails", record(&page.map(|(name, value)| (name, text(value))))),
                ("webReferrer", record(&[("URL", text("https://search.example/"))])),
            ]),
        ),
        ("environment", record(&[("ipV4", text("192.0.2.7"))])),
    ]);
    let schema = apache_avro::Schema::parse_str(Schema::avro_text(SourceKind::Activity)).unwrap();
    let mut bytes = vec![0xC3, 0x01];
    bytes.extend(schema.fingerprint::<apache_avro::rabin::Rabin>().bytes);
    bytes.extend(
        apache_avro::writer::datum::GenericDatumWriter::builder(&schema)
            .build()
            .unwrap()
            .write_value_to_vec(value.resolve(&schema).unwrap())
            .unwrap(),
    );
    bytes
}

fn encode(c: &mut Criterion) {
    let membership = Membership {
        segment: "new-product-upsell".to_owned(),
        segment_version: 3,
        subject_type: "person".to_owned(),
        subject_id: "b2b_person:1001@marketo1.Marketo".to_owned(),
        status: Status::Realized,
        last_qualification_time: NOW,
        evaluated_at: NOW,
        valid_until: Some(NOW),
        sequence: 12,
        identities: [("b2b_person", "1001@marketo1.Marketo"), ("email", "p2@townsend.com")]
            .iter()
            .filter_map(|(namespace, id)| Identity::new(namespace, id))
            .collect(),
        cause: Cause {
            kind: CauseKind::Record,
            topic: Some("millrace.source.activity".to_owned()),
            key: None,
            event_id: Some("e1".to_owned()),
        },
        merged_into: None,
    };
    let mut group = c.benchmark_group("encode");
    for (name, codec) in [("membership, JSON", OutputCodec::Json), ("membership, Avro", OutputCodec::SingleObject)] {
        group.bench_function(name, |b| b.iter(|| codec.encode_membership(black_box(&membership)).unwrap()));
    }
    group.finish();
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
