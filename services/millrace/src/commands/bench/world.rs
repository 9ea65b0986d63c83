//! The population, the visits and the segments of the measurements.
//!
//! Person `n` works for account `n % accounts`; every second account has a deal. Numbers are spread
//! by fixed primes, so that two runs see the same.

use bytes::Bytes;
use millrace_log::{Record, TopicPartition};
use millrace_model::{SourceKind, Timestamp};
use millrace_runtime::topology::Topology;
use millrace_shard::machine::InputTopic;
use millrace_shard::murmur::partition_of;

/// The page that five of the twenty segments use.
const PRODUCT: &str = "New product";
/// The page of `LAUNCH`.
const LAUNCH_PAGE: &str = "Launch";
/// A person enters with the first visit of the launch page, and leaves by silence after
/// `LAUNCH_WINDOW_MS`.
pub const LAUNCH: &str = "launch-visitors";
pub const LAUNCH_WINDOW_MS: i64 = millrace_model::DAY_MS;
/// Deals and visits in one rule.
pub const UPSELL: &str = "new-product-upsell";

/// Name, subject, rule. The first five use page visits.
const SEGMENTS: [(&str, &str, &str); 20] = [
    (
        UPSELL,
        "person",
        r#"sum(select o.opportunityAmount.amount from accounts.opportunities where o.isClosed and o.isWon) > 1000000 and exists v from xEvent where v.eventType = "web.webpagedetails.pageViews" and v.web.webPageDetails.name = "New product" and v.timestamp occurs <= 1 month before now"#,
    ),
    (
        LAUNCH,
        "person",
        r#"exists v from xEvent where v.eventType = "web.webpagedetails.pageViews" and v.web.webPageDetails.name = "Launch" and v.timestamp occurs <= 24 hours before now"#,
    ),
    (
        "product-regulars",
        "person",
        r#"xEvent[web.webPageDetails.name = "New product" and timestamp occurs <= 7 days before now].count() >= 3"#,
    ),
    (
        "finance-at-product",
        "person",
        r#"(exists a from accounts where a.accountOrganization.industry = "Finance") and exists v from xEvent where v.web.webPageDetails.name = "New product" and v.timestamp occurs <= 3 days before now"#,
    ),
    (
        "product-then-form",
        "person",
        r#"chain(xEvent, timestamp, [A: WHAT(web.webPageDetails.name = "New product") COUNT(2), B: WHAT(eventType = "web.formFilledOut")])"#,
    ),
    (
        "decision-makers",
        "person",
        r#"exists r from opportunityRoles where r.personRole = "Decision Maker""#,
    ),
    ("high-score", "person", "b2b.personScore > 80"),
    (
        "vice-presidents-of-large",
        "person",
        r#"extendedWorkDetails.jobTitle = "Vice President" and (exists a from accounts where a.accountOrganization.annualRevenue.amount >= 100000000)"#,
    ),
    (
        "hr-with-open-deal",
        "person",
        r#"extendedWorkDetails.departments.includes("HR") and exists o from accounts.opportunities where not(o.isClosed) and o.opportunityAmount.amount >= 1000000"#,
    ),
    (
        "rich-parent",
        "person",
        "exists a from accounts where a.parent.accountOrganization.annualRevenue.amount > 100000000",
    ),
    ("mail-domain", "person", r#"workEmail.address.endsWith("@company7.example", false)"#),
    (
        "german-finance",
        "person",
        r#"workAddress.country = "Germany" and exists a from accounts where a.accountOrganization.industry = "Finance""#,
    ),
    (
        "active-managers",
        "person",
        r#"exists r from accountRelations where r.personRole = "Manager" and r.isActive"#,
    ),
    (
        "campaign-responders",
        "person",
        "exists m from campaignMemberships where m.hasResponded and m.campaign.actualCost.amount > m.campaign.budgetedCost.amount",
    ),
    ("unknown-title", "person", "extendedWorkDetails.jobTitle.isNull()"),
    ("one-account", "person", "accounts.count() = 1"),
    (
        "closing-soon",
        "person",
        "exists o from accounts.opportunities where o.expectedCloseDate occurs <= 30 days after now",
    ),
    (
        "score-without-upsell",
        "person",
        r#"inSegment("high-score") and not(inSegment("new-product-upsell"))"#,
    ),
    (
        "won-a-million",
        "account",
        "sum(select o.opportunityAmount.amount from opportunities where o.isClosed and o.isWon) >= 1000000",
    ),
    (
        "large-finance",
        "account",
        r#"accountOrganization.industry = "Finance" and accountOrganization.numberOfEmployees > 1000"#,
    ),
];

/// One more, for the backfill: a third of the population is in it.
pub const LATE: (&str, &str, &str) = (
    "late-arrival",
    "person",
    r#"workAddress.country in ["Germany", "France"] and exists a from accounts where a.accountOrganization.numberOfEmployees > 100"#,
);

const TITLES: [&str; 6] = ["Engineer", "Vice President", "Accountant", "Buyer", "Director", "Analyst"];
const DEPARTMENTS: [&str; 5] = ["HR", "IT", "Sales", "Finance", "Legal"];
const COUNTRIES: [&str; 6] = ["Germany", "France", "Canada", "Japan", "Brazil", "Kenya"];
const INDUSTRIES: [&str; 10] = [
    "Finance",
    "Retail",
    "Health",
    "Energy",
    "Media",
    "Transport",
    "Chemistry",
    "Education",
    "Software",
    "Mining",
];

/// Makes records of this world for the topics of a deployment.
#[derive(Clone)]
pub struct Population {
    topology: Topology,
    source_partitions: u32,
    pub persons: u32,
}

/// A record and its place.
pub type Placed = (TopicPartition, Record);

/// The definitions that are in force from the beginning.
pub fn definitions() -> impl Iterator<Item = (&'static str, String)> {
    SEGMENTS.iter().map(definition)
}

/// A definition's name and text.
pub fn definition((name, subject, pql): &(&'static str, &'static str, &'static str)) -> (&'static str, String) {
    let text = format!("kind: Segment\nmetadata: {{ name: {name} }}\nspec:\n  subject: {subject}\n  status: published\n  pql: |\n    {pql}\n");
    (*name, text)
}

fn pick<'a>(of: &[&'a str], number: u32, prime: u32) -> &'a str {
    of[(number.wrapping_mul(prime) >> 4) as usize % of.len()]
}

