//! The sink killed at any point and any await, its connections cut by the server: afterwards its
//! tables are as desired, whatever the seed.

use millrace_connect::sink::{Change, Delivery, Destination, Tenure};
use millrace_log::random::Random;
use millrace_postgres_harness::Postgres;
use millrace_test_seeds::{Killed, seeds};
use millrace_test_sinks::{Dying, Interruptible, Scene, email, storm};
use serde_json::json;

use super::stage::Stage;
use crate::PostgresSink;

impl Interruptible for PostgresSink {
    fn deliver_within(&mut self, awaits: u64, batch: &[Change], tenures: &[Tenure]) -> Option<Delivery> {
        let PostgresSink { tables, runtime } = self;
        runtime.block_on(Killed::after(awaits, tables.deliver(batch, tenures)))
    }
}

/// Ends every connection to a database but the one that asks.
const CUT: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";

impl Scene for Stage<'_> {
    fn stage(&mut self) -> &mut millrace_test_sinks::Stage {
        &mut self.frame
    }

    fn destination(&self) -> Box<dyn Destination> {
        Box::new(Dying::new(self.sink(), &self.deaths))
    }

    fn happens(&mut self, random: &mut Random) {
        if random.chance(700) {
            let audience = ["hot", "warm"][usize::try_from(random.below(2)).expect("small")];
            let (id, company) = (email(random.below(12)), format!("c{}", random.below(3)));
            match random.chance(600) {
                true => self.enter(audience, &id, &company, "1.5"),
                false => self.desire(audience, &id, false),
            }
        }
        if random.chance(50) {
            self.run(CUT);
        }
    }
}

/// Returns kills and rows written.
fn after(seed: u64) -> (u64, u64) {
    let database: &'static str = Box::leak(format!("kills_{seed}").into_boxed_str());
    let mut stage = Stage::new(database, json!({}));
    let mut random = Random::new(seed);
    stage.contested = random.chance(500);
    stage.deaths.at_awaits(random.fork(), 30);
    if random.chance(500) {
        stage.deaths.at_points(random.fork());
    }
    let kills = storm(&mut stage, &mut random, 150, 2_000);
    let mut task = stage.task();
    stage.settle(&mut task);
    assert_eq!(stage.members(&["hot", "warm"]), stage.expected());
    assert_eq!(stage.reasons_of_dead_letters(), Vec::<String>::new());
    let status = task.status();
    assert_eq!((status.delivered, status.pending), (stage.desired.len() as u64, 0));
    let written = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables WHERE relname IN ('hot', 'warm')";
    (kills, stage.value(written).and_then(|sum| sum.parse().ok()).unwrap_or_default())
}

#[test]
fn killed_at_any_await_the_tables_become_as_desired() {
    let (mut storms, mut kills, mut rows) = (0, 0, 0);
    for seed in seeds!(600..608) {
        let (killed, written) = after(seed);
        storms += 1;
        kills += killed;
        rows += written;
    }
    println!("{storms} storms: {kills} kills, {rows} rows written");
    // Eight storms kill often enough to mean something; a seed that is run alone need not.
    assert!(storms < 8 || kills > 80, "{kills}");
}

/// The server dies while a transaction waits in it.
#[test]
fn a_server_that_is_restarted_in_the_middle_of_a_batch() {
    let mut server = Postgres::start();
    {
        let mut stage = Stage::at(&server, "restarted", "email", json!({}));
        stage.enter("hot", &email(0), "Townsend", "1");
        stage.settle(&mut stage.task());
    }
    let address = server.address();
    let mut frame = millrace_test_sinks::Stage::new("tables", "email", 2);
    for number in 0..50 {
        frame.desire_with("hot", &email(number), true, &[("company", json!("Bodea"))]);
    }
    let mut task = frame.task(Box::new(super::stage::sink(&server, "restarted", &json!({}))));
    std::thread::scope(|scope| {
        // Somebody holds the table, so the transaction waits when the server is killed.
        let holder = scope.spawn(move || millrace_postgres_harness::ask(address, "restarted", "BEGIN; LOCK TABLE hot; SELECT pg_sleep(600)"));
        let waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'millrace%'";
        let held = "SELECT 1 FROM pg_locks WHERE relation = 'hot'::regclass AND mode = 'AccessExclusiveLock' AND granted";
        until(&server, held);
        let server = &mut server;
        let killer = scope.spawn(move || {
            until(server, waits);
            server.kill();
            server.resume();
        });
        for _ in 0..20 {
            task.step().map_err(|(_, error)| error).expect("no failure");
            frame.pass(1_000);
        }
        killer.join().expect("restarted");
        assert!(holder.join().expect("no panic").is_err(), "its connection is gone as well");
    });
    frame.settle(&mut task);
    let count = server.rows("restarted", "SELECT count(*), count(*) FILTER (WHERE company = 'Bodea') FROM hot");
    assert_eq!(count, [[Some("50".to_owned()), Some("50".to_owned())]]);
    assert_eq!(task.status().delivered, 50);
}

/// Asks until a query has a row.
fn until(server: &Postgres, query: &str) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while server.rows("restarted", query).is_empty() {
        assert!(std::time::Instant::now() < deadline, "{query}");
        std::thread::yield_now();
    }
}
