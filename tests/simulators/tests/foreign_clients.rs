//! Clients that are not ours prove the simulators: what they read equals the simulator's contents.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use millrace_simulators::marketo::{Faults, Marketo, Settings};
use serde_json::{Value, json};

/// The output of a script in the Python environment of the tests, as JSON.
fn python(script: &str, arguments: &[String]) -> Value {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let environment = Command::new(here.join("../../scripts/python-env")).output().expect("scripts/python-env runs");
    assert!(environment.status.success(), "{}", String::from_utf8_lossy(&environment.stderr));
    let folder = String::from_utf8(environment.stdout).expect("a path");
    let python = Path::new(folder.trim()).join("bin/python");
    let output = Command::new(python)
        .arg(here.join("python").join(script))
        .args(arguments)
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
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
