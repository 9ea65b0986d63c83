//! The measurements. Each leaves the deployment settled for the next.

use std::time::{Duration, Instant};

use anyhow::bail;
use millrace_model::Timestamp;

use super::child::Process;
use super::machine::{self, processor_seconds};
use super::report::Figure;
use super::site::Site;
use super::world::{self, LAUNCH, LAUNCH_WINDOW_MS, Placed, Population, UPSELL};
use crate::cli::BenchOptions;
use crate::settings::Settings;

/// How often visits at a rate are appended.
const TICK: Duration = Duration::from_millis(10);
/// Of visits at a rate, one in this number makes its person enter a segment.
const ENTRY_EVERY: u64 = 10;
/// How long a killed process had been processing, unless it had taken that many visits before.
const BEFORE_KILL: Duration = Duration::from_secs(5);
const BEFORE_KILL_VISITS: u64 = 100_000;
/// Visits a second where throughput was not measured.
const RATE: f64 = 1_000.0;

/// The measurements so far.
pub struct Bench<'a> {
    pub options: &'a BenchOptions,
    pub world: Population,
    pub figures: Vec<Figure>,
    /// Visits made: each has its own id.
    visits: u64,
    /// The first person who has not visited the launch page.
    fresh: u32,
    /// Measured visits a second.
    throughput: Option<f64>,
    /// Measured at half load.
    p99: Option<Duration>,
}

