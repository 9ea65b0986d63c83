//! Segment files: their names, how they come to be, how they are read at start.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::{self, Body, Catalogue, FRAME_HEADER, Part};
use super::index::{Batch, Index, Place};
use super::writer::Writer;
use super::{Durability, failure};
use crate::{LogError, Offset};

const SUFFIX: &str = ".journal";

/// A segment file, open for reading.
pub(super) struct Segment {
    pub first: u32,
    pub last: u32,
    /// Whether cleaning wrote it: it holds one value per key of compacted topics.
    pub cleaned: bool,
    /// Zero for the active segment, whose length the writer knows.
    pub bytes: u64,
    pub file: File,
}

pub(super) fn path(dir: &Path, first: u32, last: u32) -> PathBuf {
    dir.join(format!("{first:010}-{last:010}{SUFFIX}"))
}

/// Makes a segment of `bytes`, whole or not there; on return on disk, unless nothing is to be waited for.
pub(super) fn create(dir: &Path, first: u32, last: u32, bytes: &[u8], durability: Durability) -> Result<File, LogError> {
    let path = path(dir, first, last);
    let temporary = path.with_extension("tmp");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&temporary)
        .map_err(failure("create", &temporary))?;
    file.write_all_at(bytes, 0).map_err(failure("write", &temporary))?;
    let waits = durability != Durability::Never;
    if waits {
        file.sync_all().map_err(failure("sync", &temporary))?;
    }
    fs::rename(&temporary, &path).map_err(failure("rename", &temporary))?;
    if waits {
        File::open(dir).and_then(|folder| folder.sync_all()).map_err(failure("sync", dir))?;
    }
    Ok(file)
}

/// Reads the folder: removes left-overs, cuts a torn tail, builds the index. A folder without segments gets its first.
pub(super) fn load(dir: &Path, durability: Durability) -> Result<(Index, Writer), LogError> {
    let names = live_segments(dir)?;
    let Some((&active, _)) = names.last_key_value() else {
        let mut bytes = Vec::new();
        format::frame(&mut bytes, |body| format::put_catalogue(body, false, &Catalogue::default()));
        create(dir, 1, 1, &bytes, durability)?;
        return load(dir, durability);
    };
    let mut found = Found::default();
    let mut segments = BTreeMap::new();
    let mut length = 0;
    for (first, last) in names {
        let path = path(dir, first, last);
        let bytes = fs::read(&path).map_err(failure("read", &path))?;
        let end = found
            .read(&bytes, first, first == active)
            .map_err(|at| LogError::Failure(format!("{} is damaged at byte {at}", path.display())))?;
        let file = OpenOptions::new()
            .read(true)
            .write(first == active)
            .open(&path)
            .map_err(failure("open", &path))?;
        if first == active {
            if end < bytes.len() {
                tracing::warn!(file = %path.display(), bytes = bytes.len() - end, "cut a torn tail");
                file.set_len(end as u64).map_err(failure("cut", &path))?;
                if durability != Durability::Never {
                    file.sync_all().map_err(failure("sync", &path))?;
                }
            }
            length = end as u64;
        }
        let bytes = if first == active { 0 } else { end as u64 };
        segments.insert(
            first,
            Arc::new(Segment {
                first,
                last,
                cleaned: found.cleaned,
                bytes,
                file,
            }),
        );
    }
    let file = segments[&active].file.try_clone().map_err(failure("open", dir))?;
    let mut index = Index::build(found.catalogue, found.batches, found.positions)?;
    let last = segments[&active].last;
    index.segments = segments;
    index.active = active;
    Ok((index, Writer::new(dir.to_owned(), file, last, length)))
}

/// The segments to be read, by first number; covered files and unfinished ones are removed.
fn live_segments(dir: &Path) -> Result<BTreeMap<u32, u32>, LogError> {
    let mut ranges = Vec::new();
    for entry in fs::read_dir(dir).map_err(failure("read", dir))? {
        let path = entry.map_err(failure("read", dir))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if name.ends_with(".tmp") {
            fs::remove_file(&path).map_err(failure("remove", &path))?;
        } else if let Some((first, last)) = name.strip_suffix(SUFFIX).and_then(|range| range.split_once('-')) {
            match (first.parse::<u32>(), last.parse::<u32>()) {
                (Ok(first), Ok(last)) => ranges.push((first, last)),
                _ => return Err(LogError::Failure(format!("{} is no segment of a log", path.display()))),
            }
        }
    }
    // The widest range comes first of those with the same begin, so whatever begins inside the range before it is covered.
    ranges.sort_by_key(|&(first, last)| (first, std::cmp::Reverse(last)));
    let mut live = BTreeMap::new();
    let mut covered = 0;
    for (first, last) in ranges {
        if first <= covered {
            let path = path(dir, first, last);
            fs::remove_file(&path).map_err(failure("remove", &path))?;
        } else {
            live.insert(first, last);
            covered = last;
        }
    }
    Ok(live)
}

/// What reading segments in order has found so far.
#[derive(Default)]
struct Found {
    catalogue: Catalogue,
    batches: Vec<Batch>,
    /// Those behind the last catalogue.
    positions: Vec<(Place, String, Offset)>,
    /// Whether the segment read last was written by cleaning.
    cleaned: bool,
}

impl Found {
    /// Reads one segment and returns where its whole frames end. `Err` with a place where it is damaged: before its end, or, of the one that is
    /// appended to, in its first frame, which was whole before the file had its name.
    fn read(&mut self, bytes: &[u8], segment: u32, torn_allowed: bool) -> Result<usize, usize> {
        self.cleaned = false;
        let mut at = 0;
        while at < bytes.len() {
            let body = match format::whole_frame(&bytes[at..]) {
                Some(body) => body,
                None if torn_allowed && at > 0 => return Ok(at),
                None => return Err(at),
            };
            let begin = (at + FRAME_HEADER) as u64;
            match format::read_body(body) {
                Ok(Body::Catalogue { cleaned: true, .. }) => self.cleaned = true,
                Ok(Body::Catalogue { cleaned: false, catalogue }) => {
                    self.catalogue = catalogue;
                    self.positions.clear();
                }
                Ok(Body::Commit(parts)) => parts.into_iter().for_each(|part| self.take(part, segment, begin)),
                // Its checksum holds, so it was written so: by a version that this one does not know.
                Err(format::Malformed) => return Err(at),
            }
            at += FRAME_HEADER + body.len();
        }
        if at == 0 { Err(0) } else { Ok(at) }
    }

    fn take(&mut self, part: Part, segment: u32, begin: u64) {
        match part {
            Part::Batch(mut head) => {
                head.position += begin;
                self.batches.push(Batch { segment, head });
            }
            Part::Position {
                topic,
                partition,
                position,
                group,
            } => self.positions.push(((topic, partition), group, position)),
        }
    }
}
