//! The life of a source: take it over, restore its rows, read, commit, wait, repeat.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_log::{Disposition, Log, LogError, Record, ShardIdentity, ShardSession, TopicPartition, TopicSpec, Transaction};
use millrace_model::{Rejection, SourceKind, Timestamp, chain};
use millrace_wire::{DeadLetterOrigin, Reason, dead_letter_headers};
use tokio::sync::watch;

use super::listing::{self, Found, KEYS_MAX, Part};
use super::{Batch, Emitted, Mark, Rows, Source, SourceError, SourceState, Status, Sweep, Unusable};
use crate::backoff::Backoff;
use crate::budget::WallClock;

/// Records of a source carry its name in this header, so that its retirement can find all of them.
pub const SOURCE_HEADER: &str = "millrace.source";

/// The longest wait before a source without credentials, or with a refused call, tries again: a
/// person may have repaired it.
const MENDED_WITHIN: Duration = Duration::from_secs(60);

/// The withdrawals of one transaction.
const WITHDRAWN_AT_ONCE: usize = 1_000;

/// Where a source writes; the deployment chooses the names.
#[derive(Clone)]
pub struct Topics {
    /// The source topic of each kind of record; a kind without one stops the task.
    pub records: BTreeMap<SourceKind, String>,
    /// Where rejected records go.
    pub dead_letters: String,
    /// The source's own rows; created at its first start.
    pub rows: TopicSpec,
    /// The same at every start, different for every source: it fences the process that ran the
    /// source before.
    pub transactional_id: String,
    /// The consumer group of the session; different for every source.
    pub group: String,
    /// The partition of a key among this number of partitions.
    pub place: fn(&[u8], u32) -> u32,
}

/// Makes a source; it continues from the rows it is given.
pub type Make = Arc<dyn Fn() -> Box<dyn Source> + Send + Sync>;

/// The control signal of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stop {
    /// The task ends; a read in progress is dropped, a commit in progress is not.
    pub stopped: bool,
    /// The task reads nothing until this is false again; a read in progress is dropped.
    pub paused: bool,
}

/// Why a task ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// As asked, or because nobody is left to ask.
    Stopped,
    /// Another process runs this source now. Nothing of this one's open transaction is visible.
    Released,
    /// The log reports a fault that needs a person.
    Failed(String),
}

/// Runs one source.
pub struct SourceTask {
    /// Where records and rows are appended.
    pub log: Arc<dyn Log>,
    /// The names of the topics.
    pub topics: Topics,
    /// Called each time the source is taken over: at the start and after a failed commit.
    pub make: Make,
    /// Written by the task, read by everybody else.
    pub status: Arc<Status>,
    /// The wall clock, for the status and the end of a day.
    pub now: WallClock,
    /// The waits after failures.
    pub backoff: Backoff,
}

/// An open session of the source.
struct Hold {
    session: Box<dyn ShardSession>,
    rows: Rows,
}

impl SourceTask {
    /// Runs until stopped, or until another process takes the source over. Commits block the
    /// thread: give each task a thread of its own.
    pub async fn run(&self, mut control: watch::Receiver<Stop>) -> Ended {
        let mut backoff = self.backoff.clone();
        loop {
            let outcome = match self.open() {
                Ok(hold) => self.read(hold, &mut backoff, &mut control).await,
                Err(error) => Err(error),
            };
            let error = match outcome {
                Ok(ended) => return self.ended(ended),
                Err(error) => error,
            };
            match error.disposition() {
                Disposition::Release => return self.ended(Ended::Released),
                Disposition::Stop => return self.ended(Ended::Failed(chain(&error))),
                Disposition::Recover => {
                    let wait = backoff.after_failure(None);
                    let reason = chain(&error);
                    tracing::warn!(source = self.status.name(), reason, wait_ms = wait.as_millis(), "source recovers");
                    self.status.set(SourceState::Waiting, Some(reason));
                    if self.waited(wait, &mut control).await {
                        return self.ended(Ended::Stopped);
                    }
                }
            }
        }
    }

    fn ended(&self, ended: Ended) -> Ended {
        match &ended {
            Ended::Stopped => tracing::info!(source = self.status.name(), "source stopped"),
            Ended::Released => {
                tracing::warn!(source = self.status.name(), "another process runs this source now");
                self.status.set(SourceState::Released, Some("another process runs this source".to_owned()));
            }
            Ended::Failed(reason) => {
                tracing::error!(source = self.status.name(), reason, "source failed; a person must act");
                self.status.set(SourceState::Failed, Some(reason.clone()));
            }
        }
        ended
    }

