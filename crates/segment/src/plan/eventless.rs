//! The conditions of a rule that read no event.
//!
//! An event can change neither a sum over deals nor an attribute. So the truth of such a condition
//! is kept with the subject, and an event combines it with its own windows: it reads neither the
//! profile nor related things.

use crate::core::{Core, Kept, Op};
use crate::view::PartId;

/// The rule with its largest conditions that read no event marked, each under its name.
#[expect(clippy::wildcard_enum_match_arm, reason = "every other condition is one part, or none")]
pub(super) fn mark(core: Core, name: &dyn Fn(&Core) -> PartId) -> Core {
    if is_eventless(&core) {
        return part(core, name);
    }
    match core {
        Core::Apply(Op::Not, of) => Core::Apply(Op::Not, of.into_iter().map(|of| mark(of, name)).collect()),
        Core::Apply(op @ (Op::And | Op::Or), operands) => {
            let (mut eventless, others): (Vec<Core>, Vec<Core>) = operands.into_iter().partition(is_eventless);
            let together = match eventless.len() {
                0 | 1 => eventless.pop(),
                _ => Some(Core::Apply(op.clone(), eventless)),
            };
            let marked = together.map(|together| part(together, name));
            Core::Apply(op, marked.into_iter().chain(others.into_iter().map(|other| mark(other, name))).collect())
        }
        other => other,
    }
}

fn part(whole: Core, name: &dyn Fn(&Core) -> PartId) -> Core {
    if matches!(whole, Core::Literal(_)) {
        return whole;
    }
    Core::Kept {
        kept: Kept::Truth(name(&whole)),
        whole: Box::new(whole),
    }
}

/// Membership in another segment may change with an event, too. Whatever is kept of events stands
/// beside an expression over their rows.
fn is_eventless(core: &Core) -> bool {
    !core.any(&|node| matches!(node, Core::Rows(_) | Core::Chain(_) | Core::Apply(Op::Events | Op::InSegment(_), _)))
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;
    use millrace_model::SubjectKind;

    use super::*;
    use crate::testing::{definition, schema_once, settings};
    use crate::{Definition, Plan};

    /// The number of marked conditions.
    fn parts(rule: &str) -> usize {
        let definition = Definition {
            name: "rule".into(),
            ..definition(SubjectKind::Person, Tz::UTC, rule)
        };
        let rule = crate::compile(&definition, schema_once()).expect("the test's own rule");
        let plan = Plan::build(&[rule], &settings()).expect("a plan");
        count(&plan.segments[0].residual.core)
    }

    fn count(core: &Core) -> usize {
        let mut within = usize::from(matches!(core, Core::Kept { kept: Kept::Truth(_), .. }));
        core.each(&mut |child| within += count(child));
        within
    }

    #[test]
    fn the_largest_conditions_without_events_are_marked() {
        const VISITED: &str = r#"(exists v from xEvent where v.eventType = "view")"#;
        const RICH: &str = "sum(select o.opportunityAmount.amount from accounts.opportunities where o.isWon) > 1000";
        for (rule, expected) in [
            (format!("{RICH} and {VISITED} and b2b.personScore > 50"), 1),
            (format!("{RICH} or {VISITED} and b2b.personScore > 50"), 2),
            (format!("not({RICH} or {VISITED})"), 1),
            (format!(r#"{VISITED} and not(inSegment("other"))"#), 0),
            (VISITED.to_owned(), 0),
            // No event can change it.
            (format!("{RICH} and b2b.personScore > 50"), 0),
        ] {
            assert_eq!(parts(&rule), expected, "{rule}");
        }
    }
}
