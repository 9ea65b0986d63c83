//! The mark: how far the active segment reaches by the commits that were acknowledged. Without it a segment that was cut after its process was killed would
//! look like one that was never longer.
//!
//! ```text
//! 5f0c1a... 0000000004 00000000000000051200 8d1f...      log, active segment, bytes of it, XXH3 of the text before; one line, always as long
//! ```
//!
//! It is made by rename and on disk when the log is opened. Each commit that was waited for then overwrites it in place before it is acknowledged. The mark
//! itself is not waited for: the death of the process takes nothing of it, since the system holds what was written; power loss may bring back an earlier one,
//! which is true as well. It is shorter than a disk's sector, so it is there as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::failure;
use super::frame::LogId;
use crate::LogError;

/// How far a log reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    /// The segment that is appended to.
    pub active: u32,
    /// Bytes of it.
    pub bytes: u64,
}

/// Why a mark that is there says nothing.
#[derive(Debug)]
pub(super) enum BadMark {
    Damaged,
    Unreadable(LogError),
}

/// The mark of a log that is open.
pub(super) struct Mark {
    log: LogId,
    file: File,
}

pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("mark")
}

/// What the mark says; `None` where there is none: the log was never opened by a version that has one, or never with commits that are waited for.
pub(super) fn read(dir: &Path, log: LogId) -> Result<Option<Reach>, BadMark> {
    let path = path(dir);
    match fs::read(&path) {
        Ok(bytes) => std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| parse(log, text))
            .map(Some)
            .ok_or(BadMark::Damaged),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BadMark::Unreadable(failure("read", &path)(error))),
    }
}

fn text(log: LogId, reach: Reach) -> String {
    let text = format!("{log} {:010} {:020} ", reach.active, reach.bytes);
    let checksum = xxh3_64(text.as_bytes());
    format!("{text}{checksum:016x}\n")
}

/// Only the very text that `text` makes is one.
fn parse(log: LogId, found: &str) -> Option<Reach> {
    let mut words = found.split(' ').skip(1);
    let reach = Reach {
        active: words.next()?.parse().ok()?,
        bytes: words.next()?.parse().ok()?,
    };
    (text(log, reach) == found).then_some(reach)
}

impl Mark {
    /// Makes the mark anew; on return it is on disk.
    pub fn create(dir: &Path, log: LogId, reach: Reach) -> Result<Mark, LogError> {
        let path = path(dir);
        let temporary = path.with_extension("tmp");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&temporary)
            .map_err(failure("create", &temporary))?;
        let mark = Mark { log, file };
        mark.note(reach).and_then(|()| mark.file.sync_all()).map_err(failure("write", &temporary))?;
        fs::rename(&temporary, &path).map_err(failure("rename", &temporary))?;
        File::open(dir).and_then(|folder| folder.sync_all()).map_err(failure("sync", dir))?;
        Ok(mark)
    }

    /// Overwrites what the mark says.
    pub fn note(&self, reach: Reach) -> io::Result<()> {
        self.file.write_all_at(text(self.log, reach).as_bytes(), 0)
    }
}
