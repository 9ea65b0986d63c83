//! The gate of every call: sessions, limits, and the faults that a seed decides.

use std::collections::{BTreeMap, VecDeque};

use millrace_log::random::Random;
use millrace_model::{DAY_MS, Timestamp};

/// How often each fault occurs, in times per thousand. None by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// HTTP 503 with a page of HTML, the call not executed.
    pub unavailable: u32,
    /// HTTP 500 UNKNOWN_EXCEPTION, the call not executed.
    pub unknown: u32,
    /// The connection ends without an answer, half of the times after the call was executed.
    pub dropped: u32,
    /// The session ends before its time: 401.
    pub session_ends: u32,
    /// Too many long calls at once: 403 REQUEST_LIMIT_EXCEEDED, the call not executed.
    pub concurrent: u32,
    /// The answer takes `slow_ms` longer.
    pub slow: u32,
    pub slow_ms: u64,
    /// A page of a query holds fewer rows than its size.
    pub short_page: u32,
    /// The next page of a query is refused: INVALID_QUERY_LOCATOR.
    pub locator_lost: u32,
    /// A query takes too long: QUERY_TIMEOUT.
    pub query_timeout: u32,
    /// A query job fails.
    pub job_fails: u32,
    /// The results of a query job are gone.
    pub results_gone: u32,
}

/// Salesforce's limits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Calls within any 24 hours.
    pub day_calls: usize,
    /// A session ends when it was not used for this long.
    pub session_ms: i64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            day_calls: 100_000,
            session_ms: 2 * 3_600_000,
        }
    }
}

/// Why a call is not executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Status, code, message.
    Code(u16, &'static str, &'static str),
    Maintenance,
}

#[derive(Default)]
pub struct Gate {
    pub limits: Limits,
    pub faults: Faults,
    sessions: BTreeMap<String, Timestamp>,
    recent: VecDeque<Timestamp>,
    /// Calls refused, by code.
    pub errors: BTreeMap<String, u64>,
    /// Calls executed, by path without ids.
    pub calls: BTreeMap<String, u64>,
}

impl Gate {
    /// A new session.
    pub fn session(&mut self, org: &str, random: &mut Random, now: Timestamp) -> String {
        let token = format!("{}!AQ{:016x}{:016x}", &org[..15], random.next_u64(), random.next_u64());
        self.sessions.insert(token.clone(), now.plus_ms(self.limits.session_ms));
        token
    }

    /// Ends all sessions.
    pub fn revoke(&mut self) {
        self.sessions.clear();
    }

    /// Calls of the last 24 hours.
    pub fn spent(&mut self, now: Timestamp) -> usize {
        while self.recent.front().is_some_and(|at| at.plus_ms(DAY_MS) <= now) {
            self.recent.pop_front();
        }
        self.recent.len()
    }

    /// Whether a call may be executed; counts it if so.
    pub fn admit(&mut self, bearer: Option<&str>, random: &mut Random, now: Timestamp) -> Result<(), Stop> {
        let outcome = self.check(bearer, random, now);
        match &outcome {
            Ok(()) => self.recent.push_back(now),
            Err(Stop::Code(_, code, _)) => *self.errors.entry((*code).to_owned()).or_default() += 1,
            Err(Stop::Maintenance) => *self.errors.entry("503".to_owned()).or_default() += 1,
        }
        outcome
    }

    fn check(&mut self, bearer: Option<&str>, random: &mut Random, now: Timestamp) -> Result<(), Stop> {
        const EXPIRED: Stop = Stop::Code(401, "INVALID_SESSION_ID", "Session expired or invalid");
        if random.chance(self.faults.unavailable) {
            return Err(Stop::Maintenance);
        }
        let session = bearer.and_then(|token| self.sessions.get_mut(token));
        let Some(ends) = session.filter(|ends| **ends > now) else {
            return Err(EXPIRED);
        };
        // Use extends a session.
        *ends = now.plus_ms(self.limits.session_ms);
        if random.chance(self.faults.session_ends) {
            self.revoke();
            return Err(EXPIRED);
        }
        if self.spent(now) >= self.limits.day_calls {
            return Err(Stop::Code(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."));
        }
        if random.chance(self.faults.concurrent) {
            let message = "ConcurrentPerOrgLongTxn Limit exceeded.";
            return Err(Stop::Code(403, "REQUEST_LIMIT_EXCEEDED", message));
        }
        if random.chance(self.faults.unknown) {
            let message = "An unexpected error occurred. Please include this ErrorId if you contact support: 1 (-1)";
            return Err(Stop::Code(500, "UNKNOWN_EXCEPTION", message));
        }
        Ok(())
    }
}
