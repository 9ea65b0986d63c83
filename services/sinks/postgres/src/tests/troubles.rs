//! Tables, roles and servers that are not as they should be: the status says what to do, and the
//! sink goes on once it is done.

use serde_json::{Value, json};

use super::stage::{Stage, run};

/// What the status says of a table that was made like this, and that all is well once the remedy is
/// applied.
fn remedied(database: &'static str, made: &str, said: &str, remedy: &str) {
    let mut stage = Stage::new(database, json!({"create": false}));
    stage.run(POSITIONS);
    stage.run(made);
    stage.enter("hot", "pat@townsend.example", "Townsend", "1");
    let mut task = stage.task();
    let error = run(&stage, &mut task);
    assert!(error.contains(said), "{error}");
    assert!(
        task.status().warnings.iter().any(|warning| warning.contains(said)),
        "{:?}",
        task.status().warnings
    );
    assert_eq!(stage.reasons_of_dead_letters(), Vec::<String>::new(), "it is no fault of the members");
    stage.run(remedy);
    stage.settle(&mut task);
    assert_eq!(stage.members(&["hot"]), stage.expected());
    stage.pass(120_000);
    stage.settle(&mut task);
    let status = task.status();
    assert_eq!((status.error, status.warnings), (None, Vec::new()));
}

/// As `services/sinks/postgres/README.md` has it.
const POSITIONS: &str = "CREATE TABLE millrace_positions (destination text NOT NULL, partition integer NOT NULL, epoch bigint NOT NULL, \
                         position bigint NOT NULL, changed_at timestamptz NOT NULL, PRIMARY KEY (destination, partition))";

#[test]
fn a_table_that_is_missing() {
    let create = r#"CREATE TABLE IF NOT EXISTS "public"."hot" ("id" text, "company" text, "revenue" numeric, "won_at" timestamptz, PRIMARY KEY ("id"))"#;
    let said = format!("there is no table \"public\".\"hot\": `{create}`, or set `create = true`");
    remedied("no_table", "", &said, create);
}

#[test]
fn a_column_that_is_missing() {
    let made = "CREATE TABLE hot (id text PRIMARY KEY, company text, won_at timestamptz)";
    let add = r#"ALTER TABLE "public"."hot" ADD COLUMN IF NOT EXISTS "revenue" numeric"#;
    let said = format!("\"public\".\"hot\" has no column \"revenue\": `{add}`, or set `create = true`");
    remedied("no_column", made, &said, add);
}

#[test]
fn a_column_of_another_type() {
    let made = "CREATE TABLE hot (id text PRIMARY KEY, company text, revenue integer, won_at timestamptz)";
    let alter = r#"ALTER TABLE "public"."hot" ALTER COLUMN "revenue" TYPE numeric"#;
    let said = format!("column \"revenue\" of \"public\".\"hot\" is of the type integer, not numeric: `{alter}`, or set its type in `columns`");
    remedied("other_type", made, &said, alter);
}

#[test]
fn a_table_without_a_key() {
    let made = "CREATE TABLE hot (id text, company text, revenue numeric, won_at timestamptz, UNIQUE (id, company))";
    let add = r#"ALTER TABLE "public"."hot" ADD PRIMARY KEY ("id")"#;
    let said = format!("\"public\".\"hot\" has no key over (\"id\") alone: `{add}`");
    remedied("no_key", made, &said, add);
}

#[test]
fn a_column_of_others_that_demands_a_value() {
    let made = "CREATE TABLE hot (id text PRIMARY KEY, company text, revenue numeric, won_at timestamptz, owner text NOT NULL)";
    let said = "column \"owner\" of \"public\".\"hot\" demands a value: `ALTER TABLE \"public\".\"hot\" ALTER COLUMN \"owner\" SET DEFAULT …`";
    remedied("demanding", made, said, "ALTER TABLE hot ALTER COLUMN owner SET DEFAULT 'nobody'");
}

#[test]
fn a_view_is_no_table() {
    let made = "CREATE VIEW hot AS SELECT 1 AS id";
    let table = "DROP VIEW hot; CREATE TABLE hot (id text PRIMARY KEY, company text, revenue numeric, won_at timestamptz)";
    remedied("view", made, "\"public\".\"hot\" is no table: name another one", table);
}

