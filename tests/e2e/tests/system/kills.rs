//! Three processes under a stream of changes that never pauses, killed, stripped of their disks and
//! frozen throughout: the result is the oracle's, once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millrace_kafka_harness::KafkaBroker;
use millrace_oracle::worlds::random::Random;
use millrace_oracle::worlds::rules;
use millrace_test_e2e::deployment::{Deployment, Node, SESSION_TIMEOUT};
use millrace_test_e2e::outside::{Place, Producer};
use millrace_test_e2e::{judge, now_ms, worlds};

const NODES: usize = 3;
const SHARDS: u32 = 6;
/// Worlds that share nothing, and the length of each.
const WORLDS: usize = 40;
const CHANGES: usize = 120;
/// Events of persons of those worlds with each of their records.
const ACTS: usize = 2;
/// How long records are produced and processes are harmed.
const STORM: Duration = Duration::from_secs(70);
const HARM_EVERY: Duration = Duration::from_secs(4);
/// Longer than a session lasts: the shards of a process that is away that long go to others.
const AWAY: Duration = SESSION_TIMEOUT.saturating_add(Duration::from_secs(4));
const QUIET_WITHIN: Duration = Duration::from_secs(120);

/// A kind of harm to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Harm {
    /// Killed and started at once.
    Kill,
    /// As `Kill`, with its state directory gone.
    Lose,
    /// Killed, and away until others have its shards.
    Leave,
    /// Stopped until others have its shards, then resumed as if it still owned them.
    Freeze,
}

/// Every kind within the first 20 seconds, and again.
const HARMS: [Harm; 6] = [Harm::Freeze, Harm::Kill, Harm::Lose, Harm::Leave, Harm::Kill, Harm::Lose];

/// A harmed process, and when it comes back.
struct Absent {
    node: usize,
    harm: Harm,
    until: Instant,
}

#[test]
fn three_processes_under_kills_write_what_the_oracle_says_once() {
    let deployment = Deployment::with_topics(KafkaBroker::shared(), "kills", SHARDS);
    let rules = rules::all();
    let (early, late) = rules.split_at(28);
    deployment.apply(early);
    let mut nodes: Vec<Node> = (0..NODES).map(|number| deployment.node(&format!("node-{number}"))).collect();
    nodes.iter_mut().for_each(Node::start);
    nodes.iter().for_each(Node::wait_ready);

    let (harms, bad) = std::thread::scope(|scope| {
        let producing = scope.spawn(|| produce(&deployment));
        let harms = harm(&mut nodes, || deployment.apply(late));
        (harms, producing.join().expect("production goes on"))
    });
    println!("the storm is over: {harms:?}");
    nodes.iter().for_each(Node::wait_ready);

    let letters = judge::dead_letters(&deployment).unwrap_or_else(|error| panic!("{error}"));
    let is_bad = |topic: &str, partition, offset| topic == deployment.topic("source.person") && bad.contains(&Place { partition, offset });
    let records = judge::sources(&deployment, |row| is_bad(&row.topic, row.partition, row.offset));
    let changes = judge::settled(&deployment, &mut nodes, &records, &rules, QUIET_WITHIN);
    let letters = if letters.len() == bad.len() {
        letters
    } else {
        judge::dead_letters(&deployment).unwrap_or_else(|error| panic!("{error}"))
    };
    assert_eq!(letters.len(), bad.len(), "every bad record is one dead letter");
    assert!(
        letters
            .iter()
            .all(|letter| is_bad(&letter.topic, letter.partition, letter.offset) && letter.reason == "malformed-json")
    );

    let members: usize = judge::members(&changes).values().map(std::collections::BTreeSet::len).sum();
    println!(
        "{} records, {} membership changes, {members} memberships, {} dead letters; {harms:?}",
        records.len(),
        changes.len(),
        letters.len()
    );
    assert!(
        records.len() > 10_000 && changes.len() > 1_000 && members > 100,
        "a stream with something in it"
    );
}

/// Produces the worlds and their persons' acts evenly over the storm; returns where the bad records
/// among them were stored.
fn produce(deployment: &Deployment) -> Vec<Place> {
    let begun = Instant::now();
    let records = worlds::side_by_side(31, WORLDS, CHANGES, now_ms());
    let mut random = Random::new(17);
    let mut producer = Producer::start(&deployment.bootstrap);
    let mut bad = Vec::new();
    let mut sent = 0;
    for (at, record) in records.iter().enumerate() {
        let due = begun + STORM.mul_f64(at as f64 / records.len() as f64);
        let early = due.saturating_duration_since(Instant::now());
        if early > Duration::from_millis(50) {
            producer.flush();
            std::thread::sleep(early);
        }
        producer.send_json(&deployment.prefix, record);
        sent += 1;
        for _ in 0..ACTS {
            producer.send_json(&deployment.prefix, &worlds::act(&mut random, sent, WORLDS, now_ms()));
            sent += 1;
        }
        if at % 50 == 0 {
            bad.push(sent);
            producer.send(
                &deployment.topic("source.person"),
                Some(format!("bad-{at}").as_bytes()),
                Some(b"{\"personKey\":"),
            );
            sent += 1;
        }
    }
    let places = producer.finish();
    bad.into_iter().map(|at| places[at]).collect()
}

/// Harms processes until the storm is over and all are back; calls `halfway` once in between.
/// Returns how often each harm was done.
fn harm(nodes: &mut [Node], halfway: impl FnOnce()) -> BTreeMap<Harm, usize> {
    let begun = Instant::now();
    let mut halfway = Some(halfway);
    let mut random = Random::new(5);
    let mut absent: Vec<Absent> = Vec::new();
    let mut done = BTreeMap::new();
    let mut next = begun + HARM_EVERY;
    while begun.elapsed() < STORM || !absent.is_empty() {
        std::thread::sleep(Duration::from_millis(50));
        let now = Instant::now();
        for back in absent.extract_if(.., |absent| absent.until <= now) {
            match back.harm {
                Harm::Freeze => nodes[back.node].resume(),
                Harm::Kill | Harm::Lose | Harm::Leave => nodes[back.node].start(),
            }
        }
        if begun.elapsed() > STORM / 2
            && let Some(halfway) = halfway.take()
        {
            halfway();
        }
        let present: Vec<usize> = (0..nodes.len()).filter(|node| absent.iter().all(|absent| absent.node != *node)).collect();
        if now < next || begun.elapsed() > STORM || present.is_empty() {
            continue;
        }
        next = now + HARM_EVERY;
        let node = present[random.below(present.len())];
        assert!(
            nodes[node].ended().is_none(),
            "{} has ended by itself\n{}",
            nodes[node].instance,
            nodes[node].tail()
        );
        let harm = HARMS[done.values().sum::<usize>() % HARMS.len()];
        *done.entry(harm).or_default() += 1;
        let until = match harm {
            Harm::Kill | Harm::Lose => now,
            Harm::Leave | Harm::Freeze => now + AWAY,
        };
        if harm == Harm::Freeze {
            nodes[node].pause();
        } else {
            nodes[node].kill();
        }
        if harm == Harm::Lose {
            nodes[node].lose_state();
        }
        absent.push(Absent { node, harm, until });
    }
    done
}
