//! A simulated instance, a simulated log, the real connector between them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_connect::backoff::Backoff;
use millrace_connect::budget::{Budget, WallClock};
use millrace_connect::source::{Ended, Make, Sample, Source, SourceState, SourceTask, Status, Stop, Topics};
use millrace_log::random::Random;
use millrace_log::simulated::{Faults, SimulatedLog};
use millrace_log::{Log, TopicSpec};
use millrace_marketo::Client;
use millrace_model::{DAY_MS, SourceKind, Timestamp};
use millrace_simulators::marketo::{Limits, Marketo, Settings, World};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::mapping::{self, Keys};
use crate::{Config, MarketoSource};

/// Everything that a test waits for arrives within this, or the test fails.
const DEADLINE: Duration = Duration::from_secs(60);

pub struct Stage {
    pub marketo: Marketo,
    pub log: SimulatedLog,
    config: Config,
}

pub struct Run {
    stop: watch::Sender<Stop>,
    status: Arc<Status>,
    task: tokio::task::JoinHandle<Ended>,
    marketo: Marketo,
}

impl Stage {
    /// Wide enough never to be reached.
    pub const LIMITS: Limits = Limits {
        window_calls: 1_000_000,
        window_ms: 20_000,
        concurrent: 10,
        day_calls: 1_000_000,
        token_ms: 3_600_000,
    };

    pub async fn new(seed: u64, settings: Settings) -> Stage {
        let marketo = Marketo::start(SocketAddr::from(([127, 0, 0, 1], 0)), settings, seed)
            .await
            .expect("a free port");
        marketo.set_limits(Stage::LIMITS);
        let log = SimulatedLog::new(seed, Faults::default(), marketo.now());
        for kind in SourceKind::ALL {
            log.create_topic(&topic(kind.name(), 3)).expect("no faults");
        }
        log.create_topic(&topic("dead-letter", 1)).expect("no faults");
        let from = marketo.now().plus_ms(-70 * DAY_MS);
        let raw = json!({
            "munchkin": "111-AAA-222", "client_id": "client", "client_secret": "secret", "url": marketo.url(), "created_from": from.to_string(),
            "activity_days": 70, "interval_seconds": 0.005, "extract_interval_seconds": 0.002, "reserve_calls": 0, "day_calls": 1_000_000_000,
        });
        let mut config = Config::new(serde_json::from_value(raw).expect("of this form")).expect("right");
        config.instance.limits.window_calls = 1_000_000;
        Stage { marketo, log, config }
    }

    fn clock(&self) -> WallClock {
        let marketo = self.marketo.clone();
        Arc::new(move || marketo.now())
    }

