//! The executable with two Salesforce orgs as sources: the Bodea case, by changes in the orgs,
//! through a kill.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/place.rs"]
mod place;

use std::time::{SystemTime, UNIX_EPOCH};

use millrace_simulators::salesforce::{PRIVATE_KEY, Salesforce, Settings};
use serde_json::{Value, json};

use place::{Place, printed};

const RULE: &str = r#"kind: Segment
metadata: { name: upsell }
spec:
  pql: |
    sum(select o.opportunityAmount.amount from accounts.opportunities where o.isClosed and o.isWon) > 1000000
    and exists v from xEvent where v.eventType = "web.webpagedetails.pageViews"
        and v.web.webPageDetails.name = "New product" and v.timestamp occurs <= 1 month before now
"#;

/// The first org by a client secret, the second by a certificate; both secrets are files.
fn settings(one: &Salesforce, two: &Salesforce) -> String {
    let common = "type = \"salesforce\"\nclient_id = \"client\"\ninterval_seconds = 0.2\njob_interval_seconds = 0.1\noverlap_seconds = 30\n";
    format!(
        "[topics]\nshards = 2\n[sources.crm1]\n{common}url = \"{}\"\nclient_secret = \"file:secret.txt\"\n\
         [sources.crm2]\n{common}url = \"{}\"\nuser = \"millrace@bodea.example\"\nprivate_key = \"file:key.pem\"\n",
        one.url(),
        two.url()
    )
}

fn org(runtime: &tokio::runtime::Runtime, id: &str, seed: u64) -> Salesforce {
    let settings = Settings {
        org: id.to_owned(),
        ..Settings::default()
    };
    runtime.block_on(Salesforce::start(([127, 0, 0, 1], 0).into(), settings, seed)).unwrap()
}

/// An account with a contact and a deal; the ids of account, contact and deal.
fn fill(org: &Salesforce, email: &str, amount: u64, stage: &str) -> [String; 3] {
    org.with(|world| {
        let account = world.create("Account", json!({"Name": "Townsend"}));
        let contact = world.create("Contact", json!({"LastName": "L", "Email": email, "AccountId": account}));
        let deal = world.create(
            "Opportunity",
            json!({"Name": "Deal", "AccountId": account, "Amount": amount, "StageName": stage}),
        );
        [account, contact, deal]
    })
}

/// The visit of a person, and that two accounts are one company.
fn facts(person: &str, accounts: [String; 2]) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let visit = json!({
        "_id": "v1", "timestamp": i64::try_from(now).unwrap() - 1_000, "eventType": "web.webpagedetails.pageViews",
        "web": {"webPageDetails": {"name": "New product"}}, "personKey": {"sourceKey": person},
    });
    let link = json!({"members": accounts.map(|key| json!({"sourceKey": key}))});
    let visit = json!({"topic": "activity", "key": format!("b2b_person:{person}"), "value": visit});
    let link = json!({"topic": "account-link", "key": "townsend@mdm.MDM", "value": link});
    format!("{visit}\n{link}\n")
}

fn run(place: &Place, arguments: &[&str]) -> String {
    let output = place.millrace(arguments);
    assert!(output.status.success(), "{arguments:?}\n{}", printed(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn deals_won_in_two_orgs_make_a_member() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (one, two) = (org(&runtime, "00D5g000001AaAaEAK", 1), org(&runtime, "00D5g000002BbBbEAK", 2));
    let [account1, contact1, _] = fill(&one, "p1@townsend.com", 200_000, "Closed Won");
    let [account2, _, deal2] = fill(&two, "p3@townsend.com", 900_000, "Proposal");
    let mut place = Place::new();
    let file = |name: &str, text: &str| std::fs::write(place.folder.path().join(name), text).unwrap();
    file("m.toml", &settings(&one, &two));
    file("secret.txt", "secret\n");
    file("key.pem", PRIVATE_KEY);
    file("rule.yaml", RULE);
    let p1 = format!("{contact1}@00D5g000001AaAaEAK.Salesforce");
    let accounts = [
        format!("{account1}@00D5g000001AaAaEAK.Salesforce"),
        format!("{account2}@00D5g000002BbBbEAK.Salesforce"),
    ];
    file("facts.jsonl", &facts(&p1, accounts));

    let preview = run(&place, &["source", "preview", "crm1", "--config", "m.toml"]);
    assert!(preview.contains("p1@townsend.com") && preview.contains(&p1), "{preview}");
    let configured = ["--config", "m.toml"];
    place.start_with(&configured);
    run(&place, &["segment", "apply", "rule.yaml", "--config", "m.toml"]);
    run(&place, &["source", "file", "facts.jsonl"]);
    let shown = |place: &Place| run(place, &["segment", "members", "upsell"]);
    let is_member = |place: &Place| shown(place).contains(&p1);
    let person = format!("b2b_person:{p1}");
    place.until("both orgs", || run(&place, &["person", "show", &person]).contains("Townsend"));
    assert!(!is_member(&place), "{}", shown(&place));

    let stage = |name: &str| two.with(|world| world.update("Opportunity", &deal2, json!({"StageName": name})));
    stage("Closed Won");
    place.until("the member", || is_member(&place));
    place.kill();
    // Versions are whole seconds; this one is later than the last.
    two.advance(std::time::Duration::from_secs(1));
    stage("Closed Lost");
    place.start_with(&configured);
    place.until("the member to leave", || !is_member(&place));
    let sources: Value = serde_json::from_str(&run(&place, &["source", "list", "--output", "json"])).unwrap();
    assert_eq!(sources["items"].as_array().map(Vec::len), Some(2), "{sources}");
    // Quietly revoked: the source names it, and the process is not ready.
    one.with(|world| world.settings.client_secret = "another".to_owned());
    one.revoke_sessions();
    place.until("the reason", || {
        run(&place, &["source", "list"]).contains("Salesforce refuses the credentials with invalid_client: invalid client credentials")
    });
    let log = std::fs::read_to_string(place.folder.path().join("run.log")).unwrap();
    for secret in ["townsend.com", "PRIVATE KEY", "00D5g000001AaAa!"] {
        assert!(!log.contains(secret), "{secret} in the log");
    }
}
