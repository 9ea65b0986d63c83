//! Segment files: their names, their creation, and how they are read at start.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::{self, Body, Catalogue, Part};
use super::frame::{LogId, NoSegment, PREAMBLE, Piece, Seal};
use super::index::{Batch, Index, PartitionRef};
use super::manifest::{self, Manifest, NoManifest};
use super::mark::{self, BadMark, Mark, Reach};
use super::writer::Writer;
use super::{Durability, failure};
use crate::{LogError, Offset};
use millrace_model::Cause;

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

/// The first bytes of a segment, before anything is appended to it.
pub(super) fn first_bytes(seal: &Seal, catalogue: &Catalogue) -> Vec<u8> {
    let mut bytes = Vec::new();
    seal.put_preamble(&mut bytes);
    seal.frame(&mut bytes, 0, |body| format::put_catalogue(body, false, catalogue));
    bytes
}

/// Makes a segment of `bytes`, whole or absent; on disk on return, unless durability does not
/// require it.
pub(super) fn create(dir: &Path, seal: &Seal, bytes: &[u8], durability: Durability) -> Result<File, LogError> {
    let path = path(dir, seal.first, seal.last);
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

/// Reads the folder, removes left-overs, cuts an unfinished last write, builds the index. A folder
/// without a log gets one.
///
/// # Errors
/// Where anything is missing, damaged, or another log's: nothing in the folder is changed then.
pub(super) fn load(dir: &Path, durability: Durability) -> Result<Loaded, LogError> {
    let names = segments(dir)?;
    let manifest = match Manifest::read(dir) {
        Ok(manifest) => manifest,
        Err(NoManifest::Unreadable(error)) => return Err(error),
        Err(NoManifest::Damaged) => return Err(damaged(dir, &format!("{} is damaged", manifest::path(dir).display()))),
        Err(NoManifest::Missing) => return begin(dir, &names, durability),
    };
    let left_over = left_over(dir, &names, &manifest)?;
    let acknowledged = acknowledged(dir, &manifest)?;
    let mut found = Reading::default();
    let mut segments = BTreeMap::new();
    let mut end = 0;
    for (first, last) in manifest.segments() {
        let path = path(dir, first, last);
        let active = first == manifest.active;
        if !names.contains(&(first, last)) {
            return Err(damaged(dir, &format!("{} is missing", path.display())));
        }
        let bytes = fs::read(&path).map_err(failure("read", &path))?;
        let seal = Seal::new(manifest.log, first, last);
        end = found.read(&path, &bytes, seal, active)?;
        if active && (end as u64) < acknowledged {
            let missing = acknowledged - end as u64;
            return Err(damaged(
                dir,
                &format!("{} is cut short at byte {end}: {missing} bytes that were on disk are missing", path.display()),
            ));
        }
        let file = OpenOptions::new().read(true).write(active).open(&path).map_err(failure("open", &path))?;
        let segment = Segment {
            first,
            last,
            cleaned: found.cleaned,
            bytes: if active { 0 } else { bytes.len() as u64 },
            file,
        };
        segments.insert(first, (segment, path, bytes.len()));
    }
    let mut index = Index::build(found.catalogue, found.batches, found.positions).map_err(|what| damaged(dir, &what))?;

    // All is well: from here on the folder may change.
    for path in left_over {
        tracing::info!(file = %path.display(), "removed what an interrupted change of the log left over");
        fs::remove_file(&path).map_err(failure("remove", &path))?;
    }
    let (segment, path, length) = &segments[&manifest.active];
    if end < *length {
        cut(path, &segment.file, end, length - end, durability)?;
    }
    let file = segment.file.try_clone().map_err(failure("open", dir))?;
    let writer = writer(dir, &manifest, file, end as u64, durability)?;
    index.segments = segments.into_iter().map(|(first, (segment, ..))| (first, Arc::new(segment))).collect();
    index.active = manifest.active;
    Ok(Loaded { index, writer, manifest })
}

/// What was read at start.
pub(super) struct Loaded {
    pub index: Index,
    pub writer: Writer,
    pub manifest: Manifest,
}

/// The writer of the active segment, of this number of bytes.
fn writer(dir: &Path, manifest: &Manifest, file: File, bytes: u64, durability: Durability) -> Result<Writer, LogError> {
    let active = manifest.active;
    // Without a sync per commit, power loss may destroy the last ones, so there is no mark.
    let mark = match durability {
        Durability::Commit => {
            // A process that was killed during a commit may have written bytes that it did not sync.
            file.sync_data().map_err(failure("sync", dir))?;
            Some(Mark::create(dir, manifest.log, Reach { active, bytes })?)
        }
        Durability::Interval(_) | Durability::Never => None,
    };
    Ok(Writer::new(dir.to_owned(), file, Seal::new(manifest.log, active, active), bytes, mark))
}

/// Bytes of the active segment that were certainly acknowledged. The mark has the count of the last
/// commit, the manifest one that is up to a minute old.
fn acknowledged(dir: &Path, manifest: &Manifest) -> Result<u64, LogError> {
    match mark::read(dir, manifest.log) {
        Ok(Some(reach)) if reach.active > manifest.active => {
            let (manifest, mark) = (manifest::path(dir), mark::path(dir));
            Err(damaged(dir, &format!("{} is older than {}", manifest.display(), mark.display())))
        }
        Ok(Some(reach)) if reach.active == manifest.active => Ok(manifest.active_bytes.max(reach.bytes)),
        // No mark, or the mark of a segment that has since been closed: its end frame protects it.
        Ok(_) => Ok(manifest.active_bytes),
        Err(BadMark::Damaged) => Err(damaged(dir, &format!("{} is damaged, or another log's", mark::path(dir).display()))),
        Err(BadMark::Unreadable(error)) => Err(error),
    }
}

/// Cuts off a last write that a crash interrupted. Nobody received an acknowledgement for it.
fn cut(path: &Path, file: &File, end: usize, bytes: usize, durability: Durability) -> Result<(), LogError> {
    tracing::warn!(file = %path.display(), at = end, bytes, "cut off a last write that was not finished");
    file.set_len(end as u64).map_err(failure("cut", path))?;
    if durability != Durability::Never {
        file.sync_all().map_err(failure("sync", path))?;
    }
    Ok(())
}

/// A folder without a manifest: makes a log if there is none, or if making one was interrupted.
fn begin(dir: &Path, names: &BTreeSet<(u32, u32)>, durability: Durability) -> Result<Loaded, LogError> {
    if mark::path(dir).exists() {
        return Err(damaged(dir, &format!("{} is missing", manifest::path(dir).display())));
    }
    for (first, last) in names {
        let path = path(dir, *first, *last);
        let bytes = fs::read(&path).map_err(failure("read", &path))?;
        let begun = match Seal::of_preamble(&bytes) {
            Ok(seal) => (*first, *last) == (1, 1) && bytes == first_bytes(&seal, &Catalogue::default()),
            Err(NoSegment::FormatOne) => return Err(old_format(dir)),
            Err(NoSegment::Newer(format)) => return Err(newer(&path, format)),
            Err(NoSegment::Damaged) => false,
        };
        if !begun {
            return Err(damaged(dir, &format!("{} is missing", manifest::path(dir).display())));
        }
    }
    let log = LogId(random()?);
    create(
        dir,
        &Seal::new(log, 1, 1),
        &first_bytes(&Seal::new(log, 1, 1), &Catalogue::default()),
        durability,
    )?;
    let manifest = Manifest::new(log);
    manifest.write(dir, durability != Durability::Never).map_err(|failed| failed.error)?;
    load(dir, durability)
}

pub(super) fn random() -> Result<u128, LogError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| LogError::Failure(Cause::of("cannot draw the log's identity", error)))?;
    Ok(u128::from_le_bytes(bytes))
}

