//! Answers on standard output: plain text for people, JSON for programs.

use std::fmt::Write;

use anyhow::Context;
use millrace_api::dto::{
    AccountView, ConditionView, DeadLetterView, EvidenceView, ExplainView, FoundView, MemberView, MembershipView, PersonView, PreviewView, ProvenanceView,
    ReferenceView, SampleView, SegmentView, SetAsideView, VersionView,
};
use serde::Serialize;
use serde_json::Value;

use crate::cli::Output;

/// Prints an answer in the requested form.
pub fn show<T: Serialize + ?Sized>(output: Output, answer: &T, text: impl Fn(&T) -> String) -> anyhow::Result<()> {
    let shown = match output {
        Output::Json => serde_json::to_string_pretty(answer).context("cannot write the answer as JSON")? + "\n",
        Output::Text => text(answer),
    };
    match print(&shown) {
        // The exit status still shows what the command did.
        Err(error) if error.is::<Unheard>() => Ok(()),
        other => other,
    }
}

/// `millrace … | head`: the reader has read enough. The command may end, and nothing is wrong.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the answer any more")]
pub struct Unheard;

/// Prints a line or a paragraph of something longer.
///
/// # Errors
/// `Unheard`, to pass on: then nothing is left to do.
pub fn say(text: &str) -> anyhow::Result<()> {
    print(&format!("{text}\n"))
}

/// Says something beside the answer, on standard error. Where nobody reads that, nothing is lost and
/// the command goes on.
pub fn note(text: &str) {
    use std::io::Write;
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Unheard.into()),
        other => other.context("cannot write the answer"),
    }
}

pub fn person(view: &PersonView) -> String {
    let mut out = format!("{}\n", view.id);
    if let Some(into) = &view.merged_into {
        let _ = writeln!(out, "  absorbed by {into}");
    }
    let identities: Vec<String> = view
        .identities
        .iter()
        .map(|identity| format!("{}:{}", identity.namespace, identity.id))
        .collect();
    section(&mut out, "identities", &identities);
    section(&mut out, "set aside", &view.set_aside.iter().map(set_aside).collect::<Vec<_>>());
    attributes(&mut out, &view.attributes, &view.provenance);
    let computed = view.computed.iter().map(|(name, value)| format!("{name}: {value}"));
    section(&mut out, "computed", &computed.collect::<Vec<_>>());
    section(&mut out, "accounts", &view.accounts.iter().map(reference).collect::<Vec<_>>());
    let relations = view.relations.iter().map(|row| {
        format!(
            "{} {} → {}",
            row.relation,
            row.key,
            row.target.as_ref().map_or("nothing that exists".to_owned(), reference)
        )
    });
    section(&mut out, "relations", &relations.collect::<Vec<_>>());
    section(&mut out, "segments", &view.segments.iter().map(membership).collect::<Vec<_>>());
    let _ = writeln!(out, "events kept: {}", view.events);
    out
}

pub fn account(view: &AccountView) -> String {
    let mut out = format!("{}\n", view.id);
    let identities: Vec<String> = view
        .identities
        .iter()
        .map(|identity| format!("{}:{}", identity.namespace, identity.id))
        .collect();
    section(&mut out, "identities", &identities);
    section(&mut out, "set aside", &view.set_aside.iter().map(set_aside).collect::<Vec<_>>());
    attributes(&mut out, &view.attributes, &view.provenance);
    let computed = view.computed.iter().map(|(name, value)| format!("{name}: {value}"));
    section(&mut out, "computed", &computed.collect::<Vec<_>>());
    section(&mut out, "parent", &view.parent.iter().map(reference).collect::<Vec<_>>());
    section(&mut out, "related", &view.related.iter().map(reference).collect::<Vec<_>>());
    section(&mut out, "segments", &view.segments.iter().map(membership).collect::<Vec<_>>());
    out
}

/// Persons or accounts, one per line: id, name, other identities.
pub fn found(views: &[FoundView]) -> String {
    let row = |view: &FoundView| {
        let others: Vec<&str> = view.identities.iter().map(String::as_str).filter(|identity| *identity != view.id).collect();
        [view.id.clone(), view.name.clone().unwrap_or_default(), others.join(", ")]
    };
    table(views.iter().map(row).collect())
}

pub fn members_of(views: &[MemberView]) -> String {
    table(
        views
            .iter()
            .map(|view| [view.subject_id.clone(), view.name.clone().unwrap_or_default()])
            .collect(),
    )
}

/// A number of things: `1 record`, `20,000 records`.
pub fn counted(count: u64, what: &str) -> String {
    let number = plain(&count.into());
    if count == 1 {
        format!("{number} {what}")
    } else {
        format!("{number} {what}s")
    }
}

fn set_aside(view: &SetAsideView) -> String {
    format!("{}:{}: {}", view.namespace, view.id, view.reason)
}

