//! Findings on a set of rules as a whole: errors, and warnings about rules that are accepted but
//! probably not meant.
//!
//! Here, and not in `compile`, are the checks that depend on the other rules, on the deployment's
//! settings or on the present time: references to segments, circles, windows longer than events are
//! kept, money without rates, expensive shapes.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::{Text, Timestamp, Value};
use millrace_pql::ast::{Aggregate, Comparison, Direction, Span, Unit};
use millrace_pql::{Diagnostic, Severity, did_you_mean};

use crate::calendar::{add, staircase, stand};
use crate::compile::Compiled;
use crate::core::{Bind, Core, Op, TextTest};
use crate::definition::{Kind, Status};
use crate::normal::normalise;
use crate::plan::{EventQuery, Keep, Rules};
use crate::settings::Settings;

/// Types of events that are in common use; all others are the deployment's own. Link clicks are
/// spelled both ways.
const EVENT_TYPES: [&str; 35] = [
    "web.webpagedetails.pageViews",
    "web.webinteraction.linkClicks",
    "web.webInteraction.linkClicks",
    "web.formFilledOut",
    "commerce.checkouts",
    "commerce.productListAdds",
    "commerce.productListOpens",
    "commerce.productListRemovals",
    "commerce.productListViews",
    "commerce.productViews",
    "commerce.purchases",
    "commerce.saveForLaters",
    "directMarketing.emailSent",
    "directMarketing.emailDelivered",
    "directMarketing.emailOpened",
    "directMarketing.emailClicked",
    "directMarketing.emailBounced",
    "directMarketing.emailBouncedSoft",
    "directMarketing.emailUnsubscribed",
    "leadOperation.newLead",
    "leadOperation.convertLead",
    "leadOperation.mergeLeads",
    "leadOperation.scoreChanged",
    "leadOperation.revenueStageChanged",
    "leadOperation.statusInCampaignProgressionChanged",
    "leadOperation.interestingMoment",
    "leadOperation.callWebhook",
    "leadOperation.changeEngagementCampaignCadence",
    "leadOperation.changeCampaignStream",
    "leadOperation.addToCampaign",
    "listOperation.addToList",
    "listOperation.removeFromList",
    "opportunityEvent.addToOpportunity",
    "opportunityEvent.removeFromOpportunity",
    "opportunityEvent.opportunityUpdated",
];

/// Findings with the names of the segments they are about, in the order of `compiled`, errors first
/// within one. Places are those in the rules.
///
/// `now` defines "kept": an event is kept until it is `settings.retention_ms` old.
pub fn lint(compiled: &[Compiled], settings: &Settings, now: Timestamp) -> Vec<(Text, Diagnostic)> {
    let all: Vec<&Compiled> = compiled.iter().collect();
    match Rules::of_linked(compiled, settings) {
        Ok(rules) => findings(&all, &|_| true, settings, now, rules.whole_histories()),
        Err(problems) => findings(&all, &|_| true, settings, now, problems),
    }
}

/// The warnings about some of the rules in force, as `lint` has them.
pub fn warnings(rules: &Rules, wanted: &dyn Fn(&Text) -> bool, now: Timestamp) -> Vec<(Text, Diagnostic)> {
    let all: Vec<&Compiled> = rules.linked().collect();
    let whole = rules.whole_histories().into_iter().filter(|(name, _)| wanted(name)).collect();
    findings(&all, wanted, rules.settings(), now, whole)
}

impl Rules {
    /// Rules for which all events are kept.
    fn whole_histories(&self) -> Vec<(Text, Diagnostic)> {
        let whole = |query: &EventQuery| query.keep == Keep::All && query.takes_all();
        let named = self.parts().filter(|(segment, queries)| {
            let mut own = segment.reads.queries.iter().filter_map(|id| queries.get(id));
            own.any(|query| whole(query))
        });
        let message = "every event of every person is kept and gone through for this rule";
        let warning = Diagnostic::warning("expensive", Span::default(), message).expecting("a condition on `eventType`");
        named.map(|(segment, _)| (segment.name.clone(), warning.clone())).collect()
    }
}

