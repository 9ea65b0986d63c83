//! Destinations on Kafka: the Bodea story, with a crowd at Townsend, to a static list and to a
//! webhook. The sinks run in processes of their own that are killed and frozen throughout; in the
//! end both destinations are what is desired.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use millrace_kafka_harness::KafkaBroker;
use millrace_oracle::SourceRecord;
use millrace_oracle::worlds::{DAY_MS, NOON_MS, bodea, key, record, visit};
use millrace_test_e2e::deployment::{Deployment, Node, SESSION_TIMEOUT};
use millrace_test_e2e::far::{Marketo, Webhook};
use millrace_test_e2e::outside::{self, Producer};
use millrace_test_e2e::{now_ms, wait_for, worlds};
use serde_json::{Value as Json, json};

const SHARDS: u32 = 4;
const SINKS: usize = 3;
pub const SEGMENT: &str = "new-product-upsell";
/// Persons at Townsend of system 1, besides those of the story: they need the link.
pub const CROWD: usize = 150;
/// How long facts change, and processes are harmed.
const STORM: Duration = Duration::from_secs(50);
const FACT_EVERY: Duration = Duration::from_secs(4);
const HARM_EVERY: Duration = Duration::from_secs(3);
/// Longer than a session lasts: the partitions of a process that is away that long go to others.
const AWAY: Duration = SESSION_TIMEOUT.saturating_add(Duration::from_secs(4));
const SETTLED_WITHIN: Duration = Duration::from_secs(90);
/// Changes of one call of the webhook, and of one call to Marketo.
const WEBHOOK_CHANGES: usize = 40;
const MARKETO_CHANGES: usize = 300;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Harm {
    /// Killed and started at once.
    Kill,
    /// Killed, with its disk gone, and away until others have its partitions.
    Lose,
    /// Stopped until others have its partitions, then resumed as if it still owned them.
    Freeze,
}

const HARMS: [Harm; 5] = [Harm::Kill, Harm::Freeze, Harm::Kill, Harm::Lose, Harm::Freeze];

fn settings(marketo: &Marketo, webhook: &Webhook) -> String {
    format!(
        r#"[destinations.lists]
namespace = "email"
sink = "marketo"
brake_share = 1.0
[destinations.lists.settings]
munchkin = "111-AAA-222"
client_id = "client"
client_secret = "secret"
url = "{}"
create_lists_in = {{ folder = 13 }}
create_persons = true
wait_seconds = 0.5
[destinations.hook]
namespace = "email"
sink = "webhook"
brake_share = 1.0
[destinations.hook.settings]
url = "http://{}/in"
privateAddresses = true
recordsPerCall = {WEBHOOK_CHANGES}
callsAtOnce = 1
waitMs = 200
"#,
        marketo.url, webhook.address
    )
}

/// The records of the story's present: facts that never change during the storm.
pub fn lasting(now: i64) -> Vec<SourceRecord> {
    let mut records: Vec<SourceRecord> = bodea::facts().iter().map(|fact| worlds::moved(&fact.record, now - NOON_MS)).collect();
    for number in 0..CROWD {
        records.push(crowd(number, now - DAY_MS, "c"));
        records.push(visit(
            &format!("crowd-{number}"),
            now - DAY_MS,
            "New product",
            &[&format!("b2b_person:{number}@crowd.Marketo")],
        ));
    }
    records
}

/// A person of the crowd, whose address begins with a letter.
fn crowd(number: usize, at_ms: i64, letter: &str) -> SourceRecord {
    let fields = json!({ "workEmail": { "address": address(number, letter) }, "b2b": { "accountKey": key("001A@crm1.Salesforce") } });
    record("person", &format!("{number}@crowd.Marketo"), at_ms, fields)
}

pub fn address(number: usize, letter: &str) -> String {
    format!("{letter}{number}@townsend.com")
}

/// One change of the world: the link withdrawn or asserted, the large deal reopened or won, a part
/// of the crowd renamed. Whatever came before, the last three of `FINAL` decide the end.
pub fn fact(number: usize, at_ms: i64) -> Vec<SourceRecord> {
    let deal = |won: bool| {
        let fields = json!({ "accountKey": key("001B@crm2.Salesforce"), "opportunityAmount": { "amount": 900_000 }, "isClosed": won, "isWon": won });
        vec![record("opportunity", "006B@crm2.Salesforce", at_ms, fields)]
    };
    let link = |there: bool| {
        let fields = json!({ "members": [key("001A@crm1.Salesforce"), key("001B@crm2.Salesforce")], "isDeleted": !there });
        vec![record("account-link", "townsend@mdm.MDM", at_ms, fields)]
    };
    let renamed = |letter: &str| (0..CROWD).step_by(3).map(|number| crowd(number, at_ms, letter)).collect();
    match number % 6 {
        0 => link(false),
        1 => link(true),
        2 => renamed("d"),
        3 => deal(false),
        4 => deal(true),
        _ => renamed("c"),
    }
}

