//! A committed reader of membership changes that reports how long each expected one took.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use millrace_log::{EARLIEST, Log, PollLimits, Reader, TopicPartition};
use millrace_runtime::topology::Topology;
use millrace_shard::machine::OutputTopic;

const READ: PollLimits = PollLimits {
    records_max: 5_000,
    bytes_max: 4 << 20,
    wait_ms_max: 20,
};

/// A segment and a person's number.
type Change = (&'static str, u32);

#[derive(Default)]
struct Board {
    waiting: HashMap<Change, Instant>,
    taken: Vec<Duration>,
}

/// The reader on its thread; ends when dropped.
pub struct Watch {
    board: Arc<Mutex<Board>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Reads changes from the earliest on; only those of `segments` can be waited for.
    pub fn start(log: &dyn Log, topology: &Topology, segments: &'static [&'static str]) -> anyhow::Result<Watch> {
        let topic: Arc<str> = topology.output(&OutputTopic::Membership).into();
        let partition = |partition| {
            let topic = Arc::clone(&topic);
            (TopicPartition { topic, partition }, EARLIEST)
        };
        let from: Vec<_> = (0..topology.shards()).map(partition).collect();
        let mut reader = log.reader(&from)?;
        let (board, stop) = (Arc::new(Mutex::new(Board::default())), Arc::new(AtomicBool::new(false)));
        let (theirs, ended) = (Arc::clone(&board), Arc::clone(&stop));
        let work = move || {
            while !ended.load(Ordering::Relaxed) {
                if let Err(error) = note(&mut *reader, &theirs, segments) {
                    tracing::warn!(error = format!("{error:#}"), "membership changes cannot be read now");
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("bench-watch".to_owned())
            .spawn(work)
            .context("cannot start a thread")?;
        Ok(Watch {
            board,
            stop,
            thread: Some(thread),
        })
    }

    /// Waits for the next change of each from now on, and counts from the given instant; one in the
    /// future is when the change is due.
    pub fn expect(&self, changes: impl IntoIterator<Item = (Change, Instant)>) {
        locked(&self.board).waiting.extend(changes);
    }

    /// Expected changes that have not arrived yet.
    pub fn missing(&self) -> usize {
        locked(&self.board).waiting.len()
    }

    /// The delays of those that arrived since the last call, in ascending order; missing ones are
    /// forgotten.
    pub fn take(&self) -> Vec<Duration> {
        let mut board = locked(&self.board);
        board.waiting.clear();
        let mut taken = std::mem::take(&mut board.taken);
        taken.sort_unstable();
        taken
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A panic has been printed.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn locked(board: &Mutex<Board>) -> MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

fn note(reader: &mut dyn Reader, board: &Mutex<Board>, segments: &[&'static str]) -> anyhow::Result<()> {
    let records = reader.poll(READ)?;
    let seen_at = Instant::now();
    let mut board = locked(board);
    for delivered in records {
        let change = delivered.record.key.as_deref().and_then(|key| change_of(key, segments));
        if let Some(since) = change.and_then(|change| board.waiting.remove(&change)) {
            board.taken.push(seen_at.saturating_duration_since(since));
        }
    }
    Ok(())
}

/// `<segment>|b2b_person:<number>@…`.
fn change_of(key: &[u8], segments: &[&'static str]) -> Option<Change> {
    let (segment, id) = std::str::from_utf8(key).ok()?.split_once('|')?;
    let segment = segments.iter().find(|known| **known == segment)?;
    let (number, _) = id.strip_prefix("b2b_person:")?.split_once('@')?;
    Some((segment, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_persons_in_known_segments() {
        let known: &[&'static str] = &["launch"];
        assert_eq!(change_of(b"launch|b2b_person:17@bench.Bench", known), Some(("launch", 17)));
        assert_eq!(change_of(b"other|b2b_person:17@bench.Bench", known), None);
        assert_eq!(change_of(b"launch|b2b_account:a17@bench.Bench", known), None);
    }
}