/// Adds the warnings about those that are wanted.
fn findings(
    all: &[&Compiled],
    wanted: &dyn Fn(&Text) -> bool,
    settings: &Settings,
    now: Timestamp,
    mut found: Vec<(Text, Diagnostic)>,
) -> Vec<(Text, Diagnostic)> {
    let definitions = all.iter().map(|rule| rule.definition()).enumerate();
    let known: BTreeMap<&Text, (usize, Status)> = definitions.map(|(at, of)| (&of.name, (at, of.status))).collect();
    // Nobody writes the rule of an external audience.
    let written = |rule: &&&Compiled| !matches!(rule.definition().kind, Kind::ExternalAudience { .. });
    for rule in all.iter().filter(written).filter(|rule| wanted(&rule.definition().name)) {
        let mut warnings = rule.warnings().to_vec();
        warnings.extend(references(rule, &known));
        rule.conditions().leaves(&mut |leaf, span| {
            warnings.extend(long_window(leaf, rule, settings, now).map(|message| Diagnostic::warning("long-window", span, message.0).expecting(message.1)));
            strange_event_types(leaf, &mut |name, near| {
                let message = format!("`{name}` is no event type in common use");
                warnings.push(Diagnostic::warning("event-type", span, message).suggesting(Some(near)));
            });
            warnings.extend(mixed_currencies(leaf, settings).map(|message| Diagnostic::warning("currencies", span, message)));
        });
        if rule.definition().kind == Kind::Segment {
            warnings.extend(never(rule));
        }
        found.extend(warnings.into_iter().map(|warning| (rule.definition().name.clone(), warning)));
    }
    let place = |name: &Text| known.get(name).map(|(at, _)| *at);
    found.sort_by_key(|(name, finding)| (place(name), finding.severity == Severity::Warning, finding.span.start));
    found
}

/// Segments that do not exist, or are not in force.
fn references(rule: &Compiled, known: &BTreeMap<&Text, (usize, Status)>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (name, span) in rule.segments() {
        match known.get(name) {
            Some((_, Status::Published)) => {}
            Some((_, status)) => {
                let message = format!("the segment `{name}` is {}: it counts as empty until it is published", status.name());
                found.push(Diagnostic::warning("unknown-segment", *span, message));
            }
            None => {
                let near = did_you_mean(name, known.keys().map(|known| known.as_str())).map(str::to_owned);
                let message = format!("there is no segment `{name}` here; it counts as empty until there is");
                found.push(Diagnostic::warning("unknown-segment", *span, message).suggesting(near));
            }
        }
    }
    found
}

/// The message for a condition that looks back to events that are no longer kept, and the remedy.
fn long_window(leaf: &Core, rule: &Compiled, settings: &Settings, now: Timestamp) -> Option<(String, String)> {
    let kept_from = now.plus_ms(-settings.retention_ms);
    let earliest = reach_back(leaf, rule, now).filter(|earliest| *earliest < kept_from)?;
    let day = |at: Timestamp| at.to_string().split_once('T').map(|(day, _)| day.to_owned());
    let Some(back_to) = day(earliest) else {
        return Some(("the window looks back further than dates reach".to_owned(), "a shorter window".to_owned()));
    };
    let (days, wanted) = (
        settings.retention_ms / millrace_model::DAY_MS,
        now.0.saturating_sub(earliest.0) / millrace_model::DAY_MS + 1,
    );
    let kept_from = day(kept_from).unwrap_or_default();
    let message = format!("the window looks back to {back_to}, events are kept for {days} days, from {kept_from} on");
    let complete = now.plus_ms(wanted.saturating_mul(millrace_model::DAY_MS) - settings.retention_ms);
    Some((
        message,
        format!(
            "a shorter window, or `events.retention` of {wanted} days: set today, the window is complete from {} on",
            day(complete).unwrap_or_else(|| "no date".to_owned())
        ),
    ))
}

