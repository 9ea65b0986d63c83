//! Against the simulated instance: its lists equal the desired state.

mod kills;
mod stage;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use millrace_connect::sink::{Brake, OrderKind};
use millrace_test_sinks::email;
use serde_json::json;

use self::stage::Stage;
use crate::{Config, Raw};

#[test]
fn a_list_becomes_the_audience_in_few_calls() {
    let mut stage = Stage::new(1, "email", json!({}));
    stage.leads(1_000);
    stage.list("hot");
    for number in 0..900 {
        stage.desire("hot", &email(number), true);
    }
    let mut task = stage.task();
    stage.settle(&mut task);
    assert_eq!(stage.members(), stage.members_desired());
    // Three look-ups and three additions; one call for the usage of the day, one for the list's
    // name.
    let (calls, ideal) = (stage.calls(), 6);
    println!("900 members: {calls} calls carried out, ideal {ideal} and 2 at the start");
    assert_eq!(calls, ideal + 2);
    for number in 0..300 {
        stage.desire("hot", &email(number), false);
    }
    stage.settle(&mut task);
    assert_eq!(stage.members(), stage.members_desired());
    assert_eq!(stage.calls(), calls + 2);
    let status = task.status();
    assert_eq!((status.desired, status.delivered, status.pending, status.refused), (600, 600, 0, 0));
}

/// The output of a script in the simulators' Python environment, as JSON.
fn python(script: &str, arguments: &[&str]) -> serde_json::Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let environment = Command::new(root.join("scripts/python-env")).output().expect("scripts/python-env runs");
    assert!(environment.status.success(), "{}", String::from_utf8_lossy(&environment.stderr));
    let folder = String::from_utf8(environment.stdout).expect("a path");
    let mut python = Command::new(Path::new(folder.trim()).join("bin/python"));
    let output = python
        .arg(root.join("tests/simulators/python").join(script))
        .args(arguments)
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn marketorestpython_sees_what_the_sink_wrote() {
    let mut stage = Stage::new(12, "email", json!({"create_persons": true, "create_lists_in": {"folder": 13}}));
    stage.leads(350);
    for number in 0..400 {
        stage.desire("hot", &email(number), true);
    }
    let mut task = stage.task();
    stage.settle(&mut task);
    for number in 0..50 {
        stage.desire("hot", &email(number), false);
    }
    stage.settle(&mut task);
    let mut expected: Vec<String> = (50..400).map(email).collect();
    expected.sort();
    assert_eq!(python("marketo_list.py", &[&stage.marketo.url(), "hot"]), json!(expected));
}

#[test]
fn who_is_not_there_is_refused_or_created_as_configured() {
    let mut stage = Stage::new(2, "email", json!({}));
    stage.list("hot");
    stage.desire("hot", "new@townsend.example", true);
    let mut task = stage.task();
    stage.settle(&mut task);
    assert_eq!(stage.reasons_of_dead_letters(), ["Marketo has no such person"]);
    // The person appears in Marketo; a command sends the refused change again.
    let lead = stage.lead(json!({"email": "New@Townsend.example"}));
    stage.order(&mut task, OrderKind::Retry);
    assert_eq!(stage.on("hot"), BTreeSet::from([lead]));

    let mut stage = Stage::new(3, "email", json!({"create_persons": true, "update_persons": true}));
    stage.list("hot");
    let known = stage.lead(json!({"email": "known@townsend.example", "title": "Clerk"}));
    stage.desire_with("hot", "new@townsend.example", true, &[("title", json!("Chief"))]);
    stage.desire_with("hot", "known@townsend.example", true, &[("title", json!("Chief"))]);
    stage.desire("hot", "ü@townsend.example", true);
    let mut task = stage.task();
    stage.settle(&mut task);
    assert_eq!(stage.on("hot").len(), 2);
    assert!(stage.on("hot").contains(&known));
    let titles = stage
        .marketo
        .with(|world| world.leads.values().map(|lead| lead.fields["title"].clone()).collect::<Vec<_>>());
    assert_eq!(titles, ["Chief", "Chief"]);
    assert_eq!(stage.reasons_of_dead_letters(), ["1003: Email address is invalid"]);
}

