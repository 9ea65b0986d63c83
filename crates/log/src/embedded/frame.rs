//! How segments begin and how frames are wrapped, so that every difference from what was written is
//! noticed; the layout is drawn in the parent module.
//!
//! A frame's checksums start from the log, the segment and the frame's place in the file. So a
//! frame that was moved, copied, or belongs to another segment or another log does not count as a
//! frame here, even if it is intact.

use std::fmt;
use std::ops::Range;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Bytes before a frame's body.
pub(super) const FRAME_HEADER: usize = 20;
/// Bytes before a segment's first frame.
pub(super) const PREAMBLE: usize = 44;
/// The longest body in bytes. A transaction has some megabytes, so a greater number is damage.
pub(super) const BODY_BYTES_MAX: usize = 1 << 30;
/// The format that this version writes.
pub(super) const FORMAT: u32 = 2;

const MAGIC: &[u8; 8] = b"millrace";
/// The smallest unit of a disk write, in bytes: each page of an unfinished write is present or
/// absent as a whole.
const PAGE: usize = 4096;
/// This number of zero bytes in place of a frame is a page that was never written. Fewer zeros may
/// be content.
const ZEROS_MIN: usize = 16;

/// A log's identity, drawn at random when the log is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LogId(pub u128);

impl fmt::Display for LogId {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:032x}", self.0)
    }
}

/// The identity of a segment. Its frames' checksums start from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seal {
    pub log: LogId,
    /// The numbers of the segments that this one stands for.
    pub first: u32,
    pub last: u32,
    seed: u64,
}

/// What is at a place of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A frame, with this number of bytes of body.
    Whole(usize),
    /// A frame's header, and fewer bytes than it announces.
    CutShort,
    /// A frame's header, and a body that does not match it.
    BadBody(usize),
    /// Not a frame's header.
    BadHeader,
}

/// A stretch of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Frame {
        body: Range<usize>,
    },
    /// A last write that was not finished. It runs to the end of the file.
    Unfinished {
        at: usize,
    },
    /// Bytes that differ from what was written.
    Damaged {
        bytes: Range<usize>,
        what: &'static str,
    },
}

impl Piece {
    pub fn body(self) -> Option<Range<usize>> {
        match self {
            Piece::Frame { body } => Some(body),
            Piece::Unfinished { .. } | Piece::Damaged { .. } => None,
        }
    }
}

/// Why a file is not a segment that this version reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoSegment {
    /// A segment of format 1, which had no preamble.
    FormatOne,
    /// A segment of a newer version.
    Newer(u32),
    Damaged,
}

impl Seal {
    pub fn new(log: LogId, first: u32, last: u32) -> Seal {
        let mut text = [0; 24];
        text[..16].copy_from_slice(&log.0.to_le_bytes());
        text[16..20].copy_from_slice(&first.to_le_bytes());
        text[20..].copy_from_slice(&last.to_le_bytes());
        Seal {
            log,
            first,
            last,
            seed: xxh3_64(&text),
        }
    }