/// Link, deal and names at the end, in this order.
const FINAL: [usize; 3] = [1, 4, 2];

fn expected() -> BTreeSet<String> {
    let story = ["p1@townsend.com", "p2@townsend.com", "p3@townsend.com"].map(str::to_owned);
    let crowd = (0..CROWD).map(|number| address(number, if number.is_multiple_of(3) { "d" } else { "c" }));
    story.into_iter().chain(crowd).collect()
}

#[test]
fn destinations_become_what_is_desired_whatever_happens_to_the_sinks() {
    let (marketo, webhook) = (Marketo::start(), Webhook::start());
    let deployment = Deployment::with_settings(KafkaBroker::shared(), "sinks", SHARDS, &settings(&marketo, &webhook));
    deployment.millrace(&["topics", "create"]).succeeded();
    let spec = json!({ "subject": "person", "status": "published", "pql": bodea::rule().pql, "destinations": ["lists", "hook"] });
    let segment = json!({ "kind": "Segment", "metadata": { "name": SEGMENT }, "spec": spec });
    let file = deployment.write("segment.json", &segment.to_string());
    deployment.millrace(&["segment", "apply", &file]).succeeded();
    let mut processor = deployment.node("processor");
    processor.start();
    let mut sinks: Vec<Node> = (0..SINKS)
        .map(|number| deployment.service(&format!("sink-{number}"), &["sink", "lists", "hook"]))
        .collect();
    sinks.iter_mut().for_each(Node::start);
    processor.wait_ready();
    sinks.iter().for_each(Node::wait_ready);

    let begun = Instant::now();
    let harms = std::thread::scope(|scope| {
        let telling = scope.spawn(|| tell(&deployment));
        let harms = harm(&mut sinks);
        telling.join().expect("the story goes on");
        harms
    });
    println!("the storm of {} s is over: {harms:?}", begun.elapsed().as_secs());
    sinks.iter().for_each(Node::wait_ready);

    let own = settled(&deployment, &marketo, &webhook, &processor, &sinks);
    report(&deployment, &marketo, &webhook, own);
    for name in ["lists", "hook"] {
        let preview = deployment.millrace(&["--output", "json", "destination", "preview", name]).succeeded().json();
        let found = (&preview["changes"], &preview["calls"], &preview["audiences"][SEGMENT]["delivered"]);
        assert_eq!(found, (&json!(0), &json!(0), &json!(expected().len())), "{preview}");
    }
    for sink in &mut sinks {
        assert_eq!(sink.terminate(), Some(0), "{}", sink.tail());
    }
}

/// The story's beginning, changes during the storm, and the end.
fn tell(deployment: &Deployment) {
    let begun = Instant::now();
    let mut producer = Producer::start(&deployment.bootstrap);
    for record in lasting(now_ms()) {
        producer.send_json(&deployment.prefix, &record);
    }
    producer.flush();
    let mut number = 0;
    while begun.elapsed() < STORM {
        std::thread::sleep(FACT_EVERY);
        for record in fact(number, now_ms()) {
            producer.send_json(&deployment.prefix, &record);
        }
        producer.flush();
        number += 1;
    }
    for number in FINAL {
        for record in fact(number, now_ms()) {
            producer.send_json(&deployment.prefix, &record);
        }
    }
    producer.finish();
}

/// Harms processes until the storm is over and all are back. Returns how often each harm was done.
fn harm(sinks: &mut [Node]) -> BTreeMap<Harm, usize> {
    let begun = Instant::now();
    let mut absent: Vec<(usize, Harm, Instant)> = Vec::new();
    let mut done = BTreeMap::new();
    let mut next = begun + HARM_EVERY;
    while begun.elapsed() < STORM || !absent.is_empty() {
        std::thread::sleep(Duration::from_millis(50));
        let now = Instant::now();
        for (sink, harm, _) in absent.extract_if(.., |(_, _, until)| *until <= now) {
            match harm {
                Harm::Freeze => sinks[sink].resume(),
                Harm::Kill | Harm::Lose => sinks[sink].start(),
            }
        }
        let present: Vec<usize> = (0..sinks.len()).filter(|sink| absent.iter().all(|(known, ..)| known != sink)).collect();
        // One always remains: others take over.
        if now < next || begun.elapsed() > STORM || present.len() < 2 {
            continue;
        }
        next = now + HARM_EVERY;
        let count: usize = done.values().sum();
        let (sink, harm) = (present[count % present.len()], HARMS[count % HARMS.len()]);
        assert!(
            sinks[sink].ended().is_none(),
            "{} has ended by itself\n{}",
            sinks[sink].instance,
            sinks[sink].tail()
        );
        *done.entry(harm).or_default() += 1;
        match harm {
            Harm::Freeze => sinks[sink].pause(),
            Harm::Kill => sinks[sink].kill(),
            Harm::Lose => {
                sinks[sink].kill();
                sinks[sink].lose_state();
            }
        }
        let until = if harm == Harm::Kill { now } else { now + AWAY };
        absent.push((sink, harm, until));
    }
    done
}

