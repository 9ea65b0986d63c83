//! The store against a model: any sequence of batches, flushes, crashes and scans gives the same
//! result as a sorted map.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::Path;

use millrace_shard::state::{DERIVED, RowChange, StateStore, StateView};
use millrace_store::{Limits, Resources, RocksStore};
use proptest::prelude::*;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn resources() -> Resources {
    Resources::new(Limits {
        block_cache_bytes: 8 << 20,
        write_buffers_bytes: 8 << 20,
        disk_free_min_bytes: 1 << 20,
    })
}

fn open(path: &Path) -> RocksStore {
    RocksStore::open(path, None, &resources()).unwrap()
}

fn put(key: &[u8], value: &[u8]) -> RowChange {
    (key.to_vec(), Some(value.to_vec()))
}

fn delete(key: &[u8]) -> RowChange {
    (key.to_vec(), None)
}

fn change(model: &mut Model, rows: &[RowChange]) {
    for (key, value) in rows {
        match value {
            Some(value) => model.insert(key.clone(), value.clone()),
            None => model.remove(key),
        };
    }
}

fn model_scan(model: &Model, lower: &[u8], upper: &[u8], limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    if lower >= upper {
        return Vec::new();
    }
    let range = model.range::<[u8], _>((Bound::Included(lower), Bound::Excluded(upper)));
    range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn everything(view: &dyn StateView) -> Model {
    view.scan(&[], &[0xff; 16], usize::MAX).unwrap().into_iter().collect()
}

/// What a crash leaves: the files as they are now, without the rows still in memory.
fn crash(from: &Path, to: &Path) {
    // RocksDB deletes files in the background: a copy during which any came or went does not show
    // one instant of the folder, and is repeated.
    for _ in 0..1_000 {
        let before = names(from);
        if to.exists() {
            std::fs::remove_dir_all(to).unwrap();
        }
        match copy(from, to) {
            Ok(()) if names(from) == before => return,
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => panic!("{}: {error}", from.display()),
        }
    }
    panic!("{} never holds still", from.display());
}

fn names(folder: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let below = |path: &std::path::PathBuf| if path.is_dir() { names_or_none(path) } else { Vec::new() };
    names
        .iter()
        .flat_map(|path| std::iter::once(path.clone().into_os_string()).chain(below(path)))
        .collect()
}

fn names_or_none(folder: &Path) -> Vec<std::ffi::OsString> {
    if folder.exists() { names(folder) } else { Vec::new() }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else if entry.file_name() != "LOCK" {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[derive(Clone, Debug)]
enum Step {
    Apply(Vec<RowChange>),
    Flush,
    Crash,
    Reopen,
    Clear,
    Scan(Vec<u8>, Vec<u8>, usize),
    Fetch(BTreeSet<Vec<u8>>),
}

/// Few keys, on both sides of the boundary of derived tables, so that they meet often.
fn key() -> impl Strategy<Value = Vec<u8>> {
    (
        prop::sample::select(vec![0x00_u8, 0x01, 0x7f, 0x80, 0x81, 0xff]),
        prop::collection::vec(0_u8..4, 0..3),
    )
        .prop_map(|(table, mut rest)| {
            rest.insert(0, table);
            rest
        })
}

fn bound() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => key(), 1 => Just(Vec::new()), 1 => Just(vec![0xff; 4])]
}

fn step() -> impl Strategy<Value = Step> {
    let row = (key(), prop::option::weighted(0.6, prop::collection::vec(any::<u8>(), 0..4)));
    prop_oneof![
        8 => prop::collection::vec(row, 0..8).prop_map(Step::Apply),
        8 => (bound(), bound(), 0_usize..6).prop_map(|(lower, upper, limit)| Step::Scan(lower, upper, limit)),
        4 => prop::collection::btree_set(key(), 0..12).prop_map(Step::Fetch),
        4 => prop::collection::btree_set(key(), 0..12).prop_map(|mut keys| {
            keys.retain(|key| key[0] < DERIVED);
            Step::Fetch(keys)
        }),
        2 => Just(Step::Flush),
        1 => Just(Step::Crash),
        1 => Just(Step::Reopen),
        1 => Just(Step::Clear),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_history_gives_what_a_map_gives(steps in prop::collection::vec(step(), 1..40)) {
        let folder = tempfile::tempdir().unwrap();
        let mut path = folder.path().join("0");
        let mut store = open(&path);
        let mut model = Model::new();
        // Every state a crash may fall back to, with its position.
        let mut history: Vec<(Option<i64>, Model)> = vec![(None, Model::new())];
        let mut flushed = 0;
        let mut offset = 0;
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Apply(rows) => {
                    offset += 3;
                    change(&mut model, &rows);
                    store.apply(rows, offset).unwrap();
                    history.push((Some(offset), model.clone()));
                }
                Step::Flush => {
                    store.flush().unwrap();
                    flushed = history.len() - 1;
                }
                Step::Crash => {
                    let next = folder.path().join(format!("{}", number + 1));
                    crash(&path, &next);
                    path = next;
                    store = open(&path);
                    let position = store.changelog_position().unwrap();
                    let found = history.iter().skip(flushed).rposition(|(at, _)| *at == position).map(|index| index + flushed);
                    let found = found.expect("a crash falls back to a state not older than the last flush");
                    history.truncate(found + 1);
                    model = history[found].1.clone();
                    prop_assert_eq!(everything(&store), model.clone());
                }
                Step::Reopen => {
                    store.flush().unwrap();
                    drop(store);
                    store = open(&path);
                    flushed = history.len() - 1;
                }
                Step::Clear => {
                    store.clear().unwrap();
                    model.clear();
                    history.push((None, Model::new()));
                    flushed = history.len() - 1;
                }
                Step::Scan(lower, upper, limit) => {
                    let expected = model_scan(&model, &lower, &upper, limit);
                    prop_assert_eq!(&store.scan(&lower, &upper, limit).unwrap(), &expected);
                    prop_assert_eq!(&store.reader().scan(&lower, &upper, limit).unwrap(), &expected);
                    prop_assert_eq!(store.get(&lower).unwrap(), model.get(&lower).cloned());
                }
                Step::Fetch(keys) => {
                    let expected: Vec<_> = keys.iter().map(|key| model.get(key).cloned()).collect();
                    let keys: Vec<_> = keys.into_iter().collect();
                    prop_assert_eq!(&store.get_all(&keys).unwrap(), &expected);
                    prop_assert_eq!(&store.reader().get_all(&keys).unwrap(), &expected);
                }
            }
            prop_assert_eq!(store.changelog_position().unwrap(), history.last().unwrap().0);
        }
        prop_assert_eq!(everything(&store), model);
    }
}

