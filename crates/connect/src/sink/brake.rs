//! The brake: an edit that would change too much of an audience waits for a person to confirm it.
//!
//! A *window* counts the changes of one audience. It begins with the first change after an hour in
//! which none waited, and lasts while any waits. The changes sent within it and those that wait may
//! together add or remove a share of the members present at its beginning, or a fixed number,
//! whichever is more. Beyond that the whole audience is held. A first fill has no members before it
//! and is never held for its additions.

use std::time::Duration;

use millrace_model::Timestamp;

use super::ledger::Window;
use super::pending::Counts;

/// How much of an audience one edit may change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Brake {
    /// Of the members at the destination, 0 to 1; 1 and more: no brake.
    pub share: f64,
    /// This number of changes always passes.
    pub least: u64,
    /// How long an audience must be quiet before its count starts again.
    pub quiet: Duration,
}

impl Default for Brake {
    fn default() -> Brake {
        Brake {
            share: 0.5,
            least: 100,
            quiet: Duration::from_secs(3_600),
        }
    }
}

impl Brake {
    /// Whether the waiting changes must go on waiting. `window` is that of all partitions together,
    /// `delivered` the members there now.
    pub fn holds(&self, window: Window, waiting: Counts, delivered: u64) -> bool {
        if self.share >= 1.0 || window.confirmed {
            return false;
        }
        let stood = window.base.max(delivered + window.removed);
        let removed_too_many = window.removed + waiting.removes > self.most(stood);
        let added_too_many = window.base > 0 && window.added + waiting.adds > self.most(window.base);
        removed_too_many || added_too_many
    }

    fn most(&self, members: u64) -> u64 {
        self.least.max((self.share.max(0.0) * members as f64) as u64)
    }

    /// The window for a change at `now`; a new one if the audience was quiet. `waits`: a change of
    /// the audience waits.
    pub fn window(&self, window: Window, now: Timestamp, delivered: u64, waits: bool) -> Window {
        let quiet = i64::try_from(self.quiet.as_millis()).unwrap_or(i64::MAX);
        if window.began_at != 0 && (waits || now.0 - window.began_at < quiet) {
            return window;
        }
        Brake::begun(now, delivered)
    }

    /// A window that begins now.
    pub fn begun(now: Timestamp, delivered: u64) -> Window {
        Window {
            began_at: now.0,
            base: delivered,
            ..Window::default()
        }
    }
}

/// Windows of several partitions as one.
pub fn together(windows: impl Iterator<Item = Window>) -> Window {
    windows.fold(Window::default(), |sum, window| Window {
        began_at: sum.began_at.max(window.began_at),
        base: sum.base + window.base,
        added: sum.added + window.added,
        removed: sum.removed + window.removed,
        confirmed: sum.confirmed || window.confirmed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_changes_too_much() {
        let brake = Brake {
            share: 0.3,
            least: 10,
            quiet: Duration::from_secs(60),
        };
        let window = |base, added, removed| Window {
            began_at: 1,
            base,
            added,
            removed,
            confirmed: false,
        };
        let waiting = |adds, removes| Counts { adds, removes, others: 0 };
        let table = [
            ("first fill", window(0, 0, 0), waiting(1_000_000, 0), 0, false),
            ("a few", window(1_000, 0, 0), waiting(0, 300), 1_000, false),
            ("too many removed", window(1_000, 0, 0), waiting(0, 301), 1_000, true),
            ("piece by piece", window(1_000, 0, 299), waiting(0, 2), 701, true),
            ("too many added", window(1_000, 0, 0), waiting(301, 0), 1_000, true),
            ("a small list may change whole", window(5, 0, 0), waiting(0, 5), 5, false),
            ("filled and emptied within one window", window(0, 1_000, 0), waiting(0, 1_000), 1_000, true),
        ];
        for (name, window, waiting, delivered, held) in table {
            assert_eq!(brake.holds(window, waiting, delivered), held, "{name}");
        }
        let confirmed = Window {
            confirmed: true,
            ..window(1_000, 0, 0)
        };
        assert!(!brake.holds(confirmed, waiting(0, 1_000), 1_000));
    }

    #[test]
    fn a_window_lasts_while_anything_waits() {
        let brake = Brake {
            quiet: Duration::from_secs(60),
            ..Brake::default()
        };
        let first = brake.window(Window::default(), Timestamp(1_000), 7, false);
        assert_eq!((first.began_at, first.base), (1_000, 7));
        assert_eq!(brake.window(first, Timestamp(500_000), 9, true), first);
        assert_eq!(brake.window(first, Timestamp(60_999), 9, false), first);
        assert_eq!(brake.window(first, Timestamp(61_000), 9, false).base, 9);
    }
}