/// The earliest instant that the windows over events look back to.
#[expect(clippy::wildcard_enum_match_arm, reason = "every other expression has no known end")]
fn reach_back(core: &Core, rule: &Compiled, now: Timestamp) -> Option<Timestamp> {
    let zone = rule.definition().time_zone;
    let at = |core: &Core| match core {
        Core::Literal(value) => crate::coerce::instant(zone, value),
        Core::Moment(moment) => Some(stand(zone, now, staircase(*moment))),
        _ => None,
    };
    let mut earliest = match core {
        Core::Apply(op, operands) if operands.iter().any(is_timestamp) => match (op, operands.as_slice()) {
            (Op::Window { unit, direction, .. }, [fact, length, anchor]) => {
                // Events before a known instant, or a known instant after events.
                let before = at(anchor).map(|anchor| (anchor, *direction == Direction::Before));
                let known = before.or_else(|| at(fact).map(|fact| (fact, *direction != Direction::Before)));
                known
                    .zip(amount(length))
                    .map(|((known, back), amount)| if back { add(zone, known, -whole(*unit, amount), *unit) } else { known })
            }
            (Op::Relative(_) | Op::On | Op::Between | Op::Compare(_), operands) => operands.iter().find_map(at),
            _ => None,
        },
        _ => None,
    };
    core.each(&mut |child| earliest = earliest.into_iter().chain(reach_back(child, rule, now)).min());
    earliest
}

/// The instant of an event, or the first or last of several.
#[expect(clippy::wildcard_enum_match_arm, reason = "no other expression is the time of an event")]
fn is_timestamp(core: &Core) -> bool {
    match core {
        Core::Apply(Op::Field(name), _) => name == "timestamp",
        Core::Apply(Op::Aggregate(Aggregate::Min | Aggregate::Max), of) => matches!(&of[0], Core::Bind { bind: Bind::Map, body, .. } if is_timestamp(body)),
        _ => false,
    }
}

fn amount(core: &Core) -> Option<f64> {
    if let Core::Literal(value) = core { value.as_f64() } else { None }
}

/// Calendar units move by whole steps.
fn whole(unit: Unit, amount: f64) -> f64 {
    if crate::calendar::fixed_ms(unit).is_some() { amount } else { amount.trunc() }
}

/// Reports event types in comparisons that are nearly, but not quite, one in common use.
fn strange_event_types(core: &Core, report: &mut dyn FnMut(&str, &str)) {
    let named = |core: &Core| matches!(core, Core::Apply(Op::Field(name), _) if name == "eventType");
    if let Core::Apply(Op::Compare(_) | Op::In { .. } | Op::Text { test: TextTest::Equals, .. }, operands) = core
        && operands.iter().any(named)
    {
        for operand in operands {
            let Core::Literal(value) = operand else { continue };
            for name in value.as_list().unwrap_or(std::slice::from_ref(value)).iter().filter_map(Value::as_str) {
                if !EVENT_TYPES.contains(&name)
                    && let Some(near) = did_you_mean(name, EVENT_TYPES)
                {
                    report(name, near);
                }
            }
        }
    }
    core.each(&mut |child| strange_event_types(child, report));
}

/// Money added up where no currency but the default one counts.
fn mixed_currencies(leaf: &Core, settings: &Settings) -> Option<String> {
    let adds = |node: &Core| matches!(node, Core::Apply(Op::Aggregate(Aggregate::Sum | Aggregate::Average), of) if of[0].monetary());
    // The default currency is always worth one unit of itself: that does not count as a rate.
    let none = settings.rates.keys().all(|currency| *currency == settings.default_currency);
    (none && leaf.any(&adds)).then(|| format!("no rates are configured: only amounts in {} are added up", settings.default_currency))
}

/// Conditions that no subject can satisfy: one value that would have to be two things at once.
fn never(rule: &Compiled) -> Option<Diagnostic> {
    let mut next = rule.unused();
    let whole = normalise(rule.conditions().join(), &mut next);
    if let Core::Literal(value) = &whole {
        let outcome = if *value == Value::Bool(true) {
            "always true: everybody is in the segment"
        } else {
            "never true: nobody is in the segment"
        };
        return Some(Diagnostic::warning("constant", rule.ast().span, format!("the rule is {outcome}")));
    }
    let warning = |code, what| Diagnostic::warning(code, rule.ast().span, what);
    opposites(&whole)
        .map(|(code, what)| warning(code, what.to_owned()))
        .or_else(|| contradiction(&whole).map(|what| warning("contradiction", what)))
}

