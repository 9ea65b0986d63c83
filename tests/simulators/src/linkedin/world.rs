//! The content of an ad account: segments, their members, and what happens to both as time passes.

use std::collections::{BTreeMap, BTreeSet};

use millrace_log::random::Random;
use millrace_model::{DAY_MS, Timestamp};
use sha2::{Digest, Sha256};

/// A segment is archived this long after its last change.
const ARCHIVED_AFTER_MS: i64 = 30 * DAY_MS;
/// And loses its members this long after it was archived.
const EXPIRED_AFTER_MS: i64 = ARCHIVED_AFTER_MS + 90 * DAY_MS;
/// Below this number of matched members LinkedIn neither shows a size nor delivers.
const FLOOR: usize = 300;

/// What happens to members that are sent before a new segment is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Early {
    /// The call is answered with 404.
    NotFound,
    /// The call is answered with success, and the members are lost.
    Lost,
}

/// How a call with a wrong element is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusals {
    /// The wrong element alone is refused, inside a success: from version 202502 on.
    Singly,
    /// The whole call is refused.
    Whole,
}

/// How this account is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    pub client_id: String,
    pub client_secret: String,
    /// `urn:li:sponsoredAccount:…`.
    pub account: String,
    /// The value that LinkedIn assigned to the partner.
    pub source_platform: String,
    /// Versions that calls may name.
    pub versions: BTreeSet<String>,
    /// Whether the member who granted access may change audiences of the account.
    pub may_write: bool,
    pub early: Early,
    /// How long a new segment takes no members.
    pub ready_ms: i64,
    /// How long a segment is `BUILDING` at first.
    pub building_ms: i64,
    /// Accepted changes take effect within this time.
    pub processing_ms: i64,
    pub refusals: Refusals,
    /// How many of a thousand members LinkedIn knows.
    pub matched: u64,
    /// Whether a throttled call is answered with `Retry-After`. LinkedIn sends none.
    pub retry_after: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            client_id: "client".to_owned(),
            client_secret: "secret".to_owned(),
            account: "urn:li:sponsoredAccount:516848833".to_owned(),
            source_platform: "MILLRACE".to_owned(),
            versions: (202_601..=202_608).map(|version: u32| version.to_string()).collect(),
            may_write: true,
            early: Early::NotFound,
            ready_ms: 5_000,
            building_ms: 2 * DAY_MS,
            processing_ms: 60_000,
            refusals: Refusals::Singly,
            matched: 600,
            retry_after: false,
        }
    }
}

/// A DMP segment.
#[derive(Clone, Debug)]
pub struct Segment {
    pub id: u64,
    pub name: String,
    pub description: Option<String>,
    /// Companies; otherwise users.
    pub companies: bool,
    pub source_segment_id: String,
    pub created_at: Timestamp,
    pub modified_at: Timestamp,
    /// Members by what identifies them: `SHA256_EMAIL <hex>`, or the identifying fields of a company
    /// in the order of their names.
    pub members: BTreeSet<String>,
    /// Elements that asked for an addition.
    pub input_count: u64,
    /// Processing failed.
    pub failed: bool,
    /// Accepted changes that have no effect yet, each with its instant.
    waiting: Vec<(Timestamp, bool, Vec<String>)>,
    /// The latest instant of `waiting`.
    last_due: Timestamp,
    expired: bool,
}

