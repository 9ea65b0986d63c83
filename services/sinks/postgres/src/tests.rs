//! Against a real PostgreSQL: its tables equal the desired state, as Python's client sees them.

mod kills;
mod mapped;
mod owners;
mod stage;
mod tls;
mod troubles;

use millrace_connect::sink::{Brake, OrderKind};
use millrace_test_sinks::email;
use serde_json::json;

use self::stage::Stage;

#[test]
fn a_table_becomes_the_audience_in_few_transactions() {
    let mut stage = Stage::new("becomes", json!({}));
    for number in 0..900 {
        stage.enter("hot", &email(number), "Townsend", "1304470.10");
    }
    let mut task = stage.task();
    stage.settle(&mut task);
    assert_eq!(stage.members(&["hot"]), stage.expected());
    assert_eq!(task.status().calls, 1);
    for number in 0..300 {
        stage.desire("hot", &email(number), false);
    }
    stage.enter("hot", &email(400), "Bodea", "0.1");
    stage.settle(&mut task);
    assert_eq!(stage.members(&["hot"]), stage.expected());
    let status = task.status();
    assert_eq!((status.desired, status.delivered, status.pending, status.refused), (600, 600, 0, 0));
    assert_eq!(status.calls, 2);
    // Whoever reads the positions knows how new the table is.
    let newest = stage
        .server
        .rows(stage.database, "SELECT sum(position) FROM millrace_positions WHERE destination = 'tables'");
    assert_eq!(newest, [[Some("1201".to_owned())]]);
}

#[test]
fn what_is_as_desired_is_not_written_again() {
    let mut stage = Stage::new("unwritten", json!({}));
    stage.enter("hot", &email(0), "Townsend", "1.50");
    let mut task = stage.task();
    stage.settle(&mut task);
    let written = "SELECT xmin::text FROM hot";
    let before = stage.value(written);
    // Everything that the ledger knows is lost, and sent again.
    stage.enter("hot", &email(0), "Townsend", "1.5");
    stage.settle(&mut task);
    assert_eq!(task.status().calls, 2);
    assert_eq!(stage.value(written), before, "1.5 is 1.50");
}

#[test]
fn several_audiences_in_one_table() {
    let mut stage = Stage::new("shared", json!({"schema": "crm", "table": "Audiences", "audience_column": "list"}));
    stage.run("CREATE SCHEMA crm");
    for audience in ["hot", "warm"] {
        stage.enter(audience, "pat@townsend.example", "Townsend", "7");
        stage.enter(audience, "bob@townsend.example", "Townsend", "7");
    }
    let mut task = stage.task();
    stage.settle(&mut task);
    stage.desire("hot", "pat@townsend.example", false);
    stage.settle(&mut task);
    let query = "SELECT list, id, company, revenue::text FROM crm.\"Audiences\"";
    assert_eq!(stage.members_by(query), stage.expected());
    // A row of the other audience is no stranger in this one.
    stage.order(&mut task, OrderKind::Reconcile);
    let drift = task.status().drift.expect("compared");
    assert_eq!((drift.missing, drift.unexpected, drift.different), (0, 0, 0));
}

/// In the namespace `email` two persons with one address are one key, which stays present until the
/// last of them leaves (`tests/scenarios/tests/activation.rs`). In another namespace a table's own
/// constraint may refuse the second.
#[test]
fn two_persons_with_one_address() {
    let mut stage = Stage::at(millrace_postgres_harness::Postgres::shared(), "two_persons", "b2b_person", json!({}));
    stage.run("CREATE TABLE hot (id text PRIMARY KEY, company text UNIQUE, revenue numeric, won_at timestamptz)");
    stage.enter("hot", "1@crm1.Salesforce", "pat@townsend.example", "1");
    let mut task = stage.task();
    stage.settle(&mut task);
    stage.enter("hot", "2@crm1.Salesforce", "pat@townsend.example", "2");
    for number in 3..20 {
        stage.enter("hot", &format!("{number}@crm1.Salesforce"), &email(number), "3");
    }
    stage.settle(&mut task);
    let mut others = stage.expected();
    others.remove(&("hot".to_owned(), "2@crm1.Salesforce".to_owned()));
    assert_eq!(stage.members(&["hot"]), others, "the others go on");
    let reasons = stage.reasons_of_dead_letters();
    assert!(
        reasons.len() == 1 && reasons[0].contains("23505") && reasons[0].contains("hot_company_key"),
        "{reasons:?}"
    );
    assert_eq!(
        stage.headers_of_dead_letters("millrace.destination.request"),
        ["upsert b2b_person:2@crm1.Salesforce of hot"]
    );
    // The first one leaves: a command sends the refused one again.
    stage.desire("hot", "1@crm1.Salesforce", false);
    stage.settle(&mut task);
    stage.order(&mut task, OrderKind::Retry);
    assert_eq!(stage.members(&["hot"]), stage.expected());
}