impl Population {
    pub fn new(topology: Topology, source_partitions: u32, persons: u32) -> Population {
        Population {
            topology,
            source_partitions,
            persons: persons.max(1),
        }
    }

    pub fn shards(&self) -> u32 {
        self.topology.shards()
    }

    pub fn accounts(&self) -> u32 {
        (self.persons / 10).max(1)
    }

    pub fn deals(&self) -> u32 {
        self.persons / 20
    }

    fn place(&self, kind: SourceKind, key: String, value: String) -> Placed {
        let target = TopicPartition {
            topic: self.topology.input(InputTopic::Source(kind)).into(),
            partition: partition_of(key.as_bytes(), self.source_partitions),
        };
        let record = Record {
            key: Some(Bytes::from(key)),
            value: Some(Bytes::from(value)),
            headers: Vec::new(),
        };
        (target, record)
    }

    pub fn account(&self, number: u32) -> Placed {
        let key = format!("a{number}@bench.Bench");
        let industry = pick(&INDUSTRIES, number, 7919);
        let (revenue, employees) = (u64::from(number % 997) * 1_000_000, number % 5003);
        let parent = number / 10;
        let value = format!(
            r#"{{"accountKey":{{"sourceKey":"{key}"}},"accountName":"Company {number}","accountOrganization":{{"industry":"{industry}","annualRevenue":{{"amount":{revenue},"currencyCode":"USD"}},"numberOfEmployees":{employees}}},"accountParentKey":{{"sourceKey":"a{parent}@bench.Bench"}}}}"#
        );
        self.place(SourceKind::Account, key, value)
    }