pub fn segments(views: &[SegmentView]) -> String {
    if views.is_empty() {
        return "no segments; `millrace segment apply FILE` puts one in force\n".to_owned();
    }
    let rows = views.iter().map(|view| {
        [
            view.name.clone(),
            view.kind.clone(),
            view.subject.clone(),
            view.status.clone(),
            members(view),
            view.description.clone().unwrap_or_default(),
        ]
    });
    let head = ["name", "kind", "about", "status", "members", "description"].map(str::to_owned);
    table(std::iter::once(head).chain(rows).collect())
}

pub fn segment(view: &SegmentView) -> String {
    let mut out = format!(
        "{} ({}, version {}, {}, about {}s, {})\n",
        view.name, view.kind, view.version, view.status, view.subject, view.time_zone
    );
    if let Some(description) = &view.description {
        let _ = writeln!(out, "  {description}");
    }
    if view.kind == COMPUTED {
        let _ = writeln!(out, "  a value for each {}; `{0} show` shows it", view.subject);
    } else {
        let noun = if view.members == 1 { "member" } else { "members" };
        let _ = writeln!(out, "  {} {noun}", members(view));
    }
    let evaluation = &view.evaluation;
    if !evaluation.complete {
        let _ = writeln!(out, "  evaluated for {} of {}", evaluation.done, counted(evaluation.of, &view.subject));
        for shard in evaluation.shards.iter().filter(|shard| !shard.complete) {
            let _ = writeln!(out, "    shard {}: {} of {}", shard.shard, shard.done, shard.of);
        }
    }
    if !view.destinations.is_empty() {
        let _ = writeln!(out, "  sent to {}", view.destinations.join(", "));
    }
    rule(&mut out, &view.pql);
    if let Some(draft) = &view.draft {
        let _ = write!(out, "\na draft is also kept (version {}, of {})\n", draft.version, draft.accepted_at);
        rule(&mut out, &draft.pql);
    }
    out
}

fn rule(out: &mut String, pql: &str) {
    out.push('\n');
    for line in pql.lines() {
        let _ = writeln!(out, "    {line}");
    }
}

pub fn versions(views: &[VersionView]) -> String {
    let mut out = String::new();
    for view in views {
        let status = view.status.as_deref().unwrap_or("no longer readable");
        let mark = if view.in_force && status != "draft" { ", in force" } else { "" };
        let _ = writeln!(out, "version {} ({status}{mark}), of {}", view.version, view.accepted_at);
        rule(&mut out, view.text.trim_end());
        out.push('\n');
    }
    out
}

pub fn dead_letters(views: &[DeadLetterView]) -> String {
    if views.is_empty() {
        return "no dead letters\n".to_owned();
    }
    views
        .iter()
        .map(|view| {
            format!(
                "{}  {}/{} {}  {}: {}\n    key {}\n",
                view.rejected_at,
                view.topic,
                view.partition,
                view.offset,
                view.reason,
                view.detail,
                view.key.as_deref().unwrap_or("none")
            )
        })
        .collect()
}

/// In or out, until when, and the conditions as an indented tree.
pub fn explanation(view: &ExplainView) -> String {
    let standing = match view.value {
        Some(true) => "is in",
        Some(false) => "is not in",
        None => "may be in, a fact that decides has not arrived yet,",
    };
    let mut out = format!("{} {standing} {}, as of {}\n", view.subject_id, view.segment, view.evaluated_at);
    if let Some(until) = &view.valid_until {
        let _ = writeln!(out, "by time alone this can change at {until}");
    }
    if let Some(written) = &view.membership {
        let _ = writeln!(out, "last written of {}", membership(written));
    } else if view.past.is_none() {
        out.push_str("nothing was written of it so far\n");
    }
    if let Some(past) = &view.past {
        let _ = writeln!(out, "records as they stood at {}; events from {} on", past.records_as_of, past.events_from);
    }
    condition(&mut out, &view.condition, 0);
    if !view.records.is_empty() {
        out.push_str("source records\n");
        for (thing, records) in &view.records {
            let _ = writeln!(out, "  {thing}: {}", records.join(", "));
        }
    }
    out
}

/// Numbers first, then some of the subjects that are included, enter and leave, each with the
/// conditions.
pub fn preview(view: &PreviewView) -> String {
    let mut out = format!(
        "{} would take {} of {}, as of {}\n",
        view.segment,
        view.audience.count,
        counted(view.population, &view.subject_type),
        view.evaluated_at
    );
    let _ = match view.published_version {
        Some(version) => writeln!(
            out,
            "version {version} has {}: {} would enter, {} leave",
            view.members, view.entering.count, view.leaving.count
        ),
        None => writeln!(out, "it is not published: all of them would enter"),
    };
    for warning in &view.warnings {
        let _ = writeln!(out, "{warning}");
    }
    sample(&mut out, "taken", &view.audience);
    if view.published_version.is_some() {
        sample(&mut out, "entering", &view.entering);
        sample(&mut out, "leaving", &view.leaving);
    }
    out
}

fn sample(out: &mut String, title: &str, view: &SampleView) {
    if !view.sample.is_empty() {
        let _ = writeln!(out, "{title}, {} of {}", view.sample.len(), view.count);
    }
    for reasoned in &view.sample {
        let _ = writeln!(out, "  {}", reasoned.subject_id);
        condition(out, &reasoned.condition, 1);
    }
}

