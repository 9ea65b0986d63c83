//! The source killed at any await, its commits aborted or left unknown, records added, topics read
//! anew: every foreign record has its records in the topics once, in order.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_connect::backoff::Backoff;
use millrace_connect::source::{Ended, Interpret, Make, Source, SourceState, SourceTask, Status, Stop, TopicSource, Topics};
use millrace_log::random::Random;
use millrace_log::simulated::{Faults, SimulatedLog};
use millrace_log::{Log, Record, TopicPartition, TopicSpec};
use millrace_model::{SourceKind, Timestamp};
use millrace_test_seeds::{Killed, seeds};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{TOPIC, event};
use crate::{ChangeStream, Config, Documents};

const DEADLINE: Duration = Duration::from_secs(60);
const NOW: Timestamp = Timestamp(1_000_000);

struct Stage {
    foreign: SimulatedLog,
    own: SimulatedLog,
    sent: u64,
    earliest: bool,
}

fn topic(name: &str, partitions: u32) -> TopicSpec {
    TopicSpec {
        name: name.to_owned(),
        partitions,
        compacted: false,
        settings: Vec::new(),
    }
}

impl Stage {
    fn new(seed: u64) -> Stage {
        let foreign = SimulatedLog::new(seed, Faults::default(), NOW);
        foreign.create_topic(&topic(TOPIC, 2)).expect("no faults");
        let own = SimulatedLog::new(seed, Faults::default(), NOW);
        for kind in SourceKind::ALL {
            own.create_topic(&topic(kind.name(), 1)).expect("no faults");
        }
        own.create_topic(&topic("dead-letter", 1)).expect("no faults");
        Stage {
            foreign,
            own,
            sent: 0,
            earliest: false,
        }
    }

    /// Changes of rows 0 and 1, each row in a partition of its own, and now and then a bad record.
    fn send(&mut self, count: u64) {
        for _ in 0..count {
            self.sent += 1;
            let id = self.sent % 2;
            let row = json!({"id": id, "email": format!("{}@x.com", self.sent)});
            let at = i64::try_from(self.sent).expect("small");
            let good = !self.sent.is_multiple_of(7);
            let value = if good {
                event("u", Value::Null, row, at, self.sent)
            } else {
                json!(format!("{}", self.sent))
            };
            let to = TopicPartition {
                topic: TOPIC.into(),
                partition: u32::try_from(id).expect("small"),
            };
            let record = Record {
                key: Some(Bytes::from(json!({"id": id}).to_string())),
                value: Some(Bytes::from(value.to_string())),
                headers: Vec::new(),
            };
            self.foreign.append(vec![(to, record)]).expect("no faults");
        }
    }

    fn task(&self) -> SourceTask {
        let raw = json!({"instance": "db1", "topics": {TOPIC: {"records": [{"record": "person", "key": "id", "fields": {"workEmail.address": "email"}}]}}});
        let config = Config::new(serde_json::from_value(raw).expect("of this form")).expect("right");
        let interpret: Arc<dyn Interpret> = Arc::new(ChangeStream::new(config, Documents::default()));
        let (foreign, earliest): (Arc<dyn Log>, bool) = (Arc::new(self.foreign.clone()), self.earliest);
        let clock: millrace_connect::budget::WallClock = Arc::new(|| NOW);
        let now = Arc::clone(&clock);
        let make: Make =
            Arc::new(move || Box::new(TopicSource::new(Arc::clone(&foreign), Arc::clone(&interpret), Arc::clone(&clock), earliest)) as Box<dyn Source>);
        SourceTask {
            log: Arc::new(self.own.clone()),
            topics: Topics {
                records: SourceKind::ALL.into_iter().map(|kind| (kind, kind.name().to_owned())).collect(),
                dead_letters: "dead-letter".to_owned(),
                rows: topic("rows", 1),
                transactional_id: "test.source.crm".to_owned(),
                group: "test".to_owned(),
                place: |_, _| 0,
            },
            make,
            status: Arc::new(Status::new("crm", "debezium")),
            now,
            backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(10), 1),
        }
    }

    /// Runs until all records are there, then a little on; the status at the end.
    async fn settle(&self) -> Arc<Status> {
        let task = self.task();
        let status = Arc::clone(&task.status);
        let (stop, signal) = watch::channel(Stop::default());
        let run = tokio::spawn(async move { task.run(signal).await });
        let deadline = Instant::now() + DEADLINE;
        while self.found() < self.sent && Instant::now() < deadline {
            tokio::task::yield_now().await;
        }
        stop.send_modify(|now| now.stopped = true);
        assert_eq!(run.await.expect("no panic"), Ended::Stopped);
        status
    }

    fn found(&self) -> u64 {
        (self.own.content("person").len() + self.own.content("dead-letter").len()) as u64
    }

    /// The numbers of the foreign records in a topic, per row in order.
    fn check(&self) {
        let numbers = |topic: &str, number: fn(&Value) -> Option<u64>| -> Vec<u64> {
            let values = self.own.content(topic);
            let values = values
                .iter()
                .map(|one| serde_json::from_slice::<Value>(one.record.value.as_deref().expect("a value")).expect("JSON"));
            values.map(|value| number(&value).expect("a number")).collect()
        };
        let persons = numbers("person", |value| value["workEmail"]["address"].as_str()?.split('@').next()?.parse().ok());
        let dead = numbers("dead-letter", |value| value.as_str()?.parse().ok());
        for row in 0..2 {
            let of_row = |found: &[u64]| found.iter().copied().filter(|number| number % 2 == row).collect::<Vec<_>>();
            let expected = |good: bool| {
                (1..=self.sent)
                    .filter(|number| number % 2 == row && (number % 7 != 0) == good)
                    .collect::<Vec<_>>()
            };
            assert_eq!(of_row(&persons), expected(true));
            assert_eq!(of_row(&dead), expected(false));
        }
    }
}

