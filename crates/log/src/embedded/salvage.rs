//! The intact parts of a damaged log: `check` shows them, `salvage` copies them into a new log.
//!
//! Both read the segments themselves; they use the manifest if it is intact and do without it
//! otherwise. A damaged frame is lost whole. Logs of format 1 are read as well, which is how they are
//! converted into the current format.
//!
//! Of a damaged log, what follows from other topics is left out whole: beside lost batches the rest
//! of it would contradict what it follows from (`decisions/0031`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::format::{self, Body, Catalogue, Part};
use super::frame::{self, LogId, NoSegment, Piece, Seal};
use super::index::PartitionRef;
use super::manifest::{self, Manifest, NoManifest};
use super::mark::{self, BadMark};
use super::{Durability, EmbeddedConfig, EmbeddedLog, failure, hold, segment};
use crate::{LogError, Offset};

/// The contents of a log's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// The log's identity; `None` if it is unknown, and for a log of format 1, which had none.
    pub log: Option<String>,
    /// The format of its segments.
    pub format: u32,
    /// In the order in which they are read.
    pub segments: Vec<SegmentReport>,
    /// The topics that the segments name, in order.
    pub topics: Vec<TopicReport>,
    /// Faults of the log as a whole: files that are missing, unknown, or damaged from their
    /// beginning.
    pub problems: Vec<String>,
}

/// What is in one segment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SegmentReport {
    /// The name of the file within the folder.
    pub file: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// Intact batches and records in it, dead ones included.
    pub batches: u64,
    /// Records in the readable batches.
    pub records: u64,
    /// Every place that cannot be read, in order.
    pub damage: Vec<Damage>,
    /// The place of an unfinished last write. That is not damage: it is cut off when the log is
    /// opened.
    pub unfinished: Option<u64>,
}

/// Bytes of a segment that differ from what was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Where it begins, in bytes from the beginning of the file.
    pub at: u64,
    /// Bytes of the damaged place.
    pub bytes: u64,
    /// What is wrong there.
    pub what: String,
}

/// What is known of one topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicReport {
    /// Its name.
    pub topic: String,
    /// Its number of partitions.
    pub partitions: u32,
    /// Intact records, those that compaction has not removed yet included.
    pub records: u64,
    /// Records that are known to be lost: offsets between intact batches, where nothing was
    /// compacted yet. How many were lost at the end is not known.
    pub lost: u64,
}

/// The result of `salvage`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rescue {
    /// The contents found.
    pub found: Inspection,
    /// Identity of the new log.
    pub log: String,
    /// Records copied, and intact ones that were left out because no catalogue names their topic.
    pub records: u64,
    /// Records that could not be saved.
    pub left_out: u64,
    /// Topics that begin anew because they follow from others, in order.
    pub begun_anew: Vec<String>,
}

impl Inspection {
    /// Whether everything is as it was written. An unfinished last write does no harm.
    pub fn whole(&self) -> bool {
        self.problems.is_empty() && self.segments.iter().all(|segment| segment.damage.is_empty())
    }
}

pub(super) fn check(dir: &Path) -> Result<Inspection, LogError> {
    let _lock = hold_existing(dir)?;
    Ok(Survey::of(dir)?.inspection)
}

pub(super) fn salvage(dir: &Path, to: &Path, follows: &dyn Fn(&str) -> bool) -> Result<Rescue, LogError> {
    let lock = hold_existing(dir)?;
    let mut survey = Survey::of(dir)?;
    if survey.catalogue.topics.is_empty() {
        return Err(LogError::Failure(
            format!("nothing in {} can be saved: no catalogue of topics is whole", dir.display()).into(),
        ));
    }
    fs::create_dir_all(to).map_err(failure("create", to))?;
    if fs::read_dir(to).map_err(failure("read", to))?.next().is_some() {
        return Err(LogError::Failure(format!("{} is not empty", to.display()).into()));
    }
    if !survey.inspection.whole() {
        survey.begin_anew(follows);
    }
    let rescue = survey.write(dir, to)?;
    // Proves that the new log can be read.
    EmbeddedLog::open(to, EmbeddedConfig::default())?;
    drop(lock);
    Ok(rescue)
}

/// As `hold`, where the folder holds a log.
fn hold_existing(dir: &Path) -> Result<Option<fs::File>, LogError> {
    if !EmbeddedLog::exists(dir) {
        return Err(LogError::Failure(format!("{} holds no log", dir.display()).into()));
    }
    match OpenOptions::new().append(true).open(dir.join("lock")) {
        Ok(_) => hold(dir).map(Some),
        // Nobody has it open then, or nobody may write here.
        Err(_) => Ok(None),
    }
}

