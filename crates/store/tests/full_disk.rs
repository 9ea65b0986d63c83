//! A real file system that is full: RocksDB meets it itself, because the probe that would have
//! warned reports room.
//!
//! The file system is a tmpfs in a mount namespace of its own, reached through the process that
//! lives in it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_shard::state::{RowChange, StateError, StateStore, StateView};
use millrace_store::{Limits, Resources, RocksStore};

/// A file system of this many MiB, for as long as this lives.
struct SmallDisk {
    holder: Child,
    path: PathBuf,
}

impl SmallDisk {
    fn new(mib: u32) -> SmallDisk {
        let folder = std::env::temp_dir();
        let script = format!("mount -t tmpfs -o size={mib}m none '{}' && echo ready && exec cat", folder.display());
        let mut command = Command::new("unshare");
        // A user other than root becomes root in a user namespace.
        if rustix::process::geteuid().is_root() {
            command.arg("--mount");
        } else {
            command.args(["--mount", "--map-root-user"]);
        }
        let mut holder = command
            .args(["sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare of util-linux");
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(
            line, "ready\n",
            "this machine lets nobody mount a tmpfs in a namespace, without which this test cannot be run"
        );
        let path = PathBuf::from(format!("/proc/{}/root{}", holder.id(), folder.display()));
        SmallDisk { holder, path }
    }

    /// Fills it to the last byte.
    fn fill(&self) -> PathBuf {
        let path = self.path.join("filler");
        let error = fs::write(&path, vec![1; 64 << 20]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.holder.kill().unwrap();
        self.holder.wait().unwrap();
    }
}

fn open(path: &Path) -> RocksStore {
    let limits = Limits {
        block_cache_bytes: 1 << 20,
        write_buffers_bytes: 1 << 20,
        disk_free_min_bytes: 0,
    };
    RocksStore::open(path, None, &Resources::new(limits).with_probe(Arc::new(|_| Ok(u64::MAX)))).unwrap()
}

/// Rows that do not compress.
fn rows(number: u32) -> Vec<RowChange> {
    let mut state = u64::from(number) + 1;
    let mut byte = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..100_u32)
        .map(|row| {
            let key = [&[1][..], &number.to_be_bytes(), &row.to_be_bytes()].concat();
            (key, Some((0..1_000).map(|_| byte()).collect()))
        })
        .collect()
}

fn is_no_room(error: &StateError) -> bool {
    matches!(error, StateError::NoRoom(_))
}

#[test]
fn a_full_disk_holds_nobody_up_and_is_gone_on_from() {
    let disk = SmallDisk::new(24);
    let path = disk.path.join("shard-0");
    let mut store = open(&path);
    store.apply(rows(0), 1).unwrap();
    store.flush().unwrap();
    let filler = disk.fill();

    let begun = Instant::now();
    let refused = (1..1_000).find_map(|number| store.apply(rows(number), i64::from(number) + 1).err().map(|error| (number, error)));
    let (number, error) = refused.expect("a disk without room takes no 100 MB");
    assert!(is_no_room(&error), "{number}: {error:?}");
    let flushed = store.flush().unwrap_err();
    assert!(is_no_room(&flushed), "{flushed:?}");
    // Reads still work.
    assert!(store.get(&rows(0)[7].0).unwrap().is_some());
    drop(store);
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "a full disk held up its store for {:?}",
        begun.elapsed()
    );

    // With room again, a new handle holds the flushed rows, and takes more.
    fs::remove_file(filler).unwrap();
    let mut store = open(&path);
    let position = store.changelog_position().unwrap().unwrap();
    assert!(position >= 1 && store.get(&rows(0)[7].0).unwrap().is_some());
    store.apply(rows(0), position + 1).unwrap();
    store.flush().unwrap();
}

#[test]
fn the_same_handle_goes_on_once_there_is_room() {
    let disk = SmallDisk::new(24);
    let mut store = open(&disk.path.join("shard-0"));
    let filler = disk.fill();
    let refused = (0..1_000).find(|number| store.apply(rows(*number), i64::from(*number) + 1).is_err());
    let refused = refused.expect("a disk without room takes no 100 MB");
    fs::remove_file(filler).unwrap();
    // As the runtime does: everything after the store's position is applied again.
    store.room().unwrap();
    let position = store.changelog_position().unwrap().unwrap_or(0);
    for number in u32::try_from(position).unwrap()..=refused {
        store.apply(rows(number), i64::from(number) + 1).unwrap();
    }
    store.flush().unwrap();
    assert!((0..=refused).all(|number| store.get(&rows(number)[7].0).unwrap().is_some()));
}
