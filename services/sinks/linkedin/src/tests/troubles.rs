//! Limits, tokens, versions, and segments that end.

use millrace_connect::sink::SinkTask;
use millrace_model::DAY_MS;
use millrace_simulators::linkedin::{Limits, Settings};
use millrace_test_sinks::email;
use serde_json::json;

use super::stage::Stage;

/// Steps for this long; what happens meanwhile is seen in the status.
fn run(stage: &Stage, task: &mut SinkTask, ms: i64) {
    const PIECE: i64 = 1_000;
    for _ in 0..ms / PIECE {
        task.step().map_err(|(_, error)| error).expect("no failure");
        stage.pass(PIECE);
    }
}

fn error(task: &mut SinkTask) -> String {
    task.status().error.unwrap_or_default()
}

#[test]
fn a_minutes_calls_that_are_spent_are_waited_for() {
    for retry_after in [false, true] {
        let account = Settings {
            retry_after,
            ..Settings::default()
        };
        let mut stage = Stage::with(1, "email", json!({"records_per_call": 10}), account);
        stage.linkedin.set_limits(Limits {
            minute_calls: 3,
            ..Limits::default()
        });
        for number in 0..100 {
            stage.desire("hot", &email(number), true);
        }
        let mut task = stage.task();
        run(&stage, &mut task, 30_000);
        assert!(error(&mut task).contains("429"), "{}", error(&mut task));
        stage.settle(&mut task);
        assert_eq!(stage.members(), stage.expected());
        let refused = stage.linkedin.history().iter().filter(|request| request.status == 429).count();
        // Ten calls at three a minute; without a named wait one refusal a minute, with one of 17 s
        // at most four.
        assert!(refused <= if retry_after { 16 } else { 5 }, "{refused}");
        assert_eq!(task.status().quota_left, None, "the day is not spent");
    }
}

#[test]
fn a_days_calls_that_are_spent_are_waited_for_until_midnight() {
    let mut stage = Stage::new(2, json!({"records_per_call": 10}));
    stage.linkedin.set_limits(Limits {
        day_calls: 6,
        ..Limits::default()
    });
    for number in 0..100 {
        stage.desire("hot", &email(number), true);
    }
    let mut task = stage.task();
    run(&stage, &mut task, 900_000);
    assert_eq!(task.status().quota_left, Some(0));
    let spent = stage.calls().len();
    run(&stage, &mut task, 3_600_000);
    assert!(error(&mut task).contains("more at 2099-09-02T00:00:00.000Z"), "{}", error(&mut task));
    assert_eq!(stage.calls().len(), spent, "no call before midnight");
    for _ in 0..4 {
        stage.pass(DAY_MS);
        stage.settle(&mut task);
    }
    assert_eq!(stage.members(), stage.expected());
}

#[test]
fn a_full_account_is_no_limit_of_calls() {
    let mut stage = Stage::new(3, json!({}));
    stage.linkedin.set_limits(Limits {
        segments: 0,
        ..Limits::default()
    });
    stage.desire("hot", &email(1), true);
    let mut task = stage.task();
    run(&stage, &mut task, 10_000);
    assert!(error(&mut task).contains("delete segments that are not used"), "{}", error(&mut task));
    assert_eq!(task.status().quota_left, None);
    stage.linkedin.set_limits(Limits::default());
    stage.settle(&mut task);
    assert_eq!(stage.members(), stage.expected());
}

#[test]
fn an_access_token_is_renewed_and_a_lost_consent_is_named() {
    let mut stage = Stage::new(4, json!({}));
    stage.desire("hot", &email(1), true);
    let mut task = stage.task();
    stage.settle(&mut task);
    stage.linkedin.end_tokens();
    stage.desire("hot", &email(2), true);
    stage.settle(&mut task);
    assert_eq!(stage.members(), stage.expected());
    assert_eq!(stage.linkedin.granted(), 2);
    stage.linkedin.withdraw();
    stage.desire("hot", &email(3), true);
    run(&stage, &mut task, 10_000);
    assert!(error(&mut task).contains("invalid_grant"), "{}", error(&mut task));
    assert!(error(&mut task).contains("a member must consent again"), "{}", error(&mut task));
    // A new consent.
    stage.settings["refresh_token"] = json!(stage.linkedin.consent().1);
    drop(task);
    stage.settle(&mut stage.task());
    assert_eq!(stage.members(), stage.expected());
}

#[test]
fn what_ends_is_warned_of_ahead() {
    let mut stage = Stage::new(5, json!({}));
    stage.desire("hot", &email(1), true);
    let mut task = stage.task();
    stage.settle(&mut task);
    assert_eq!(task.status().warnings, Vec::<String>::new());
    stage.pass(290 * DAY_MS);
    let warnings = task.status().warnings;
    assert_eq!(warnings, ["LinkedIn ends version 209908 about 2100-08-15: set a newer `version`"]);
    stage.pass(62 * DAY_MS);
    let warnings = task.status().warnings;
    assert!(warnings.iter().any(|warning| warning.contains("consent ends on 2100-08-31")), "{warnings:?}");

    // Without a refresh token, of the access token.
    let mut stage = Stage::new(6, json!({}));
    let settings = stage.settings.as_object_mut().expect("settings");
    settings.remove("refresh_token");
    settings.insert("access_token".to_owned(), json!(stage.linkedin.consent().0));
    stage.desire("hot", &email(1), true);
    let mut task = stage.task();
    stage.settle(&mut task);
    assert_eq!(stage.members(), stage.expected());
    stage.pass(50 * DAY_MS);
    let warnings = task.status().warnings;
    assert_eq!(
        warnings,
        ["the access token ends on 2099-10-31: a member must consent again for a new `access_token`"]
    );
    stage.pass(11 * DAY_MS);
    stage.desire("hot", &email(2), true);
    run(&stage, &mut task, 10_000);
    assert!(error(&mut task).contains("a member must consent again"), "{}", error(&mut task));
}

