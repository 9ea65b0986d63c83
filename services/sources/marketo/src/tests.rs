//! The connector against the simulator: the topics equal the instance's contents, whatever happens
//! in between.

mod kills;
mod stage;

use millrace_simulators::marketo::{Faults, Limits, Settings};
use millrace_test_seeds::seeds;
use serde_json::json;

use self::stage::Stage;
use crate::mapping::{ActivityTypes, Mappings};

#[test]
fn built_in_rules_hold() {
    let reads = Mappings::built_in().reads().expect("no rule takes all fields");
    assert!(reads.contains("email") && reads.contains("contactCompany"), "{reads:?}");
    assert!(ActivityTypes::default().groups().iter().all(|group| group.len() <= 10));
}

#[test]
fn a_configuration_says_all_that_is_wrong() {
    let raw = json!({
        "munchkin": "nonsense", "client_id": "a", "client_secret": "b", "url": "ftp://x", "interval_seconds": -1.0,
        "mapping": {"person": {"x": 5}, "deal": {}}, "activities": {"one": "x"},
    });
    let raw = serde_json::from_value(raw).expect("of this form");
    let error = crate::Config::new(raw).expect_err("wrong");
    let expected = [
        "munchkin: `NONSENSE` is not of the form AAA-BBB-CCC",
        "url: `ftp://x` is no address that begins with http:// or https://",
        "interval_seconds: `-1` is no time in seconds",
        "mapping.deal: rules exist for `person` and `account`",
        "mapping.person: mapping of `x`: expected the name of a field or an expression such as `{ constant: 5 }`",
        "activities: `one` is no id of an activity type",
    ];
    assert_eq!(error.0, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_load_and_then_changes() {
    let stage = Stage::new(1, Settings::default()).await;
    stage.fill(40);
    let run = stage.start();
    run.settled().await;
    stage.check();
    stage.change(2, 60);
    run.settled().await;
    stage.check();
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visit_is_an_event_with_its_whole_address() {
    let stage = Stage::new(3, Settings::default()).await;
    let guid = stage.marketo.with(|world| {
        let lead = world.create_lead(json!({"email": "p2@townsend.example", "firstName": "Jane\nDoe", "leadScore": 75, "unsubscribed": true}));
        let now = world.now;
        world.visit(lead, "www.bodea.example/products/new", "utm=x", now)
    });
    let run = stage.start();
    run.settled().await;
    let visit = &stage.held("activity")[&format!("{guid}@111-AAA-222")];
    let page = &visit["web"]["webPageDetails"];
    assert_eq!(page["URL"], "https://www.bodea.example/products/new?utm=x");
    assert_eq!(page["name"], "www.bodea.example/products/new");
    assert_eq!(visit["eventType"], "web.webpagedetails.pageViews");
    let person = &stage.held("person")["1@111-AAA-222.Marketo"];
    assert_eq!(person["person"]["name"]["firstName"], "Jane\nDoe");
    assert_eq!(person["b2b"]["personScore"], 75);
    assert_eq!(person["consents"]["marketing"]["email"]["val"], "n");
    assert!(
        person["extendedWorkDetails"].get("jobTitle").is_none(),
        "`null` of an extract is absent: {person}"
    );
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn misbehaviour_changes_nothing() {
    for seed in seeds!(10..14) {
        let settings = Settings {
            paging_token_ms: if seed % 2 == 0 { 400 } else { 0 },
            merge_deletes_losers: seed % 2 == 0,
            contact_company: seed % 3 != 0,
            ..Settings::default()
        };
        let stage = Stage::new(seed, settings).await;
        stage.marketo.set_faults(Faults {
            transient: 40,
            bad_gateway: 20,
            dropped: 20,
            token_ends: 40,
            slow: 30,
            slow_ms: 20,
            empty_page: 200,
            repeated: 100,
            shuffled: 100,
            paging_lost: 20,
        });
        stage.fill(40);
        let run = stage.start();
        for step in 0..4 {
            stage.change(seed * 100 + step, 25);
            run.settled().await;
        }
        stage.marketo.set_faults(Faults::default());
        run.settled().await;
        stage.check();
        run.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spent_calls_wait_for_midnight() {
    let stage = Stage::new(20, Settings::default()).await;
    stage.marketo.set_limits(Limits {
        day_calls: 10,
        ..Stage::LIMITS
    });
    stage.fill(5);
    let run = stage.start();
    let reason = run.not_ready().await;
    assert!(reason.contains("the day's calls are spent; more at"), "{reason}");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_are_said_and_mended() {
    let stage = Stage::new(21, Settings::default()).await;
    stage.fill(3);
    stage.marketo.with(|world| world.settings.client_secret = "another".to_owned());
    let run = stage.start();
    let reason = run.not_ready().await;
    assert!(reason.contains("refuses the credentials with 401"), "{reason}");
    assert!(!reason.contains("secret="), "{reason}");
    stage.marketo.with(|world| world.settings.client_secret = "secret".to_owned());
    run.settled().await;
    stage.check();
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_instance_takes_over_and_the_first_ends() {
    let stage = Stage::new(22, Settings::default()).await;
    stage.fill(20);
    let first = stage.start();
    first.settled().await;
    let second = stage.start();
    second.settled().await;
    stage.change(23, 20);
    second.settled().await;
    first.released().await;
    stage.check();
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_cannot_be_mapped_are_dead_letters() {
    let stage = Stage::new(24, Settings::default()).await;
    stage.marketo.with(|world| {
        world.create_lead(json!({"email": "a@x.example", "leadScore": "many"}));
        world.create_lead(json!({"email": "b@x.example", "leadScore": 5}));
    });
    let run = stage.start();
    run.settled().await;
    assert_eq!(stage.held("person").keys().collect::<Vec<_>>(), ["2@111-AAA-222.Marketo"]);
    let letters = stage.dead_letters();
    assert!(
        letters[0].contains("record 1: `leadScore` for `b2b.personScore`: `many` is no number"),
        "{letters:?}"
    );
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_shows_both_sides_and_writes_nothing() {
    let stage = Stage::new(25, Settings::default()).await;
    stage.fill(3);
    let samples = stage.preview().await;
    assert!(samples.iter().any(|sample| sample.topic == "person"), "{samples:?}");
    assert!(samples.iter().any(|sample| sample.topic == "activity"), "{samples:?}");
    assert!(stage.held("person").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_stops_reading_and_its_end_goes_on() {
    let stage = Stage::new(26, Settings::default()).await;
    stage.fill(3);
    let run = stage.start();
    run.settled().await;
    run.pause(true);
    run.paused().await;
    let before: u64 = stage.marketo.calls().values().sum();
    stage.change(27, 10);
    // A source that went on would call now.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(stage.marketo.calls().values().sum::<u64>(), before);
    run.pause(false);
    run.settled().await;
    stage.check();
    run.stop().await;
}