    pub fn task(&self) -> SourceTask {
        let status = Arc::new(Status::new("marketo1", "marketo"));
        let clock = self.clock();
        let budget = Arc::new(Budget::new(self.config.instance.limits.clone(), Arc::clone(&clock)));
        let client = Arc::new(Client::new(&self.config.instance, budget, Arc::clone(&status)).expect("certificates"));
        let (config, now) = (self.config.clone(), Arc::clone(&clock));
        let make: Make = Arc::new(move || Box::new(MarketoSource::new(Arc::clone(&client), config.clone(), Arc::clone(&now))) as Box<dyn Source>);
        SourceTask {
            log: Arc::new(self.log.clone()),
            topics: Topics {
                records: SourceKind::ALL.into_iter().map(|kind| (kind, kind.name().to_owned())).collect(),
                dead_letters: "dead-letter".to_owned(),
                rows: topic("rows", 1),
                transactional_id: "test.source.marketo1".to_owned(),
                group: "test".to_owned(),
                place: |key, partitions| key.iter().map(|byte| u32::from(*byte)).sum::<u32>() % partitions,
            },
            make,
            status,
            now: clock,
            backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(10), 1),
        }
    }

    pub fn start(&self) -> Run {
        let (stop, signal) = watch::channel(Stop::default());
        let task = self.task();
        Run {
            stop,
            status: Arc::clone(&task.status),
            task: tokio::spawn(async move { task.run(signal).await }),
            marketo: self.marketo.clone(),
        }
    }

    pub async fn preview(&self) -> Vec<Sample> {
        let task = self.task();
        let mut source = (task.make)();
        source.preview().await.expect("the instance answers")
    }

    /// Persons of some companies, with visits, lists and a program.
    pub fn fill(&self, leads: u64) {
        self.marketo.with(|world| {
            let company = world.create_company(json!({"company": "Townsend", "externalCompanyId": "t1", "annualRevenue": "1604.5", "numberOfEmployees": 20}));
            let other = world.create_company(json!({"company": "Null, \"Inc\"", "externalCompanyId": "t2"}));
            let (list, program) = (world.create_list("News"), world.create_program("Webinar"));
            for number in 0..leads {
                let company = [json!(company), json!(other), Value::Null][number as usize % 3].clone();
                let lead = world.create_lead(json!({
                    "email": format!("p{number}@townsend.example"), "firstName": if number == 7 { "null" } else { "Pat" }, "contactCompany": company,
                }));
                let now = world.now;
                world.visit(lead, "www.bodea.example/products/new", "", now.plus_ms(-(number as i64) * DAY_MS));
                world.set_member(list, lead, number % 2 == 0);
                if number % 5 == 0 {
                    world.set_status(program, lead, "Invited", false);
                }
            }
        });
    }

    /// Random changes, each with its side effects.
    pub fn change(&self, seed: u64, count: u64) {
        let mut random = Random::new(seed);
        for _ in 0..count {
            self.marketo.with(|world| change(world, &mut random));
        }
    }

    /// The newest version of every record of a kind that is not withdrawn, by key; of events by
    /// `_id`.
    pub fn held(&self, kind: &str) -> BTreeMap<String, Value> {
        let mut held: BTreeMap<String, (Timestamp, Value)> = BTreeMap::new();
        for delivered in self.log.content(kind) {
            let value: Value = serde_json::from_slice(delivered.record.value.as_deref().unwrap_or(b"null")).expect("JSON");
            let key = delivered
                .record
                .key
                .as_deref()
                .map(|key| String::from_utf8_lossy(key).into_owned())
                .unwrap_or_default();
            let key = value["_id"].as_str().map_or(key, str::to_owned);
            let at = Timestamp::parse(value["modifiedAt"].as_str().unwrap_or_default()).expect("an instant");
            if held.get(&key).is_none_or(|(before, _)| *before <= at) {
                held.insert(key, (at, value));
            }
        }
        let live = held.into_iter().filter(|(_, (_, value))| value["isDeleted"] != Value::Bool(true));
        live.map(|(key, (_, value))| (key, value)).collect()
    }

    pub fn dead_letters(&self) -> Vec<String> {
        let letters = self.log.content("dead-letter");
        let said = letters
            .iter()
            .flat_map(|letter| &letter.record.headers)
            .filter(|(name, _)| name == "millrace.detail");
        said.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    /// The topics hold exactly the instance's contents.
    pub fn check(&self) {
        let keys = Keys {
            munchkin: "111-AAA-222".to_owned(),
            crm: None,
        };
        self.marketo.with(|world| {
            let (mut persons, mut accounts, mut relations) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
            for lead in world.leads.values() {
                for emitted in mapping::lead(&world.shown_lead(lead), &self.config.mappings, &keys, world.now) {
                    let millrace_connect::source::Emitted::Record { kind, key, value } = emitted else {
                        continue;
                    };
                    match kind {
                        SourceKind::Person => drop(persons.insert(key, value.unwrap_or_default())),
                        SourceKind::Account => drop(accounts.insert(key)),
                        _ => drop(relations.insert(key, value.unwrap_or_default())),
                    }
                }
            }
            let mut found = self.held("person");
            found.retain(|_, person| person.get("identities").is_none());
            assert_eq!(found, persons, "persons");
            assert_eq!(self.held("account-person"), relations, "relations");
            let known: BTreeSet<String> = self.held("account").into_keys().collect();
            assert!(accounts.is_subset(&known), "accounts: {accounts:?} and {known:?}");
            self.check_members(world, &keys);
        });
    }

    fn check_members(&self, world: &World, keys: &Keys) {
        let on_lists = world
            .lists
            .iter()
            .flat_map(|(list, held)| held.members.iter().map(|lead| keys.member(&list.to_string(), &lead.to_string())));
        let found: BTreeSet<String> = self.held("marketing-list-member").into_keys().collect();
        assert_eq!(found, on_lists.collect(), "members of lists");
        let in_programs = world
            .programs
            .iter()
            .flat_map(|(id, program)| program.members.iter().map(move |(lead, member)| (id, lead, member)));
        let expected: BTreeMap<String, String> = in_programs
            .map(|(id, lead, (status, _, _))| (keys.member(&id.to_string(), &lead.to_string()), status.clone()))
            .collect();
        let status = |value: Value| value["memberStatus"].as_str().unwrap_or_default().to_owned();
        let found: BTreeMap<String, String> = self.held("campaign-member").into_iter().map(|(key, value)| (key, status(value))).collect();
        // Members of a merged person appear at the winner without an activity; their loser's own
        // row is withdrawn.
        for (key, status) in found {
            assert_eq!(expected.get(&key), Some(&status), "member {key}");
        }
        let visits = world
            .activities
            .iter()
            .filter(|activity| activity.kind == 1)
            .map(|activity| format!("{}@111-AAA-222", activity.guid));
        let visits: BTreeSet<String> = visits.collect();
        let events = self.held("activity");
        let found: BTreeSet<String> = events.iter().filter(|(_, event)| event["web"].is_object()).map(|(id, _)| id.clone()).collect();
        assert_eq!(found, visits, "visits");
    }
}

