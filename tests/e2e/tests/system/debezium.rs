//! A CRM and a master data system in a real PostgreSQL, followed by the real Debezium connector in a
//! real Kafka Connect: a row that links two accounts makes a member, and its end ends it.

use std::time::Duration;

use millrace_kafka_harness::KafkaBroker;
use millrace_oracle::worlds::{DAY_MS, bodea, visit};
use millrace_test_e2e::database::{Connect, Postgres};
use millrace_test_e2e::deployment::{Deployment, Node};
use millrace_test_e2e::outside::Producer;
use millrace_test_e2e::{judge, now_ms, wait_for};
use serde_json::Value as Json;

/// Snapshots of two databases by a JVM that has just started, on a busy machine.
const LOADED_WITHIN: Duration = Duration::from_secs(240);
const CHANGED_WITHIN: Duration = Duration::from_secs(60);

const SOURCES: &str = r#"
[sources.crm]
type = "debezium"
instance = "crm2"
system = "Postgres"
[[sources.crm.topics."crm.public.accounts".records]]
record = "account"
key = "id"
fields = { accountName = "name" }
[[sources.crm.topics."crm.public.contacts".records]]
record = "person"
key = "id"
fields = { "workEmail.address" = "email", "person.name.lastName" = "last_name", "extra.biography" = "biography" }
[[sources.crm.topics."crm.public.contacts".records]]
record = "account-person"
key = { of = "id", suffix = ".account@crm2.Postgres" }
when = { field = "account_id", exists = true }
[sources.crm.topics."crm.public.contacts".records.fields]
"personKey.sourceKey" = { of = "id", suffix = "@crm2.Postgres" }
"accountKey.sourceKey" = { of = "account_id", suffix = "@crm2.Postgres" }
[[sources.crm.topics."crm.public.deals".records]]
record = "opportunity"
key = "id"
[sources.crm.topics."crm.public.deals".records.fields]
"accountKey.sourceKey" = { of = "account_id", suffix = "@crm2.Postgres" }
"opportunityAmount.amount" = "amount"
"opportunityAmount.currencyCode" = { constant = "USD" }
isClosed = "closed"
isWon = "won"
[sources.mdm]
type = "debezium"
instance = "mdm1"
system = "Mdm"
[[sources.mdm.topics."mdm.public.xref".records]]
record = "account-link"
key = "id"
[sources.mdm.topics."mdm.public.xref".records.fields]
validTo = "valid_to"
members = { list = [{ of = "record_id", suffix = "@crm2.Postgres" }, { of = "master_id", suffix = "@mdm1.Golden" }] }
"#;

const CRM: &str = "
CREATE TABLE accounts (id int PRIMARY KEY, name text);
CREATE TABLE contacts (id int PRIMARY KEY, email text, last_name text, account_id int, biography text);
ALTER TABLE contacts ALTER COLUMN biography SET STORAGE EXTERNAL;
CREATE TABLE deals (id int PRIMARY KEY, account_id int, amount numeric(12, 2), closed boolean, won boolean);
INSERT INTO accounts VALUES (1, 'Townsend'), (2, 'Townsend Europe');
INSERT INTO contacts VALUES (10, 'p1@townsend.example', 'Lee', 1, repeat('long ', 2000));
INSERT INTO deals VALUES (100, 1, 700000.10, true, true), (101, 2, 604470.00, true, true);
";

const MDM: &str = "
CREATE TABLE xref (id int PRIMARY KEY, master_id int, record_id int, valid_to timestamp DEFAULT 'infinity');
INSERT INTO xref VALUES (1, 7, 1);
";

fn appended(source: &Node, name: &str, at_least: u64) -> Result<(), String> {
    let (_, page) = source.ask(&format!("/v1/sources/{name}"))?;
    let view: Json = serde_json::from_str(&page).map_err(|error| format!("{error}: {page}"))?;
    match view["records"].as_u64() {
        Some(records) if records >= at_least => Ok(()),
        _ => Err(page),
    }
}

/// Waits for the next change of the story's person; how long it took from `since`, in milliseconds.
fn changed(deployment: &Deployment, count: usize, status: &str, since: i64) -> i64 {
    let change = wait_for(&format!("change {count}, {status}"), CHANGED_WITHIN, || {
        let changes = judge::changes(deployment)?;
        let found = changes.get(count - 1).cloned();
        found.ok_or_else(|| format!("{} changes so far", changes.len()))
    });
    assert_eq!(change.status, status, "{change:#?}");
    change.evaluated_at_ms - since
}

#[test]
fn a_row_that_links_two_accounts_makes_a_member() {
    let (broker, postgres) = (KafkaBroker::start(), Postgres::start());
    for (database, tables) in [("crm", CRM), ("mdm", MDM)] {
        postgres.run("postgres", &format!("CREATE DATABASE {database}"));
        postgres.run(database, tables);
    }
    let connect = Connect::start(broker.bootstrap(), &postgres, &["crm", "mdm"], &[]);
    let deployment = Deployment::with_settings(&broker, "debezium", 2, SOURCES);
    deployment.millrace(&["topics", "create"]).succeeded();
    deployment.apply(&[bodea::rule()]);
    let mut producer = Producer::start(broker.bootstrap());
    let page = visit("visit-1", now_ms() - DAY_MS, "New product", &["email:p1@townsend.example"]);
    producer.send_json(&deployment.prefix, &page);
    producer.finish();
    let (mut node, mut source) = (deployment.node("node"), deployment.service("source", &["source", "debezium"]));
    node.start();
    source.start();
    wait_for("the snapshots", LOADED_WITHIN, || {
        let loaded = appended(&source, "crm", 6).and_then(|()| appended(&source, "mdm", 1));
        loaded.map_err(|error| format!("{error}\n{}\n{}", source.tail(), connect.log()))
    });
    node.wait_ready();
    source.wait_ready();

    // One account has 700,000.10, both have 1,304,470.10.
    let since = now_ms();
    postgres.run("mdm", "INSERT INTO xref VALUES (2, 7, 2)");
    let linked_ms = changed(&deployment, 1, "realized", since);

    // A change that does not carry the biography leaves it as it is.
    postgres.run("crm", "UPDATE contacts SET last_name = 'Leeds' WHERE id = 10");
    wait_for("the name", CHANGED_WITHIN, || {
        let (_, page) = node.ask("/v1/persons/email/p1@townsend.example")?;
        let kept = page.contains("Leeds") && page.contains("long long long");
        kept.then_some(()).ok_or(page)
    });

    let since = now_ms();
    postgres.run("mdm", "DELETE FROM xref WHERE id = 2");
    let withdrawn_ms = changed(&deployment, 2, "exited", since);
    println!("from the commit of a row to the membership: linked in {linked_ms} ms, withdrawn in {withdrawn_ms} ms");

    // Killed, the source takes up where it was: what happened meanwhile counts once.
    source.kill();
    postgres.run("mdm", "INSERT INTO xref VALUES (3, 7, 2)");
    source.start();
    changed(&deployment, 3, "realized", 0);
    postgres.run("mdm", "UPDATE xref SET master_id = 8 WHERE id = 3");
    changed(&deployment, 4, "exited", 0);
    postgres.run("mdm", "UPDATE xref SET id = 4, master_id = 7 WHERE id = 3");
    changed(&deployment, 5, "realized", 0);

    judge::check_stream(&judge::changes(&deployment).expect("readable"));
    let dead = judge::dead_letters(&deployment).expect("readable");
    assert!(dead.is_empty(), "{} dead letters", dead.len());
}
