//! Clients that are not ours prove the simulators: what they read equals the simulator's contents.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use millrace_model::Timestamp;
use millrace_simulators::linkedin::{self, LinkedIn};
use millrace_simulators::marketo::{Faults, Marketo, Settings};
use millrace_simulators::salesforce::{self, Salesforce};
use serde_json::{Value, json};

/// The folder of an environment of `scripts/python-env`.
fn environment(name: &[&str]) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/python-env");
    let made = Command::new(script).args(name).output().expect("scripts/python-env runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    PathBuf::from(String::from_utf8(made.stdout).expect("a path").trim())
}

/// The output of a script beside this crate, as JSON.
fn printed(mut program: Command, script: &str, arguments: &[String]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
    let output = program.arg(script).args(arguments).output().expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn python(script: &str, arguments: &[String]) -> Value {
    python_of(&[], script, arguments)
}

/// A script with the clients of an environment.
fn python_of(name: &[&str], script: &str, arguments: &[String]) -> Value {
    printed(Command::new(environment(name).join("bin/python")), &format!("python/{script}"), arguments)
}

fn node(script: &str, arguments: &[String]) -> Value {
    let folder = environment(&["linkedin"]);
    let mut program = Command::new(folder.join("bin/node"));
    program.env("NODE_PATH", folder.join("node_modules"));
    printed(program, script, arguments)
}

fn ids(rows: &Value, field: &str) -> Vec<u64> {
    let rows = rows.as_array().into_iter().flatten();
    let mut ids: Vec<u64> = rows
        .filter_map(|row| row[field].as_u64().or_else(|| row[field].as_str()?.parse().ok()))
        .collect();
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn marketorestpython_reads_what_marketo_holds() {
    let marketo = Marketo::start(SocketAddr::from(([127, 0, 0, 1], 0)), Settings::default(), 5)
        .await
        .expect("a free port");
    // Empty pages do not disturb a good client. Tokens that expire early do: this one keeps a token
    // until its own clock ends it.
    marketo.set_faults(Faults {
        empty_page: 300,
        ..Faults::default()
    });
    let (list, leads) = marketo.with(|world| {
        let company = world.create_company(json!({"company": "Townsend"}));
        let list = world.create_list("Newsletter");
        let leads: Vec<u64> = (0..20)
            .map(|number| {
                let first = ["Pat", "Jane\nDoe", "null", "a \"b\", c"][number % 4];
                let lead = world.create_lead(json!({"email": format!("p{number}@townsend.example"), "firstName": first, "contactCompany": company}));
                let now = world.now;
                world.visit(lead, "www.bodea.example/products/new", "utm=x", now);
                world.set_member(list, lead, number % 2 == 0);
                lead
            })
            .collect();
        world.update_lead(leads[0], json!({"title": "Chief"}));
        (list, leads)
    });
    let (from, to) = (marketo.now().plus_ms(-86_400_000).to_string(), marketo.now().plus_ms(60_000).to_string());
    let joined: Vec<String> = leads.iter().map(ToString::to_string).collect();
    let arguments = [marketo.url(), list.to_string(), joined.join(","), from, to];
    let seen = tokio::task::spawn_blocking(move || python("marketo.py", &arguments)).await.expect("no panic");

    assert_eq!(ids(&seen["leads"], "id"), leads);
    assert!(
        seen["leads"].as_array().into_iter().flatten().all(|lead| lead["company"] == "Townsend"),
        "{}",
        seen["leads"]
    );
    assert_eq!(ids(&seen["visits"], "leadId"), leads);
    assert_eq!(ids(&seen["lists"], "id"), [list]);
    let members: Vec<u64> = leads.iter().copied().step_by(2).collect();
    assert_eq!(ids(&seen["members"], "id"), members);
    assert_eq!(ids(&seen["extract"], "id"), leads);
    let firsts: Vec<&str> = seen["extract"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|row| row["firstName"].as_str())
        .collect();
    assert_eq!(firsts[..4], ["Pat", "Jane\nDoe", "null", "a \"b\", c"]);
    assert_eq!(seen["empty"], json!([]));
    let statuses = ["created", "added", "removed", "deleted"].map(|name| seen[name].clone());
    assert_eq!(statuses, ["created", "added", "removed", "deleted"].map(Value::from));
    assert_eq!(ids(&seen["deletions"], "leadId"), [seen["new"].as_u64().unwrap_or_default()]);
    let changes = seen["changes"].as_array().into_iter().flatten();
    let titles: Vec<&Value> = changes
        .flat_map(|row| row["fields"].as_array().into_iter().flatten())
        .map(|field| &field["newValue"])
        .collect();
    assert_eq!(titles, ["Chief"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn linkedin_api_client_sees_what_linkedin_holds() {
    let settings = linkedin::Settings {
        ready_ms: 0,
        building_ms: 0,
        processing_ms: 0,
        ..linkedin::Settings::default()
    };
    let account = settings.account.clone();
    let clock = Arc::new(|| Timestamp(1_788_220_800_000));
    let linkedin = LinkedIn::start(SocketAddr::from(([127, 0, 0, 1], 0)), settings, 5, clock)
        .await
        .expect("a free port");
    let arguments = ["everything".to_owned(), linkedin.url(), linkedin.code(), account];
    let seen = tokio::task::spawn_blocking(move || node("node/linkedin.js", &arguments))
        .await
        .expect("no panic");

    assert_eq!(seen["refreshKeeps"], true);
    assert_eq!(seen["lives"], json!([60 * 86_400 - 1, 365 * 86_400]));
    assert_eq!((&seen["active"], &seen["created"]), (&json!(true), &json!(201)));
    let statuses = |name: &str| seen[name].as_array().into_iter().flatten().map(|one| one["status"].clone()).collect::<Vec<_>>();
    assert_eq!(statuses("users"), [201, 201, 400, 201], "{}", seen["users"]);
    assert_eq!(statuses("removed"), [201]);
    assert_eq!(statuses("companies"), [201, 400], "{}", seen["companies"]);
    assert_eq!([&seen["updated"], &seen["deleted"]], [204, 204]);
    // The client writes the id of a created thing as text.
    let id = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_default();
    let (people, firms) = (id(&seen["ids"][0]), id(&seen["ids"][1]));
    assert_eq!(ids(&seen["all"]["elements"], "id"), [people, firms]);
    assert_eq!(seen["all"]["paging"]["total"], 2);
    assert_eq!(
        [&seen["read"]["name"], &seen["read"]["sourceSegmentId"], &seen["read"]["type"]],
        ["Hotter", "hot", "USER"]
    );
    assert_eq!([&seen["destination"]["status"], &seen["destination"]["destination"]], ["READY", "LINKEDIN"]);
    assert_eq!(seen["long"], 0);
    let dead = json!({"status": 426, "code": "NONEXISTENT_VERSION", "message": "Requested version 20250101 is not active"});
    assert_eq!(seen["dead"], dead);
    assert_eq!([&seen["stranger"]["status"], &seen["gone"]["status"]], [401, 404]);

    let members = linkedin.with(|world| {
        world.settle();
        world
            .segments
            .values()
            .map(|segment| segment.members.iter().cloned().collect::<Vec<_>>())
            .collect::<Vec<_>>()
    });
    let hash = |digit: &str| format!("SHA256_EMAIL {}", digit.repeat(64));
    assert_eq!(members, [vec![hash("a"), hash("c")]]);
    assert_eq!(seen["read"]["inputCount"], 3);
}

/// Ten contacts, one that was deleted, one that lost to the first.
fn contacts(world: &mut salesforce::World) -> (Vec<String>, String, String) {
    let account = world.create("Account", json!({"Name": "Townsend"}));
    let mut contacts: Vec<String> = (0..12)
        .map(|number| {
            let first = ["Pat", "Jane\nDoe", "null", "a \"b\", c"][number % 4];
            let email = format!("p{number}@townsend.example");
            let values = json!({"FirstName": first, "LastName": "L", "Email": email, "AccountId": account, "Score__c": number});
            world.create("Contact", values)
        })
        .collect();
    let (gone, loser) = (contacts.remove(3), contacts.remove(5));
    world.delete("Contact", &gone);
    world.merge("Contact", &contacts[0], std::slice::from_ref(&loser));
    (contacts, gone, loser)
}

#[tokio::test(flavor = "multi_thread")]
async fn simple_salesforce_reads_what_salesforce_holds() {
    let settings = salesforce::Settings {
        page_rows: 4,
        job_ms: 300,
        ..salesforce::Settings::default()
    };
    let org = Salesforce::start(SocketAddr::from(([127, 0, 0, 1], 0)), settings, 5)
        .await
        .expect("a free port");
    org.set_faults(salesforce::Faults {
        short_page: 300,
        ..salesforce::Faults::default()
    });
    let (contacts, gone, loser) = org.with(contacts);
    let key = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/salesforce.key.pem");
    let arguments = [org.url(), key.display().to_string()];
    let seen = tokio::task::spawn_blocking(move || python_of(&["salesforce"], "salesforce.py", &arguments))
        .await
        .expect("no panic");

    let list = |name: &str| seen[name].as_array().cloned().unwrap_or_default();
    let held: Vec<Value> = org.with(|world| {
        let fields = ["Id", "FirstName", "LastName", "Email", "AccountId", "HasOptedOutOfEmail", "Score__c"];
        let row = |id: &String| {
            fields
                .iter()
                .map(|field| ((*field).to_owned(), world.row("Contact", id).expect("held")[*field].clone()))
                .collect()
        };
        contacts.iter().map(row).map(Value::Object).collect()
    });
    assert_eq!((list("contacts"), &seen["total"]), (held.clone(), &json!(10)));
    // A cell of CSV is text.
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let cells = |row: &Value| row.as_object().map(|row| row.values().map(text).collect::<Vec<_>>());
    assert_eq!(list("bulk").iter().map(cells).collect::<Vec<_>>(), held.iter().map(cells).collect::<Vec<_>>());
    assert!(seen["pages"].as_u64() >= Some(4), "{}", seen["pages"]);
    assert_eq!(seen["empty"], json!([]));
    let deleted: Vec<Value> = list("everything").into_iter().filter(|row| row[1] == json!(true)).collect();
    assert_eq!(deleted, [json!([gone, true, null]), json!([loser, true, contacts[0]])]);
    assert_eq!(seen["deleted"], json!([gone, loser]));
    assert!(list("fields").contains(&json!(["Region__c", "multipicklist", true])), "{}", seen["fields"]);
    assert!(list("objects").contains(&json!("OpportunityContactRole")), "{}", seen["objects"]);
    assert_eq!(seen["record"], "p0@townsend.example");
    assert_eq!((&seen["limit"], seen["usage"].as_u64()), (&json!(100_000), Some(100_000)));
    assert_eq!(
        seen["refused"],
        json!(["invalid_client", "INVALID_FIELD", "MALFORMED_QUERY", "NOT_FOUND", "INVALID_SESSION_ID"])
    );
}
