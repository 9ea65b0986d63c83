//! The calls that one instance of a foreign system allows, shared by all callers in this process.
//!
//! Three limits: calls per sliding window, calls in flight, calls per day. The day's calls are
//! divided: each user (a source, a sink) may have a share that only it can spend; a reserve is left
//! to the customer's other integrations; everyone shares the rest.
//!
//! One `Budget` serves one process. Several processes on one instance divide the limits among
//! themselves in configuration; `seen` takes over the count of spent calls that the other side
//! reports, whoever made them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, LocalResult, TimeZone};
use chrono_tz::Tz;
use millrace_model::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// The limits of one instance.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Calls within any window of this length. Not 0.
    pub window_calls: u32,
    /// Length of the window, which slides with the clock.
    pub window: Duration,
    /// Calls at the same time. Not 0.
    pub concurrent: u32,
    /// Calls from one midnight to the next in `day_zone`; `None`: no such limit.
    pub day_calls: Option<u64>,
    /// The time zone whose midnights divide the days.
    pub day_zone: Tz,
    /// Calls of a day that are left to others.
    pub reserve: u64,
    /// Calls of a day that only the user of this name may spend.
    pub shares: BTreeMap<String, u64>,
}

/// The day's calls are spent for this user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the day's calls are spent; more at {resets_at}")]
pub struct Spent {
    /// The next midnight of `Limits::day_zone`.
    pub resets_at: Timestamp,
}

/// What is left of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// For the user that asked; `None` where the day has no limit.
    pub calls: Option<u64>,
    /// The next midnight of `Limits::day_zone`.
    pub resets_at: Timestamp,
}

/// Returns the current time. The wall clock decides the day only; windows use a clock that never
/// jumps.
pub type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Shared by all users of the instance.
pub struct Budget {
    limits: Limits,
    now: WallClock,
    concurrent: Arc<Semaphore>,
    ledger: Mutex<Ledger>,
}

#[derive(Default)]
struct Ledger {
    /// Starts of the calls of the last window.
    recent: VecDeque<Instant>,
    /// No call before this.
    closed_until: Option<Instant>,
    /// The end of the day that `spent` belongs to.
    resets_at: Timestamp,
    spent: BTreeMap<String, u64>,
    /// Calls of others that the other side reported.
    others: u64,
    /// The other side refused a call for the day: nothing is left, whatever the count.
    exhausted: bool,
    /// Calls of a day that the other side reports to allow; outlives the day.
    allowed: Option<u64>,
}

/// A call under way; dropped at its end.
#[derive(Debug)]
pub struct Permit {
    _concurrent: OwnedSemaphorePermit,
}

impl Budget {
    /// A budget of which nothing is spent. `now` is the wall clock.
    pub fn new(limits: Limits, now: WallClock) -> Budget {
        Budget {
            concurrent: Arc::new(Semaphore::new(limits.concurrent.max(1) as usize)),
            limits,
            now,
            ledger: Mutex::default(),
        }
    }

