//! The Bodea story as data: the people, the events, and the expected audience after each.

use std::net::SocketAddr;

use millrace_api::dto::RecordLine;
use millrace_model::{DAY_MS, Timestamp};
use serde_json::{Value, json};

/// The segment of the story.
pub const SEGMENT: &str = "new-product-upsell";

/// Its definition: what a marketer writes, once.
pub const DEFINITION: &str = r#"kind: Segment
metadata: { name: new-product-upsell, description: "Bodea upsell" }
spec:
  subject: person
  status: published
  timeZone: UTC
  pql: |
    sum(select o.opportunityAmount.amount from accounts.opportunities where o.isClosed and o.isWon) > 1000000
    and exists v from xEvent where v.eventType = "web.webpagedetails.pageViews"
        and v.web.webPageDetails.name = "New product" and v.timestamp occurs <= 1 month before now
"#;

/// Its two conditions in words, in the order of the rule.
pub const CONDITIONS: [&str; 2] = ["deals won exceed 1,000,000", "saw the page within a month"];

/// The opening, before the first fact.
pub const OPENING: &str = "
Bodea sells through two divisions. Each has a CRM and a marketing system of its own, and both sell to one company, Townsend.
Division 1 knows p1 and p2, division 2 knows p2 and p3. Neither sees the other's records.

The audience \"new-product-upsell\": people whose accounts' won deals exceed 1,000,000 in sum, over all accounts that are one company,
and who looked at the page \"New product\" within the last month.
";

/// Why the dates are what they are.
pub fn clock(begins: Timestamp, today: Timestamp) -> String {
    format!(
        "The story has a clock of its own, so that a month can pass while you read: it begins on {}, an hour lies between facts, and it ends now, on {}.\n\
         Visits bear the dates of the story.\n",
        shown_instant(begins),
        shown_instant(today)
    )
}

/// To the minute, in UTC.
pub fn shown_instant(at: Timestamp) -> String {
    at.to_string().chars().take(16).map(|letter| if letter == 'T' { ' ' } else { letter }).collect()
}

/// Somebody at Townsend.
pub struct Person {
    pub name: &'static str,
    /// The least of the person's identities, once everything is known.
    pub canonical: &'static str,
}

pub const PEOPLE: [Person; 3] = [
    Person {
        name: "p1",
        canonical: "b2b_person:1001@marketo1.Marketo",
    },
    Person {
        name: "p2",
        canonical: "b2b_person:1002@marketo1.Marketo",
    },
    Person {
        name: "p3",
        canonical: "b2b_person:2003@marketo2.Marketo",
    },
];

/// One step of the story.
pub struct Scene {
    pub title: &'static str,
    /// For readers of the story.
    pub meaning: &'static str,
    pub act: Act,
    /// Names of those who are in the audience afterwards, in the order of `PEOPLE`.
    pub expected: &'static [&'static str],
}

pub enum Act {
    /// Records arrive.
    Facts { at: Timestamp, records: Vec<RecordLine> },
    /// Nothing arrives.
    Silence { until: Timestamp },
}

/// The story, an hour between facts, then silence until `today`.
pub fn steps(begins: Timestamp, today: Timestamp) -> Vec<Scene> {
    let hour = |hours: i64| begins.plus_ms(hours * DAY_MS / 24);
    let facts = |hours, records: fn(Timestamp) -> Vec<RecordLine>| Act::Facts {
        at: hour(hours),
        records: records(hour(hours)),
    };
    vec![
        Scene {
            title: "Both divisions' records are loaded",
            meaning: "Division 1 has won deals of 200,000, division 2 of 900,000. To each, Townsend is too small.\np2 is known to both: one e-mail address, one person, on both accounts.",
            act: facts(0, silos),
            expected: &[],
        },
        Scene {
            title: "Master data says: the two accounts are one company",
            meaning: "The sum is 1,100,000 now, for everybody at Townsend. But nobody has looked at the page.",
            act: facts(1, |at| vec![link(at, false)]),
            expected: &[],
        },
        Scene {
            title: "p2 looks at the page \"New product\"",
            meaning: "The last missing fact for p2.",
            act: facts(2, |at| vec![visit("visit-2", "p2@townsend.com", at)]),
            expected: &["p2"],
        },
        Scene {
            title: "p1 looks at it too",
            meaning: "p1 is known to division 1 alone, whose deals are 200,000: only the link lets p1 in.",
            act: facts(3, |at| vec![visit("visit-1", "p1@townsend.com", at)]),
            expected: &["p1", "p2"],
        },
        Scene {
            title: "Master data takes the link back",
            meaning: "p1's company is small again. p2 stands on both accounts, link or no link, and stays.",
            act: facts(4, |at| vec![link(at, true)]),
            expected: &["p2"],
        },
        Scene {
            title: "The deal of 900,000 is reopened",
            meaning: "What was won is open again, and does not count.",
            act: facts(5, |at| vec![deal("006B@crm2.Salesforce", "001B@crm2.Salesforce", 900_000, false, at)]),
            expected: &[],
        },
        Scene {
            title: "It is closed again, and won",
            meaning: "The visit is still recent, so p2 comes back at once.",
            act: facts(6, |at| vec![deal("006B@crm2.Salesforce", "001B@crm2.Salesforce", 900_000, true, at)]),
            expected: &["p2"],
        },
        Scene {
            title: "A month passes, and nothing happens",
            meaning: "No record arrives. The visit is more than a month old: p2 goes by time alone, at the very instant.",
            act: Act::Silence { until: today },
            expected: &[],
        },
    ]
}

