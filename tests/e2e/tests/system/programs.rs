//! Programs of others as sources, on a real Kafka: a Singer tap that reads a real PostgreSQL, and a
//! connector of Airbyte's.

use std::time::Duration;

use millrace_kafka_harness::KafkaBroker;
use millrace_oracle::worlds::{DAY_MS, bodea, visit};
use millrace_test_e2e::database::Postgres;
use millrace_test_e2e::deployment::{Deployment, Node};
use millrace_test_e2e::outside::{Producer, environment};
use millrace_test_e2e::{judge, now_ms, wait_for};
use serde_json::Value as Json;

/// An interpreter starts twice, on a busy machine.
const LOADED_WITHIN: Duration = Duration::from_secs(240);
const CHANGED_WITHIN: Duration = Duration::from_secs(120);

const TABLES: &str = "
CREATE TABLE accounts (id int PRIMARY KEY, name text);
CREATE TABLE contacts (id int PRIMARY KEY, email text, last_name text, account_id int);
CREATE TABLE deals (id int PRIMARY KEY, account_id int, amount numeric(12, 2), closed boolean, won boolean, changed_at timestamptz DEFAULT now());
INSERT INTO accounts VALUES (1, 'Townsend');
INSERT INTO contacts VALUES (10, 'p1@townsend.example', 'Lee', 1), (11, NULL, 'Ames', 1);
INSERT INTO deals VALUES (100, 1, 700000.10, true, true);
";

/// Accounts and contacts are listed in full, deals read by a column that grows.
fn crm(tap: &str, port: u16, password: &str) -> String {
    format!(
        r#"
[sources.crm]
type = "singer"
command = ["{tap}"]
instance = "crm2"
system = "Postgres"
interval = "2s"
[sources.crm.config]
host = "127.0.0.1"
port = {port}
user = "postgres"
password = "file:{password}"
database = "crm"
filter_schemas = ["public"]
[sources.crm.streams.public-accounts]
mode = "full"
[[sources.crm.streams.public-accounts.records]]
record = "account"
key = "id"
fields = {{ accountName = "name" }}
[sources.crm.streams.public-contacts]
mode = "full"
[[sources.crm.streams.public-contacts.records]]
record = "person"
key = "id"
fields = {{ "workEmail.address" = "email", "person.name.lastName" = "last_name" }}
[[sources.crm.streams.public-contacts.records]]
record = "account-person"
key = {{ of = "id", suffix = ".account@crm2.Postgres" }}
when = {{ field = "account_id", exists = true }}
[sources.crm.streams.public-contacts.records.fields]
"personKey.sourceKey" = {{ of = "id", suffix = "@crm2.Postgres" }}
"accountKey.sourceKey" = {{ of = "account_id", suffix = "@crm2.Postgres" }}
[sources.crm.streams.public-deals]
mode = "incremental"
cursor = "changed_at"
[[sources.crm.streams.public-deals.records]]
record = "opportunity"
key = "id"
[sources.crm.streams.public-deals.records.fields]
"accountKey.sourceKey" = {{ of = "account_id", suffix = "@crm2.Postgres" }}
"opportunityAmount.amount" = "amount"
"opportunityAmount.currencyCode" = {{ constant = "USD" }}
isClosed = "closed"
isWon = "won"
"#
    )
}

fn view(source: &Node, name: &str) -> Result<Json, String> {
    let (_, page) = source.ask(&format!("/v1/sources/{name}"))?;
    serde_json::from_str(&page).map_err(|error| format!("{error}: {page}"))
}

fn appended(source: &Node, name: &str, at_least: u64) -> Result<(), String> {
    let view = view(source, name)?;
    let enough = view["records"].as_u64().is_some_and(|records| records >= at_least);
    enough.then_some(()).ok_or_else(|| format!("{view}\n{}", source.tail()))
}

/// Waits for the next change of membership; how long it took from `since`, in milliseconds.
fn changed(deployment: &Deployment, source: &Node, count: usize, status: &str, since: i64) -> i64 {
    let change = wait_for(&format!("change {count}, {status}"), CHANGED_WITHIN, || {
        let changes = judge::changes(deployment)?;
        let found = changes.get(count - 1).cloned();
        found.ok_or_else(|| format!("{} changes so far\n{}", changes.len(), source.tail()))
    });
    assert_eq!(change.status, status, "{change:#?}");
    change.evaluated_at_ms - since
}