    /// Takes the source over and fences its earlier owner.
    fn open(&self) -> Result<Hold, LogError> {
        self.log.create_topic(&self.topics.rows)?;
        let mut session = self.log.open_shard(&ShardIdentity {
            transactional_id: self.topics.transactional_id.clone(),
            group: self.topics.group.clone(),
            changelog: self.rows_partition(),
        })?;
        let mut rows = Rows::default();
        session.restore(millrace_log::EARLIEST, &mut |delivered| rows.restore(&delivered))?;
        Ok(Hold { session, rows })
    }

    fn rows_partition(&self) -> TopicPartition {
        TopicPartition {
            topic: self.topics.rows.name.as_str().into(),
            partition: 0,
        }
    }

    async fn read(&self, mut hold: Hold, backoff: &mut Backoff, control: &mut watch::Receiver<Stop>) -> Result<Ended, LogError> {
        let mut source = (self.make)();
        loop {
            let now = *control.borrow_and_update();
            if now.stopped {
                return Ok(Ended::Stopped);
            }
            if now.paused {
                self.status.set(SourceState::Paused, None);
                if control.changed().await.is_err() {
                    return Ok(Ended::Stopped);
                }
                continue;
            }
            if let Some(sweep) = Sweep::pending(&hold.rows) {
                self.sweep(&mut hold, &sweep, control)?;
                continue;
            }
            let step = tokio::select! {
                step = source.next(&hold.rows) => step,
                changed = control.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return Ok(Ended::Stopped),
                },
            };
            let wait = match step {
                Ok(batch) => {
                    let pause = batch.pause;
                    self.commit(&mut hold, batch)?;
                    backoff.succeeded();
                    pause
                }
                Err(error) => self.failed(&error, backoff),
            };
            if self.waited(wait, control).await {
                return Ok(Ended::Stopped);
            }
        }
    }

    /// How long to wait after an error.
    fn failed(&self, error: &SourceError, backoff: &mut Backoff) -> Duration {
        let wait = match error {
            SourceError::Retry { after, .. } => backoff.after_failure(*after),
            SourceError::Spent(spent) => Duration::from_millis(u64::try_from(spent.resets_at.0 - (self.now)().0).unwrap_or_default()),
            SourceError::Denied(_) | SourceError::Refused(_) => backoff.after_failure(None).max(Duration::from_secs(1)).min(MENDED_WITHIN),
        };
        let reason = chain(error);
        tracing::warn!(source = self.status.name(), reason, wait_ms = wait.as_millis(), "source waits");
        self.status.set(SourceState::Waiting, Some(reason));
        wait
    }

    /// Waits; returns true if the source should stop. A pause or its end cuts the wait short.
    async fn waited(&self, wait: Duration, control: &mut watch::Receiver<Stop>) -> bool {
        tokio::select! {
            () = tokio::time::sleep(wait) => false,
            changed = control.changed() => changed.is_err() || control.borrow().stopped,
        }
    }

    /// Withdraws what a complete listing no longer contains. Ends early where the source should stop
    /// or pause: what is withdrawn by then has lost its mark, so the rest is found again.
    fn sweep(&self, hold: &mut Hold, sweep: &Sweep, control: &watch::Receiver<Stop>) -> Result<(), LogError> {
        let stopped = || {
            let now = *control.borrow();
            now.stopped || now.paused
        };
        let mut part = Part::WHOLE;
        let mut withdrawn = 0;
        while part.index < part.of {
            match listing::scan(&*self.log, &self.rows_partition(), sweep, part, KEYS_MAX, &stopped)? {
                Found::Stopped => return Ok(()),
                Found::TooMany => part = Part { index: 0, of: part.of * 2 },
                Found::Gone(gone) => {
                    for some in gone.chunks(WITHDRAWN_AT_ONCE) {
                        self.commit(hold, withdrawal(&sweep.listing, some))?;
                        withdrawn += some.len();
                    }
                    part.index += 1;
                }
            }
        }
        tracing::info!(source = self.status.name(), listing = sweep.listing, withdrawn, "a full listing is complete");
        self.commit(
            hold,
            Batch {
                rows: vec![sweep.done()],
                ..Batch::default()
            },
        )
    }

    /// Records, marks and rows in one transaction.
    fn commit(&self, hold: &mut Hold, batch: Batch) -> Result<(), LogError> {
        let mut transaction = Transaction::default();
        let (mut records, mut rejected) = (0, 0);
        for emitted in batch.records {
            match &emitted {
                Emitted::Record { .. } => records += 1,
                Emitted::Rejected { .. } | Emitted::Unusable(_) => rejected += 1,
            }
            transaction.records.push(self.placed(emitted)?);
        }
        let marks = batch.marks.iter().map(Mark::row);
        // Sweeps come last: a reader that finds one has seen every mark of its run.
        let rows = batch.rows.into_iter().chain(batch.sweeps.iter().map(Sweep::row));
        let (marks, rows): (Vec<_>, Vec<_>) = marks.chain(rows).partition(|(name, _)| name.starts_with(listing::MARK));
        let changed: Vec<_> = rows.into_iter().filter(|(name, value)| hold.rows.get(name) != value.as_ref()).collect();
        for (name, value) in marks.iter().chain(&changed) {
            let record = Record {
                key: Some(Bytes::copy_from_slice(name.as_bytes())),
                value: value.as_ref().map(|value| Bytes::from(value.to_string())),
                headers: Vec::new(),
            };
            transaction.records.push((self.rows_partition(), record));
        }
        if !transaction.records.is_empty() {
            hold.session.commit(transaction)?;
        }
        for (name, value) in changed {
            hold.rows.set(&name, value);
        }
        self.status.committed(records, rejected, batch.read_to, batch.snapshot, (self.now)());
        Ok(())
    }

    fn placed(&self, emitted: Emitted) -> Result<(TopicPartition, Record), LogError> {
        match emitted {
            Emitted::Record { kind, key, value } => {
                let topic = self.topic(kind)?;
                let partitions = self.log.partitions(topic)?.ok_or_else(|| LogError::NoSuchTopic(topic.to_owned()))?;
                let to = TopicPartition {
                    topic: topic.into(),
                    partition: (self.topics.place)(key.as_bytes(), partitions),
                };
                let record = Record {
                    key: Some(Bytes::from(key)),
                    value: value.map(|value| Bytes::from(value.to_string())),
                    headers: vec![(SOURCE_HEADER.to_owned(), Bytes::copy_from_slice(self.status.name().as_bytes()))],
                };
                Ok((to, record))
            }
            Emitted::Rejected { kind, id, raw, detail } => {
                let stage = format!("source {}", self.status.name());
                let origin = DeadLetterOrigin {
                    topic: self.topic(kind)?,
                    partition: -1,
                    offset: -1,
                    stage: &stage,
                };
                let record = Record {
                    key: Some(Bytes::from(id.clone())),
                    value: Some(Bytes::from(raw.to_string())),
                    headers: Vec::new(),
                };
                Ok(self.dead_letter(record, origin, &Reason::WrongType.because(format!("record {id}: {detail}"))))
            }
            Emitted::Unusable(unusable) => {
                let Unusable {
                    place,
                    offset,
                    record,
                    rejection,
                } = *unusable;
                let stage = format!("source {}", self.status.name());
                let origin = DeadLetterOrigin {
                    topic: &place.topic,
                    partition: i32::try_from(place.partition).unwrap_or(-1),
                    offset,
                    stage: &stage,
                };
                Ok(self.dead_letter(record, origin, &rejection))
            }
        }
    }

    /// The record with the headers that say why it is one.
    fn dead_letter(&self, mut record: Record, origin: DeadLetterOrigin<'_>, rejection: &Rejection) -> (TopicPartition, Record) {
        let to = TopicPartition {
            topic: self.topics.dead_letters.as_str().into(),
            partition: 0,
        };
        let headers = dead_letter_headers(origin, rejection).into_iter();
        record.headers.extend(headers.map(|(name, value)| (name.to_owned(), Bytes::from(value))));
        (to, record)
    }

    fn topic(&self, kind: SourceKind) -> Result<&str, LogError> {
        let topic = self.topics.records.get(&kind).map(String::as_str);
        topic.ok_or_else(|| LogError::NoSuchTopic(kind.name().to_owned()))
    }
}

/// Tombstones for records that a listing no longer contains, and for their marks.
fn withdrawal(listing: &str, gone: &[listing::Gone]) -> Batch {
    let mut batch = Batch::default();
    for (kind, key) in gone {
        batch.records.push(Emitted::Record {
            kind: *kind,
            key: key.clone(),
            value: None,
        });
        batch.rows.push((listing::name(listing, *kind, key), None));
    }
    batch
}

/// The instant of the system's clock.
pub fn system_clock() -> WallClock {
    Arc::new(|| {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    })
}
