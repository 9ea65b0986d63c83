//! A machine small enough to predict: it counts words across shards and notices when a word has
//! been silent.

use std::collections::BTreeMap;

use bytes::Bytes;
use millrace_model::{ShardId, Timestamp};
use millrace_shard::machine::{Budget, Effects, Input, InputTopic, Machine, Output, OutputTopic, Partition};
use millrace_shard::state::{RowChange, StateError, StateView};

use millrace_shard::murmur::partition_of;

/// Key `WORD word`, value `count u64 | silent u64 | due i64`, big-endian.
pub const WORD: u8 = 0x10;
/// Derived: key `DUE due word`, no value.
const DUE: u8 = 0x80;
pub const SILENCE_MS: i64 = 1_000;
pub const SHARDS: u32 = 3;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Word {
    pub count: u64,
    pub silent: u64,
    /// 0: no timer.
    pub due: i64,
}

impl Word {
    pub fn read(bytes: &[u8]) -> Word {
        let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        Word {
            count: number(0),
            silent: number(8),
            due: number(16) as i64,
        }
    }

    fn bytes(self) -> Vec<u8> {
        [self.count.to_be_bytes(), self.silent.to_be_bytes(), (self.due as u64).to_be_bytes()].concat()
    }
}

fn word_key(word: &[u8]) -> Vec<u8> {
    [&[WORD], word].concat()
}

fn due_key(due: i64, word: &[u8]) -> Vec<u8> {
    [&[DUE], &due.to_be_bytes()[..], word].concat()
}

/// A word that belongs to another shard goes there by the inbox.
pub struct Counter {
    pub shard: ShardId,
}

impl Counter {
    fn change(view: &dyn StateView, words: &mut BTreeMap<Vec<u8>, (Word, Word)>, word: &[u8], change: impl FnOnce(&mut Word)) -> Result<Word, StateError> {
        if !words.contains_key(word) {
            let stored = view.get(&word_key(word))?.map_or(Word::default(), |bytes| Word::read(&bytes));
            words.insert(word.to_vec(), (stored, stored));
        }
        let (_, now) = words.get_mut(word).unwrap();
        change(now);
        Ok(*now)
    }
}

fn derived(before: Word, after: Word, word: &[u8], rows: &mut Vec<RowChange>) {
    if before.due != after.due {
        rows.extend((before.due != 0).then(|| (due_key(before.due, word), None)));
        rows.extend((after.due != 0).then(|| (due_key(after.due, word), Some(Vec::new()))));
    }
}

impl Machine for Counter {
    fn derive(&mut self, view: &dyn StateView, rows: &[RowChange]) -> Result<Vec<RowChange>, StateError> {
        let mut changes = Vec::new();
        for (key, value) in rows {
            let before = view.get(key)?.map_or(Word::default(), |bytes| Word::read(&bytes));
            let after = value.as_ref().map_or(Word::default(), |bytes| Word::read(bytes));
            derived(before, after, &key[1..], &mut changes);
        }
        Ok(changes)
    }

    fn start(&mut self, _: &dyn StateView) -> Result<(), StateError> {
        Ok(())
    }

    fn step(&mut self, view: &dyn StateView, inputs: &[Input], now: Timestamp, budget: Budget<'_>) -> Result<Effects, StateError> {
        let mut words = BTreeMap::new();
        let mut outputs = Vec::new();
        let mut say = |word: &[u8], text: String| {
            let key = Some(Bytes::copy_from_slice(word));
            let partition = Partition::Hash(Bytes::copy_from_slice(word));
            outputs.push(Output {
                topic: OutputTopic::Membership,
                partition,
                key,
                value: Some(text.into()),
                headers: Vec::new(),
            });
        };
        let mut sent = Vec::new();
        for input in inputs {
            let word = input.value.as_ref().unwrap();
            let owner = ShardId(partition_of(word, SHARDS));
            if owner != self.shard {
                assert_ne!(input.topic, InputTopic::Inbox, "a message came to the wrong shard");
                let partition = Partition::Shard(owner);
                sent.push(Output {
                    topic: OutputTopic::Inbox,
                    partition,
                    key: None,
                    value: Some(word.clone()),
                    headers: Vec::new(),
                });
                continue;
            }
            let changed = Counter::change(view, &mut words, word, |word| {
                word.count += 1;
                word.due = now.0 + SILENCE_MS;
            })?;
            say(word, format!("count {}", changed.count));
        }
        let upper = due_key(now.0 + 1, b"");
        for (key, _) in view.scan(&[DUE], &upper, budget.timers_max)? {
            let word = &key[9..];
            let due = i64::from_be_bytes(key[1..9].try_into().unwrap());
            let mut fired = false;
            let changed = Counter::change(view, &mut words, word, |word| {
                if word.due == due {
                    fired = true;
                    word.silent += 1;
                    word.due = 0;
                }
            })?;
            if fired {
                say(word, format!("silent {}", changed.silent));
            }
        }
        let mut rows = Vec::new();
        for (word, (before, after)) in words {
            derived(before, after, &word, &mut rows);
            rows.push((word_key(&word), Some(after.bytes())));
        }
        outputs.extend(sent);
        Ok(Effects {
            rows,
            outputs,
            measurements: Vec::new(),
            more: false,
        })
    }

    fn committed(&mut self) {}

    fn next_timer(&self, view: &dyn StateView) -> Result<Timestamp, StateError> {
        let first = view.scan(&[DUE], &[DUE + 1], 1)?;
        Ok(first
            .first()
            .map_or(Timestamp::MAX, |(key, _)| Timestamp(i64::from_be_bytes(key[1..9].try_into().unwrap()))))
    }
}