    /// One in twenty is won and large; the others stay below every threshold.
    pub fn deal(&self, number: u32) -> Placed {
        let amount = if number.is_multiple_of(20) { 1_200_000 } else { 10_000 + number % 400_000 };
        self.deal_of(
            &format!("o{number}"),
            &format!("a{}", number * 2 % self.accounts()),
            amount,
            !number.is_multiple_of(3),
        )
    }

    /// A deal of this account; won, or open.
    pub fn deal_of(&self, id: &str, account: &str, amount: u32, won: bool) -> Placed {
        let key = format!("{id}@bench.Bench");
        let value = format!(
            r#"{{"opportunityKey":{{"sourceKey":"{key}"}},"accountKey":{{"sourceKey":"{account}@bench.Bench"}},"opportunityName":"Deal {id}","opportunityAmount":{{"amount":{amount},"currencyCode":"USD"}},"isClosed":{won},"isWon":{won}}}"#
        );
        self.place(SourceKind::Opportunity, key, value)
    }

    /// States that two accounts are one company, or withdraws it.
    pub fn link(&self, accounts: [&str; 2], withdrawn: bool) -> Placed {
        let key = "link@bench.Bench".to_owned();
        let [a, b] = accounts;
        let value = format!(
            r#"{{"linkKey":{{"sourceKey":"{key}"}},"members":[{{"sourceKey":"{a}@bench.Bench"}},{{"sourceKey":"{b}@bench.Bench"}}],"isDeleted":{withdrawn}}}"#
        );
        self.place(SourceKind::AccountLink, key, value)
    }

    pub fn person(&self, number: u32) -> Placed {
        self.person_of(number, &format!("a{}", number % self.accounts()))
    }

    /// A person who works for this account.
    pub fn person_of(&self, number: u32, account: &str) -> Placed {
        let key = format!("{number}@bench.Bench");
        let (title, department, country) = (pick(&TITLES, number, 7907), pick(&DEPARTMENTS, number, 7901), pick(&COUNTRIES, number, 7883));
        let (company, score) = (number % self.accounts(), number.wrapping_mul(31) % 100);
        let value = format!(
            r#"{{"personKey":{{"sourceKey":"{key}"}},"person":{{"name":{{"firstName":"First{number}","lastName":"Last{number}"}}}},"workEmail":{{"address":"p{number}@company{company}.example"}},"extendedWorkDetails":{{"jobTitle":"{title}","departments":["{department}"]}},"workAddress":{{"country":"{country}"}},"b2b":{{"accountKey":{{"sourceKey":"{account}@bench.Bench"}},"personScore":{score}}}}}"#
        );
        self.place(SourceKind::Person, key, value)
    }

    /// A visit of the product page.
    pub fn visit(&self, number: u64, person: u32, at: Timestamp) -> Placed {
        self.page_visit(number, person, at, PRODUCT)
    }

    /// A visit of the launch page.
    pub fn launch_visit(&self, number: u64, person: u32, at: Timestamp) -> Placed {
        self.page_visit(number, person, at, LAUNCH_PAGE)
    }

    fn page_visit(&self, number: u64, person: u32, at: Timestamp, page: &str) -> Placed {
        let key = format!("{person}@bench.Bench");
        let value = format!(
            r#"{{"_id":"visit-{number}","timestamp":{},"eventType":"web.webpagedetails.pageViews","personKey":{{"sourceKey":"{key}"}},"web":{{"webPageDetails":{{"name":"{page}","URL":"https://www.bench.example/{page}"}}}}}}"#,
            at.0
        );
        self.place(SourceKind::Activity, key, value)
    }

    /// The visitor by turn: spread over all persons.
    pub fn visitor(&self, number: u64) -> u32 {
        (number.wrapping_mul(7_368_787) % u64::from(self.persons)) as u32
    }
}