/// A segment that can be read, at least in parts.
struct Source {
    path: PathBuf,
    first: u32,
    last: u32,
    /// `None`: of format 1.
    seal: Option<Seal>,
}

#[derive(Default)]
struct Survey {
    inspection: Inspection,
    sources: Vec<Source>,
    catalogue: Catalogue,
    /// Those after the last catalogue.
    positions: BTreeMap<(PartitionRef, String), Offset>,
    /// Offsets after the last whole batch.
    ends: BTreeMap<PartitionRef, Offset>,
    records: BTreeMap<PartitionRef, u64>,
    lost: BTreeMap<PartitionRef, u64>,
    /// Numbers of the topics of which nothing is carried over.
    anew: BTreeSet<u32>,
}

impl Survey {
    fn of(dir: &Path) -> Result<Survey, LogError> {
        let mut survey = Survey::default();
        let manifest = match Manifest::read(dir) {
            Ok(mut manifest) => {
                survey.heed_mark(dir, &mut manifest)?;
                Some(manifest)
            }
            Err(NoManifest::Unreadable(error)) => return Err(error),
            Err(missing) => {
                let word = if matches!(missing, NoManifest::Missing) { "missing" } else { "damaged" };
                survey.problems(format!("{} is {word}", manifest::path(dir).display()));
                None
            }
        };
        survey.find_sources(dir, manifest.as_ref())?;
        if survey.inspection.format == 1 {
            // That format had no manifest.
            survey.inspection.problems.retain(|problem| !problem.ends_with("manifest is missing"));
        }
        for at in 0..survey.sources.len() {
            survey.read(at, manifest.as_ref())?;
        }
        survey.report_topics();
        Ok(survey)
    }

    /// The mark knows of commits that the manifest does not know of yet.
    fn heed_mark(&mut self, dir: &Path, manifest: &mut Manifest) -> Result<(), LogError> {
        let path = mark::path(dir);
        match mark::read(dir, manifest.log) {
            Ok(Some(reach)) if reach.active > manifest.active => {
                self.problems(format!("{} is older than {}", manifest::path(dir).display(), path.display()));
            }
            Ok(Some(reach)) if reach.active == manifest.active => manifest.active_bytes = manifest.active_bytes.max(reach.bytes),
            Ok(_) => {}
            Err(BadMark::Damaged) => self.problems(format!("{} is damaged, or another log's", path.display())),
            Err(BadMark::Unreadable(error)) => return Err(error),
        }
        Ok(())
    }

    fn problems(&mut self, problem: String) {
        self.inspection.problems.push(problem);
    }

    /// Which files make up the log, in order.
    fn find_sources(&mut self, dir: &Path, manifest: Option<&Manifest>) -> Result<(), LogError> {
        let mut names: Vec<(u32, u32)> = segment::segments(dir)?.into_iter().collect();
        let listed: BTreeSet<(u32, u32)> = manifest.map(|manifest| manifest.segments().collect()).unwrap_or_default();
        for (first, last) in listed.iter().filter(|listed| !names.contains(listed)) {
            self.problems(format!("{} is missing", segment::path(dir, *first, *last).display()));
        }
        // Those that the manifest names come first, then the widest of those with the same begin.
        names.sort_by_key(|&(first, last)| (!listed.contains(&(first, last)), first, std::cmp::Reverse(last)));
        let mut id = manifest.map(|manifest| manifest.log);
        let mut taken: BTreeMap<u32, Source> = BTreeMap::new();
        let mut nameless = Vec::new();
        for name in names {
            let path = segment::path(dir, name.0, name.1);
            let bytes = fs::read(&path).map_err(failure("read", &path))?;
            let seal = match Seal::of_preamble(&bytes) {
                Ok(seal) => Some(seal),
                Err(NoSegment::FormatOne) => None,
                Err(NoSegment::Newer(format)) => {
                    self.problems(format!("{} was written by a newer version, in format {format}", path.display()));
                    continue;
                }
                Err(NoSegment::Damaged) => {
                    nameless.push((path, name));
                    continue;
                }
            };
            if let Some(seal) = seal
                && *id.get_or_insert(seal.log) != seal.log
            {
                self.problems(format!("{} belongs to another log, {}", path.display(), seal.log));
                continue;
            }
            self.take(path, name, seal, &mut taken);
        }
        for (path, name) in nameless {
            self.problems(format!("{} is damaged at byte 0: no segment begins here", path.display()));
            if let Some(id) = id {
                self.take(path, name, Some(Seal::new(id, name.0, name.1)), &mut taken);
            }
        }
        self.inspection.log = id.map(|id| id.to_string());
        self.sources = taken.into_values().collect();
        self.inspection.format = if self.sources.iter().any(|source| source.seal.is_none()) {
            1
        } else {
            frame::FORMAT
        };
        Ok(())
    }

