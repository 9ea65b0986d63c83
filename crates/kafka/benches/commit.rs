//! Commits of one shard on a real broker of this machine: records of 300 bytes to changelog and
//! output, and one position.
//!
//! `cargo bench -p millrace-kafka`

use std::collections::BTreeMap;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use millrace_kafka::KafkaLog;
use millrace_kafka_harness::KafkaBroker;
use millrace_log::{Log, Record, ShardIdentity, TopicPartition, TopicSpec, Transaction};

fn transaction(changelog: &TopicPartition, output: &TopicPartition, input: &TopicPartition, records: u64) -> Transaction {
    let record = |number: u64| {
        let target = if number.is_multiple_of(4) { output } else { changelog };
        let record = Record {
            key: Some(Bytes::from(number.to_be_bytes().to_vec())),
            value: Some(Bytes::from(vec![number as u8; 300])),
            headers: Vec::new(),
        };
        (target.clone(), record)
    };
    Transaction {
        records: (1..=records).map(record).collect(),
        positions: vec![(input.clone(), 1)],
    }
}

fn commit(criterion: &mut Criterion) {
    let broker = KafkaBroker::start();
    let log = KafkaLog::new(BTreeMap::from([("bootstrap.servers".to_owned(), broker.bootstrap().to_owned())])).expect("valid properties");
    let [changelog, output, input] = ["changelog", "output", "input"].map(|name| {
        let spec = TopicSpec {
            name: name.to_owned(),
            partitions: 1,
            compacted: false,
            settings: Vec::new(),
        };
        log.create_topic(&spec).expect("a running broker");
        TopicPartition {
            topic: name.into(),
            partition: 0,
        }
    });
    let shard = ShardIdentity {
        transactional_id: "shard.0".to_owned(),
        group: "shards".to_owned(),
        changelog: changelog.clone(),
    };
    let mut session = log.open_shard(&shard).expect("a running broker");
    let mut group = criterion.benchmark_group("commit");
    group.sample_size(20);
    for records in [1, 100, 1_000, 10_000] {
        group.throughput(Throughput::Elements(records));
        group.bench_function(records.to_string(), |bench| {
            bench.iter_batched(
                || transaction(&changelog, &output, &input, records),
                |transaction| session.commit(transaction).expect("a running broker"),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, commit);
criterion_main!(benches);