impl<'a> Bench<'a> {
    pub fn new(options: &'a BenchOptions, world: Population) -> Bench<'a> {
        Bench {
            options,
            world,
            figures: Vec::new(),
            visits: 0,
            fresh: 0,
            throughput: None,
            p99: None,
        }
    }

    fn note(&mut self, scenario: &'static str, name: &'static str, value: f64, unit: &'static str, target: Option<&'static str>) {
        let load = machine::load();
        tracing::info!(scenario, name, value, unit, load, "measured");
        self.figures.push(Figure {
            scenario,
            name,
            value,
            unit,
            target,
            load,
        });
    }

    /// Definitions and population.
    pub fn load(&mut self, site: &Site) -> anyhow::Result<()> {
        site.ready()?;
        for (name, text) in world::definitions() {
            site.define(name, &text)?;
        }
        site.settle()?;
        let world = self.world.clone();
        let records = (0..world.accounts())
            .map(|number| world.account(number))
            .chain((0..world.deals()).map(|number| world.deal(number)))
            .chain((0..world.persons).map(|number| world.person(number)));
        let (before, begun, used) = (site.reading(), Instant::now(), processor_seconds("shard-"));
        site.feed(records)?;
        let seconds = (site.settle()? - begun).as_secs_f64();
        let used = processor_seconds("shard-") - used;
        let appended = (site.reading().appended - before.appended) as f64;
        let changelog = (site.reading().changelog_bytes - before.changelog_bytes) as f64;
        // Shards report their size every few seconds; rows not flushed by then are in memory.
        self.note("load", "time", seconds, "s", None);
        self.note("load", "records", appended / seconds, "/s", None);
        self.note("load", "processor of shards a record", used / appended * 1e6, "µs", None);
        self.note("load", "resident memory", mebibytes(machine::resident_bytes()), "MiB", None);
        self.note("load", "state", mebibytes(site.state_bytes()), "MiB", None);
        self.note("load", "changelog a record", changelog / appended, "bytes", None);
        Ok(())
    }

    /// As many visits as the shards take, then half that rate.
    pub fn visits(&mut self, site: &Site) -> anyhow::Result<()> {
        let (before, begun) = (site.reading(), Instant::now());
        let (shards, all, commits) = (processor_seconds("shard-"), processor_seconds(""), site.commit_seconds());
        let (end, first) = (begun + Duration::from_secs(self.options.seconds), self.visits);
        let world = self.world.clone();
        let mut number = first;
        let records = std::iter::from_fn(|| {
            (Instant::now() < end).then(|| {
                number += 1;
                world.visit(number, world.visitor(number), site.now())
            })
        });
        site.feed(records)?;
        let seconds = (site.settle()? - begun).as_secs_f64();
        self.visits = number;
        let after = site.reading();
        let visits = ((number - first) as f64).max(1.0);
        let throughput = visits / seconds;
        self.throughput = Some(throughput);
        self.note("visits", "throughput", throughput, "/s", Some("≥ 20,000 /s"));
        let a_visit = |from: f64, to: f64| (to - from) / visits * 1e6;
        self.note(
            "visits",
            "processor of shards a visit",
            a_visit(shards, processor_seconds("shard-")),
            "µs",
            None,
        );
        self.note(
            "visits",
            "processor of all a visit",
            a_visit(all, processor_seconds("")),
            "µs",
            Some("≤ 100 µs"),
        );
        self.note("visits", "in commits a visit", a_visit(commits, site.commit_seconds()), "µs", None);
        self.note("visits", "visits a commit", visits / (after.commits - before.commits).max(1) as f64, "", None);
        let changelog = (after.changelog_bytes - before.changelog_bytes) as f64 / visits;
        self.note("visits", "changelog a visit", changelog, "bytes", Some("≤ 600"));
        let rows = (after.changelog_records - before.changelog_records) as f64 / visits;
        self.note("visits", "changelog rows a visit", rows, "", None);
        let hops = (after.sent - before.sent) as f64 / visits;
        self.note("visits", "records between shards a visit", hops, "", None);

        let rate = self.rate();
        site.settle()?;
        let end = Instant::now() + Duration::from_secs(self.options.seconds);
        let taken = self.at_rate(site, rate, || Ok(Instant::now() >= end))?;
        self.p99 = quantile(&taken, 0.99);
        self.note("visits", "rate for latency", rate, "/s", Some("half load"));
        self.note("visits", "visit to membership p50", milliseconds(quantile(&taken, 0.5)), "ms", Some("≤ 60 ms"));
        self.note("visits", "visit to membership p99", milliseconds(self.p99), "ms", Some("≤ 400 ms"));
        Ok(())
    }

    /// One more segment under live input.
    pub fn backfill(&mut self, site: &Site) -> anyhow::Result<()> {
        let rate = self.rate();
        let (name, text) = world::definition(&world::LATE);
        let shards = self.world.shards();
        site.settle()?;
        site.define(name, &text)?;
        let begun = Instant::now();
        let mut done_at = None;
        let mut looked_at = begun;
        let taken = self.at_rate(site, rate, || {
            if looked_at.elapsed() >= Duration::from_millis(100) {
                looked_at = Instant::now();
                let segments = site.query.segments()?;
                let late = segments.iter().find(|state| state.accepted.compiled.definition().name == name);
                if late.is_some_and(|state| state.progress.len() == shards as usize && state.whole().2) {
                    done_at = Some(looked_at);
                }
            }
            Ok(done_at.is_some())
        })?;
        let seconds = (done_at.unwrap_or_else(Instant::now) - begun).as_secs_f64();
        self.note("backfill", "time", seconds, "s", Some("≤ 120 s"));
        self.note("backfill", "live rate meanwhile", rate, "/s", None);
        self.note(
            "backfill",
            "visit to membership p99 meanwhile",
            milliseconds(quantile(&taken, 0.99)),
            "ms",
            Some("< twice the usual"),
        );
        if let (Some(usual), Some(meanwhile)) = (self.p99, quantile(&taken, 0.99)) {
            let times = meanwhile.as_secs_f64() / usual.as_secs_f64().max(1e-3);
            self.note("backfill", "p99 to the usual one", times, "", Some("< 2"));
        }
        Ok(())
    }

    /// A deal that concerns everybody of one account. These persons, and their account, come after
    /// the population.
    pub fn fan_out(&mut self, site: &Site) -> anyhow::Result<()> {
        let (first, count) = (self.world.persons, self.options.account_persons);
        let world = self.world.clone();
        let now = site.now();
        let visits = self.visits;
        self.visits += u64::from(count);
        let account = format!("a{}", world.accounts());
        site.append(vec![world.account(world.accounts())])?;
        site.feed((first..first + count).map(|person| world.person_of(person, &account)))?;
        site.feed(
            (visits + 1..)
                .zip(first..first + count)
                .map(|(number, person)| world.visit(number, person, now)),
        )?;
        site.settle()?;

        let before = site.reading();
        site.append(vec![self.world.deal_of("fan-1", &account, 900_000, true)])?;
        site.settle()?;
        let after = site.reading();
        let sent = (after.features - before.features) as f64;
        self.note("fan-out", "feature messages of a deal that crosses nothing", sent, "", Some("0"));
        let messages = (after.inbox_records - before.inbox_records) as f64;
        self.note("fan-out", "messages between shards of it, its own way included", messages, "", None);
        let changed = (after.membership_records - before.membership_records) as f64;
        self.note("fan-out", "membership changes of it", changed, "", Some("0"));

        let before = after;
        let crossing = self.world.deal_of("fan-2", &account, 200_000, true);
        let taken = self.all_change(site, first..first + count, crossing)?;
        self.note("fan-out", "persons", taken.len() as f64, "", None);
        self.note("fan-out", "deal to the first", seconds(quantile(&taken, 0.0)), "s", None);
        self.note("fan-out", "deal to the last", seconds(quantile(&taken, 1.0)), "s", Some("≤ 5 s"));
        let sent = (site.reading().features - before.features) as f64;
        self.note("fan-out", "feature messages of it", sent, "", None);

        let other = format!("a{}", world.accounts() + 1);
        site.append(vec![world.account(world.accounts() + 1)])?;
        site.settle()?;
        let steps = [
            (
                "deal moved to another account, to the last",
                world.deal_of("fan-2", &other, 200_000, true),
                None,
            ),
            ("accounts linked, to the last", world.link([&account, &other], false), None),
            ("link withdrawn, to the last", world.link([&account, &other], true), Some("≤ 2 s")),
        ];
        for (name, record, target) in steps {
            let taken = self.all_change(site, first..first + count, record)?;
            self.note("fan-out", name, seconds(quantile(&taken, 1.0)), "s", target);
        }
        Ok(())
    }

    /// One record that makes all these persons enter or leave; returns how long each took.
    fn all_change(&self, site: &Site, persons: std::ops::Range<u32>, record: Placed) -> anyhow::Result<Vec<Duration>> {
        let begun = Instant::now();
        site.watch.expect(persons.map(|person| ((UPSELL, person), begun)));
        site.append(vec![record])?;
        let taken = self.collect(site)?;
        site.settle()?;
        Ok(taken)
    }

    /// Many memberships that end within one second, by silence.
    pub fn expiry(&mut self, site: &Site) -> anyhow::Result<()> {
        let persons = self.fresh..(self.fresh + self.options.timers).min(self.world.persons);
        if persons.is_empty() {
            bail!("every person has visited already: more persons are needed for the timers");
        }
        self.fresh = persons.end;
        let count = i64::from(persons.end - persons.start);
        // Time enough for all to enter before the first leaves.
        let lead_ms = 5_000 + (count as f64 / self.rate() * 2_000.0) as i64;
        let (now, begun) = (site.now(), Instant::now());
        let due_ms = |person: u32| lead_ms + i64::from(person - persons.start) * 1_000 / count;
        let (visits, world) = (self.visits, self.world.clone());
        self.visits += count as u64;
        site.watch.expect(persons.clone().map(|person| ((LAUNCH, person), begun)));
        site.feed((visits + 1..).zip(persons.clone()).map(|(number, person)| {
            let at = Timestamp(now.0 - LAUNCH_WINDOW_MS + due_ms(person));
            world.launch_visit(number, person, at)
        }))?;
        self.collect(site)?;
        if site.now().0 >= now.0 + lead_ms {
            bail!("persons entered too slowly to leave together");
        }
        let due = |person: u32| begun + Duration::from_millis(due_ms(person).unsigned_abs());
        site.watch.expect(persons.clone().map(|person| ((LAUNCH, person), due(person))));
        std::thread::sleep(due(persons.start).saturating_duration_since(Instant::now()));
        let taken = self.collect(site)?;
        self.note("expiry", "timers within a second", taken.len() as f64, "", None);
        self.note("expiry", "late p50", milliseconds(quantile(&taken, 0.5)), "ms", None);
        self.note("expiry", "late p99", milliseconds(quantile(&taken, 0.99)), "ms", Some("≤ 1,000 ms"));
        Ok(())
    }

    /// A process that is killed while it processes, with its disk and without.
    pub fn recovery(&mut self, site: Site) -> anyhow::Result<()> {
        // Two processes are killed, and a third finds some left.
        let pile = 3 * BEFORE_KILL_VISITS;
        let (visits, world) = (self.visits, self.world.clone());
        self.visits += pile;
        let now = site.now();
        let stopped = site.stop()?;
        stopped.pile_up((visits + 1..=visits + pile).map(|number| world.visit(number, world.visitor(number), now)))?;
        let settings = stopped.leave();

        let first = killed(&settings)?;
        let with_disk = killed(&settings)?;
        std::fs::remove_dir_all(&settings.config.state.path)?;
        let mut process = Process::start(&settings)?;
        let without_disk = process.processes()?;
        process.kill()?;
        self.note("recovery", "start after a clean stop", first.as_secs_f64(), "s", None);
        self.note("recovery", "killed, with disk", with_disk.as_secs_f64(), "s", Some("≤ 5 s"));
        self.note("recovery", "killed, without disk", without_disk.as_secs_f64(), "s", None);
        Ok(())
    }

    /// Half of the measured rate, unless one is given.
    fn rate(&self) -> f64 {
        let half = self.throughput.map_or(RATE, |throughput| throughput / 2.0);
        self.options.rate.map_or(half, f64::from).max(1.0)
    }

    /// Visits at a rate until `done`; returns the delays of those that made a person enter, from
    /// the append until a committed reader saw the change.
    fn at_rate(&mut self, site: &Site, rate: f64, mut done: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<Vec<Duration>> {
        site.watch.take();
        let (begun, first) = (Instant::now(), self.visits);
        while !done()? {
            let due = first + (begun.elapsed().as_secs_f64() * rate) as u64;
            let (now, mut entries, mut records) = (site.now(), Vec::new(), Vec::new());
            while self.visits < due {
                self.visits += 1;
                let enters = self.visits.is_multiple_of(ENTRY_EVERY) && self.fresh < self.world.persons;
                records.push(if enters {
                    entries.push(self.fresh);
                    self.fresh += 1;
                    self.world.launch_visit(self.visits, self.fresh - 1, now)
                } else {
                    self.world.visit(self.visits, self.world.visitor(self.visits), now)
                });
            }
            let appended_at = Instant::now();
            site.watch.expect(entries.into_iter().map(|person| ((LAUNCH, person), appended_at)));
            site.append(records)?;
            std::thread::sleep(TICK.saturating_sub(appended_at.elapsed()));
        }
        self.collect(site)
    }

    /// Waits until every expected change has been seen.
    fn collect(&self, site: &Site) -> anyhow::Result<Vec<Duration>> {
        site.wait("membership changes", || Ok(site.watch.missing() == 0))?;
        Ok(site.watch.take())
    }
}

/// Starts a process, lets it process for a while, kills it; returns the time until it processed.
fn killed(settings: &Settings) -> anyhow::Result<Duration> {
    let mut process = Process::start(settings)?;
    let taken = process.processes()?;
    process.works_on(BEFORE_KILL, BEFORE_KILL_VISITS)?;
    process.kill()?;
    Ok(taken)
}

/// Of values in ascending order.
fn quantile(values: &[Duration], share: f64) -> Option<Duration> {
    let last = values.len().checked_sub(1)?;
    values.get((last as f64 * share).round() as usize).copied()
}

fn milliseconds(taken: Option<Duration>) -> f64 {
    taken.map_or(f64::NAN, |taken| taken.as_secs_f64() * 1e3)
}

fn seconds(taken: Option<Duration>) -> f64 {
    taken.map_or(f64::NAN, |taken| taken.as_secs_f64())
}

fn mebibytes(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_few_and_of_many() {
        let milliseconds = |values: &[u64]| values.iter().copied().map(Duration::from_millis).collect::<Vec<_>>();
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&milliseconds(&[7]), 0.99), Some(Duration::from_millis(7)));
        let hundred: Vec<u64> = (0..=100).collect();
        assert_eq!(quantile(&milliseconds(&hundred), 0.99), Some(Duration::from_millis(99)));
        assert_eq!(quantile(&milliseconds(&hundred), 1.0), Some(Duration::from_millis(100)));
    }
}