#[test]
fn two_persons_with_one_address() {
    for (rule, both) in [("latest", false), ("all", true)] {
        let mut stage = Stage::new(4, "email", json!({"duplicates": rule}));
        stage.list("hot");
        let older = stage.lead(json!({"email": "both@townsend.example"}));
        stage.marketo.advance(std::time::Duration::from_secs(5));
        let newer = stage.lead(json!({"email": "both@townsend.example"}));
        stage.desire("hot", "both@townsend.example", true);
        let mut task = stage.task();
        stage.settle(&mut task);
        let expected = if both { vec![older, newer] } else { vec![newer] };
        assert_eq!(stage.on("hot"), expected.into_iter().collect(), "{rule}");
        // Somebody adds the other one to the list too: a removal takes off both.
        let list = stage.marketo.with(|world| world.lists.keys().next().copied()).expect("a list");
        stage.marketo.with(|world| world.set_member(list, older, true));
        stage.desire("hot", "both@townsend.example", false);
        stage.settle(&mut task);
        assert_eq!(stage.on("hot"), BTreeSet::new(), "{rule}");
    }
}

#[test]
fn flapping_comes_to_one_change() {
    let mut stage = Stage::new(5, "email", json!({}));
    stage.leads(1);
    stage.list("hot");
    for _ in 0..100 {
        stage.desire("hot", &email(0), false);
        stage.desire("hot", &email(0), true);
    }
    let mut task = stage.task();
    stage.settle(&mut task);
    assert_eq!(stage.members(), stage.members_desired());
    let additions = stage
        .marketo
        .with(|world| world.activities.iter().filter(|activity| matches!(activity.kind, 24 | 25)).count());
    assert_eq!(additions, 1);
}

#[test]
fn a_list_edited_by_hand_is_set_right() {
    let mut stage = Stage::new(6, "email", json!({}));
    let leads = stage.leads(50);
    let list = stage.list("hot");
    for number in 0..40 {
        stage.desire("hot", &email(number), true);
    }
    let mut task = stage.task();
    stage.settle(&mut task);
    stage.marketo.with(|world| {
        world.set_member(list, leads[3], false);
        world.set_member(list, leads[45], true);
        // Its address changed after it was put on the list: nobody desires the new one.
        world.update_lead(leads[7], json!({"email": "elsewhere@townsend.example"}));
    });
    stage.order(&mut task, OrderKind::Reconcile);
    let drift = task.status().drift.expect("compared");
    assert_eq!((drift.missing, drift.unexpected), (2, 2));
    stage.desired.remove(&("hot".to_owned(), email(7)));
    assert_eq!(stage.members(), stage.members_desired());
    assert_eq!(
        stage.reasons_of_dead_letters(),
        ["Marketo has no such person"],
        "p7 is not there under that address"
    );
}

#[test]
fn a_list_deleted_stops_its_audience_and_no_other() {
    let mut stage = Stage::new(7, "email", json!({"create_lists_in": {"folder": 13}, "lists": {"warm": "Warm leads"}}));
    stage.leads(30);
    for number in 0..20 {
        stage.desire("hot", &email(number), true);
    }
    let mut task = stage.task();
    stage.settle(&mut task);
    assert_eq!(stage.members(), stage.members_desired(), "the list was created");
    stage.marketo.with(|world| world.lists.clear());
    stage.desire("hot", &email(20), true);
    stage.desire("warm", &email(1), true);
    stage.settle(&mut task);
    assert_eq!((stage.on("hot").len(), stage.on("Warm leads").len()), (0, 1));
    let error = task.status().error.expect("held up");
    assert!(error.contains("no list `hot`"), "{error}");
    // Somebody recreates it: the sink fills it completely.
    stage.list("hot");
    stage.settle(&mut task);
    stage.settle(&mut task);
    assert_eq!(stage.on("hot").len(), 21);
}