/// The segments in the folder by their names. Half-written files are removed.
pub(super) fn segments(dir: &Path) -> Result<BTreeSet<(u32, u32)>, LogError> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).map_err(failure("read", dir))? {
        let path = entry.map_err(failure("read", dir))?.path();
        let Some(range) = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(SUFFIX)) else {
            continue;
        };
        let numbers = range.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
        match numbers {
            Some((first, last)) if path == self::path(dir, first, last) => found.insert((first, last)),
            _ => return Err(damaged(dir, &format!("{} is no segment of a log", path.display()))),
        };
    }
    Ok(found)
}

/// Files that an interrupted change left, so that the manifest does not name them: a half-written
/// file, a segment that cleaning had replaced, its replacement, a new segment without a commit.
fn left_over(dir: &Path, names: &BTreeSet<(u32, u32)>, manifest: &Manifest) -> Result<Vec<PathBuf>, LogError> {
    let named: BTreeSet<(u32, u32)> = manifest.segments().collect();
    let mut left_over = Vec::new();
    for &(first, last) in names.difference(&named) {
        let path = path(dir, first, last);
        let begun = first == manifest.active + 1 && last == first && begun_only(&path, Seal::new(manifest.log, first, last))?;
        if last >= manifest.active && !begun {
            let what = format!(
                "{} is not in {}, which is older or another log's",
                path.display(),
                manifest::path(dir).display()
            );
            return Err(damaged(dir, &what));
        }
        left_over.push(path);
    }
    for entry in fs::read_dir(dir).map_err(failure("read", dir))? {
        let path = entry.map_err(failure("read", dir))?.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            left_over.push(path);
        }
    }
    Ok(left_over)
}

