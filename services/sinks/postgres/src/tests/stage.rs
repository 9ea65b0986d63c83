//! A database of a real server at the far side of a stage.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};

use millrace_connect::sink::SinkTask;
use millrace_postgres_harness::Postgres;
use serde_json::{Value, json};

use crate::{Config, PostgresSink};

/// The attributes of the stage's destination.
pub const ATTRIBUTES: [&str; 3] = ["company", "revenue", "won_at"];

pub struct Stage<'a> {
    pub frame: millrace_test_sinks::Stage,
    pub server: &'a Postgres,
    pub database: &'static str,
    pub settings: Value,
}

impl Deref for Stage<'_> {
    type Target = millrace_test_sinks::Stage;

    fn deref(&self) -> &Self::Target {
        &self.frame
    }
}

impl DerefMut for Stage<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.frame
    }
}

/// A sink with these settings, over those that every test has.
pub fn sink(server: &Postgres, database: &str, settings: &Value) -> PostgresSink {
    let address = server.address();
    let mut all = json!({
        "host": address.ip().to_string(), "port": address.port(), "database": database, "user": "postgres", "tls": "disable",
        "create": true, "columns": {"revenue": "numeric", "won_at": "timestamptz"}, "wait_seconds": 0.0,
    });
    all.as_object_mut().expect("an object").extend(settings.as_object().expect("settings").clone());
    let config = Config::new(serde_json::from_value(all).expect("of this form"), &ATTRIBUTES).expect("right");
    PostgresSink::new(config, "tables").expect("an event queue")
}

impl Stage<'static> {
    /// With a database of its own on the server of all tests.
    pub fn new(database: &'static str, settings: Value) -> Stage<'static> {
        Stage::at(Postgres::shared(), database, "email", settings)
    }
}

impl<'a> Stage<'a> {
    pub fn at(server: &'a Postgres, database: &'static str, namespace: &'static str, settings: Value) -> Stage<'a> {
        server.run("postgres", &format!("CREATE DATABASE {database}"));
        Stage {
            frame: millrace_test_sinks::Stage::new("tables", namespace, 2),
            server,
            database,
            settings,
        }
    }

    pub fn sink(&self) -> PostgresSink {
        sink(self.server, self.database, &self.settings)
    }

    pub fn task(&self) -> SinkTask {
        self.frame.task(Box::new(self.sink()))
    }

    pub fn run(&self, statements: &str) {
        self.server.run(self.database, statements);
    }

    /// Makes somebody present, with two attributes.
    pub fn enter(&mut self, audience: &str, id: &str, company: &str, revenue: &str) {
        let revenue: Value = serde_json::from_str(revenue).expect("a number");
        self.desire_with(audience, id, true, &[("company", json!(company)), ("revenue", revenue)]);
    }

    /// The members of these audiences' tables as Python's client sees them: audience, id, company and
    /// revenue.
    pub fn members(&self, audiences: &[&str]) -> BTreeMap<(String, String), [Option<String>; 2]> {
        let of = |audience: &&str| format!("SELECT '{audience}', id, company, revenue::text FROM \"{audience}\"");
        let query = audiences.iter().map(of).collect::<Vec<_>>().join(" UNION ALL ");
        self.members_by(&query)
    }

    pub fn members_by(&self, query: &str) -> BTreeMap<(String, String), [Option<String>; 2]> {
        let seen = self.server.seen(self.database, query);
        let rows: Vec<[Option<String>; 4]> = serde_json::from_str(&seen).expect("rows");
        let member = |[audience, id, company, revenue]: [Option<String>; 4]| ((audience.expect("no null"), id.expect("no null")), [company, revenue]);
        let count = rows.len();
        let members: BTreeMap<_, _> = rows.into_iter().map(member).collect();
        assert_eq!(members.len(), count, "nobody is there twice");
        members
    }

    /// What the tables must hold.
    pub fn expected(&self) -> BTreeMap<(String, String), [Option<String>; 2]> {
        let text = |value: Option<&Value>| value.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        let member = |(who, attributes): (&(String, String), &millrace_test_sinks::Attributes)| {
            (who.clone(), [text(attributes.get("company")), text(attributes.get("revenue"))])
        };
        self.desired.iter().map(member).collect()
    }

    /// The first field of each row.
    pub fn values(&self, query: &str) -> BTreeSet<String> {
        let rows = self.server.rows(self.database, query);
        rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect()
    }

    pub fn value(&self, query: &str) -> Option<String> {
        self.values(query).into_iter().next()
    }
}

/// Steps while time runs; what happens meanwhile is seen in the status.
pub fn run(stage: &Stage<'_>, task: &mut SinkTask) -> String {
    for _ in 0..20 {
        task.step().map_err(|(_, error)| error).expect("no failure");
        stage.pass(1_000);
    }
    task.status().error.unwrap_or_default()
}
