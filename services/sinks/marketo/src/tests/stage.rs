//! A simulated instance at the far side of a stage.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use millrace_connect::budget::Budget;
use millrace_connect::sink::SinkTask;
use millrace_connect::source::Status;
use millrace_marketo::Client;
use millrace_simulators::marketo::{Limits, Marketo, Settings};
use millrace_test_sinks::email;
use serde_json::{Value, json};

use crate::{Config, MarketoSink};

pub struct Stage {
    pub frame: millrace_test_sinks::Stage,
    pub marketo: Marketo,
    _runtime: tokio::runtime::Runtime,
    namespace: &'static str,
    settings: Value,
}

impl Deref for Stage {
    type Target = millrace_test_sinks::Stage;

    fn deref(&self) -> &Self::Target {
        &self.frame
    }
}

impl DerefMut for Stage {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.frame
    }
}

impl Stage {
    /// `settings` over those of the instance.
    pub fn new(seed: u64, namespace: &'static str, settings: Value) -> Stage {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let started = Marketo::start(SocketAddr::from(([127, 0, 0, 1], 0)), Settings::default(), seed);
        let marketo = runtime.block_on(started).expect("a free port");
        marketo.set_limits(Limits {
            window_calls: 1_000_000,
            window_ms: 20_000,
            concurrent: 10,
            day_calls: 1_000_000,
            token_ms: 3_600_000,
        });
        Stage {
            frame: millrace_test_sinks::Stage::new("lists", namespace, 1),
            marketo,
            _runtime: runtime,
            namespace,
            settings,
        }
    }

    pub fn sink(&self) -> MarketoSink {
        let mut settings = json!({
            "munchkin": "111-AAA-222", "client_id": "client", "client_secret": "secret", "url": self.marketo.url(), "reserve_calls": 0,
            "day_calls": 1_000_000_000, "wait_seconds": 0.0,
        });
        let more = self.settings.as_object().expect("settings").clone();
        settings.as_object_mut().expect("an object").extend(more);
        let mut config = Config::new(serde_json::from_value(settings).expect("of this form")).expect("right");
        config.instance.limits.window_calls = 1_000_000;
        let budget = Arc::new(Budget::new(config.instance.limits.clone(), self.clock()));
        let client = Client::new(&config.instance, budget, Arc::new(Status::new("lists", "marketo"))).expect("certificates");
        MarketoSink::new(config, self.namespace, Arc::new(client), self.clock()).expect("an event queue")
    }

    pub fn task(&self) -> SinkTask {
        self.frame.task(Box::new(self.sink()))
    }

    pub fn lead(&self, fields: Value) -> u64 {
        self.marketo.with(|world| world.create_lead(fields))
    }

    /// A person for each number, by address.
    pub fn leads(&self, count: u64) -> Vec<u64> {
        (0..count).map(|number| self.lead(json!({ "email": email(number) }))).collect()
    }

    pub fn list(&self, name: &str) -> u64 {
        self.marketo.with(|world| world.create_list(name))
    }

    /// The lead ids on a list.
    pub fn on(&self, name: &str) -> BTreeSet<u64> {
        self.marketo.with(|world| {
            let list = world.lists.values().find(|list| list.name == name);
            list.map(|list| list.members.clone()).unwrap_or_default()
        })
    }

    /// List and address of everybody on any list.
    pub fn members(&self) -> BTreeSet<(String, String)> {
        self.marketo.with(|world| {
            let of = |(name, lead): (&String, &u64)| (name.clone(), world.leads[lead].fields["email"].as_str().unwrap_or_default().to_owned());
            let lists = world.lists.values();
            lists.flat_map(|list| list.members.iter().map(|lead| of((&list.name, lead)))).collect()
        })
    }

    /// Calls carried out so far.
    pub fn calls(&self) -> u64 {
        self.marketo.calls().values().sum()
    }
}
