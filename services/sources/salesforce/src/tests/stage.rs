//! A simulated org, a simulated log, the real connector between them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_connect::backoff::Backoff;
use millrace_connect::budget::{Budget, WallClock};
use millrace_connect::source::{Ended, Make, Sample, Source, SourceState, SourceTask, SourceView, Status, Stop, Topics};
use millrace_log::random::Random;
use millrace_log::simulated::{Faults, SimulatedLog};
use millrace_log::{Log, TopicSpec};
use millrace_model::{SourceKind, Timestamp};
use millrace_simulators::salesforce::{Limits, Salesforce, Settings};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::changes::change;
use super::held::{check, held};
use crate::client::Client;
use crate::{Config, SalesforceSource};

/// Everything that a test waits for arrives within this, or the test fails.
const DEADLINE: Duration = Duration::from_secs(60);

pub struct Stage {
    pub org: Salesforce,
    pub log: SimulatedLog,
    pub config: Config,
}

pub struct Run {
    stop: watch::Sender<Stop>,
    status: Arc<Status>,
    task: tokio::task::JoinHandle<Ended>,
    org: Salesforce,
}

impl Stage {
    pub async fn new(seed: u64, settings: Settings) -> Stage {
        Stage::with(seed, settings, json!({})).await
    }

    /// With settings of the source over those of the tests.
    pub async fn with(seed: u64, settings: Settings, own: Value) -> Stage {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let org = Salesforce::start(address, settings, seed).await.expect("a free port");
        org.set_limits(Limits {
            day_calls: 10_000_000,
            ..Limits::default()
        });
        let log = SimulatedLog::new(seed, Faults::default(), org.now());
        for kind in SourceKind::ALL {
            log.create_topic(&topic(kind.name(), 3)).expect("no faults");
        }
        log.create_topic(&topic("dead-letter", 1)).expect("no faults");
        let mut raw = json!({
            "url": org.url(), "client_id": "client", "client_secret": "secret", "interval_seconds": 0.005, "job_interval_seconds": 0.002,
            "overlap_seconds": 30, "page_rows": 7, "reserve_calls": 0,
        });
        let own = own.as_object().cloned().unwrap_or_default();
        raw.as_object_mut().expect("an object").extend(own);
        raw.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
        let config = Config::new(serde_json::from_value(raw).expect("of this form")).expect("right");
        Stage { org, log, config }
    }

    fn clock(&self) -> WallClock {
        let org = self.org.clone();
        Arc::new(move || org.now())
    }

    pub fn task(&self) -> SourceTask {
        let status = Arc::new(Status::new("crm1", "salesforce"));
        let clock = self.clock();
        let budget = Arc::new(Budget::new(self.config.limits.clone(), Arc::clone(&clock)));
        let client = Client::new(&self.config, budget, Arc::clone(&status), Arc::clone(&clock)).expect("certificates");
        let (client, config, now) = (Arc::new(client), self.config.clone(), Arc::clone(&clock));
        let make: Make = Arc::new(move || Box::new(SalesforceSource::new(Arc::clone(&client), config.clone(), Arc::clone(&now))) as Box<dyn Source>);
        SourceTask {
            log: Arc::new(self.log.clone()),
            topics: Topics {
                records: SourceKind::ALL.into_iter().map(|kind| (kind, kind.name().to_owned())).collect(),
                dead_letters: "dead-letter".to_owned(),
                rows: topic("rows", 1),
                transactional_id: "test.source.crm1".to_owned(),
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
            org: self.org.clone(),
        }
    }

    pub async fn preview(&self) -> Vec<Sample> {
        let task = self.task();
        let mut source = (task.make)();
        source.preview().await.expect("the org answers")
    }

    /// Accounts, contacts, leads, deals with roles, a campaign.
    pub fn fill(&self, contacts: u64) {
        self.org.with(|world| {
            let parent = world.create("Account", json!({"Name": "Townsend Group"}));
            let accounts = ["Townsend", "Null, \"Inc\"\nLtd"].map(|name| {
                world.create(
                    "Account",
                    json!({"Name": name, "ParentId": parent, "AnnualRevenue": 1604.5, "NumberOfEmployees": 20}),
                )
            });
            let campaign = world.create("Campaign", json!({"Name": "Webinar", "Type": "Webinar", "IsActive": true}));
            for number in 0..contacts {
                let account = [json!(accounts[0]), json!(accounts[1]), Value::Null][number as usize % 3].clone();
                let email = format!("p{number}@townsend.example");
                let contact = world.create(
                    "Contact",
                    json!({"FirstName": "Pat", "LastName": "L", "Email": email, "AccountId": account.clone()}),
                );
                let lead = world.create("Lead", json!({"LastName": "L", "Company": "Townsend", "Email": email, "Status": "Open"}));
                let deal = world.create(
                    "Opportunity",
                    json!({"Name": "Deal", "AccountId": account, "StageName": "Proposal", "Amount": 100 * number}),
                );
                world.create(
                    "OpportunityContactRole",
                    json!({"OpportunityId": deal, "ContactId": contact, "Role": "Decision Maker"}),
                );
                world.create("CampaignMember", json!({"CampaignId": campaign, "LeadId": lead, "Status": "Sent"}));
            }
        });
    }

    /// Random changes, each with its side effects.
    pub fn change(&self, seed: u64, count: u64) {
        let mut random = Random::new(seed);
        for _ in 0..count {
            self.org.with(|world| change(world, &mut random));
        }
    }

    pub fn held(&self, kind: &str) -> BTreeMap<String, Value> {
        held(&self.log, kind)
    }

    pub fn dead_letters(&self) -> Vec<String> {
        let letters = self.log.content("dead-letter");
        let said = letters
            .iter()
            .flat_map(|letter| &letter.record.headers)
            .filter(|(name, _)| name == "millrace.detail");
        said.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    /// The topics hold exactly the org's contents.
    pub fn check(&self) {
        self.org.with(|world| check(world, &self.config, &self.log));
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

impl Run {
    async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !holds() {
            assert!(Instant::now() < deadline, "{what}: not in time: {:?}", self.view());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn view(&self) -> SourceView {
        self.status.view(self.org.now())
    }

    /// Everything that the org holds now has been read.
    pub async fn settled(&self) {
        let from = self.org.now();
        let read = || self.view().read_to.and_then(|at| Timestamp::parse(&at).ok());
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
        self.until("the pause", || self.view().state == SourceState::Paused).await;
    }

    pub async fn stop(self) {
        self.stop.send_modify(|now| now.stopped = true);
        assert_eq!(self.task.await.expect("no panic"), Ended::Stopped);
    }
}