/// What the engine makes of an address that changes, of persons that become one, and of one that
/// becomes two again, are absences and presences of keys.
#[test]
fn an_address_changes_and_persons_merge_and_part() {
    let mut stage = Stage::new("merged", json!({}));
    stage.enter("hot", "old@townsend.example", "Townsend", "1");
    stage.enter("hot", "other@townsend.example", "Bodea", "2");
    let mut task = stage.task();
    stage.settle(&mut task);
    stage.desire("hot", "old@townsend.example", false);
    stage.enter("hot", "new@townsend.example", "Townsend", "1");
    stage.settle(&mut task);
    assert_eq!(stage.members(&["hot"]), stage.expected());
    // They merge: both addresses have the values of the one person.
    stage.enter("hot", "new@townsend.example", "Townsend", "3");
    stage.enter("hot", "other@townsend.example", "Townsend", "3");
    stage.settle(&mut task);
    assert_eq!(stage.members(&["hot"]), stage.expected());
    // And part, in one transaction with a third change.
    stage.enter("hot", "new@townsend.example", "Townsend", "1");
    stage.desire("hot", "other@townsend.example", false);
    stage.settle(&mut task);
    assert_eq!(stage.members(&["hot"]), stage.expected());
}

#[test]
fn a_table_edited_by_hand_is_set_right() {
    let mut stage = Stage::new("edited", json!({}));
    for number in 0..40 {
        stage.enter("hot", &email(number), "Townsend", "1.10");
    }
    let mut task = stage.task();
    stage.settle(&mut task);
    stage.run(&format!(
        "DELETE FROM hot WHERE id = '{}'; UPDATE hot SET revenue = 2 WHERE id = '{}'; UPDATE hot SET revenue = 1.1 WHERE id = '{}'; \
         INSERT INTO hot VALUES ('stranger@x.com'), ('P5@townsend.example')",
        email(3),
        email(4),
        email(6)
    ));
    stage.order(&mut task, OrderKind::Reconcile);
    let drift = task.status().drift.expect("compared");
    // The last one is another spelling of a member: no change of desired state could name it.
    assert_eq!((drift.missing, drift.unexpected, drift.different, drift.repaired), (1, 2, 1, 3));
    stage.run("DELETE FROM hot WHERE id = 'P5@townsend.example'; UPDATE hot SET revenue = 1.10");
    assert_eq!(stage.members(&["hot"]), stage.expected());
}

#[test]
fn the_brake_holds_a_repair_that_would_delete_much() {
    let mut stage = Stage::new("braked", json!({}));
    for number in 0..10 {
        stage.enter("hot", &email(number), "Townsend", "1");
    }
    stage.brake = Brake {
        share: 0.5,
        least: 5,
        ..Brake::default()
    };
    let mut task = stage.task();
    stage.settle(&mut task);
    stage.pass(7_200_000);
    stage.run("INSERT INTO hot SELECT 'stranger' || n FROM generate_series(1, 100) n");
    stage.order(&mut task, OrderKind::Reconcile);
    let drift = task.status().drift.expect("compared");
    assert_eq!((drift.unexpected, drift.repaired), (100, 0));
    assert_eq!(stage.value("SELECT count(*) FROM hot").as_deref(), Some("110"));
}

#[test]
fn a_table_that_is_made_anew_is_filled() {
    let mut stage = Stage::new("anew", json!({}));
    for number in 0..30 {
        stage.enter("hot", &email(number), "Townsend", "1");
    }
    let mut task = stage.task();
    stage.settle(&mut task);
    stage.run("DROP TABLE hot");
    // Nothing changes; the hourly look finds out.
    stage.pass(3_600_000);
    stage.settle(&mut task);
    stage.settle(&mut task);
    assert_eq!(stage.members(&["hot"]), stage.expected());
}

#[test]
fn a_preview_says_what_would_be_written() {
    let mut stage = Stage::new("previewed", json!({}));
    stage.enter("hot", &email(0), "Townsend", "1");
    let seen = stage.preview(&mut stage.sink(), 3);
    let hot = &seen.audiences["hot"];
    assert_eq!((seen.changes, seen.calls, hot.adds), (1, 1, 1));
    let expected = r#"1 rows into "public"."hot" ("id", "company" text, "revenue" numeric, "won_at" timestamptz), 0 rows out of it"#;
    assert_eq!(hot.request.as_deref(), Some(expected));
}