/// The contents of both divisions' systems.
fn silos(at: Timestamp) -> Vec<RecordLine> {
    let account = |key: &str, name: &str| {
        line(
            "account",
            key,
            "accountKey",
            at,
            json!({"accountName": name, "accountOrganization": {"industry": "Manufacturing"}}),
        )
    };
    let person = |key: &str, email: &str, account: &str| {
        line(
            "person",
            key,
            "personKey",
            at,
            json!({"workEmail": {"address": email}, "b2b": {"accountKey": source_key(account)}}),
        )
    };
    vec![
        account("001A@crm1.Salesforce", "Townsend"),
        person("1001@marketo1.Marketo", "p1@townsend.com", "001A@crm1.Salesforce"),
        person("1002@marketo1.Marketo", "p2@townsend.com", "001A@crm1.Salesforce"),
        deal("006A@crm1.Salesforce", "001A@crm1.Salesforce", 200_000, true, at),
        account("001B@crm2.Salesforce", "TOWNSEND Inc."),
        person("2002@marketo2.Marketo", " P2@Townsend.com", "001B@crm2.Salesforce"),
        person("2003@marketo2.Marketo", "p3@townsend.com", "001B@crm2.Salesforce"),
        deal("006B@crm2.Salesforce", "001B@crm2.Salesforce", 900_000, true, at),
    ]
}

fn link(at: Timestamp, deleted: bool) -> RecordLine {
    let members = json!([source_key("001A@crm1.Salesforce"), source_key("001B@crm2.Salesforce")]);
    line(
        "account-link",
        "townsend@mdm.MDM",
        "linkKey",
        at,
        json!({"members": members, "isDeleted": deleted}),
    )
}

fn deal(key: &str, account: &str, amount: i64, won: bool, at: Timestamp) -> RecordLine {
    let fields = json!({"accountKey": source_key(account), "opportunityAmount": {"amount": amount, "currencyCode": "USD"}, "isClosed": won, "isWon": won});
    line("opportunity", key, "opportunityKey", at, fields)
}

fn visit(id: &str, email: &str, at: Timestamp) -> RecordLine {
    let value = json!({
        "_id": id,
        "timestamp": at.to_string(),
        "eventType": "web.webpagedetails.pageViews",
        "identities": [{"namespace": "email", "id": email}],
        "web": {"webPageDetails": {"name": "New product", "URL": "https://bodea.example/new-product"}},
    });
    RecordLine {
        topic: "activity".to_owned(),
        key: Some(format!("email:{email}")),
        value,
        timestamp: Some(at.to_string().into()),
    }
}

/// A record under its own key, modified at `at`.
fn line(topic: &str, key: &str, key_field: &str, at: Timestamp, mut fields: Value) -> RecordLine {
    fields[key_field] = source_key(key);
    RecordLine {
        topic: topic.to_owned(),
        key: Some(key.to_owned()),
        value: fields,
        timestamp: Some(at.to_string().into()),
    }
}

fn source_key(key: &str) -> Value {
    json!({"sourceKey": key})
}

/// What to try while the demo serves.
pub fn looking_around(api: SocketAddr) -> String {
    let server = server(api);
    format!(
        "The story's world stays up at http://{api} until you press Ctrl-C. In another terminal:
  millrace person find townsend{server}
  millrace person show p2@townsend.com{server}
  millrace person explain email:p2@townsend.com --segment {SEGMENT}{server}
  millrace segment show {SEGMENT}{server}
  millrace sink file --once{server}
  curl http://{api}/openapi.json
Let p2 in again: a visit of now, as one line of JSON
  echo '{{\"topic\":\"activity\",\"key\":\"email:p2@townsend.com\",\"value\":{{\"_id\":\"visit-4\",\"timestamp\":\"'$(date -u +%FT%TZ)'\",\
\"eventType\":\"web.webpagedetails.pageViews\",\"identities\":[{{\"namespace\":\"email\",\"id\":\"p2@townsend.com\"}}],\
\"web\":{{\"webPageDetails\":{{\"name\":\"New product\"}}}}}}}}' | millrace source file{server}
"
    )
}

/// What to do after the demo.
pub fn where_next(api: SocketAddr) -> String {
    format!(
        "Where to go next
  millrace demo --serve   plays the story again and keeps its world up at http://{api}, to ask and to change
  millrace run            the same engine with a log and a state on this disk; on Kafka with kafka.bootstrap
  docs/quickstart.md      your own records and your own segment, step by step
"
    )
}

/// The argument that names the instance, if it is not the default.
fn server(api: SocketAddr) -> String {
    if api.port() == 8080 {
        String::new()
    } else {
        format!(" --server http://{api}")
    }
}