/// Waits until both destinations are what is desired, and all is acknowledged. Returns the calls to
/// Marketo that the waiting made.
fn settled(deployment: &Deployment, marketo: &Marketo, webhook: &Webhook, processor: &Node, sinks: &[Node]) -> i64 {
    let (expected, mut own) = (expected(), 0);
    let verdict = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_for("the destinations to be what is desired", SETTLED_WITHIN, || {
            for name in ["lists", "hook"] {
                let desired = desired(deployment, name)?;
                if desired != expected {
                    return Err(format!("desired at {name}: {}", difference(&desired, &expected)));
                }
                let status = status(processor, name)?;
                let [wanted, delivered, pending, refused] = ["desired", "delivered", "pending", "refused"].map(|field| status[field].as_u64());
                let all = Some(expected.len() as u64);
                if [wanted, delivered, pending, refused] != [all, all, Some(0), Some(0)] {
                    return Err(format!("the ledger of {name}: {status}"));
                }
            }
            let heard = webhook.heard().present(SEGMENT);
            if heard != expected {
                return Err(format!("the webhook's last words: {}", difference(&heard, &expected)));
            }
            let listed = marketo.list(SEGMENT)?;
            own += listed.own;
            let members = listed.members.ok_or("there is no list")?;
            if members != expected {
                return Err(format!("the list: {}", difference(&members, &expected)));
            }
            Ok(())
        });
    }));
    if let Err(panic) = verdict {
        sinks.iter().for_each(|sink| eprintln!("{}", sink.tail()));
        std::panic::resume_unwind(panic)
    }
    own
}

fn difference(found: &BTreeSet<String>, expected: &BTreeSet<String>) -> String {
    let missing: Vec<_> = expected.difference(found).take(5).collect();
    let wrong: Vec<_> = found.difference(expected).take(5).collect();
    format!("{} found, {} expected; missing {missing:?}, wrong {wrong:?}", found.len(), expected.len())
}

/// The status of a destination over all processes, asked of one that runs no sink.
fn status(processor: &Node, name: &str) -> Result<Json, String> {
    let (status, body) = processor.ask(&format!("/v1/destinations/{name}"))?;
    let view: Json = serde_json::from_str(&body).map_err(|error| format!("{status} {body}: {error}"))?;
    if view["partitions"].as_array().is_none_or(|partitions| partitions.len() != SHARDS as usize) || view["unheard"] != Json::Null {
        return Err(format!("not all partitions are reported: {view}"));
    }
    Ok(view)
}

/// All records of a destination's topic, in order within each key.
fn states(deployment: &Deployment, name: &str) -> Result<Vec<(String, bool)>, String> {
    let topic = deployment.topic(&format!("destination.{name}"));
    let rows = outside::read(&deployment.bootstrap, &[topic], Some("schemas/output/destination-state.avsc"))?;
    let state = |row: outside::Read| {
        let record = row.record?;
        Some((record["identity"]["id"].as_str()?.to_owned(), record["state"] == "present"))
    };
    Ok(rows.into_iter().filter_map(state).collect())
}

/// The ids that should be present.
fn desired(deployment: &Deployment, name: &str) -> Result<BTreeSet<String>, String> {
    let mut present = BTreeSet::new();
    for (id, there) in states(deployment, name)? {
        if there {
            present.insert(id);
        } else {
            present.remove(&id);
        }
    }
    Ok(present)
}

/// Calls against the ideal: every change of desired state sent once, in full batches.
fn report(deployment: &Deployment, marketo: &Marketo, webhook: &Webhook, own: i64) {
    let heard = webhook.heard();
    let changes = states(deployment, "hook").expect("the topic can be read").len();
    let repeated: u64 = heard.times.values().map(|times| times - 1).sum();
    println!(
        "webhook: {} calls of {} changes, {repeated} of them repeated; {changes} changes of desired state, {} calls if each were sent in a full one",
        heard.calls,
        heard.changes,
        changes.div_ceil(WEBHOOK_CHANGES)
    );
    let listed = marketo.list(SEGMENT).expect("the list can be read");
    let changes = states(deployment, "lists").expect("the topic can be read").len();
    println!(
        "marketo: {} calls; {changes} changes of desired state, {} calls if each were looked up and written in a full one",
        listed.calls - own,
        2 * changes.div_ceil(MARKETO_CHANGES)
    );
}