fn topic(name: &str, partitions: u32) -> TopicSpec {
    TopicSpec {
        name: name.to_owned(),
        partitions,
        compacted: true,
        settings: Vec::new(),
    }
}

fn change(world: &mut World, random: &mut Random) {
    let leads: Vec<u64> = world.leads.keys().copied().collect();
    let lead = leads[random.below(leads.len() as u64) as usize];
    let now = world.now;
    match random.below(12) {
        0 | 1 => {
            let company = world.companies.keys().next().copied();
            world.create_lead(json!({"email": format!("n{}@x.example", random.below(1_000_000)), "contactCompany": company}));
        }
        2..=4 => {
            world.update_lead(lead, json!({"title": format!("T{}", random.below(100)), "leadScore": random.below(100)}));
        }
        5 => {
            let company = world.companies.keys().next_back().copied();
            world.update_lead(lead, json!({"contactCompany": company}));
        }
        6 if leads.len() > 10 => {
            world.delete_lead(lead);
        }
        // Members of lists and programs move to the winner without an activity of their own; losers
        // here have none, so that the check can be exact.
        7 if leads.len() > 10 => {
            let loser = world.create_lead(json!({"email": "loser@x.example"}));
            world.visit(loser, "www.bodea.example/", "", now);
            world.merge_leads(lead, &[loser]);
        }
        8 => {
            let list = world.lists.keys().next().copied().unwrap_or_default();
            world.set_member(list, lead, random.chance(500));
        }
        9 => {
            let program = world.programs.keys().next().copied().unwrap_or_default();
            world.set_status(program, lead, ["Invited", "Attended"][random.below(2) as usize], true);
        }
        _ => {
            // Some arrive late.
            let late = if random.chance(300) { 3_600_000 } else { 0 };
            world.visit(lead, "www.bodea.example/products/new", "a=b", now.plus_ms(-late));
        }
    }
}

impl Run {
    async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !holds() {
            let view = self.status.view(self.marketo.now());
            assert!(Instant::now() < deadline, "{what}: not in time: {view:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Everything that the instance holds now has been read.
    pub async fn settled(&self) {
        let from = self.marketo.now();
        let read = || self.status.view(self.marketo.now()).read_to.and_then(|at| Timestamp::parse(&at).ok());
        self.until("a round", || read().is_some_and(|at| at > from)).await;
    }

    /// Why the source is not ready, once it reports it.
    pub async fn not_ready(&self) -> String {
        self.until("a reason", || self.status.ready().is_err_and(|reason| reason.contains(':'))).await;
        self.status.ready().err().unwrap_or_default()
    }

    pub async fn released(self) {
        self.until("the release", || self.task.is_finished()).await;
        assert_eq!(self.task.await.expect("no panic"), Ended::Released);
    }

    pub fn pause(&self, paused: bool) {
        self.stop.send_modify(|now| now.paused = paused);
    }

    pub async fn paused(&self) {
        self.until("the pause", || self.status.view(self.marketo.now()).state == SourceState::Paused)
            .await;
    }

    pub async fn stop(self) {
        self.stop.send_modify(|now| now.stopped = true);
        assert_eq!(self.task.await.expect("no panic"), Ended::Stopped);
    }
}