fn condition(out: &mut String, view: &ConditionView, depth: usize) {
    let mark = match view.value {
        Some(true) => "✓",
        Some(false) => "✗",
        None => "?",
    };
    let indent = "  ".repeat(depth + 1);
    let words = match view.text.as_str() {
        "and" => "all of",
        "or" => "any of",
        text => text,
    };
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let until = view.valid_until.as_ref().map(|until| format!("   until {until}")).unwrap_or_default();
    let compared = view.compared.as_ref();
    let compared = compared
        .map(|sides| format!("   {} against {}", plain(&sides.left), plain(&sides.right)))
        .unwrap_or_default();
    let _ = writeln!(out, "{indent}{mark} {words}{compared}{until}");
    for fact in &view.evidence {
        let _ = writeln!(out, "{indent}    {}", evidence(fact));
    }
    for inner in &view.conditions {
        condition(out, inner, depth + 1);
    }
}

pub fn evidence(fact: &EvidenceView) -> String {
    match &fact.value {
        Value::Null | Value::Bool(true) => format!("{} {}", fact.kind, fact.id),
        value => format!("{} {}: {}", fact.kind, fact.id, plain(value)),
    }
}

/// A value as people write it: whole numbers without a fraction, and with thousands separators from
/// five digits on, because years have four.
pub fn plain(value: &Value) -> String {
    let number = match value {
        Value::Null => return "nothing".to_owned(),
        Value::String(text) => return text.clone(),
        Value::Array(items) => return items.iter().map(plain).collect::<Vec<_>>().join(" and "),
        Value::Number(number) => number.to_string(),
        other => return other.to_string(),
    };
    let number = number.strip_suffix(".0").unwrap_or(&number);
    let (whole, fraction) = number.split_at(number.find(['.', 'e']).unwrap_or(number.len()));
    let (sign, digits) = whole.split_at(usize::from(whole.starts_with('-')));
    if digits.len() < 5 {
        return number.to_owned();
    }
    let mut out = sign.to_owned();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + fraction
}

/// The kind of definitions that have values and no members.
const COMPUTED: &str = "ComputedAttribute";

fn members(view: &SegmentView) -> String {
    match view.progress {
        _ if view.kind == COMPUTED => String::new(),
        Some(done) => format!("{} ({:.0} % evaluated)", view.members, done * 100.0),
        None => view.members.to_string(),
    }
}

fn reference(view: &ReferenceView) -> String {
    let name = view.name.as_deref().map(|name| format!("{name}, ")).unwrap_or_default();
    let records = match view.source_keys.len() {
        0 | 1 => String::new(),
        _ => format!(" (of {})", view.source_keys.join(", ")),
    };
    format!("{name}{}{records}", view.id)
}

fn membership(view: &MembershipView) -> String {
    let since = view.last_qualification_time.as_ref().map(|at| format!(" since {at}")).unwrap_or_default();
    let until = view.valid_until.as_ref().map(|at| format!(", by time alone until {at}")).unwrap_or_default();
    let left = view.evaluated_at.as_ref().map(|at| format!(" since {at}")).unwrap_or_default();
    let entered = view
        .last_qualification_time
        .as_ref()
        .map(|at| format!(", had entered at {at}"))
        .unwrap_or_default();
    match view.status.as_str() {
        "realized" => format!("{}: in{since}{until}", view.segment),
        _ => format!("{}: out{left}{entered}", view.segment),
    }
}

fn section(out: &mut String, title: &str, lines: &[String]) {
    if !lines.is_empty() {
        let _ = writeln!(out, "{title}");
        for line in lines {
            let _ = writeln!(out, "  {line}");
        }
    }
}

/// Leaves of the merged record, each with its source.
fn attributes(out: &mut String, record: &Value, provenance: &std::collections::BTreeMap<String, ProvenanceView>) {
    if provenance.is_empty() {
        return;
    }
    out.push_str("attributes\n");
    let rows = provenance.iter().map(|(path, from)| {
        let value = path.split('.').try_fold(record, |value, step| value.get(step));
        let value = match value {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        [format!("  {path}"), value, format!("{} at {}", from.source_key, from.modified_at)]
    });
    out.push_str(&table(rows.collect()));
}

/// Columns as wide as their widest cell, two blanks between.
fn table<const N: usize>(rows: Vec<[String; N]>) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let _ = writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::plain;

    #[test]
    fn numbers_as_people_write_them() {
        for (value, shown) in [
            (json!(200_000.0), "200,000"),
            (json!(-1_234_567.25), "-1,234,567.25"),
            (json!(2026), "2026"),
            (json!(12_345), "12,345"),
            (json!(0.5), "0.5"),
            (json!(1e300), "1e+300"),
            (json!(null), "nothing"),
            (json!("Cold"), "Cold"),
            (json!([1, 2]), "1 and 2"),
        ] {
            assert_eq!(plain(&value), shown);
        }
    }
}