#[test]
fn a_crash_without_a_flush_leaves_an_empty_store() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder.path().join("a"));
    store.apply(vec![put(&[1, 1], b"x"), put(&[0x80, 1], b"y")], 5).unwrap();
    crash(&folder.path().join("a"), &folder.path().join("b"));
    let after = open(&folder.path().join("b"));
    assert_eq!((after.changelog_position().unwrap(), everything(&after)), (None, Model::new()));
}

#[test]
fn a_queue_is_read_from_its_front() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let timer = |at: u32| [&[0x90][..], &at.to_be_bytes()].concat();
    store.apply((0..1000).map(|at| (timer(at), Some(Vec::new()))).collect(), 1).unwrap();
    for at in 0..1000 {
        let due = store.scan(&[0x90], &timer(at + 1), 10).unwrap();
        assert_eq!(due, [(timer(at), Vec::new())]);
        store.apply(vec![delete(&timer(at))], i64::from(at) + 2).unwrap();
    }
    assert!(store.scan(&[0x90], &[0x91], 10).unwrap().is_empty());
    store.apply(vec![put(&timer(7), b"late")], 2000).unwrap();
    assert_eq!(store.scan(&[0x90], &timer(500), 10).unwrap(), [(timer(7), b"late".to_vec())]);
}

#[test]
fn a_reader_follows_the_store_and_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let reader = store.reader();
    assert_eq!(reader.get(&[1, 1]).unwrap(), None);
    store.apply(vec![put(&[1, 1], b"x")], 1).unwrap();
    assert_eq!(reader.get(&[1, 1]).unwrap().as_deref(), Some(&b"x"[..]));
    drop(store);
    let error = reader.get(&[1, 1]).unwrap_err();
    assert_eq!(millrace_model::chain(&error), "state store: the store is closed");
    // The reader does not hold the folder.
    drop(open(folder.path()));
}

#[test]
fn readers_see_each_batch_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    store.apply(vec![put(&[1], &[0]), put(&[0x81], &[0])], 1).unwrap();
    let reader = store.reader();
    std::thread::scope(|scope| {
        let watching = scope.spawn(move || {
            let mut last = 0;
            while last < 250 {
                let rows = reader.scan(&[1], &[0x82], 10).unwrap();
                assert_eq!(rows[0].1, rows[1].1);
                assert!(rows[0].1[0] >= last);
                last = rows[0].1[0];
            }
        });
        for round in 1..=250_u8 {
            store.apply(vec![put(&[1], &[round]), put(&[0x81], &[round])], i64::from(round) + 1).unwrap();
        }
        watching.join().unwrap();
    });
}

#[test]
fn two_handles_on_one_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let refused = RocksStore::open(folder.path(), None, &resources()).err().unwrap();
    assert_eq!(refused.to_string(), format!("store {} is in use", folder.path().display()));
    drop(store);
    drop(open(folder.path()));
}

#[test]
fn a_destroyed_store_is_opened_empty() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    store.apply(vec![put(&[1, 1], b"x")], 1).unwrap();
    store.flush().unwrap();
    drop(store);
    RocksStore::destroy(folder.path(), None).unwrap();
    let store = open(folder.path());
    assert_eq!((store.changelog_position().unwrap(), everything(&store)), (None, Model::new()));
}

#[test]
fn an_empty_key_is_refused_and_nothing_of_its_batch_is_visible() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    assert!(store.apply(vec![put(&[1], b"x"), put(&[], b"y")], 1).is_err());
    assert_eq!((store.changelog_position().unwrap(), everything(&store)), (None, Model::new()));
}

#[test]
fn a_cleared_store_takes_no_space() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let value: Vec<u8> = (0..200).collect();
    store
        .apply(
            (0..20_000_u32)
                .map(|n| put(&[&[1][..], &n.wrapping_mul(0x9e37_79b9).to_be_bytes()].concat(), &value))
                .collect(),
            1,
        )
        .unwrap();
    store.flush().unwrap();
    assert!(store.size_bytes() > 100_000, "{}", store.size_bytes());
    store.clear().unwrap();
    assert_eq!((store.size_bytes(), store.changelog_position().unwrap()), (0, None));
}