    /// Takes a segment, unless one that was taken covers it.
    fn take(&mut self, path: PathBuf, name: (u32, u32), seal: Option<Seal>, taken: &mut BTreeMap<u32, Source>) {
        let (first, last) = seal.map_or(name, |seal| (seal.first, seal.last));
        if (first, last) != name {
            self.problems(format!("{} is the segment {first}-{last} under another name", path.display()));
        }
        if taken.values().any(|other| first <= other.last && other.first <= last) {
            return;
        }
        taken.insert(first, Source { path, first, last, seal });
    }

    /// Reads one segment and counts.
    fn read(&mut self, at: usize, manifest: Option<&Manifest>) -> Result<(), LogError> {
        let source = &self.sources[at];
        let (path, active) = (source.path.clone(), at + 1 == self.sources.len());
        let bytes = fs::read(&path).map_err(failure("read", &path))?;
        let mut report = SegmentReport {
            file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            bytes: bytes.len() as u64,
            ..SegmentReport::default()
        };
        let format_one = source.seal.is_none();
        let (mut cleaned, mut ended, mut end) = (false, false, 0);
        for piece in source.pieces(&bytes) {
            match piece {
                Piece::Frame { body } => {
                    end = body.end;
                    ended = false;
                    match format::read_body(&bytes[body.clone()]) {
                        Ok(Body::Catalogue { cleaned: true, .. }) => cleaned = true,
                        Ok(Body::Catalogue { cleaned: false, catalogue }) => {
                            self.catalogue = catalogue;
                            self.positions.clear();
                        }
                        Ok(Body::Commit(parts)) => parts.into_iter().for_each(|part| self.count(part, cleaned, &mut report)),
                        Ok(Body::End) => ended = true,
                        Err(format::Malformed) => report.damage.push(Damage {
                            at: body.start as u64,
                            bytes: body.len() as u64,
                            what: "this version cannot read what stands here".to_owned(),
                        }),
                    }
                }
                Piece::Unfinished { at } if active => report.unfinished = Some(at as u64),
                Piece::Unfinished { at } => report.damage.push(damage(at..bytes.len(), "the segment is cut short")),
                Piece::Damaged { bytes, what } => report.damage.push(damage(bytes, what)),
            }
        }
        if !(active || ended || format_one) && report.damage.is_empty() {
            report.damage.push(damage(end..end, "the segment is cut short"));
        }
        let known = manifest.filter(|manifest| active && manifest.active == self.sources[at].first);
        if let Some(missing) = known
            .and_then(|manifest| manifest.active_bytes.checked_sub(end as u64))
            .filter(|missing| *missing > 0)
            && report.damage.is_empty()
        {
            report.damage.push(damage(
                end..end,
                &format!("the segment is cut short: {missing} bytes that were on disk are missing"),
            ));
            report.unfinished = None;
        }
        self.inspection.segments.push(report);
        Ok(())
    }

    fn count(&mut self, part: Part, cleaned: bool, report: &mut SegmentReport) {
        match part {
            Part::Batch(head) => {
                let place = (head.topic, head.partition);
                report.batches += 1;
                report.records += u64::from(head.records);
                *self.records.entry(place).or_default() += u64::from(head.records);
                let end = self.ends.insert(place, head.last + 1);
                // After cleaning, gaps are expected.
                if let Some(end) = end.filter(|end| !cleaned && head.base > *end) {
                    *self.lost.entry(place).or_default() += (head.base - end) as u64;
                }
            }
            Part::Position {
                topic,
                partition,
                position,
                group,
            } => {
                self.positions.insert(((topic, partition), group), position);
            }
        }
    }

    fn report_topics(&mut self) {
        let damaged = !self.inspection.whole();
        for (number, topic) in self.catalogue.topics.iter().enumerate() {
            let sum = |counts: &BTreeMap<PartitionRef, u64>| {
                let range = (number as u32, 0)..=(number as u32, u32::MAX);
                counts.range(range).map(|(_, count)| count).sum()
            };
            self.inspection.topics.push(TopicReport {
                topic: topic.name.clone(),
                partitions: topic.partitions.len() as u32,
                records: sum(&self.records),
                // Retention leaves gaps too.
                lost: if damaged { sum(&self.lost) } else { 0 },
            });
        }
    }

