//! The mark: the length of the active segment up to its last acknowledged commit. Without it, a
//! segment that lost its end after its process was killed would look like one that was never longer.
//!
//! ```text
//! 5f0c1a... 0000000004 00000000000000051200 8d1f...      log, active segment, bytes of it, XXH3 of the text before; one line, always as long
//! ```
//!
//! Opening the log makes it by rename and syncs it. Each synced commit then overwrites it in place,
//! before its acknowledgement, without a sync of the mark itself. The death of the process does not
//! harm it, since the operating system holds the write. Power loss may restore an earlier mark,
//! which is true as well. The mark is shorter than a sector of the disk, so it is never half
//! written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::failure;
use super::frame::LogId;
use crate::LogError;

/// Where the acknowledged commits of a log end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    /// The segment that is appended to.
    pub active: u32,
    /// Bytes of it.
    pub bytes: u64,
}

/// Why an existing mark is unusable.
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

/// The content of the mark; `None` where there is none: no version that writes marks has opened the
/// log, or never with synced commits.
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

/// Only exactly the text that `text` produces is a mark.
fn parse(log: LogId, found: &str) -> Option<Reach> {
    let mut words = found.split(' ').skip(1);
    let reach = Reach {
        active: words.next()?.parse().ok()?,
        bytes: words.next()?.parse().ok()?,
    };
    (text(log, reach) == found).then_some(reach)
}

impl Mark {
    /// Replaces the file of the mark; on return it is on disk.
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

    /// Overwrites the content of the mark in place, without a sync.
    pub fn note(&self, reach: Reach) -> io::Result<()> {
        self.file.write_all_at(text(self.log, reach).as_bytes(), 0)
    }
}
