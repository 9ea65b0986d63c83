//! `demo`: the Bodea story on this machine, one fact at a time, and after each who is in the
//! audience and why.
//!
//! The real engine on the real embedded log, in a folder that is deleted when the command ends;
//! only the clock is the story's own, so that a month can pass. The story begins 33 days ago and
//! ends today, so that `--serve` continues under the machine's clock.

mod stage;
mod story;

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::bail;
use millrace_config::Config;
use millrace_model::{DAY_MS, Timestamp};
use millrace_runtime::clock::{Clock, SystemClock};
use millrace_segment::Explanation;

use self::stage::Stage;
use self::story::{Act, PEOPLE, SEGMENT, Scene};
use crate::cli::DemoOptions;
use crate::ports::Ports;
use crate::settings::Settings;
use crate::shown::{self, say};

/// How long ago the story begins: a visit of its first day is more than a month old today, whatever
/// the month.
const BEGINS_DAYS_AGO: i64 = 33;

pub fn run(settings: &Settings, options: &DemoOptions) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut config = millrace_config::parse(None, std::iter::empty())?;
    config.http = settings.config.http.clone();
    config.tokens = settings.config.tokens.clone();
    // A port in use is reported before the story, not after it.
    let ports = options.serve.then(|| Ports::take(&config)).transpose()?;
    let today = SystemClock.now();
    let begins = Timestamp(today.0 - BEGINS_DAYS_AGO * DAY_MS);
    let mut stage = Stage::open(&config, begins)?;

    say(story::OPENING)?;
    say(&story::clock(begins, today))?;
    stage.define(SEGMENT, story::DEFINITION)?;
    let steps = story::steps(begins, today);
    let mut right = 0;
    for (number, step) in (1..).zip(&steps) {
        right += usize::from(play(&mut stage, number, step)?);
    }
    say(&format!(
        "{right} of {} facts led where they should, in {:.1} s.\n",
        steps.len(),
        begun.elapsed().as_secs_f64()
    ))?;
    if right < steps.len() {
        bail!("the story did not end as it should");
    }
    match ports {
        Some(ports) => serve(stage, &config, ports),
        None => farewell(&config),
    }
}

/// Plays one step and shows its outcome; returns whether it is the expected one.
fn play(stage: &mut Stage, number: usize, step: &Scene) -> anyhow::Result<bool> {
    let (Act::Facts { at, .. } | Act::Silence { until: at }) = &step.act;
    say(&format!("{number}  {}   (it is {})", step.title, story::shown_instant(*at)))?;
    for line in step.meaning.lines() {
        say(&format!("   {line}"))?;
    }
    let begun = Instant::now();
    match &step.act {
        Act::Facts { at, records } => {
            stage.pass_until(*at)?;
            stage.append(records.clone())?;
        }
        Act::Silence { until } => stage.pass_until(*until)?,
    }
    let taken = begun.elapsed();
    let mut text = String::new();
    for change in stage.changes()? {
        let _ = writeln!(text, "   {}", shown_change(&change));
    }
    let members = stage.members(SEGMENT)?;
    let names: Vec<&str> = PEOPLE
        .iter()
        .filter(|person| members.contains(&person.canonical.to_owned()))
        .map(|person| person.name)
        .collect();
    let audience = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
    let _ = writeln!(text, "   audience: {audience}{}", shown_time(taken));
    for person in &PEOPLE {
        if let Some(explanation) = stage.explain(person.canonical, SEGMENT)? {
            let _ = writeln!(text, "     {}  {}", person.name, shown_reasons(&explanation));
        }
    }
    let right = names == step.expected;
    if !right {
        let expected = if step.expected.is_empty() {
            "nobody".to_owned()
        } else {
            step.expected.join(", ")
        };
        let _ = writeln!(text, "   WRONG: expected {expected}");
    }
    say(&text)?;
    Ok(right)
}

/// One membership record, as on the topic.
fn shown_change(change: &serde_json::Value) -> String {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let id = text(&change["subjectId"]);
    let name = PEOPLE.iter().find(|person| person.canonical == id).map_or(id.as_str(), |person| person.name);
    let sign = if change["status"] == "realized" { "+" } else { "-" };
    let cause = match change["cause"]["kind"].as_str() {
        Some("timer") => "time alone".to_owned(),
        Some("link") => format!("the link {}", text(&change["cause"]["key"])),
        Some("merge") => "records that proved to be one".to_owned(),
        _ => match change["cause"]["eventId"].as_str() {
            Some(event) => format!("the event {event}"),
            None => format!("the record {}", text(&change["cause"]["key"])),
        },
    };
    format!("{sign} {name} {}, because of {cause}", text(&change["status"]))
}

fn shown_time(taken: Duration) -> String {
    format!("   ({:.1} ms)", taken.as_secs_f64() * 1_000.0)
}

/// The rule's two conditions with their values, the total of the first, and when time alone would
/// change them.
fn shown_reasons(explanation: &Explanation) -> String {
    let shown = story::CONDITIONS.iter().zip(&explanation.of).map(|(words, condition)| {
        let mark = match condition.value {
            Some(true) => "yes",
            Some(false) => "no ",
            None => "?  ",
        };
        let until = match (condition.value, condition.valid_until) {
            (Some(true), until) if until != Timestamp::MAX => format!(" (until {})", &until.to_string()[..10]),
            _ => String::new(),
        };
        let sum = condition
            .compared
            .as_ref()
            .map(|sides| format!(" ({})", shown::plain(&sides.left.to_json())))
            .unwrap_or_default();
        format!("{words}: {}{sum}{until}", if sum.is_empty() { mark } else { mark.trim_end() })
    });
    shown.collect::<Vec<_>>().join("   ")
}

fn serve(stage: Stage, config: &Config, ports: Ports) -> anyhow::Result<()> {
    let instance = stage.into_instance(config)?.with_sources(config)?;
    say(&story::looking_around(config.http.api_address))?;
    instance.serve(ports)
}

fn farewell(config: &Config) -> anyhow::Result<()> {
    say(&story::where_next(config.http.api_address))
}
