//! The named paths through the engine whose cost is guarded: each is a shard with a history, and a
//! record that it takes.

use bytes::Bytes;
use millrace_model::{SourceKind, Timestamp};
use serde_json::{Value, json};

use crate::visits::{self, RULES, with_history, with_segments};
use crate::{Solo, config};

const NOW: i64 = 1_780_000_000_000;
const PERSON: &str = "1@m1.Marketo";
const COLLEAGUES: u32 = 10;

const UPSELL: &str = r#"sum(select o.opportunityAmount.amount from accounts.opportunities where o.isClosed and o.isWon) > 1000000
    and exists v from xEvent where v.web.webPageDetails.name = "New product" and v.timestamp occurs <= 1 month before now"#;

/// A shard, and a record that it takes.
pub struct Path {
    solo: Solo,
    kind: SourceKind,
    key: &'static str,
    value: Bytes,
}

impl Path {
    /// Takes the record; nothing is kept. Returns the bytes of the rows that it changes.
    pub fn weigh(&mut self) -> usize {
        self.solo.weigh(self.kind, self.key, self.value.clone())
    }
}

/// A path's name, and how to prepare it.
pub type Named = (&'static str, fn() -> Path);

/// All of them.
pub const PATHS: [Named; 12] = [
    ("visit: exists in a window", || visit_of(0)),
    ("visit: at least 5 in a window", || visit_of(1)),
    ("visit: sum in a window", || visit_of(2)),
    ("visit: sum of all", || visit_of(3)),
    ("visit: distinct pages", || visit_of(4)),
    ("visit: sequence", || visit_of(5)),
    ("visit: 50 segments", || visit_in(with_segments(50))),
    ("Bodea: a visit that changes nothing", || {
        bodea("New product", SourceKind::Activity, PERSON, view("New product", "v2"))
    }),
    ("Bodea: a visit by which one enters", || {
        bodea("Home", SourceKind::Activity, PERSON, view("New product", "v2"))
    }),
    ("Bodea: a deal is lost, and 11 leave", || {
        bodea("New product", SourceKind::Opportunity, "o@c1.SFDC", deal(false))
    }),
    ("Bodea: a person record changes", || {
        bodea("Home", SourceKind::Person, PERSON, person("Director"))
    }),
    ("Bodea: a new person record", || {
        bodea("Home", SourceKind::Person, "99@m1.Marketo", person("Buyer"))
    }),
];

/// A visit after a thousand others, under one of the rules.
fn visit_of(rule: usize) -> Path {
    visit_in(with_history(RULES[rule].1, 1_000))
}

fn visit_in(solo: Solo) -> Path {
    let (kind, key, value) = visits::record();
    Path { solo, kind, key, value }
}

/// A record in a world of one account with a won deal, and some persons who have visited a page.
fn bodea(visited: &str, kind: SourceKind, key: &'static str, value: Value) -> Path {
    let mut solo = Solo::new(config(1), Timestamp(NOW));
    solo.define("upsell", UPSELL);
    let take = |solo: &mut Solo, kind, key: &str, value: Value| solo.take(kind, key, Bytes::from(value.to_string()));
    take(&mut solo, SourceKind::Account, "a@c1.SFDC", json!({ "accountName": "Townsend" }));
    take(&mut solo, SourceKind::Opportunity, "o@c1.SFDC", deal(true));
    for number in 1..=COLLEAGUES + 1 {
        let key = format!("{number}@m1.Marketo");
        take(&mut solo, SourceKind::Person, &key, person("Engineer"));
        take(&mut solo, SourceKind::Activity, &key, view_of(&key, visited, &format!("first-{number}")));
    }
    let value = Bytes::from(value.to_string());
    Path { solo, kind, key, value }
}

fn deal(won: bool) -> Value {
    json!({ "accountKey": { "sourceKey": "a@c1.SFDC" }, "opportunityAmount": { "amount": 1_200_000 }, "isClosed": true, "isWon": won })
}

fn person(title: &str) -> Value {
    json!({ "extendedWorkDetails": { "jobTitle": title }, "b2b": { "accountKey": { "sourceKey": "a@c1.SFDC" }, "personScore": 60 } })
}

fn view(page: &str, id: &str) -> Value {
    view_of(PERSON, page, id)
}

fn view_of(person: &str, page: &str, id: &str) -> Value {
    json!({ "_id": id, "timestamp": NOW - 1, "personKey": { "sourceKey": person }, "eventType": "view", "web": { "webPageDetails": { "name": page } } })
}
