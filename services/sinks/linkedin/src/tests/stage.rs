//! A simulated ad account at the far side of a stage, with one clock for both.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use millrace_connect::budget::Budget;
use millrace_connect::sink::SinkTask;
use millrace_simulators::linkedin::{LinkedIn, Settings};
use serde_json::{Value, json};

use crate::mapping::email_hash;
use crate::{Client, Config, LinkedInSink};

/// New when the stage's clock begins.
const VERSION: &str = "209908";

pub struct Stage {
    pub frame: millrace_test_sinks::Stage,
    pub linkedin: LinkedIn,
    _runtime: tokio::runtime::Runtime,
    /// Over those of the account.
    pub settings: Value,
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
    pub fn new(seed: u64, settings: Value) -> Stage {
        Stage::with(seed, "email", settings, Settings::default())
    }

    pub fn with(seed: u64, namespace: &'static str, settings: Value, account: Settings) -> Stage {
        let account = Settings {
            versions: [VERSION.to_owned()].into(),
            ..account
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let frame = millrace_test_sinks::Stage::new("ads", namespace, 1);
        let started = LinkedIn::start(SocketAddr::from(([127, 0, 0, 1], 0)), account, seed, frame.clock());
        let linkedin = runtime.block_on(started).expect("a free port");
        let (_, refresh_token) = linkedin.consent();
        let mut all = json!({
            "account": "516848833", "source_platform": "MILLRACE", "client_id": "client", "client_secret": "secret", "refresh_token": refresh_token,
            "url": linkedin.url(), "auth_url": linkedin.url(), "calls_per_minute": 1_000_000, "wait_seconds": 0.0,
            "version": VERSION,
        });
        all.as_object_mut().expect("an object").extend(settings.as_object().expect("settings").clone());
        Stage {
            frame,
            linkedin,
            _runtime: runtime,
            settings: all,
        }
    }

    pub fn sink(&self) -> LinkedInSink {
        let config = Config::new(serde_json::from_value(self.settings.clone()).expect("of this form"), &[]).expect("right");
        let budget = Arc::new(Budget::new(config.limits.clone(), self.clock()));
        let client = Client::new(&config, budget, "ads", self.clock()).expect("certificates");
        LinkedInSink::new(config, Arc::new(client), self.clock()).expect("an event queue")
    }

    pub fn task(&self) -> SinkTask {
        self.frame.task(Box::new(self.sink()))
    }

    /// What the segments must hold: of people the hashes.
    pub fn expected(&self) -> BTreeSet<(String, String)> {
        let hashed = |(audience, id): &(String, String)| (audience.clone(), format!("SHA256_EMAIL {}", email_hash(id)));
        self.desired.keys().map(hashed).collect()
    }

    /// Audience and member of every segment in use, once everything accepted has taken effect.
    pub fn members(&self) -> BTreeSet<(String, String)> {
        self.linkedin.with(|world| {
            world.settle();
            let in_use = world.segments.values().filter(|segment| !segment.expired());
            let of = |segment: &millrace_simulators::linkedin::Segment| {
                let name = segment.source_segment_id.clone();
                segment.members.iter().map(move |member| (name.clone(), member.clone())).collect::<Vec<_>>()
            };
            in_use.flat_map(of).collect()
        })
    }

    /// Names of the calls so far, without those that got no answer.
    pub fn calls(&self) -> Vec<String> {
        let without_id = |call: String| call.split('/').filter(|part| part.parse::<u64>().is_err()).collect::<Vec<_>>().join("/");
        self.linkedin.history().into_iter().map(|request| without_id(request.call)).collect()
    }
}
