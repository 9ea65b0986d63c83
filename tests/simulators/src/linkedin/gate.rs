//! The gate of every call: headers, version, token, throttles, and the faults that a seed decides.

use std::collections::VecDeque;

use millrace_log::random::Random;
use millrace_model::{DAY_MS, Timestamp};

use super::tokens::Tokens;
use super::world::Settings;

/// How often each fault occurs, in times per thousand. None by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// HTTP 500, 503 or 504, the call not executed.
    pub unavailable: u32,
    /// The connection ends without an answer, half of the times after the call was executed.
    pub dropped: u32,
    /// HTTP 429 although no limit is reached.
    pub throttled: u32,
    /// HTTP 409.
    pub conflict: u32,
    /// The access token ends before its time.
    pub token_ends: u32,
    /// The answer takes `slow_ms` longer.
    pub slow: u32,
    pub slow_ms: u64,
    /// An element of a call is answered with 500, and not taken.
    pub element_unavailable: u32,
}

/// LinkedIn's limits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Calls that write members, in any minute.
    pub minute_calls: usize,
    /// Calls from one midnight of UTC to the next.
    pub day_calls: u64,
    pub segments: usize,
    /// Elements of one call.
    pub elements: usize,
    /// Bytes of one call.
    pub body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            minute_calls: 500,
            day_calls: 100_000,
            segments: 1_000,
            elements: 5_000,
            body_bytes: 4 << 20,
        }
    }
}

/// The headers of a call that decide about it.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    pub bearer: Option<String>,
    pub version: Option<String>,
    pub protocol: Option<String>,
}

/// An answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    pub status: u16,
    pub code: &'static str,
    pub message: String,
}

impl Stop {
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Stop {
        Stop {
            status,
            code,
            message: message.into(),
        }
    }
}

#[derive(Default)]
pub struct Gate {
    pub limits: Limits,
    pub faults: Faults,
    pub tokens: Tokens,
    /// Instants of the last minute's calls that write members.
    recent: VecDeque<Timestamp>,
    day: i64,
    spent: u64,
}

impl Gate {
    /// Whether a call may be executed; counts it if so. `members`: it writes members.
    pub fn admit(&mut self, headers: &Headers, members: bool, settings: &Settings, random: &mut Random, now: Timestamp) -> Result<(), Stop> {
        self.misfortune(random)?;
        let Some(version) = &headers.version else {
            return Err(Stop::new(400, "VERSION_MISSING", "A version must be present. Please specify a version"));
        };
        if !settings.versions.contains(version) {
            return Err(Stop::new(426, "NONEXISTENT_VERSION", format!("Requested version {version}01 is not active")));
        }
        if headers.protocol.as_deref() != Some("2.0.0") {
            return Err(Stop::new(400, "ILLEGAL_ARGUMENT", "Rest.li protocol version 2.0.0 is required"));
        }
        if random.chance(self.faults.token_ends) {
            self.tokens.end(now);
        }
        self.tokens.check(headers.bearer.as_deref(), now)?;
        if !settings.may_write {
            return Err(Stop::new(403, "ACCESS_DENIED", "Not enough permissions to access: dmpSegments"));
        }
        self.throttle(members, now)
    }

    fn misfortune(&self, random: &mut Random) -> Result<(), Stop> {
        if random.chance(self.faults.unavailable) {
            let status = [500, 503, 504][usize::try_from(random.below(3)).unwrap_or_default()];
            return Err(Stop::new(status, "INTERNAL_SERVER_ERROR", "Something went wrong"));
        }
        if random.chance(self.faults.throttled) {
            return Err(throttled());
        }
        if random.chance(self.faults.conflict) {
            return Err(Stop::new(409, "CONFLICT", "Conflicting write"));
        }
        Ok(())
    }

    fn throttle(&mut self, members: bool, now: Timestamp) -> Result<(), Stop> {
        let day = now.0.div_euclid(DAY_MS);
        if day != self.day {
            (self.day, self.spent) = (day, 0);
        }
        while self.recent.front().is_some_and(|at| at.plus_ms(60_000) <= now) {
            self.recent.pop_front();
        }
        if self.spent >= self.limits.day_calls || (members && self.recent.len() >= self.limits.minute_calls) {
            return Err(throttled());
        }
        self.spent += 1;
        if members {
            self.recent.push_back(now);
        }
        Ok(())
    }
}

/// The minute and the day are refused with the same words.
fn throttled() -> Stop {
    Stop::new(429, "TOO_MANY_REQUESTS", "Resource level throttle limit for calls to this resource is reached")
}
