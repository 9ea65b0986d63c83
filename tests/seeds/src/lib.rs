//! The seeds that a random test runs over: one place for `SEEDS`, for the seeds that failed once, and for the command that repeats a failure.
//!
//! ```
//! # let check = |seed: u64| assert!(seed < 20);
//! for seed in millrace_test_seeds::seeds!(0..20) {
//!     check(seed);
//! }
//! ```
//!
//! A test runs over its regressions (`regressions.txt`), then over its own range. `SEEDS=1000..2000`, or `SEEDS=1042` for a single one, replaces both.
//! Where the body panics, the test's output ends with the seed and the command that runs it alone.
//!
//! `Killed` is the death that a seed chooses: a future dropped at one of its awaits.
//!
//! What it is *not*: a source of random numbers. Each world has its own, so that its seeds keep their meaning.

mod killed;

use std::ops::Range;

pub use killed::Killed;

/// The seeds of the test in which it stands: `seeds!(0..150)`.
#[macro_export]
macro_rules! seeds {
    ($range:expr) => {
        $crate::Seeds::new(env!("CARGO_PKG_NAME"), $range)
    };
}

/// Every seed that failed once.
const REGRESSIONS: &str = include_str!("../regressions.txt");

/// The seeds of one test, in the order in which they run. It prints the seed that is running when the test panics.
#[derive(Debug)]
pub struct Seeds {
    package: &'static str,
    test: String,
    left: std::vec::IntoIter<u64>,
    range: Range<u64>,
    running: Option<u64>,
}

impl Seeds {
    /// The seeds of the test that this thread runs. Use `seeds!`, which knows the package.
    ///
    /// # Panics
    /// Where `SEEDS` is neither a number nor a range such as `100..200`.
    pub fn new(package: &'static str, default: Range<u64>) -> Seeds {
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        match std::env::var("SEEDS") {
            Ok(text) => {
                let range = parse(&text).unwrap_or_else(|| panic!("SEEDS is `{text}`; it takes a number, or a range such as 100..200"));
                Seeds::of(package, test, Vec::new(), range)
            }
            Err(_) => {
                let first = regressions(REGRESSIONS, package, &test);
                Seeds::of(package, test, first, default)
            }
        }
    }

    fn of(package: &'static str, test: String, first: Vec<u64>, range: Range<u64>) -> Seeds {
        Seeds {
            package,
            test,
            left: first.into_iter(),
            range,
            running: None,
        }
    }

    /// The command that runs one seed of this test alone.
    fn command(&self, seed: u64) -> String {
        format!("SEEDS={seed} cargo test -p {} -- --exact {}", self.package, self.test)
    }
}

impl Iterator for Seeds {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.running = self.left.next().or_else(|| self.range.next());
        self.running
    }
}

impl Drop for Seeds {
    fn drop(&mut self) {
        if let Some(seed) = self.running
            && std::thread::panicking()
        {
            eprintln!("seed {seed} fails; to run it alone:\n    {}", self.command(seed));
        }
    }
}

/// `1042` or `100..200`.
fn parse(text: &str) -> Option<Range<u64>> {
    match text.split_once("..") {
        Some((from, to)) => Some(from.parse().ok()?..to.parse().ok()?),
        None => {
            let seed: u64 = text.parse().ok()?;
            Some(seed..seed.checked_add(1)?)
        }
    }
}

/// The seeds that a file of regressions lists for a test.
fn regressions(file: &str, package: &str, test: &str) -> Vec<u64> {
    lines(file)
        .filter(|line| line.package == package && line.test == test)
        .map(|line| line.seed)
        .collect()
}

struct Line<'a> {
    package: &'a str,
    test: &'a str,
    seed: u64,
}

/// The entries of a file of regressions. A line that cannot be read fails the test that reads it: a regression must not be lost to a slip of the pen.
fn lines(file: &str) -> impl Iterator<Item = Line<'_>> {
    let entries = file.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    entries.map(|line| {
        let read = || {
            let (entry, why) = line.split_once('#')?;
            let mut words = entry.split_whitespace();
            let found = Line {
                package: words.next()?,
                test: words.next()?,
                seed: words.next()?.parse().ok()?,
            };
            (words.next().is_none() && !why.trim().is_empty()).then_some(found)
        };
        read().unwrap_or_else(|| panic!("regressions.txt: `{line}` is not `crate test seed # what was wrong`"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_number_or_a_range() {
        assert_eq!(parse("7"), Some(7..8));
        assert_eq!(parse("100..200"), Some(100..200));
        assert_eq!(["", "a", "1..", "..2", "1-2"].map(parse), [const { None }; 5]);
    }

    #[test]
    fn regressions_come_first() {
        let file = "# a comment\n\ncrate-a one 5 # lost a link\ncrate-b one 6 # other crate\ncrate-a two 7 # other test\n";
        assert_eq!(regressions(file, "crate-a", "one"), [5]);
        let seeds = Seeds::of("crate-a", "one".to_owned(), vec![5], 0..2);
        assert_eq!(seeds.collect::<Vec<_>>(), [5, 0, 1]);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_an_error() {
        for line in [
            "crate-a one 5",
            "crate-a one five # why",
            "crate-a one # why",
            "crate-a one 5 6 # why",
            "crate-a one 5 #",
        ] {
            let outcome = std::panic::catch_unwind(|| lines(line).count());
            assert!(outcome.is_err(), "{line}");
        }
    }

    #[test]
    fn the_command_runs_the_seed_alone() {
        let seeds = Seeds::new("millrace-test-seeds", 3..4);
        assert_eq!(
            seeds.command(3),
            "SEEDS=3 cargo test -p millrace-test-seeds -- --exact tests::the_command_runs_the_seed_alone"
        );
    }
}
