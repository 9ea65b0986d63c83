//! How long to wait before a repeat: exponential, with jitter, never shorter than the other side
//! asked for.

use std::time::{Duration, SystemTime};

use millrace_log::random::Random;

/// The waits of one operation that is tried again and again.
///
/// The n-th wait is drawn evenly from half of `first * 2^n` up to all of it, capped at `longest`:
/// the lower half keeps an impatient client away, the random part keeps many clients from coming
/// back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
    random: Random,
}

impl Backoff {
    /// `seed` decides the jitter; two clients need two seeds.
    pub fn new(first: Duration, longest: Duration, seed: u64) -> Backoff {
        Backoff {
            first,
            longest,
            failures: 0,
            random: Random::new(seed),
        }
    }

    /// One second at first, five minutes at most.
    pub fn standard(seed: u64) -> Backoff {
        Backoff::new(Duration::from_secs(1), Duration::from_secs(300), seed)
    }

    /// Counts a failure and says how long to wait; at least `asked_for`, which is the other side's
    /// own wish and may exceed `longest`.
    pub fn after_failure(&mut self, asked_for: Option<Duration>) -> Duration {
        let doubled = self.first.saturating_mul(1u32.checked_shl(self.failures.min(31)).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        let whole = doubled.min(self.longest);
        let half = whole / 2;
        let jitter = Duration::from_millis(self.random.below(u64::try_from(half.as_millis()).unwrap_or(u64::MAX).saturating_add(1)));
        (half + jitter).max(asked_for.unwrap_or_default())
    }

    /// The operation succeeded: the next failure waits as long as a first one.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// The wait that a `Retry-After` header asks for: seconds or an HTTP date. A date in the past is no
/// wait; any other text is none.
pub fn retry_after(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(header).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_with_jitter_up_to_the_longest() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10), 7);
        for whole in [1_000, 2_000, 4_000, 8_000, 10_000, 10_000] {
            let wait = backoff.after_failure(None).as_millis();
            assert!((whole / 2..=whole).contains(&wait), "{wait} of {whole}");
        }
        backoff.succeeded();
        assert!(backoff.after_failure(None) <= Duration::from_secs(1));
    }

    #[test]
    fn never_shorter_than_asked_for() {
        let mut backoff = Backoff::standard(1);
        assert_eq!(backoff.after_failure(Some(Duration::from_secs(900))), Duration::from_secs(900));
    }

    #[test]
    fn many_failures_do_not_overflow() {
        let mut backoff = Backoff::standard(1);
        for _ in 0..100 {
            assert!(backoff.after_failure(None) <= Duration::from_secs(300));
        }
    }

    #[test]
    fn reads_both_forms_of_retry_after() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:57 GMT", now), Some(Duration::from_secs(20)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:07 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }
}