#[test]
fn a_singer_tap_reads_a_real_postgres_into_a_membership() {
    let (broker, postgres) = (KafkaBroker::start(), Postgres::start());
    postgres.run("postgres", "CREATE DATABASE crm");
    postgres.run("crm", TABLES);
    let tap = environment("singer").join("bin/tap-postgres").display().to_string();
    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret.path(), "hush-hush\n").expect("writable");
    let deployment = Deployment::with_settings(
        &broker,
        "singer",
        2,
        &crm(&tap, postgres.address().port(), &secret.path().display().to_string()),
    );
    deployment.millrace(&["topics", "create"]).succeeded();
    deployment.apply(&[bodea::rule()]);
    let samples = deployment.millrace(&["source", "preview", "crm", "--output", "json"]).succeeded().json();
    assert_eq!(samples.as_array().map(Vec::len), Some(6), "{samples}");
    let mut producer = Producer::start(broker.bootstrap());
    let page = visit("visit-1", now_ms() - DAY_MS, "New product", &["email:p1@townsend.example"]);
    producer.send_json(&deployment.prefix, &page);
    producer.finish();
    let (mut node, mut source) = (deployment.node("node"), deployment.service("source", &["source", "singer"]));
    node.start();
    source.start();
    wait_for("the first run", LOADED_WITHIN, || appended(&source, "crm", 6));
    node.wait_ready();
    source.wait_ready();

    // One deal is 700,000.10, both are 1,304,470.10.
    let since = now_ms();
    postgres.run("crm", "INSERT INTO deals VALUES (101, 1, 604470.00, true, true)");
    let won_ms = changed(&deployment, &source, 1, "realized", since);

    // The listing of contacts no longer has the person: nothing says so but its absence.
    let since = now_ms();
    postgres.run("crm", "DELETE FROM contacts WHERE id = 10");
    let gone_ms = changed(&deployment, &source, 2, "exited", since);
    println!("from the commit of a row to the membership, with a run every 2 s: won in {won_ms} ms, gone in {gone_ms} ms");

    // Killed, with its tap, it takes up where it was; the person comes back.
    source.kill();
    postgres.run("crm", "INSERT INTO contacts VALUES (10, 'p1@townsend.example', 'Lee', 1)");
    source.start();
    changed(&deployment, &source, 3, "realized", 0);
    judge::check_stream(&judge::changes(&deployment).expect("readable"));
    let dead = judge::dead_letters(&deployment).expect("readable");
    assert!(dead.is_empty(), "{} dead letters", dead.len());
    assert!(!source.tail().contains("hush-hush"), "{}", source.tail());
}

const FAKER: &str = r#"
[sources.shop]
type = "airbyte"
command = ["CONNECTOR"]
instance = "shop1"
system = "Faker"
interval = "2s"
[sources.shop.config]
count = 20
seed = 7
records_per_slice = 5
parallelism = 1
always_updated = false
[sources.shop.streams.users]
mode = "MODE"
[[sources.shop.streams.users.records]]
record = "person"
key = "id"
[sources.shop.streams.users.records.fields]
"workEmail.address" = "email"
"person.name.firstName" = "name"
"extra.occupation" = "occupation"
"extra.age" = "age"
"#;

const ADULTS: &str = r#"
kind: Segment
metadata: { name: of-age }
spec: { subject: person, status: published, timeZone: UTC, pql: "extra.age >= 1" }
"#;

#[test]
fn a_connector_of_airbyte_fills_an_audience() {
    let broker = KafkaBroker::start();
    let connector = environment("airbyte").join("bin/source-faker").display().to_string();
    let settings = |mode: &str, count: u32| {
        let text = FAKER.replace("CONNECTOR", &connector).replace("MODE", mode);
        text.replace("count = 20", &format!("count = {count}"))
    };
    let deployment = Deployment::with_settings(&broker, "airbyte", 2, &settings("incremental", 20));
    deployment.millrace(&["topics", "create"]).succeeded();
    let definition = deployment.write("of-age.yaml", ADULTS);
    deployment.millrace(&["segment", "apply", &definition]).succeeded();
    let (mut node, mut source) = (deployment.node("node"), deployment.service("source", &["source", "airbyte"]));
    node.start();
    source.start();
    wait_for("the first run", LOADED_WITHIN, || appended(&source, "shop", 20));
    source.wait_ready();
    let members = wait_for("twenty members", CHANGED_WITHIN, || {
        let changes = judge::changes(&deployment)?;
        if changes.len() >= 20 {
            Ok(changes)
        } else {
            Err(format!("{} changes so far\n{}", changes.len(), node.tail()))
        }
    });
    assert!(members.iter().all(|change| change.status == "realized"), "{members:#?}");

    // Its state is kept: killed and started again, it reads nothing twice.
    wait_for("a complete run", CHANGED_WITHIN, || {
        let view = view(&source, "shop")?;
        view["requests"]["run"].as_u64().filter(|runs| *runs > 0).ok_or_else(|| view.to_string())
    });
    source.kill();
    source.start();
    wait_for("a run of the new process", LOADED_WITHIN, || {
        let view = view(&source, "shop")?;
        view["requests"]["run"].as_u64().filter(|runs| *runs > 0).ok_or_else(|| view.to_string())
    });
    let again = view(&source, "shop").expect("an answer");
    assert_eq!(again["records"], 0, "{again}");
    judge::check_stream(&judge::changes(&deployment).expect("readable"));
}
