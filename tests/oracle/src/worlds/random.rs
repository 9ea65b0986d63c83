//! Seeded random streams of changes over few things, so that they meet often.
//!
//! A stream is the content of the source topics, in order of arrival, over about seven weeks. It
//! repeats itself, sends stale versions, deletes, partial updates and tombstones, ties and unties
//! persons by e-mail, external key and events, links accounts for a while, and lets sums land on,
//! just below and just above thresholds. It leaves out what the contract leaves open: an `_id` that
//! carries several identities always carries the same ones; versions of an `_id` under different
//! identities never tie; no cluster nears its limit; nothing is invalid.

use serde_json::{Value as Json, json};

use super::{DAY_MS, HOUR_MS, MINUTE_MS, NOON_MS, PAGE_VIEW, event, key, record, tombstone};
use crate::SourceRecord;

/// A small generator of numbers (splitmix64): the same seed, the same numbers, on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Independent numbers for every seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// `0..bound`; `bound` is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.number() % bound as u64) as usize
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of `items`, of which there is at least one.
    pub fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len())]
    }

    /// An instant within `width` milliseconds either side.
    fn around(&mut self, at: i64, width: i64) -> i64 {
        at - width + self.below(2 * width as usize + 1) as i64
    }
}

/// A generated stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// In order of arrival; broker timestamps never go back.
    pub records: Vec<SourceRecord>,
    /// Milliseconds since the epoch; nothing arrives before it or after `end_ms`.
    pub start_ms: i64,
    pub end_ms: i64,
}

const PERSONS: [&str; 5] = ["1@m1.Marketo", "2@m1.Marketo", "1@m2.Marketo", "2@m2.Marketo", "3@crm1.Salesforce"];
const EMAILS: [&str; 4] = ["ann@townsend.com", "Ann@Townsend.COM ", "bob@acme.com", "cid@acme.org"];
const ECIDS: [&str; 3] = ["e1", "e2", "e3"];
const ACCOUNTS: [&str; 5] = [
    "a1@crm1.Salesforce",
    "a2@crm2.Salesforce",
    "a3@m1.Marketo",
    "a4@m2.Marketo",
    "a5@crm1.Salesforce",
];
const DEALS: [&str; 5] = [
    "d1@crm1.Salesforce",
    "d2@crm2.Salesforce",
    "d3@m1.Marketo",
    "d4@crm1.Salesforce",
    "d5@crm2.Salesforce",
];
const CAMPAIGNS: [&str; 3] = ["c1@m1.Marketo", "c2@m2.Marketo", "c3@crm1.Salesforce"];
const LISTS: [&str; 2] = ["l1@m1.Marketo", "l2@m1.Marketo"];
const ROWS: [&str; 4] = ["r1@crm1.Salesforce", "r2@crm1.Salesforce", "r3@crm2.Salesforce", "r4@m1.Marketo"];
const AUDIENCES: [&str; 2] = ["partners", "webinar"];
const MEMBERS: [&str; 7] = [
    "email:ann@townsend.com",
    "Email: BOB@acme.com",
    "ecid:e1",
    "b2b_person:1@m1.Marketo",
    "b2b_person:3@crm1.Salesforce",
    "b2b_account:a1@crm1.Salesforce",
    "b2b_account:a3@m1.Marketo",
];
const LINKS: [&str; 2] = ["k1@mdm.MDM", "k2@mdm.MDM"];
/// Ids of events that carry one identity, not always the same.
const SINGLE_EVENTS: [&str; 6] = ["s1", "s2", "s3", "s4", "s5", "s6"];
/// Ids of events that carry several identities, always the same.
const LINKING_EVENTS: [(&str, &[&str]); 4] = [
    ("t1", &["ecid:e1", "email:ann@townsend.com"]),
    ("t2", &["ecid:e2", "b2b_person:1@m2.Marketo"]),
    ("t3", &["ecid:e1", "ecid:e2"]),
    ("t4", &["ecid:e3", "email:BOB@acme.com", "b2b_person:3@crm1.Salesforce"]),
];
/// Three of them come to a million exactly, which no sum of doubles finds.
const AMOUNTS: [&str; 9] = [
    "1",
    "100000",
    "200000.03",
    "367825.03",
    "582094.43",
    "50080.54",
    "900000.10",
    "1000000.00",
    "1000000.01",
];
const PAGES: [&str; 4] = ["New product", "Pricing", "Pricing", "Support"];
const TITLES: [&str; 4] = ["Vice President", "COO", "CMO", "Engineer"];

