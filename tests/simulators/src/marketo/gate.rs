//! The gate of every call: tokens, limits, and the faults that a seed decides.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, TimeZone};
use millrace_log::random::Random;
use millrace_model::{DAY_MS, Timestamp};

/// How often each fault occurs, in times per thousand. None by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Error 604, 608, 611 or 713 inside HTTP 200, the call not executed.
    pub transient: u32,
    /// HTTP 502, the call not executed.
    pub bad_gateway: u32,
    /// The connection ends without an answer, half of the times after the call was executed.
    pub dropped: u32,
    /// The token ends before its time: 602.
    pub token_ends: u32,
    /// The answer takes `slow_ms` longer.
    pub slow: u32,
    pub slow_ms: u64,
    /// A page of a feed is empty although more follows.
    pub empty_page: u32,
    /// A page of a feed repeats the last rows of the page before.
    pub repeated: u32,
    /// The rows of a page of a feed come in another order.
    pub shuffled: u32,
    /// A paging token is refused.
    pub paging_lost: u32,
}

/// Marketo's limits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub window_calls: usize,
    pub window_ms: i64,
    pub concurrent: usize,
    pub day_calls: u64,
    pub token_ms: i64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            window_calls: 100,
            window_ms: 20_000,
            concurrent: 10,
            day_calls: 50_000,
            token_ms: 3_600_000,
        }
    }
}

/// Why a call is not executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    Code(&'static str, &'static str),
    BadGateway,
}

#[derive(Default)]
pub struct Gate {
    pub limits: Limits,
    pub faults: Faults,
    token: Option<(String, Timestamp)>,
    recent: VecDeque<Timestamp>,
    pub in_flight: usize,
    day_ends: Timestamp,
    pub spent: u64,
    /// Calls refused, by code.
    pub errors: BTreeMap<String, u64>,
    /// Calls executed, by path without ids.
    pub calls: BTreeMap<String, u64>,
}

impl Gate {
    /// The token in force with what is left of its life; a new one where none is.
    pub fn token(&mut self, random: &mut Random, now: Timestamp) -> (String, i64) {
        if let Some((token, ends)) = &self.token
            && *ends > now
        {
            return (token.clone(), (ends.0 - now.0) / 1_000);
        }
        let token = format!("{:08x}-{:012x}:int", random.next_u64() as u32, random.next_u64() >> 16);
        self.token = Some((token.clone(), now.plus_ms(self.limits.token_ms)));
        (token, self.limits.token_ms / 1_000)
    }

    /// Ends the token in force.
    pub fn revoke(&mut self, now: Timestamp) {
        if let Some((_, ends)) = &mut self.token {
            *ends = now;
        }
    }

    /// Whether a call may be executed; counts it if so.
    pub fn admit(&mut self, bearer: Option<&str>, random: &mut Random, now: Timestamp) -> Result<(), Stop> {
        let outcome = self.check(bearer, random, now);
        match &outcome {
            Ok(()) => {
                self.recent.push_back(now);
                self.spent += 1;
            }
            Err(Stop::Code(code, _)) => *self.errors.entry((*code).to_owned()).or_default() += 1,
            Err(Stop::BadGateway) => *self.errors.entry("502".to_owned()).or_default() += 1,
        }
        outcome
    }

    fn check(&mut self, bearer: Option<&str>, random: &mut Random, now: Timestamp) -> Result<(), Stop> {
        if random.chance(self.faults.bad_gateway) {
            return Err(Stop::BadGateway);
        }
        match &self.token {
            Some((token, ends)) if bearer == Some(token.as_str()) => {
                if *ends <= now {
                    return Err(Stop::Code("602", "Access token expired"));
                }
            }
            _ => return Err(Stop::Code("601", "Access token invalid")),
        }
        if random.chance(self.faults.token_ends) {
            self.revoke(now);
            return Err(Stop::Code("602", "Access token expired"));
        }
        if now >= self.day_ends {
            self.day_ends = next_midnight(now);
            self.spent = 0;
        }
        if self.spent >= self.limits.day_calls {
            return Err(Stop::Code("607", "Daily API request limit reached"));
        }
        while self.recent.front().is_some_and(|start| start.plus_ms(self.limits.window_ms) <= now) {
            self.recent.pop_front();
        }
        if self.recent.len() >= self.limits.window_calls {
            return Err(Stop::Code("606", "Max rate limit '100' exceeded with in '20' secs"));
        }
        if self.in_flight > self.limits.concurrent {
            return Err(Stop::Code("615", "Concurrent access limit reached"));
        }
        if random.chance(self.faults.transient) {
            let codes = [
                ("604", "Request timed out"),
                ("608", "API Temporarily Unavailable"),
                ("611", "System error"),
                ("713", "Transient error"),
            ];
            let (code, message) = codes[random.below(4) as usize];
            return Err(Stop::Code(code, message));
        }
        Ok(())
    }
}

/// The next midnight in the zone of Marketo's quota.
fn next_midnight(now: Timestamp) -> Timestamp {
    let zone = chrono_tz::America::Chicago;
    let local = DateTime::from_timestamp_millis(now.0).map(|utc| utc.with_timezone(&zone).date_naive() + chrono::Days::new(1));
    let midnight = local.and_then(|date| zone.from_local_datetime(&date.and_time(chrono::NaiveTime::MIN)).earliest());
    midnight.map_or(now.plus_ms(DAY_MS), |at| Timestamp(at.timestamp_millis()))
}