#[test]
fn persons_by_their_own_keys() {
    let mut stage = Stage::new(8, "b2b_person", json!({}));
    let leads = stage.leads(3);
    stage.list("hot");
    for lead in &leads[..2] {
        stage.desire("hot", &format!("{lead}@111-AAA-222.Marketo"), true);
    }
    stage.desire("hot", "7@crm1.Salesforce", true);
    stage.desire("hot", &format!("{}@999-ZZZ-999.Marketo", leads[2]), true);
    let mut task = stage.task();
    stage.settle(&mut task);
    assert_eq!(stage.on("hot"), leads[..2].iter().copied().collect());
    assert_eq!(stage.reasons_of_dead_letters().len(), 0, "keys of other systems do not concern it");
    assert_eq!(task.status().desired, 2);
    // One is deleted in Marketo, and added again without success.
    stage.marketo.with(|world| world.delete_lead(leads[0]));
    stage.order(&mut task, OrderKind::Reconcile);
    assert_eq!(stage.on("hot"), BTreeSet::from([leads[1]]));
    assert_eq!(stage.reasons_of_dead_letters(), ["1004: the person is gone, and was again when looked up anew"]);
}

#[test]
fn the_brake_holds_a_list_that_would_be_emptied() {
    let mut stage = Stage::new(9, "email", json!({}));
    stage.leads(300);
    stage.list("hot");
    for number in 0..300 {
        stage.desire("hot", &email(number), true);
    }
    stage.brake = Brake::default();
    let mut task = stage.task();
    stage.settle(&mut task);
    for number in 0..200 {
        stage.desire("hot", &email(number), false);
    }
    stage.settle(&mut task);
    assert_eq!(stage.on("hot").len(), 300);
    assert!(task.status().audiences["hot"].held);
    stage.order(&mut task, OrderKind::Confirm);
    assert_eq!(stage.members(), stage.members_desired());
}

#[test]
fn spent_calls_are_waited_for() {
    let mut stage = Stage::new(10, "email", json!({"day_calls": 5}));
    stage.leads(900);
    stage.list("hot");
    for number in 0..900 {
        stage.desire("hot", &email(number), true);
    }
    let mut task = stage.task();
    for _ in 0..100 {
        task.step().map_err(|(_, error)| error).expect("no failure");
        stage.pass(1_000);
    }
    let status = task.status();
    assert_eq!((stage.calls(), status.quota_left), (5, Some(0)));
    assert!(status.error.is_some_and(|error| error.contains("the day's calls are spent")));
    for _ in 0..4 {
        stage.pass(86_400_000);
        stage.marketo.advance(std::time::Duration::from_secs(86_400));
        stage.settle(&mut task);
    }
    assert_eq!(stage.members(), stage.members_desired());
}

#[test]
fn settings_are_checked() {
    let raw = |more: serde_json::Value| {
        let mut all = json!({"munchkin": "111-AAA-222", "client_id": "a", "client_secret": "b"});
        all.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        serde_json::from_value::<Raw>(all)
            .map_err(|error| error.to_string())
            .and_then(|raw| Config::new(raw).map_err(|error| error.to_string()))
    };
    assert!(raw(json!({"lists": {"hot": 1001, "warm": "Warm"}, "create_lists_in": {"program": 7}, "duplicates": "all"})).is_ok());
    let table = [
        (
            json!({"munchkin": "x", "url": "ftp://x", "wait_seconds": -1}),
            "munchkin: `X` is not of the form AAA-BBB-CCC\nurl: `ftp://x` is no address",
        ),
        (json!({"lists": {"hot": true}}), "lists.hot: true is neither an id nor a name"),
        (json!({"match_field": ""}), "match_field: a field's name is needed"),
        (json!({"create_persns": true}), "unknown field `create_persns`"),
        (json!({"create_lists_in": {"folder": "x"}}), "invalid type"),
    ];
    for (settings, expected) in table {
        let error = raw(settings.clone()).expect_err("wrong");
        assert!(error.contains(expected), "{settings}: {error}");
    }
}