    /// The segment's first bytes.
    pub fn put_preamble(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&self.last.to_le_bytes());
        out.extend_from_slice(&self.log.0.to_le_bytes());
        let checksum = xxh3_64(&out[begin..]);
        out.extend_from_slice(&checksum.to_le_bytes());
    }

    /// # Errors
    /// Why the bytes do not begin a segment.
    pub fn of_preamble(bytes: &[u8]) -> Result<Seal, NoSegment> {
        let Some(preamble) = bytes.get(..PREAMBLE) else {
            return Err(NoSegment::Damaged);
        };
        let (text, checksum) = preamble.split_at(PREAMBLE - 8);
        if xxh3_64(text).to_le_bytes() != checksum {
            return Err(if whole_frame_of_format_one(bytes).is_some() {
                NoSegment::FormatOne
            } else {
                NoSegment::Damaged
            });
        }
        let number = |at: usize| text[at..at + 4].iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
        let log = text[20..36].iter().rev().fold(0, |number, byte| number << 8 | u128::from(*byte));
        match number(8) {
            FORMAT if text.starts_with(MAGIC) => Ok(Seal::new(LogId(log), number(12), number(16))),
            newer if text.starts_with(MAGIC) && newer > FORMAT => Err(NoSegment::Newer(newer)),
            _ => Err(NoSegment::Damaged),
        }
    }

    /// Appends one frame whose body `fill` writes. `out` must start at `base` of the file.
    pub fn frame(&self, out: &mut Vec<u8>, base: u64, fill: impl FnOnce(&mut Vec<u8>)) {
        let begin = Seal::begin(out);
        fill(out);
        self.end(out, begin, base);
    }

    /// Leaves room for a frame's header, whose place this is. The body follows, then `end`.
    pub fn begin(out: &mut Vec<u8>) -> usize {
        let begin = out.len();
        out.extend_from_slice(&[0; FRAME_HEADER]);
        begin
    }

    pub fn end(&self, out: &mut [u8], begin: usize, base: u64) {
        let body = begin + FRAME_HEADER;
        let length = (out.len() - body) as u32;
        let checksum = xxh3_64_with_seed(&out[body..], self.seed);
        out[begin..begin + 4].copy_from_slice(&length.to_le_bytes());
        out[begin + 4..begin + 12].copy_from_slice(&checksum.to_le_bytes());
        let header = self.header_checksum(&out[begin..begin + 12], base + begin as u64);
        out[begin + 12..body].copy_from_slice(&header.to_le_bytes());
    }

    fn header_checksum(&self, header: &[u8], place: u64) -> u64 {
        xxh3_64_with_seed(header, self.seed ^ place)
    }

    fn header_at(&self, bytes: &[u8], at: usize) -> Option<(usize, u64)> {
        let header = bytes.get(at..at + FRAME_HEADER)?;
        if self.header_checksum(&header[..12], at as u64).to_le_bytes() != header[12..] {
            return None;
        }
        let (length, checksum) = header[..12].split_at(4);
        let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
        let checksum = u64::from_le_bytes(checksum.try_into().ok()?);
        (length > 0 && length <= BODY_BYTES_MAX).then_some((length, checksum))
    }

    pub fn look(&self, bytes: &[u8], at: usize) -> Found {
        let Some((length, checksum)) = self.header_at(bytes, at) else {
            return Found::BadHeader;
        };
        let begin = at + FRAME_HEADER;
        match bytes.get(begin..begin + length) {
            None => Found::CutShort,
            Some(body) if xxh3_64_with_seed(body, self.seed) == checksum => Found::Whole(length),
            Some(_) => Found::BadBody(length),
        }
    }

    /// The stretches of a segment from its first frame on, in order, without gaps.
    pub fn pieces(&self, bytes: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut at = PREAMBLE;
        while at < bytes.len() {
            let found = self.look(bytes, at);
            if let Found::Whole(length) = found {
                let begin = at + FRAME_HEADER;
                pieces.push(Piece::Frame { body: begin..begin + length });
                at = begin + length;
                continue;
            }
            let next = (at + 1..bytes.len()).find(|next| self.header_at(bytes, *next).is_some());
            pieces.push(match next {
                Some(next) => Piece::Damaged {
                    bytes: at..next,
                    what: words(found),
                },
                None if unfinished(bytes, at, found) => Piece::Unfinished { at },
                None => Piece::Damaged {
                    bytes: at..bytes.len(),
                    what: words(found),
                },
            });
            at = next.unwrap_or(bytes.len());
        }
        pieces
    }
}

fn words(found: Found) -> &'static str {
    match found {
        Found::BadHeader => "no batch begins here",
        Found::BadBody(_) => "the batch that begins here is not as it was written",
        Found::CutShort | Found::Whole(_) => "the batch that begins here is cut short",
    }
}

/// Whether the rest from `at` on, which no frame follows, is the trace of an interrupted last write:
/// its beginning, or pages that were never written. A whole frame with wrong bytes is damage: its
/// commit may have been acknowledged.
fn unfinished(bytes: &[u8], at: usize, found: Found) -> bool {
    let end = match found {
        Found::CutShort => return true,
        // No frame is that short.
        Found::BadHeader if bytes.len() - at <= FRAME_HEADER => return true,
        Found::BadBody(length) if at + FRAME_HEADER + length != bytes.len() => return false,
        Found::BadBody(_) | Found::BadHeader => bytes.len(),
        Found::Whole(_) => return false,
    };
    let mut from = at;
    while from < end {
        let to = end.min((from / PAGE + 1) * PAGE);
        if to - from >= ZEROS_MIN && bytes[from..to].iter().all(|byte| *byte == 0) {
            return true;
        }
        from = to;
    }
    false
}

/// The readable frames of a segment of format 1: `u32 bytes of body | u64 XXH3 of body | body`.
/// After a damaged body the search goes on where the length says; after a damaged length it stops.
pub(super) fn pieces_of_format_one(bytes: &[u8]) -> Vec<Piece> {
    const HEADER: usize = 12;
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if let Some(length) = whole_frame_of_format_one(&bytes[at..]) {
            let begin = at + HEADER;
            pieces.push(Piece::Frame { body: begin..begin + length });
            at = begin + length;
            continue;
        }
        let announced = bytes
            .get(at..at + 4)
            .map_or(0, |length| u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize);
        let next = at + HEADER + announced;
        let resumes = next < bytes.len() && whole_frame_of_format_one(&bytes[next..]).is_some();
        let next = if resumes { next } else { bytes.len() };
        pieces.push(Piece::Damaged {
            bytes: at..next,
            what: "the batch that begins here is not as it was written",
        });
        at = next;
    }
    pieces
}

/// The length of the body of the frame at the beginning of `bytes`.
fn whole_frame_of_format_one(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let checksum = u64::from_le_bytes(bytes.get(4..12)?.try_into().ok()?);
    if length == 0 || length > BODY_BYTES_MAX {
        return None;
    }
    (xxh3_64(bytes.get(12..12 + length)?) == checksum).then_some(length)
}
