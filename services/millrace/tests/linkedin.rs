//! The executable with a LinkedIn account and a copy as destinations: people and companies reach
//! their segments, through a kill.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/place.rs"]
mod place;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use millrace_model::Timestamp;
use millrace_simulators::linkedin::{LinkedIn, Settings};
use serde_json::Value;

use place::{Place, printed};

/// `printf %s p2@townsend.com | sha256sum`
const PAT: &str = "SHA256_EMAIL f22add7875dc96025edd4259482a5d302078cbc433f918d40218a0ac28ea54d7";

const SEGMENTS: &str = "kind: Segment\nmetadata: { name: hot }\nspec:\n  pql: |\n    b2b.personScore > 50\n  destinations: [ads, copy]\n\
                        ---\nkind: Segment\nmetadata: { name: big }\nspec:\n  subject: account\n  pql: |\n    accountOrganization.numberOfEmployees > 100\n  \
                        destinations: [ads-accounts]\n";

fn settings(linkedin: &LinkedIn) -> String {
    let account = format!(
        "account = \"516848833\"\nsource_platform = \"MILLRACE\"\nclient_id = \"client\"\nclient_secret = \"secret\"\nrefresh_token = \"{}\"\n\
         url = \"{url}\"\nauth_url = \"{url}\"\nwait_seconds = 0.5\n",
        linkedin.consent().1,
        url = linkedin.url()
    );
    format!(
        "[topics]\nshards = 2\n[destinations.ads]\nnamespace = \"email\"\nsink = \"linkedin\"\n[destinations.ads.settings]\n{account}\
         [destinations.ads-accounts]\nnamespace = \"domain\"\nknown_by = \"accountOrganization.website\"\nsink = \"linkedin\"\n\
         [destinations.ads-accounts.settings]\nids = \"domain\"\n{account}\
         [destinations.copy]\nnamespace = \"email\"\nsink = \"kafka\"\n[destinations.copy.settings]\ntopic = \"hot-copy\"\npartitions = 3\n"
    )
}

/// Members of all segments, as they are once everything accepted is processed.
fn members(linkedin: &LinkedIn) -> BTreeSet<(String, String)> {
    linkedin.with(|world| {
        world.settle();
        let of = |segment: &millrace_simulators::linkedin::Segment| {
            let name = segment.source_segment_id.clone();
            segment.members.iter().map(move |member| (name.clone(), member.clone())).collect::<Vec<_>>()
        };
        world.segments.values().flat_map(of).collect()
    })
}

fn run(place: &Place, arguments: &[&str]) -> String {
    let output = place.millrace(arguments);
    assert!(output.status.success(), "{arguments:?}\n{}", printed(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn import(place: &Place, lines: &[&str]) {
    std::fs::write(place.folder.path().join("facts.jsonl"), lines.join("\n")).unwrap();
    run(place, &["source", "file", "facts.jsonl"]);
}

fn person(key: &str, address: &str, score: u32) -> String {
    format!(r#"{{"topic":"person","key":"{key}@m.M","value":{{"workEmail":{{"address":"{address}"}},"b2b":{{"personScore":{score}}}}}}}"#)
}

fn account(key: &str, website: &str, employees: u32) -> String {
    let organization = format!(r#"{{"website":"{website}","numberOfEmployees":{employees}}}"#);
    format!(r#"{{"topic":"account","key":"{key}@c.C","value":{{"accountName":"{key}","accountOrganization":{organization}}}}}"#)
}

/// An account on the clock of the machine, with the runtime that serves it.
fn linkedin() -> (tokio::runtime::Runtime, LinkedIn) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let clock = Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp(i64::try_from(since.as_millis()).unwrap())
    });
    let account_settings = Settings {
        ready_ms: 0,
        building_ms: 0,
        ..Settings::default()
    };
    let started = LinkedIn::start(([127, 0, 0, 1], 0).into(), account_settings, 1, clock);
    let linkedin = runtime.block_on(started).unwrap();
    (runtime, linkedin)
}

#[test]
fn people_and_companies_reach_their_segments() {
    let (_runtime, linkedin) = linkedin();
    let mut place = Place::new();
    std::fs::write(place.folder.path().join("m.toml"), settings(&linkedin)).unwrap();
    std::fs::write(place.folder.path().join("s.yaml"), SEGMENTS).unwrap();
    let configured = ["--config", "m.toml"];
    let checked = run(&place, &["run", "--config", "m.toml", "--check-config"]);
    assert!(!checked.contains(&linkedin.consent().1) && !checked.contains("AQW"), "{checked}");
    place.start_with(&configured);
    run(&place, &["segment", "apply", "s.yaml", "--config", "m.toml"]);

    import(
        &place,
        &[
            &person("1", " P2@Townsend.com ", 90),
            &person("2", "bob@townsend.com", 90),
            &account("1", "https://www.Townsend.com/", 500),
            &account("2", "townsend.com", 200),
        ],
    );
    let company = ("big".to_owned(), "companyEmailDomain=townsend.com companyWebsiteDomain=townsend.com".to_owned());
    let pat = ("hot".to_owned(), PAT.to_owned());
    place.until("both people and the company", || {
        let members = members(&linkedin);
        members.len() == 3 && members.contains(&pat) && members.contains(&company)
    });
    let preview = run(&place, &["destination", "preview", "ads"]);
    assert!(preview.starts_with("ads: 0 changes in at most 0 calls"), "{preview}");
    let status = |name: &str| -> Value { serde_json::from_str(&run(&place, &["destination", "status", name, "--output", "json"])).unwrap() };
    place.until("the copies", || status("copy")["delivered"] == 2);

    place.kill();
    place.start_with(&configured);
    // Bob leaves; of two accounts with one domain one leaves.
    import(&place, &[&person("2", "bob@townsend.com", 10), &account("2", "townsend.com", 20)]);
    let expected = BTreeSet::from([pat, company]);
    place.until("the segments to follow", || members(&linkedin) == expected);
    let status = |name: &str| -> Value { serde_json::from_str(&run(&place, &["destination", "status", name, "--output", "json"])).unwrap() };
    place.until("everything to be acknowledged", || {
        ["ads", "ads-accounts", "copy"]
            .iter()
            .all(|name| status(name)["pending"] == 0 && status(name)["delivered"] == 1)
    });
    assert_eq!(members(&linkedin), expected);
    // Segments are asked for their status at the start, and every hour.
    let shown = run(&place, &["destination", "status", "ads"]);
    assert!(shown.contains("LinkedIn delivers to it from 300 matched members on"), "{shown}");
    let log = std::fs::read_to_string(place.folder.path().join("run.log")).unwrap();
    for secret in ["townsend.com", "AQX", "AQW"] {
        assert!(!log.contains(secret), "{secret} in the log");
    }
}