impl Segment {
    /// The status that LinkedIn shows of the destination `LINKEDIN`.
    pub fn status(&self, settings: &Settings, now: Timestamp) -> &'static str {
        let quiet = now.0 - self.modified_at.0;
        if self.failed {
            "FAILED"
        } else if self.expired {
            "EXPIRED"
        } else if quiet >= ARCHIVED_AFTER_MS {
            "ARCHIVED"
        } else if now.0 - self.created_at.0 < settings.building_ms {
            "BUILDING"
        } else if self.waiting.is_empty() {
            "READY"
        } else {
            "UPDATING"
        }
    }

    /// How many members LinkedIn knows.
    pub fn matched(&self, settings: &Settings) -> usize {
        let known = |member: &&String| {
            let hash = Sha256::digest(member.as_bytes());
            u64::from(u16::from_be_bytes([hash[0], hash[1]])) * 1_000 < settings.matched * 65_536
        };
        self.members.iter().filter(known).count()
    }

    /// Members that can be reached, as LinkedIn shows the number: rounded, and none below the floor.
    pub fn audience_size(&self, settings: &Settings) -> usize {
        let matched = self.matched(settings);
        if matched < FLOOR { 0 } else { matched / 10 * 10 }
    }

    /// Takes changes of one call. `alone`: no other call of the segment is in progress, so these take
    /// effect after all that were accepted before.
    pub fn accept(&mut self, mut changes: Vec<(bool, Vec<String>)>, alone: bool, within_ms: i64, random: &mut Random, now: Timestamp) {
        // Within one call no order is promised.
        for last in (1..changes.len()).rev() {
            let other = usize::try_from(random.below(last as u64 + 1)).unwrap_or_default();
            changes.swap(last, other);
        }
        let span = u64::try_from(within_ms).unwrap_or_default() + 1;
        let drawn = now.plus_ms(i64::try_from(random.below(span)).unwrap_or_default());
        let due = if alone { drawn.max(self.last_due) } else { drawn };
        self.last_due = self.last_due.max(due);
        self.modified_at = now;
        self.input_count += changes.iter().filter(|(add, _)| *add).count() as u64;
        self.waiting.extend(changes.into_iter().map(|(add, member)| (due, add, member)));
        self.waiting.sort_by_key(|(due, _, _)| *due);
    }

    /// What time alone does.
    fn pass(&mut self, now: Timestamp) {
        let due = self.waiting.iter().take_while(|(due, _, _)| *due <= now).count();
        for (_, add, member) in self.waiting.drain(..due) {
            for id in member {
                if add {
                    self.members.insert(id);
                } else {
                    self.members.remove(&id);
                }
            }
        }
        if now.0 - self.modified_at.0 >= EXPIRED_AFTER_MS {
            self.expired = true;
        }
        if self.expired {
            self.members.clear();
            self.waiting.clear();
        }
    }

    pub fn expired(&self) -> bool {
        self.expired
    }
}

/// Everything in the account.
pub struct World {
    pub settings: Settings,
    pub segments: BTreeMap<u64, Segment>,
    /// The present instant.
    pub now: Timestamp,
    pub(super) random: Random,
    next_id: u64,
}

impl World {
    pub fn new(settings: Settings, seed: u64, now: Timestamp) -> World {
        World {
            settings,
            segments: BTreeMap::new(),
            now,
            random: Random::new(seed),
            next_id: 10_800,
        }
    }

    /// Lets time pass up to `now`.
    pub fn pass(&mut self, now: Timestamp) {
        self.now = now;
        for segment in self.segments.values_mut() {
            segment.pass(now);
        }
    }

    /// Everything accepted takes effect at once.
    pub fn settle(&mut self) {
        for segment in self.segments.values_mut() {
            segment.pass(segment.last_due.max(self.now));
        }
    }

    /// A new segment; its id.
    pub fn create(&mut self, name: &str, source_segment_id: &str, companies: bool, description: Option<String>) -> u64 {
        self.next_id += 1 + self.random.below(9);
        let segment = Segment {
            id: self.next_id,
            name: name.to_owned(),
            description,
            companies,
            source_segment_id: source_segment_id.to_owned(),
            created_at: self.now,
            modified_at: self.now,
            members: BTreeSet::new(),
            input_count: 0,
            failed: false,
            waiting: Vec::new(),
            last_due: self.now,
            expired: false,
        };
        self.segments.insert(segment.id, segment);
        self.next_id
    }
}