async fn storm(seed: u64, kills: u64) {
    let mut stage = Stage::new(seed);
    let mut random = Random::new(seed);
    stage.foreign.set_faults(Faults {
        poll_unavailable: 100,
        poll_short: 300,
        gap: 100,
        ..Faults::default()
    });
    stage.own.set_faults(Faults {
        commit_aborted: 50,
        commit_unknown: 50,
        open_unavailable: 50,
        gap: 100,
        compacted: 200,
        ..Faults::default()
    });
    for _ in 0..kills {
        stage.send(random.below(4));
        let task = stage.task();
        let (_stop, signal) = watch::channel(Stop::default());
        let run = Killed::after(1 + random.below(12), task.run(signal));
        pin!(run).await;
    }
    stage.foreign.set_faults(Faults::default());
    stage.own.set_faults(Faults::default());
    stage.settle().await;
    stage.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_await_every_record_counts_once() {
    for seed in seeds!(0..8) {
        storm(seed, 30).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_takes_the_source_over() {
    let mut stage = Stage::new(1);
    stage.send(20);
    let first = stage.task();
    let (_stop, signal) = watch::channel(Stop::default());
    let running = tokio::spawn(async move { first.run(signal).await });
    stage.settle().await;
    stage.send(20);
    stage.settle().await;
    stage.check();
    // Fenced at its next commit at the latest; it may wait without news until then.
    running.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_records_stop_the_source_unless_it_may_go_on() {
    let mut stage = Stage::new(1);
    stage.send(20);
    stage.settle().await;
    stage.send(20);
    let place = |partition| TopicPartition {
        topic: TOPIC.into(),
        partition,
    };
    for partition in 0..2 {
        stage.foreign.lose(&place(partition), 12).expect("no faults");
    }
    let task = stage.task();
    let status = Arc::clone(&task.status);
    let (stop, signal) = watch::channel(Stop::default());
    let run = tokio::spawn(async move { task.run(signal).await });
    let deadline = Instant::now() + DEADLINE;
    while status.ready().is_ok() || status.view(NOW).state == SourceState::Starting {
        assert!(Instant::now() < deadline, "the source does not say what it lost");
        tokio::task::yield_now().await;
    }
    let reason = status.view(NOW).reason.unwrap_or_default();
    assert!(
        reason.contains("offset 10 of crm.public.t/") && reason.contains("is not in the log any more"),
        "{reason}"
    );
    stop.send_modify(|now| now.stopped = true);
    run.await.expect("no panic");

    stage.earliest = true;
    stage.sent -= 4;
    stage.settle().await;
    assert_eq!(stage.found(), stage.sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_shows_a_handful_and_writes_nothing() {
    let mut stage = Stage::new(1);
    stage.send(20);
    let samples = (stage.task().make)().preview().await.expect("the topics can be read");
    assert_eq!(samples.len(), 5);
    assert!(samples.iter().any(|sample| sample.mapped.is_ok()), "{samples:?}");
    assert_eq!(stage.found(), 0);
}