/// A stream of `changes` records.
pub fn stream(seed: u64, changes: usize) -> Stream {
    let start_ms = NOON_MS - 10 * DAY_MS;
    let mut writer = Writer {
        random: Random::new(seed),
        at: start_ms,
        start_ms,
        sent: Vec::new(),
        events: 0,
    };
    for _ in 0..changes {
        writer.pass_time();
        let record = writer.record();
        writer.sent.push(record);
    }
    Stream {
        records: writer.sent,
        start_ms,
        end_ms: writer.at,
    }
}

/// Instants at which a fact in random worlds and rules may change by time alone, each with its
/// neighbours, ascending, from `from_ms` on.
pub fn borders(records: &[SourceRecord], from_ms: i64) -> Vec<i64> {
    let month = |at: i64| crate::calendar::step(chrono_tz::Tz::UTC, at, 1, millrace_pql::ast::Unit::Month);
    let mut borders = Vec::new();
    for value in records.iter().filter_map(|record| record.value.as_ref()) {
        if let Some(at) = value["timestamp"].as_i64() {
            borders.extend([at, at + DAY_MS, at + 3 * DAY_MS, at + 7 * DAY_MS, month(at), at + 400 * DAY_MS]);
        }
        if value["audience"].is_string() {
            borders.extend(value["modifiedAt"].as_i64().map(|at| at + 5 * DAY_MS));
        }
        borders.extend(["validFrom", "validTo", "validUntil"].iter().filter_map(|name| value[*name].as_i64()));
    }
    borders = borders.into_iter().flat_map(|at| [at - 1, at, at + 1]).filter(|at| *at >= from_ms).collect();
    borders.sort_unstable();
    borders.dedup();
    borders
}

struct Writer {
    random: Random,
    at: i64,
    start_ms: i64,
    sent: Vec<SourceRecord>,
    events: i64,
}

impl Writer {
    fn pass_time(&mut self) {
        let longest = [0, MINUTE_MS, HOUR_MS, DAY_MS, 3 * DAY_MS][self.random.below(5)];
        self.at += self.random.below(longest as usize + 1) as i64;
    }

    fn record(&mut self) -> SourceRecord {
        if !self.sent.is_empty() && self.random.chance(8) {
            // The same bytes again, as a connector that starts over sends them.
            let again = self.random.below(self.sent.len());
            return SourceRecord {
                timestamp_ms: self.at,
                ..self.sent[again].clone()
            };
        }
        match self.random.below(100) {
            0..18 => self.keyed("person", &PERSONS),
            18..28 => self.keyed("account", &ACCOUNTS),
            28..42 => self.keyed("opportunity", &DEALS),
            42..48 => self.keyed("account-person", &ROWS),
            48..58 => self.keyed("opportunity-person", &ROWS),
            58..61 => self.keyed("campaign", &CAMPAIGNS),
            61..64 => self.keyed("campaign-member", &ROWS),
            64..66 => self.keyed("marketing-list", &LISTS),
            66..69 => self.keyed("marketing-list-member", &ROWS),
            69..73 => self.keyed("audience-member", &ROWS),
            73..77 => self.keyed("account-link", &LINKS),
            _ => self.event(),
        }
    }

