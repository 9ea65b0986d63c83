//! Sources over topics of others, killed at any await, their commits aborted or left unknown, records
//! added, topics read anew: every foreign record has its record in the source topics once, in order,
//! and every unusable one its dead letter.
//!
//! A connector says what its records look like (`Trial`); `Stage` runs its source between two
//! simulated logs and judges. The tests of `services/sources` use it.
//!
//! What it is *not*: it knows no connector, and not what records mean.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_connect::backoff::Backoff;
use millrace_connect::budget::WallClock;
use millrace_connect::source::{Ended, Interpret, Make, Source, SourceTask, Status, Stop, TopicSource, Topics};
use millrace_log::random::Random;
use millrace_log::simulated::{Faults, SimulatedLog};
use millrace_log::{Log, Record, TopicPartition, TopicSpec};
use millrace_model::{SourceKind, Timestamp};
use millrace_test_seeds::Killed;
use tokio::sync::watch;

const DEADLINE: Duration = Duration::from_secs(60);

/// The instant at which everything happens.
pub const NOW: Timestamp = Timestamp(1_000_000);

/// Every seventh record cannot be used.
const BAD_EVERY: u64 = 7;

const PARTITIONS: u32 = 2;
const DEAD_LETTERS: &str = "dead-letter";

/// A connector as the storm sees it.
#[derive(Clone, Copy)]
pub struct Trial {
    /// The type of the source.
    pub kind: &'static str,
    /// The foreign topic that it reads.
    pub topic: &'static str,
    pub interpret: fn() -> Arc<dyn Interpret>,
    /// The foreign record of a number, counted from 1; false: one that cannot be used. Records go
    /// to the partition of their number modulo two.
    pub record: fn(u64, bool) -> Record,
    /// What a usable record becomes.
    pub becomes: SourceKind,
    /// The number of the foreign record, from what it became.
    pub number: fn(&Record) -> Option<u64>,
    /// The number of an unusable record, from its dead letter.
    pub dead_number: fn(&Record) -> Option<u64>,
}

/// A source between the log of others and its own.
pub struct Stage {
    pub foreign: SimulatedLog,
    own: SimulatedLog,
    trial: Trial,
    /// How many records there are to find.
    pub sent: u64,
    /// Go on with the earliest record where the next one is lost.
    pub earliest: bool,
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
    /// # Panics
    /// Never: a simulated log without faults creates topics.
    pub fn new(trial: Trial, seed: u64) -> Stage {
        let foreign = SimulatedLog::new(seed, Faults::default(), NOW);
        foreign.create_topic(&topic(trial.topic, PARTITIONS)).expect("no faults");
        let own = SimulatedLog::new(seed, Faults::default(), NOW);
        for name in SourceKind::ALL.map(SourceKind::name).into_iter().chain([DEAD_LETTERS]) {
            own.create_topic(&topic(name, 1)).expect("no faults");
        }
        Stage {
            foreign,
            own,
            trial,
            sent: 0,
            earliest: false,
        }
    }

    /// A partition of the foreign topic.
    pub fn place(&self, partition: u32) -> TopicPartition {
        TopicPartition {
            topic: self.trial.topic.into(),
            partition,
        }
    }

    /// Adds records to the foreign topic.
    ///
    /// # Panics
    /// Where the foreign log has faults that refuse them.
    pub fn send(&mut self, count: u64) {
        for _ in 0..count {
            self.sent += 1;
            let record = (self.trial.record)(self.sent, !self.sent.is_multiple_of(BAD_EVERY));
            let partition = u32::try_from(self.sent % u64::from(PARTITIONS)).expect("small");
            self.foreign.append(vec![(self.place(partition), record)]).expect("no faults");
        }
    }

    /// The source as a process runs it.
    pub fn task(&self) -> SourceTask {
        let interpret = (self.trial.interpret)();
        let (foreign, earliest): (Arc<dyn Log>, bool) = (Arc::new(self.foreign.clone()), self.earliest);
        let clock: WallClock = Arc::new(|| NOW);
        let now = Arc::clone(&clock);
        let make: Make =
            Arc::new(move || Box::new(TopicSource::new(Arc::clone(&foreign), Arc::clone(&interpret), Arc::clone(&clock), earliest)) as Box<dyn Source>);
        SourceTask {
            log: Arc::new(self.own.clone()),
            topics: Topics {
                records: SourceKind::ALL.into_iter().map(|kind| (kind, kind.name().to_owned())).collect(),
                dead_letters: DEAD_LETTERS.to_owned(),
                rows: topic("rows", 1),
                transactional_id: "test.source.tried".to_owned(),
                group: "test".to_owned(),
                place: |_, _| 0,
            },
            make,
            status: Arc::new(Status::new("tried", self.trial.kind)),
            now,
            backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(10), 1),
        }
    }

    /// Runs the source until everything is there; its status at the end.
    ///
    /// # Panics
    /// Where the source ends by itself.
    pub async fn settle(&self) -> Arc<Status> {
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

    /// Records and dead letters so far.
    pub fn found(&self) -> u64 {
        (self.own.content(self.trial.becomes.name()).len() + self.own.content(DEAD_LETTERS).len()) as u64
    }

    /// Every foreign record has come out once, each partition in its order.
    ///
    /// # Panics
    /// Where that is not so.
    pub fn check(&self) {
        let numbers = |topic: &str, number: fn(&Record) -> Option<u64>| -> Vec<u64> {
            let records = self.own.content(topic).into_iter().map(|one| one.record);
            records
                .map(|record| number(&record).unwrap_or_else(|| panic!("{topic}: {record:?} has no number")))
                .collect()
        };
        let good = numbers(self.trial.becomes.name(), self.trial.number);
        let dead = numbers(DEAD_LETTERS, self.trial.dead_number);
        for partition in 0..u64::from(PARTITIONS) {
            let here = |number: &u64| number % u64::from(PARTITIONS) == partition;
            let of = |found: &[u64]| found.iter().copied().filter(here).collect::<Vec<_>>();
            let expected = |usable: bool| {
                let all = (1..=self.sent).filter(here);
                all.filter(|number| number.is_multiple_of(BAD_EVERY) != usable).collect::<Vec<_>>()
            };
            assert_eq!(of(&good), expected(true));
            assert_eq!(of(&dead), expected(false));
        }
    }
}

/// Kills the source again and again while records come and both logs have faults, then lets it
/// finish, and judges.
///
/// # Panics
/// Where a record is lost, repeated or out of order.
pub async fn storm(trial: Trial, seed: u64, kills: u64) {
    let mut stage = Stage::new(trial, seed);
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