/// Whether a segment holds only the catalogue it was begun with.
fn begun_only(path: &Path, seal: Seal) -> Result<bool, LogError> {
    let bytes = fs::read(path).map_err(failure("read", path))?;
    Ok(Seal::of_preamble(&bytes) == Ok(seal) && matches!(seal.pieces(&bytes).as_slice(), [Piece::Frame { .. }]))
}

/// The state after reading some segments in order.
#[derive(Default)]
struct Reading {
    catalogue: Catalogue,
    batches: Vec<Batch>,
    /// Those after the last catalogue.
    positions: Vec<(PartitionRef, String, Offset)>,
    /// Whether the segment read last was written by cleaning.
    cleaned: bool,
}

impl Reading {
    /// Reads one segment and returns where its frames end: the file's end unless the last write is
    /// unfinished.
    fn read(&mut self, path: &Path, bytes: &[u8], seal: Seal, active: bool) -> Result<usize, LogError> {
        let dir = path.parent().unwrap_or(path);
        let at = |at: usize, what: &str| damaged(dir, &format!("{} is damaged at byte {at}: {what}", path.display()));
        match Seal::of_preamble(bytes) {
            Ok(found) if found == seal => {}
            Ok(found) if found.log != seal.log => return Err(damaged(dir, &format!("{} belongs to another log, {}", path.display(), found.log))),
            Ok(found) => {
                let name = self::path(dir, found.first, found.last);
                return Err(damaged(
                    dir,
                    &format!("{} is the segment {} under another name", path.display(), name.display()),
                ));
            }
            Err(NoSegment::FormatOne) => return Err(old_format(dir)),
            Err(NoSegment::Newer(format)) => return Err(newer(path, format)),
            Err(NoSegment::Damaged) => return Err(at(0, "no segment begins here")),
        }
        self.cleaned = false;
        let mut ended = false;
        let mut end = PREAMBLE;
        for piece in seal.pieces(bytes) {
            let body = match piece {
                Piece::Frame { body } => body,
                Piece::Unfinished { .. } if active && end > PREAMBLE => return Ok(end),
                Piece::Unfinished { at: place } => return Err(at(place, "the segment is cut short")),
                Piece::Damaged { bytes, what } => return Err(at(bytes.start, what)),
            };
            end = body.end;
            ended = false;
            match format::read_body(&bytes[body.clone()]) {
                Ok(Body::Catalogue { cleaned: true, .. }) => self.cleaned = true,
                Ok(Body::Catalogue { cleaned: false, catalogue }) => {
                    self.catalogue = catalogue;
                    self.positions.clear();
                }
                Ok(Body::Commit(parts)) => parts.into_iter().for_each(|part| self.take(part, seal.first, body.start as u64)),
                Ok(Body::End) => ended = true,
                // Its checksum holds, so it was written that way.
                Err(format::Malformed) => return Err(at(body.start, "this version cannot read what stands here")),
            }
        }
        if end == PREAMBLE || !(ended || active) {
            return Err(at(end, "the segment is cut short"));
        }
        Ok(end)
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

/// The log cannot be opened as it is. Nothing in the folder was changed.
fn damaged(dir: &Path, what: &str) -> LogError {
    let dir = dir.display();
    LogError::Failure(format!(
        "{what}; nothing was changed. Put back what is missing, or see with `millrace log check {dir}` what is there and save it with `millrace log salvage {dir} --to <new folder>`"
    ).into())
}

fn old_format(dir: &Path) -> LogError {
    let dir = dir.display();
    LogError::Failure(format!(
        "the log {dir} was written by an earlier version, in format 1; `millrace log salvage {dir} --to <new folder>` carries it over into a log that this version reads"
    ).into())
}

fn newer(path: &Path, format: u32) -> LogError {
    LogError::Failure(format!("{} was written by a newer version, in format {format}; run that version", path.display()).into())
}
