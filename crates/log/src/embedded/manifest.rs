//! The manifest: the list of the segments, and the length of the active one. Without it, a missing
//! file would go unnoticed.
//!
//! ```text
//! millrace-log 2
//! log 5f0c1a...                  the log's identity, 32 hexadecimal digits
//! segment 1 3                    a closed segment: first number, last number; one line each, in order
//! active 4 51200                 the segment that is appended to, and bytes of it that are on disk for certain; it may be longer
//! checksum 8d1f...               XXH3 of the lines above, 16 hexadecimal digits
//! ```
//!
//! A rename replaces it as a whole: when the set of segments changes, once a minute while the log
//! grows, and when the log is closed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::failure;
use super::frame::LogId;
use crate::LogError;

const LABEL: &str = "millrace-log 2";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub log: LogId,
    /// The closed segments: last numbers by first number.
    pub closed: BTreeMap<u32, u32>,
    pub active: u32,
    /// Bytes of the active segment that are on disk for certain.
    pub active_bytes: u64,
}

/// Why there is no usable manifest.
#[derive(Debug)]
pub(super) enum NoManifest {
    Missing,
    Damaged,
    Unreadable(LogError),
}

/// A manifest could not be written.
pub(super) struct WriteFailed {
    pub error: LogError,
    /// Whether the new one may exist nevertheless.
    pub unknown: bool,
}

pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("manifest")
}

impl Manifest {
    pub fn new(log: LogId) -> Manifest {
        Manifest {
            log,
            closed: BTreeMap::new(),
            active: 1,
            active_bytes: 0,
        }
    }

    /// The active segment is closed and another one begun.
    pub fn roll(&mut self, active: u32) {
        self.closed.insert(self.active, self.active);
        (self.active, self.active_bytes) = (active, 0);
    }

    /// All segments, by first and last number, in order.
    pub fn segments(&self) -> impl Iterator<Item = (u32, u32)> {
        let closed = self.closed.iter().map(|(first, last)| (*first, *last));
        closed.chain([(self.active, self.active)])
    }

    pub fn read(dir: &Path) -> Result<Manifest, NoManifest> {
        let path = path(dir);
        match fs::read(&path) {
            Ok(bytes) => String::from_utf8(bytes).ok().and_then(|text| Manifest::parse(&text)).ok_or(NoManifest::Damaged),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(NoManifest::Missing),
            Err(error) => Err(NoManifest::Unreadable(failure("read", &path)(error))),
        }
    }

    pub fn write(&self, dir: &Path, waits: bool) -> Result<(), WriteFailed> {
        let path = path(dir);
        let temporary = path.with_extension("tmp");
        let written = File::create(&temporary).and_then(|mut file| {
            file.write_all(self.text().as_bytes())?;
            if waits { file.sync_all() } else { Ok(()) }
        });
        written.and_then(|()| fs::rename(&temporary, &path)).map_err(|error| WriteFailed {
            error: failure("write", &path)(error),
            unknown: false,
        })?;
        if !waits {
            return Ok(());
        }
        File::open(dir).and_then(|folder| folder.sync_all()).map_err(|error| WriteFailed {
            error: failure("sync", dir)(error),
            unknown: true,
        })
    }

    pub fn text(&self) -> String {
        let mut text = format!("{LABEL}\nlog {}\n", self.log);
        for (first, last) in &self.closed {
            // Writing to a text does not fail.
            let _ = writeln!(text, "segment {first} {last}");
        }
        let _ = writeln!(text, "active {} {}", self.active, self.active_bytes);
        let checksum = xxh3_64(text.as_bytes());
        let _ = writeln!(text, "checksum {checksum:016x}");
        text
    }

    /// Only exactly the text that `text` produces is a manifest.
    fn parse(text: &str) -> Option<Manifest> {
        let mut lines = text.lines().filter_map(|line| line.split_once(' ')).skip(1);
        let (_, log) = lines.next()?;
        let mut manifest = Manifest::new(LogId(u128::from_str_radix(log, 16).ok()?));
        for (word, rest) in lines {
            let numbers: Vec<u64> = rest.split(' ').map_while(|number| number.parse().ok()).collect();
            match (word, numbers.as_slice()) {
                ("segment", &[first, last]) => {
                    manifest.closed.insert(u32::try_from(first).ok()?, u32::try_from(last).ok()?);
                }
                ("active", &[number, bytes]) => (manifest.active, manifest.active_bytes) = (u32::try_from(number).ok()?, bytes),
                ("checksum", _) => {}
                _ => return None,
            }
        }
        (manifest.text() == text).then_some(manifest)
    }
}