#[test]
fn positions_that_are_missing() {
    let mut stage = Stage::new("no_positions", json!({"create": false}));
    stage.run("CREATE TABLE hot (id text PRIMARY KEY, company text, revenue numeric, won_at timestamptz)");
    stage.enter("hot", "pat@townsend.example", "Townsend", "1");
    let mut task = stage.task();
    let error = run(&stage, &mut task);
    assert!(error.contains("there is no table \"public\".\"millrace_positions\": `CREATE TABLE"), "{error}");
    stage.run(POSITIONS);
    stage.settle(&mut task);
    assert_eq!(stage.members(&["hot"]), stage.expected());
}

#[test]
fn an_audience_in_trouble_holds_no_other_up() {
    let mut stage = Stage::new("broken", json!({"create": false}));
    stage.run(POSITIONS);
    stage.run("CREATE TABLE hot (id text PRIMARY KEY, company text, revenue numeric, won_at timestamptz)");
    stage.enter("cold", "pat@townsend.example", "Townsend", "1");
    stage.enter("hot", "pat@townsend.example", "Townsend", "1");
    let mut task = stage.task();
    run(&stage, &mut task);
    assert_eq!(stage.members(&["hot"]).len(), 1);
    assert_eq!(task.status().audiences["cold"].pending, 1);
}

#[test]
fn a_table_is_widened_where_that_is_allowed() {
    let mut stage = Stage::new("widened", json!({}));
    stage.run("CREATE TABLE hot (id text PRIMARY KEY)");
    stage.enter("hot", "pat@townsend.example", "Townsend", "1.25");
    stage.settle(&mut stage.task());
    assert_eq!(stage.members(&["hot"]), stage.expected());
}

#[test]
fn a_role_that_may_not_is_named_with_what_it_may_not() {
    let mut stage = Stage::new("role", json!({"user": "weak"}));
    stage.run("CREATE ROLE weak LOGIN");
    stage.enter("hot", "pat@townsend.example", "Townsend", "1");
    let mut task = stage.task();
    let error = run(&stage, &mut task);
    assert!(error.contains("creating it fails with 42501: permission denied for schema public"), "{error}");
    stage.run("GRANT CREATE ON SCHEMA public TO weak");
    stage.settle(&mut task);
    assert_eq!(stage.members(&["hot"]), stage.expected());
}

#[test]
fn a_server_that_is_not_there_or_knows_no_such_database() {
    let cases: [(Value, &str); 2] = [
        (json!({"port": 1}), "error connecting to server"),
        (json!({"database": "nowhere"}), "3D000: database \"nowhere\" does not exist"),
    ];
    for (number, (settings, said)) in cases.into_iter().enumerate() {
        let mut stage = Stage::new(["not_there", "no_database"][number], settings);
        stage.enter("hot", "pat@townsend.example", "Townsend", "1");
        let mut task = stage.task();
        let error = run(&stage, &mut task);
        assert!(error.contains(said), "{error}");
        assert_eq!(stage.reasons_of_dead_letters(), Vec::<String>::new());
    }
}

#[test]
fn a_trigger_that_raises_refuses_its_row() {
    let mut stage = Stage::new("trigger", json!({}));
    stage.run(
        "CREATE TABLE hot (id text PRIMARY KEY, company text, revenue numeric, won_at timestamptz);
         CREATE FUNCTION bar() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF NEW.company = 'Barred' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$;
         CREATE TRIGGER bar BEFORE INSERT OR UPDATE ON hot FOR EACH ROW EXECUTE FUNCTION bar()",
    );
    for number in 0..20 {
        stage.enter("hot", &format!("p{number}@x.com"), if number == 7 { "Barred" } else { "Townsend" }, "1");
    }
    let mut task = stage.task();
    stage.settle(&mut task);
    assert_eq!(stage.reasons_of_dead_letters(), ["P0001: not this one"]);
    assert_eq!(stage.members(&["hot"]).len(), 19);
}