#[test]
fn a_version_that_ended_stops_the_sink_and_is_named() {
    let mut stage = Stage::new(7, json!({}));
    stage.linkedin.with(|world| world.settings.versions = ["209909".to_owned()].into());
    stage.desire("hot", &email(1), true);
    let mut task = stage.task();
    run(&stage, &mut task, 3_600_000);
    assert!(error(&mut task).contains("426 NONEXISTENT_VERSION"), "{}", error(&mut task));
    assert_eq!(task.status().warnings, ["LinkedIn has ended version 209908: set a newer `version`"]);
    assert!(stage.calls().len() < 20, "it rests between its calls: {}", stage.calls().len());
    assert_eq!(stage.reasons_of_dead_letters().len(), 0);
    stage.settings["version"] = json!("209909");
    drop(task);
    stage.settle(&mut stage.task());
    assert_eq!(stage.members(), stage.expected());
}

#[test]
fn a_role_that_is_missing_is_named() {
    let account = Settings {
        may_write: false,
        ..Settings::default()
    };
    let mut stage = Stage::with(8, "email", json!({}), account);
    stage.desire("hot", &email(1), true);
    let mut task = stage.task();
    run(&stage, &mut task, 10_000);
    assert!(error(&mut task).contains("403 ACCESS_DENIED"), "{}", error(&mut task));
    stage.linkedin.with(|world| world.settings.may_write = true);
    stage.settle(&mut task);
    assert_eq!(stage.members(), stage.expected());
}

#[test]
fn the_floor_is_shown() {
    let mut stage = Stage::new(9, json!({}));
    for number in 0..400 {
        stage.desire("hot", &email(number), true);
    }
    let mut task = stage.task();
    stage.settle(&mut task);
    stage.pass(3 * DAY_MS);
    stage.settle(&mut task);
    let remark = task.status().audiences["hot"].remark.clone().expect("shown");
    assert!(remark.contains("READY") && remark.contains("of 400 submitted, size 0"), "{remark}");
    assert!(remark.contains("from 300 matched members on"), "{remark}");
    for number in 400..700 {
        stage.desire("hot", &email(number), true);
    }
    stage.settle(&mut task);
    stage.pass(3_600_000);
    stage.settle(&mut task);
    let remark = task.status().audiences["hot"].remark.clone().expect("shown");
    assert!(!remark.contains("from 300"), "{remark}");
}

#[test]
fn a_segment_that_is_gone_is_made_anew_and_filled() {
    for (restarted, changed) in [(false, false), (true, false), (false, true)] {
        let mut stage = Stage::new(10, json!({}));
        for number in 0..50 {
            stage.desire("hot", &email(number), true);
            stage.desire("warm", &email(number), number % 2 == 0);
        }
        let mut task = stage.task();
        stage.settle(&mut task);
        stage
            .linkedin
            .with(|world| world.segments.retain(|_, segment| segment.source_segment_id == "warm"));
        if restarted {
            drop(task);
            task = stage.task();
        }
        if changed {
            stage.desire("hot", &email(50), true);
            stage.pass(120_000);
        } else {
            // Nothing changes; the hourly look finds out.
            stage.pass(3_600_000);
        }
        stage.settle(&mut task);
        assert_eq!(stage.members(), stage.expected(), "restarted {restarted}");
        let status = task.status();
        assert_eq!(
            (status.delivered, status.pending),
            (75 + u64::from(changed), 0),
            "restarted {restarted}, changed {changed}"
        );
    }
}

#[test]
fn a_segment_that_expired_is_made_anew_and_filled() {
    let mut stage = Stage::new(11, json!({}));
    for number in 0..50 {
        stage.desire("hot", &email(number), true);
    }
    let mut task = stage.task();
    stage.settle(&mut task);
    // The process was away for half a year.
    drop(task);
    stage.pass(180 * DAY_MS);
    let mut task = stage.task();
    stage.settle(&mut task);
    assert_eq!(stage.members(), stage.expected());
    assert_eq!(stage.linkedin.with(|world| world.segments.len()), 2);
}

#[test]
fn a_quiet_segment_is_kept_alive() {
    let mut stage = Stage::new(12, json!({}));
    for number in 0..50 {
        stage.desire("hot", &email(number), true);
    }
    let mut task = stage.task();
    stage.settle(&mut task);
    let writes = |stage: &Stage| {
        stage
            .linkedin
            .history()
            .iter()
            .map(|request| request.elements)
            .filter(|count| *count > 0)
            .collect::<Vec<_>>()
    };
    assert_eq!(writes(&stage), [50]);
    for _ in 0..52 {
        stage.pass(DAY_MS);
        stage.settle(&mut task);
    }
    let status = |stage: &Stage| {
        stage.linkedin.with(|world| {
            world
                .segments
                .values()
                .map(|segment| segment.status(&world.settings, world.now))
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(status(&stage), ["READY"]);
    assert_eq!(writes(&stage), [50, 1, 1]);
    assert_eq!(stage.members(), stage.expected());
}
