//! The connector against the simulator: the topics equal the org's contents, whatever happens in
//! between.

mod bodea;
mod changes;
mod held;
mod kills;
mod mapped;
mod stage;

use std::time::Duration;

use millrace_simulators::salesforce::{Faults, Limits, PRIVATE_KEY, Settings};
use millrace_test_seeds::seeds;
use serde_json::{Value, json};

use self::stage::Stage;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn a_configuration_says_all_that_is_wrong() {
    let raw = json!({
        "url": "ftp://x", "client_id": "a", "user": "u", "version": "new", "interval_seconds": -1.0, "overlap_seconds": 1, "objects": ["Contact", "Case"],
        "mapping": {"Contact": {"x": 5}, "deal": {}}, "custom_fields": {"Account": "some"},
    });
    let raw = serde_json::from_value(raw).expect("of this form");
    let error = crate::Config::new(raw).expect_err("wrong");
    let known = "known are Account, Contact, Lead, AccountContactRelation, Opportunity, OpportunityContactRole, Campaign, CampaignMember";
    let expected = [
        "url: `ftp://x` is no address that begins with http:// or https://".to_owned(),
        "client_secret: give either `client_secret`, or `user` and `private_key`".to_owned(),
        "version: `new` is no version of the API such as `60.0`".to_owned(),
        "interval_seconds: `-1` is no time in seconds".to_owned(),
        "overlap_seconds: at least 2, because Salesforce counts whole seconds".to_owned(),
        format!("objects: `Case` is no object that this source reads; {known}"),
        "mapping.Contact: mapping of `x`: expected the name of a field or an expression such as `{ constant: 5 }`".to_owned(),
        format!("mapping.deal: `deal` is no object that this source reads; {known}"),
        "custom_fields.Account: `fields` is a list of names or `*`".to_owned(),
    ];
    assert_eq!(error.0, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_load_and_then_changes() {
    for relations in [true, false] {
        let settings = Settings {
            relations,
            page_rows: 5,
            ..Settings::default()
        };
        let stage = Stage::new(1, settings).await;
        stage.fill(12);
        let run = stage.start();
        run.settled().await;
        stage.check();
        stage.change(2, 60);
        run.settled().await;
        stage.check();
        assert!(stage.dead_letters().is_empty(), "{:?}", stage.dead_letters());
        run.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn misbehaviour_changes_nothing() {
    for seed in seeds!(10..14) {
        let settings = Settings {
            page_rows: 4,
            job_ms: 20,
            ..Settings::default()
        };
        let stage = Stage::new(seed, settings).await;
        stage.org.set_faults(Faults {
            unavailable: 30,
            unknown: 30,
            dropped: 30,
            session_ends: 30,
            concurrent: 20,
            slow: 20,
            slow_ms: 20,
            short_page: 200,
            locator_lost: 100,
            query_timeout: 20,
            job_fails: 100,
            results_gone: 20,
        });
        stage.fill(12);
        let run = stage.start();
        for step in 0..4 {
            stage.change(seed * 100 + step, 25);
            run.settled().await;
        }
        stage.org.set_faults(Faults::default());
        run.settled().await;
        stage.check();
        run.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_round_shows_again_is_appended_once() {
    let stage = Stage::new(15, Settings::default()).await;
    stage.fill(5);
    let run = stage.start();
    run.settled().await;
    run.settled().await;
    let before = run.view().records;
    run.settled().await;
    run.settled().await;
    assert_eq!(run.view().records, before);
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_with_a_certificate_signs_for_its_user() {
    let own = json!({"client_secret": null, "user": "millrace@bodea.example", "private_key": PRIVATE_KEY});
    let stage = Stage::with(16, Settings::default(), own).await;
    stage.fill(3);
    let run = stage.start();
    run.settled().await;
    stage.check();
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_are_said_and_mended() {
    let stage = Stage::new(21, Settings::default()).await;
    stage.fill(3);
    let run = stage.start();
    run.settled().await;
    stage.org.with(|world| world.settings.client_secret = "another".to_owned());
    stage.org.revoke_sessions();
    let reason = run.not_ready().await;
    assert!(
        reason.contains("Salesforce refuses the credentials with invalid_client: invalid client credentials"),
        "{reason}"
    );
    stage.org.with(|world| world.settings.client_secret = "secret".to_owned());
    run.settled().await;
    stage.check();
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spent_calls_are_said_and_others_left_theirs() {
    let stage = Stage::with(20, Settings::default(), json!({"reserve_calls": null})).await;
    // Half of what the org allows is for others.
    stage.org.set_limits(Limits {
        day_calls: 40,
        ..Limits::default()
    });
    stage.fill(5);
    let run = stage.start();
    let reason = run.not_ready().await;
    assert!(reason.contains("the day's calls are spent; more at"), "{reason}");
    assert!((1..=21).contains(&stage.org.calls().values().sum::<u64>()), "{:?}", stage.org.calls());
    run.stop().await;

    let stage = Stage::with(20, Settings::default(), json!({"day_calls": 1_000})).await;
    stage.org.set_limits(Limits {
        day_calls: 5,
        ..Limits::default()
    });
    let run = stage.start();
    let reason = run.not_ready().await;
    assert!(reason.contains("REQUEST_LIMIT_EXCEEDED: TotalRequests Limit exceeded."), "{reason}");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_instance_takes_over_and_the_first_ends() {
    let stage = Stage::new(22, Settings::default()).await;
    stage.fill(8);
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
async fn a_source_never_goes_on_with_a_different_org() {
    let stage = Stage::new(24, Settings::default()).await;
    stage.fill(3);
    let run = stage.start();
    run.settled().await;
    run.stop().await;
    stage.org.with(|world| world.settings.org = "00D5g000009QqQqEAK".to_owned());
    let run = stage.start();
    let reason = run.not_ready().await;
    assert!(
        reason.contains("this source has read org 00D5g000004XyZaEAK, and the address is now org 00D5g000009QqQqEAK"),
        "{reason}"
    );
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_cannot_be_mapped_are_dead_letters() {
    let own = json!({"mapping": {"Contact": {"b2b.personScore": {"of": "Title", "number": {}}}}});
    let stage = Stage::with(25, Settings::default(), own).await;
    let (bad, good) = stage.org.with(|world| {
        let bad = world.create("Contact", json!({"LastName": "A", "Title": "Chief"}));
        (bad, world.create("Contact", json!({"LastName": "B", "Title": "5"})))
    });
    let run = stage.start();
    run.settled().await;
    assert_eq!(
        stage.held("person").into_keys().collect::<Vec<_>>(),
        [format!("{good}@00D5g000004XyZaEAK.Salesforce")]
    );
    let letters = stage.dead_letters();
    assert!(
        letters[0].contains(&format!("record {bad}: `Title` for `b2b.personScore`: `Chief` is no number")),
        "{letters:?}"
    );
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_and_removed_fields_are_noticed() {
    let stage = Stage::with(26, Settings::default(), json!({"custom_fields": {"Contact": "*"}})).await;
    let contact = stage
        .org
        .with(|world| world.create("Contact", json!({"LastName": "A", "Region__c": "EMEA", "Score__c": 5})));
    let run = stage.start();
    run.settled().await;
    let extra = |stage: &Stage| stage.held("person")[&format!("{contact}@00D5g000004XyZaEAK.Salesforce")]["extra"].clone();
    assert_eq!(extra(&stage), json!({"Region__c": ["EMEA"], "Score__c": 5}));
    stage.org.with(|world| {
        world.remove_field("Contact", "Score__c");
        world.add_field("Contact", "Tier__c", "picklist");
        let row = world.objects.get_mut("Contact").and_then(|kind| kind.rows.get_mut(&contact));
        row.expect("the contact").insert("Tier__c".to_owned(), Value::Null);
        world.update("Contact", &contact, json!({"Tier__c": "Gold"}));
    });
    run.settled().await;
    assert_eq!(extra(&stage), json!({"Region__c": ["EMEA"], "Tier__c": "Gold"}));
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn purged_deletions_come_by_the_log() {
    let stage = Stage::new(27, Settings::default()).await;
    stage.fill(4);
    let run = stage.start();
    run.settled().await;
    run.pause(true);
    run.paused().await;
    let gone = stage.org.with(|world| {
        let gone = world.ids("Opportunity")[0].clone();
        world.delete("Opportunity", &gone);
        world.purge("Opportunity");
        world.purge("OpportunityContactRole");
        gone
    });
    stage.org.advance(3_700 * SECOND);
    run.pause(false);
    run.settled().await;
    assert!(!stage.held("opportunity").contains_key(&format!("{gone}@00D5g000004XyZaEAK.Salesforce")));
    stage.check();
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_that_are_gone_are_made_again() {
    let stage = Stage::new(28, Settings::default()).await;
    stage.fill(30);
    let run = stage.start();
    // Somewhere in the first load.
    while run.view().records == 0 {
        tokio::task::yield_now().await;
    }
    run.pause(true);
    run.paused().await;
    stage.org.advance(8 * DAY);
    run.pause(false);
    run.settled().await;
    stage.check();
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relations_of_its_own_replace_derived_ones() {
    let settings = Settings {
        relations: false,
        ..Settings::default()
    };
    let stage = Stage::new(29, settings).await;
    stage.fill(6);
    let run = stage.start();
    run.settled().await;
    stage.check();
    run.stop().await;
    stage.org.with(|world| {
        world.allow_relations();
        assert_eq!(world.ids("AccountContactRelation").len(), 4);
    });
    let run = stage.start();
    run.settled().await;
    stage.check();
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_shows_both_sides_and_writes_nothing() {
    let stage = Stage::new(30, Settings::default()).await;
    stage.fill(3);
    let samples = stage.preview().await;
    for kind in [
        "person",
        "account",
        "opportunity",
        "opportunity-person",
        "account-person",
        "campaign",
        "campaign-member",
    ] {
        assert!(
            samples.iter().any(|sample| sample.topic == kind && sample.mapped.is_ok()),
            "{kind}: {samples:?}"
        );
    }
    assert!(stage.held("person").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_stops_reading_and_its_end_goes_on() {
    let stage = Stage::new(31, Settings::default()).await;
    stage.fill(3);
    let run = stage.start();
    run.settled().await;
    run.pause(true);
    run.paused().await;
    let before: u64 = stage.org.calls().values().sum();
    stage.change(32, 10);
    // A source that went on would call now.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(stage.org.calls().values().sum::<u64>(), before);
    run.pause(false);
    run.settled().await;
    stage.check();
    run.stop().await;
}