/// The opposite of a condition. `null_too`: also where neither holds for null.
#[expect(clippy::wildcard_enum_match_arm, reason = "no other operator has an opposite")]
fn denied(core: &Core, null_too: bool) -> Option<Core> {
    let Core::Apply(op, of) = core else { return None };
    let stated = match *op {
        Op::Not => return Some(of[0].clone()),
        Op::Compare(Comparison::NotEqual) => Op::Compare(Comparison::Equal),
        Op::In { negated: true } => Op::In { negated: false },
        Op::Text {
            test,
            negated: true,
            case_sensitive,
        } => Op::Text {
            test,
            negated: false,
            case_sensitive,
        },
        _ => return None,
    };
    null_too.then(|| Core::apply(stated, of.clone()))
}

/// A condition together with its own opposite.
fn opposites(core: &Core) -> Option<(&'static str, &'static str)> {
    let mut found = None;
    if let Core::Apply(op @ (Op::And | Op::Or), operands) = core {
        let stated: BTreeSet<String> = operands.iter().map(Core::canonical).collect();
        let contradicted = |operand: &Core| denied(operand, *op == Op::And).is_some_and(|denied| stated.contains(&denied.canonical()));
        if operands.iter().any(contradicted) {
            found = Some(if *op == Op::And {
                ("contradiction", "a condition is never true: it wants something and its opposite")
            } else {
                ("constant", "a condition is always true: it takes something and its opposite")
            });
        }
    }
    core.each(&mut |child| found = found.or_else(|| opposites(child)));
    found
}

/// A value and the bounds that conditions set for it.
#[derive(Default)]
struct Bounds<'c> {
    equal: Option<&'c Value>,
    low: Option<(&'c Value, bool)>,
    high: Option<(&'c Value, bool)>,
}

fn contradiction(core: &Core) -> Option<String> {
    let mut found = None;
    if let Core::Apply(Op::And, operands) = core {
        let mut bounds: BTreeMap<String, Bounds<'_>> = BTreeMap::new();
        for operand in operands {
            let Core::Apply(Op::Compare(comparison), sides) = operand else { continue };
            let [of, Core::Literal(value)] = sides.as_slice() else { continue };
            if matches!(value, Value::List(_) | Value::Map(_) | Value::Null) {
                continue;
            }
            let known = bounds.entry(of.canonical()).or_default();
            // Values of different types are compared by the data.
            let same = known
                .low
                .into_iter()
                .chain(known.high)
                .all(|(other, _)| std::mem::discriminant(other) == std::mem::discriminant(value));
            if !same {
                continue;
            }
            let (low, high) = match comparison {
                Comparison::Equal => (Some((value, true)), Some((value, true))),
                Comparison::Greater => (Some((value, false)), None),
                Comparison::GreaterOrEqual => (Some((value, true)), None),
                Comparison::Less => (None, Some((value, false))),
                Comparison::LessOrEqual => (None, Some((value, true))),
                Comparison::NotEqual => (None, None),
            };
            let other = known.equal.filter(|other| *comparison == Comparison::Equal && *other != value);
            if *comparison == Comparison::Equal {
                known.equal = Some(value);
            }
            known.low = known.low.into_iter().chain(low).max_by(|(a, a_in), (b, b_in)| a.cmp(b).then(b_in.cmp(a_in)));
            known.high = known.high.into_iter().chain(high).min_by(|(a, a_in), (b, b_in)| a.cmp(b).then(a_in.cmp(b_in)));
            let Some(((low, low_in), (high, high_in))) = known.low.zip(known.high) else {
                continue;
            };
            let wanted = if let Some(other) = other {
                format!("both {} and {}", other.to_json(), value.to_json())
            } else if low > high || low == high && !(low_in && high_in) {
                let (least, most) = (if low_in { "at least" } else { "above" }, if high_in { "at most" } else { "below" });
                format!("{least} {} and {most} {}", low.to_json(), high.to_json())
            } else {
                continue;
            };
            found = found.or(Some(format!("a condition is never true: it wants one value to be {wanted}")));
        }
    }
    core.each(&mut |child| found = found.take().or_else(|| contradiction(child)));
    found
}