    fn keyed(&mut self, topic: &str, keys: &[&'static str]) -> SourceRecord {
        let source_key = self.random.pick(keys);
        if self.random.chance(4) {
            return tombstone(topic, source_key, self.at);
        }
        // Mostly news; sometimes late, sometimes as old as another change of the key.
        let modified_at = match self.random.below(10) {
            0..6 => self.at,
            6..8 => self.random.around(self.at, 2 * DAY_MS).min(self.at),
            _ => self.start_ms + self.random.below(4) as i64 * DAY_MS,
        };
        let fields = if self.random.chance(8) {
            json!({ "isDeleted": true })
        } else {
            self.fields(topic)
        };
        let mut sent = record(topic, source_key, modified_at, fields);
        sent.timestamp_ms = self.at;
        if self.random.chance(3)
            && let Some(fields) = sent.value.as_mut().and_then(Json::as_object_mut)
        {
            // Then the broker's timestamp is the version.
            fields.remove("modifiedAt");
        }
        sent
    }

    /// The fields of a whole record, or of a partial update with its `changedFields`.
    fn fields(&mut self, topic: &str) -> Json {
        let mut paths = self.paths(topic);
        let partial = self.random.chance(25);
        let kept = if partial { 25 } else { 80 };
        let first = paths[0].clone();
        paths.retain(|_| self.random.chance(kept));
        if partial && paths.is_empty() {
            paths.push(first);
        }
        let mut fields = json!({});
        if topic == "audience-member" && !partial {
            // Without them a record is invalid.
            fields = json!({ "audience": self.random.pick(&AUDIENCES), "member": self.random.pick(&MEMBERS) });
        }
        for (path, value) in &paths {
            let value = if partial && self.random.chance(20) { Json::Null } else { value.clone() };
            let place = path.split('.').fold(&mut fields, |place, name| &mut place[name]);
            *place = value;
        }
        if partial {
            fields["changedFields"] = paths.iter().map(|(path, _)| *path).collect();
        }
        fields
    }

    /// Every field a record of the topic may have, with a value for each.
    #[expect(clippy::too_many_lines, reason = "one table")]
    fn paths(&mut self, topic: &str) -> Vec<(&'static str, Json)> {
        match topic {
            "person" => {
                let departments = [json!(["HR"]), json!(["HR", "Sales"]), json!(["Sales"])][self.random.below(3)].clone();
                let mut paths = vec![
                    ("workEmail.address", json!(self.random.pick(&EMAILS))),
                    ("b2b.accountKey", self.key(&ACCOUNTS)),
                    ("b2b.personScore", json!(79 + self.random.below(4))),
                    ("extendedWorkDetails.jobTitle", json!(self.random.pick(&TITLES))),
                    ("extendedWorkDetails.departments", departments),
                    ("person.name.firstName", json!(self.random.pick(&["Ann", "Bob", "Cid"]))),
                    ("extra.tier", json!(self.random.pick(&["gold", "silver"]))),
                    ("extra.score", self.untyped()),
                    (
                        "person.birthDate",
                        json!(self.random.pick(&["1990-02-28", "2026-03-01", "2026-03-15T23:59:00-08:00"])),
                    ),
                    ("consents.marketing.email", self.consent()),
                ];
                if self.random.chance(15) {
                    paths.push(("extSourceSystemAudit.externalKey", self.key(&PERSONS)));
                }
                if self.random.chance(20) {
                    paths.push(("identities", json!([{ "namespace": "ECID", "id": self.random.pick(&ECIDS) }])));
                }
                paths
            }
            "account" => {
                let mut paths = vec![
                    ("accountName", json!(self.random.pick(&["Acme", "Townsend"]))),
                    ("accountOrganization.industry", json!(self.random.pick(&["Finance", "Steel"]))),
                    (
                        "accountOrganization.annualRevenue",
                        self.money(&["99999999.99", "100000000.00", "100000000.01"]),
                    ),
                    ("accountBillingAddress.country", json!(self.random.pick(&["Canada", "France"]))),
                ];
                if self.random.chance(40) {
                    paths.push(("accountParentKey", self.key(&ACCOUNTS)));
                }
                if self.random.chance(40) {
                    paths.push(("relatedAccountKeys", json!([self.key(&ACCOUNTS), self.key(&ACCOUNTS)])));
                }
                if self.random.chance(12) {
                    paths.push(("extSourceSystemAudit.externalKey", self.key(&ACCOUNTS)));
                }
                paths
            }
            "opportunity" => {
                let closes = self.random.around(self.at, 40 * DAY_MS).div_euclid(DAY_MS) * DAY_MS;
                let date = chrono::DateTime::from_timestamp_millis(closes).map(|at| at.format("%Y-%m-%d").to_string());
                let mut paths = vec![
                    ("accountKey", self.key(&ACCOUNTS)),
                    ("opportunityAmount", self.money(&AMOUNTS)),
                    ("isClosed", json!(self.random.chance(75))),
                    ("isWon", json!(self.random.chance(60))),
                    ("expectedCloseDate", json!(date)),
                ];
                if self.random.chance(30) {
                    paths.push(("opportunityAmount.amount", number(AMOUNTS[self.random.below(AMOUNTS.len())])));
                }
                if self.random.chance(30) {
                    paths.push(("campaignKey", self.key(&CAMPAIGNS)));
                }
                if self.random.chance(12) {
                    paths.push(("extSourceSystemAudit.externalKey", self.key(&DEALS)));
                }
                paths
            }
            "account-person" => vec![
                ("personKey", self.key(&PERSONS)),
                ("accountKey", self.key(&ACCOUNTS)),
                ("personRole", json!(self.random.pick(&["Manager", "Buyer"]))),
                ("isActive", json!(self.random.chance(70))),
            ],
            "opportunity-person" => vec![
                ("personKey", self.key(&PERSONS)),
                ("opportunityKey", self.key(&DEALS)),
                ("personRole", json!(self.random.pick(&["Decision Maker", "Champion"]))),
            ],
            "campaign" => {
                let mut paths = vec![
                    ("budgetedCost", self.money(&["99.5", "100"])),
                    ("actualCost", self.money(&["99.5", "100", "100.1"])),
                ];
                if self.random.chance(20) {
                    paths.push(("extSourceSystemAudit.externalKey", self.key(&CAMPAIGNS)));
                }
                paths
            }
            "campaign-member" => vec![
                ("personKey", self.key(&PERSONS)),
                ("campaignKey", self.key(&CAMPAIGNS)),
                ("hasResponded", json!(self.random.chance(50))),
            ],
            "marketing-list" => vec![("marketingListName", json!(self.random.pick(&["Anniversary users", "Others"])))],
            "audience-member" => {
                let mut paths = vec![("audience", json!(self.random.pick(&AUDIENCES))), ("member", json!(self.random.pick(&MEMBERS)))];
                if self.random.chance(40) {
                    paths.push(("validUntil", json!(self.random.around(self.at, 5 * DAY_MS) + 3 * DAY_MS)));
                }
                if self.random.chance(10) {
                    paths.push(("personKey", self.key(&PERSONS)));
                }
                paths
            }
            "marketing-list-member" => vec![("personKey", self.key(&PERSONS)), ("marketingListKey", self.key(&LISTS))],
            _ => {
                let mut members: Vec<Json> = (0..2 + self.random.below(3)).map(|_| self.key(&ACCOUNTS)).collect();
                // A link of one account alone is a dead letter.
                if members.iter().all(|member| *member == members[0]) {
                    members.extend(ACCOUNTS.iter().take(2).map(|account| key(account)));
                }
                let mut paths = vec![("members", Json::Array(members))];
                if self.random.chance(40) {
                    paths.push(("validFrom", json!(self.random.around(self.at, 5 * DAY_MS))));
                }
                if self.random.chance(40) {
                    paths.push(("validTo", json!(self.random.around(self.at, 5 * DAY_MS) + 3 * DAY_MS)));
                }
                paths
            }
        }
    }

    fn key(&mut self, keys: &[&'static str]) -> Json {
        key(self.random.pick(keys))
    }

    /// Numbers, texts of numbers and others, in one field.
    fn untyped(&mut self) -> Json {
        let texts = ["30", " 79.50 ", "gold", "+30", "true", "2026-03-15"];
        match self.random.below(10) {
            0..5 => json!(self.random.pick(&texts)),
            5 => json!(self.random.chance(50)),
            _ => number(self.random.pick(&["30", "79.5", "79.50", "100", "3e1"])),
        }
    }

    fn consent(&mut self) -> Json {
        let val = self.random.pick(&["y", "n"]);
        match self.random.below(3) {
            0 => json!({ "val": val }),
            1 => json!({ "val": val, "reason": self.random.pick(&["asked", "bounced"]) }),
            _ => json!({ "val": val, "time": self.random.around(self.at, 3 * DAY_MS) / DAY_MS * DAY_MS }),
        }
    }

    fn money(&mut self, amounts: &[&str]) -> Json {
        let amount = number(amounts[self.random.below(amounts.len())]);
        match self.random.below(10) {
            0 => json!({ "amount": amount, "currencyCode": "EUR" }),
            1..4 => json!({ "amount": amount, "currencyCode": "USD" }),
            _ => json!({ "amount": amount }),
        }
    }

    fn event(&mut self) -> SourceRecord {
        let (id, identities) = if self.random.chance(35) {
            LINKING_EVENTS[self.random.below(LINKING_EVENTS.len())]
        } else {
            const SINGLE: [&[&str]; 7] = [
                &["email:ann@townsend.com"],
                &["Email: ANN@townsend.com"],
                &["email:bob@acme.com"],
                &["ecid:e1"],
                &["ecid:e3"],
                &["b2b_person:1@m1.Marketo"],
                &["b2b_person:2@m2.Marketo"],
            ];
            (self.random.pick(&SINGLE_EVENTS), SINGLE[self.random.below(SINGLE.len())])
        };
        // Some at the edge of a window that a rule has, some a little ahead, some about to be
        // forgotten.
        let (id, at) = match self.random.below(20) {
            0..12 => (id, self.at - self.random.below(2 * DAY_MS as usize) as i64),
            12..16 => (
                id,
                self.at - [1, 3, 7, 28, 31][self.random.below(5)] * DAY_MS + self.random.below(HOUR_MS as usize) as i64,
            ),
            16..18 => (id, self.at + self.random.below(5 * MINUTE_MS as usize) as i64),
            // An id of its own: events older than the retention need not be remembered against
            // repeats.
            18 if identities.len() == 1 => ("old", self.at - 399 * DAY_MS),
            _ => (id, self.start_ms),
        };
        let fields = if self.random.chance(8) {
            json!({ "isDeleted": true })
        } else if self.random.chance(25) {
            json!({ "eventType": "web.formFilledOut" })
        } else {
            let items = json!([{ "SKU": self.random.pick(&["PS", "LR"]), "quantity": self.random.below(3), "priceTotal": self.random.below(40) as f64 / 4.0 }]);
            json!({ "eventType": PAGE_VIEW, "web": { "webPageDetails": { "name": self.random.pick(&PAGES) } }, "productListItems": items })
        };
        let mut sent = event(id, at, identities, fields);
        self.events += 1;
        sent.timestamp_ms = self.at;
        if let Some(value) = &mut sent.value {
            // Unique, mostly growing.
            let late = if self.random.chance(20) {
                self.random.below(3 * DAY_MS as usize) as i64
            } else {
                0
            };
            value["modifiedAt"] = json!((self.at - late) / 1_000 * 1_000 + self.events % 1_000);
        }
        sent
    }
}

/// A JSON number as it is written.
fn number(text: &str) -> Json {
    text.parse().map_or(Json::Null, Json::Number)
}