    /// Writes the intact parts as a new log.
    fn write(self, dir: &Path, to: &Path) -> Result<Rescue, LogError> {
        let log = LogId(segment::random()?);
        let mut manifest = Manifest::new(log);
        let (mut records, mut left_out) = (0, 0);
        let mut next = 1;
        for source in &self.sources {
            let bytes = fs::read(&source.path).map_err(failure("read", &source.path))?;
            let seal = Seal::new(log, source.first, source.last);
            let mut out = Vec::with_capacity(bytes.len());
            seal.put_preamble(&mut out);
            for body in source.pieces(&bytes).into_iter().filter_map(Piece::body) {
                let body = &bytes[body];
                let carried = match format::read_body(body) {
                    Ok(Body::Commit(parts)) if parts.iter().all(|part| self.known(part.partition_ref())) => {
                        records += parts.iter().filter(|part| self.carries(part)).map(Part::records).sum::<u64>();
                        format::keep_parts(body, |part| self.carries(part)).ok().flatten()
                    }
                    Ok(Body::Commit(parts)) => {
                        left_out += parts.iter().map(Part::records).sum::<u64>();
                        None
                    }
                    Ok(Body::Catalogue { .. }) => Some(body.to_vec()),
                    Ok(Body::End) | Err(format::Malformed) => None,
                };
                if let Some(carried) = carried {
                    seal.frame(&mut out, 0, |frame| frame.extend_from_slice(&carried));
                }
            }
            seal.frame(&mut out, 0, format::put_end);
            segment::create(to, &seal, &out, Durability::Commit)?;
            manifest.closed.insert(source.first, source.last);
            next = source.last + 1;
        }
        let seal = Seal::new(log, next, next);
        segment::create(to, &seal, &segment::first_bytes(&seal, &self.last_catalogue()), Durability::Commit)?;
        manifest.active = next;
        manifest.write(to, true).map_err(|failed| failed.error)?;
        let anew = |number: &u32| self.catalogue.topics[*number as usize].name.clone();
        tracing::info!(from = %dir.display(), to = %to.display(), records, "log salvaged");
        Ok(Rescue {
            begun_anew: self.anew.iter().map(anew).collect(),
            found: self.inspection,
            log: log.to_string(),
            records,
            left_out,
        })
    }

    fn begin_anew(&mut self, follows: &dyn Fn(&str) -> bool) {
        let topics = (0..).zip(&self.catalogue.topics);
        self.anew = topics.filter(|(_, topic)| follows(&topic.name)).map(|(number, _)| number).collect();
    }

    /// Whether a part of the old log becomes part of the new one. A group's position is worth
    /// nothing once anything begins anew.
    fn carries(&self, part: &Part) -> bool {
        match part {
            Part::Batch(head) => !self.anew.contains(&head.topic),
            Part::Position { .. } => self.anew.is_empty(),
        }
    }

    fn known(&self, (topic, partition): PartitionRef) -> bool {
        let topic = self.catalogue.topics.get(topic as usize);
        topic.is_some_and(|topic| (partition as usize) < topic.partitions.len())
    }

    /// The last catalogue with the commits after it. Offsets go on, also of what begins anew.
    fn last_catalogue(&self) -> Catalogue {
        let mut catalogue = self.catalogue.clone();
        for (&(topic, partition), end) in &self.ends {
            let topic = catalogue.topics.get_mut(topic as usize);
            if let Some((_, next)) = topic.and_then(|topic| topic.partitions.get_mut(partition as usize)) {
                *next = (*next).max(*end);
            }
        }
        if !self.anew.is_empty() {
            for (_, topic) in (0..).zip(&mut catalogue.topics).filter(|(number, _)| self.anew.contains(number)) {
                topic.partitions.iter_mut().for_each(|(start, next)| *start = *next);
            }
            catalogue.positions.clear();
            return catalogue;
        }
        let later = self.positions.iter().filter(|((place, _), _)| self.known(*place));
        for (((topic, partition), group), position) in later {
            let place = (group.clone(), *topic, *partition);
            catalogue
                .positions
                .retain(|(group, topic, partition, _)| (group, topic, partition) != (&place.0, &place.1, &place.2));
            catalogue.positions.push((place.0, place.1, place.2, *position));
        }
        catalogue
    }
}

impl Source {
    fn pieces(&self, bytes: &[u8]) -> Vec<Piece> {
        match self.seal {
            Some(seal) => seal.pieces(bytes),
            None => frame::pieces_of_format_one(bytes),
        }
    }
}

fn damage(bytes: Range<usize>, what: &str) -> Damage {
    Damage {
        at: bytes.start as u64,
        bytes: bytes.len() as u64,
        what: what.to_owned(),
    }
}