    /// Waits until a call may begin and counts it for `user`.
    ///
    /// # Errors
    /// `Spent` where the day has no call left for this user: wait for its end.
    pub async fn acquire(&self, user: &str) -> Result<Permit, Spent> {
        let concurrent = Arc::clone(&self.concurrent).acquire_owned().await.expect("the semaphore is never closed");
        loop {
            let wait = {
                let mut ledger = self.today();
                match self.free_in(&mut ledger) {
                    Some(wait) => wait,
                    None => {
                        if self.left_for(&ledger, user) == Some(0) {
                            return Err(Spent { resets_at: ledger.resets_at });
                        }
                        ledger.recent.push_back(Instant::now());
                        *ledger.spent.entry(user.to_owned()).or_default() += 1;
                        return Ok(Permit { _concurrent: concurrent });
                    }
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// The other side says that its window is full: no caller may call for `wait`.
    pub fn close_for(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut ledger = self.ledger();
        ledger.closed_until = Some(ledger.closed_until.map_or(until, |before| before.max(until)));
    }

    /// The other side says that the day's calls are spent, whether or not it says how many they are.
    pub fn exhausted(&self) -> Spent {
        let mut ledger = self.today();
        ledger.exhausted = true;
        Spent { resets_at: ledger.resets_at }
    }

    /// The other side says how many calls of today were spent, by all integrations.
    pub fn seen(&self, total: u64) {
        let mut ledger = self.today();
        let own: u64 = ledger.spent.values().sum();
        ledger.others = total.saturating_sub(own);
    }

    /// The other side says how many calls of a day it allows. This replaces `Limits::day_calls`,
    /// where that is a number; the reserve keeps its proportion to it.
    pub fn allows(&self, day_calls: u64) {
        self.ledger().allowed = Some(day_calls);
    }

    /// What `user` may still spend today; counts nothing.
    pub fn left(&self, user: &str) -> Left {
        let ledger = self.today();
        Left {
            calls: self.left_for(&ledger, user),
            resets_at: ledger.resets_at,
        }
    }

    /// How long this number of calls takes at least: by the window, and by what is left of the days.
    pub fn takes(&self, calls: u64, user: &str) -> Duration {
        let in_windows = |calls: u64| {
            let windows = calls.saturating_sub(1) / u64::from(self.limits.window_calls.max(1));
            self.limits.window.saturating_mul(u32::try_from(windows).unwrap_or(u32::MAX))
        };
        let Left { calls: today, resets_at } = self.left(user);
        let Some(today) = today.filter(|today| *today < calls) else {
            return in_windows(calls);
        };
        let unspent = Ledger {
            allowed: self.ledger().allowed,
            ..Ledger::default()
        };
        let a_day = self.left_for(&unspent, user).unwrap_or(u64::MAX).max(1);
        let rest = calls - today;
        let (days, last) = ((rest - 1) / a_day, (rest - 1) % a_day + 1);
        let until_midnight = Duration::from_millis(u64::try_from(resets_at.0 - (self.now)().0).unwrap_or_default());
        let day = Duration::from_millis(millrace_model::DAY_MS.unsigned_abs());
        until_midnight
            .saturating_add(day.saturating_mul(u32::try_from(days).unwrap_or(u32::MAX)))
            .saturating_add(in_windows(last))
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ledger of this day; a new one where the day is over.
    fn today(&self) -> MutexGuard<'_, Ledger> {
        let now = (self.now)();
        let mut ledger = self.ledger();
        if now >= ledger.resets_at {
            ledger.spent.clear();
            ledger.others = 0;
            ledger.exhausted = false;
            ledger.resets_at = next_midnight(now, self.limits.day_zone);
        }
        ledger
    }

    /// How long the window is full; `None` where a call may begin.
    fn free_in(&self, ledger: &mut Ledger) -> Option<Duration> {
        let now = Instant::now();
        while ledger.recent.front().is_some_and(|start| now.duration_since(*start) >= self.limits.window) {
            ledger.recent.pop_front();
        }
        let closed = ledger.closed_until.filter(|until| *until > now).map(|until| until - now);
        let full = (ledger.recent.len() >= self.limits.window_calls.max(1) as usize)
            .then(|| ledger.recent.front().map(|start| self.limits.window - now.duration_since(*start)))
            .flatten();
        closed.max(full)
    }

    fn left_for(&self, ledger: &Ledger, user: &str) -> Option<u64> {
        if ledger.exhausted {
            return Some(0);
        }
        let configured = self.limits.day_calls?;
        let day = ledger.allowed.unwrap_or(configured);
        let reserve = u128::from(self.limits.reserve) * u128::from(day) / u128::from(configured.max(1));
        let reserve = u64::try_from(reserve).unwrap_or(u64::MAX);
        let spent = |user: &str| ledger.spent.get(user).copied().unwrap_or_default();
        let shared: u64 = self.limits.shares.values().sum();
        // Others' calls use up the reserve first.
        let anybodys = day.saturating_sub(shared).saturating_sub(reserve.max(ledger.others));
        let beyond = |user: &str| spent(user).saturating_sub(self.limits.shares.get(user).copied().unwrap_or_default());
        let taken: u64 = ledger.spent.keys().map(|user| beyond(user)).sum();
        let own = self.limits.shares.get(user).copied().unwrap_or_default().saturating_sub(spent(user));
        Some(own + anybodys.saturating_sub(taken))
    }
}

/// The next midnight of the zone after `now`; where clocks skip midnight, the first instant of the
/// day.
fn next_midnight(now: Timestamp, zone: Tz) -> Timestamp {
    let Some(utc) = DateTime::from_timestamp_millis(now.0) else {
        return now.plus_ms(millrace_model::DAY_MS);
    };
    let tomorrow = utc.with_timezone(&zone).date_naive() + chrono::Days::new(1);
    for hour in 0..4 {
        let local = tomorrow.and_time(chrono::NaiveTime::MIN) + chrono::TimeDelta::hours(hour);
        match zone.from_local_datetime(&local) {
            LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => return Timestamp(at.timestamp_millis()),
            LocalResult::None => {}
        }
    }
    now.plus_ms(millrace_model::DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(day_calls: Option<u64>, reserve: u64, shares: &[(&str, u64)], now: &'static str) -> Budget {
        let limits = Limits {
            window_calls: 3,
            window: Duration::from_secs(20),
            concurrent: 2,
            day_calls,
            day_zone: chrono_tz::America::Chicago,
            reserve,
            shares: shares.iter().map(|(name, calls)| ((*name).to_owned(), *calls)).collect(),
        };
        Budget::new(limits, Arc::new(move || Timestamp::parse(now).expect("an instant")))
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_slides() {
        let budget = budget(None, 0, &[], "2026-01-01T12:00:00Z");
        let start = Instant::now();
        for _ in 0..7 {
            budget.acquire("source").await.expect("no limit a day");
        }
        assert_eq!(start.elapsed().as_secs(), 40);
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_window_keeps_everybody_out() {
        let budget = budget(None, 0, &[], "2026-01-01T12:00:00Z");
        budget.close_for(Duration::from_secs(20));
        let start = Instant::now();
        budget.acquire("sink").await.expect("no limit a day");
        assert_eq!(start.elapsed().as_secs(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_calls_at_once_than_allowed() {
        let budget = budget(None, 0, &[], "2026-01-01T12:00:00Z");
        let held = (budget.acquire("a").await.expect("free"), budget.acquire("b").await.expect("free"));
        let third = tokio::time::timeout(Duration::from_secs(1), budget.acquire("c")).await;
        assert!(third.is_err(), "a third call began");
        drop(held);
        budget.acquire("c").await.expect("free again");
    }

    #[tokio::test(start_paused = true)]
    async fn shares_are_kept_and_the_reserve_is_left() {
        // 10 a day: 4 for the sink alone, 1 in reserve, 5 for anybody.
        let budget = budget(Some(10), 1, &[("sink", 4)], "2026-07-01T12:00:00Z");
        for _ in 0..5 {
            budget.acquire("source").await.expect("within the rest");
        }
        let resets_at = Timestamp::parse("2026-07-02T05:00:00Z").expect("an instant");
        assert_eq!(budget.acquire("source").await.expect_err("spent"), Spent { resets_at });
        assert_eq!(budget.left("sink"), Left { calls: Some(4), resets_at });
        // Others took 3 where 1 was reserved for them: the share is still the sink's.
        budget.seen(8);
        assert_eq!(budget.left("source").calls, Some(0));
        assert_eq!(budget.left("sink").calls, Some(4));
        budget.exhausted();
        assert_eq!(budget.left("sink").calls, Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_other_side_says_what_it_allows() {
        // 8 a day by configuration, 2 of them in reserve; the other side allows 4.
        let budget = budget(Some(8), 2, &[], "2026-07-01T12:00:00Z");
        assert_eq!(budget.left("source").calls, Some(6));
        budget.allows(4);
        assert_eq!(budget.left("source").calls, Some(3));
        budget.acquire("source").await.expect("within the rest");
        assert_eq!(budget.left("source").calls, Some(2));
        budget.allows(40);
        assert_eq!(budget.left("source").calls, Some(29));
    }

    #[test]
    fn calls_take_windows_and_days() {
        // 3 calls in 20 s; of 10 a day, 6 are for the sink.
        let budget = budget(Some(10), 4, &[], "2026-07-01T05:00:00Z");
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        for (calls, takes) in [
            (0, Duration::ZERO),
            (3, Duration::ZERO),
            (4, Duration::from_secs(20)),
            (6, Duration::from_secs(20)),
            (7, hours(24)),
            (10, hours(24) + Duration::from_secs(20)),
            (13, hours(48)),
        ] {
            assert_eq!(budget.takes(calls, "sink"), takes, "{calls}");
        }
    }

    #[test]
    fn days_end_at_midnight_of_the_zone() {
        let table = [
            ("2026-01-16T12:00:00Z", "2026-01-17T06:00:00Z"),
            ("2026-07-16T04:59:59Z", "2026-07-16T05:00:00Z"),
            ("2026-03-08T08:30:00Z", "2026-03-09T05:00:00Z"),
        ];
        for (now, end) in table {
            let (now, end) = (Timestamp::parse(now).expect("an instant"), Timestamp::parse(end).expect("an instant"));
            assert_eq!(next_midnight(now, chrono_tz::America::Chicago), end);
        }
    }
}
