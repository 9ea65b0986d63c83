//! Rules that come, change and go one by one are the same in the end as those that come together.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use millrace_model::{SubjectKind, Text};
use millrace_test_seeds::seeds;

use super::random::Dice;
use crate::plan::Rules;
use crate::testing::{definition, schema_once, settings};
use crate::{Compiled, Definition, Kind, Plan, compile, link};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// A rule, or a computed attribute, that may name others.
fn rule(name: &str, dice: &mut Dice) -> Compiled {
    let other = dice.pick(&NAMES).to_owned();
    let kind = if dice.below(3) == 0 { Kind::ComputedAttribute } else { Kind::Segment };
    let pql = match (kind == Kind::ComputedAttribute, dice.below(6)) {
        (true, 0 | 1) => format!("computed.{other}"),
        (true, 2) => "b2b.personScore".to_owned(),
        (true, _) => "accounts.opportunities.opportunityAmount.amount.sum()".to_owned(),
        (false, 0) => format!("inSegment(\"{other}\")"),
        (false, 1) => format!("computed.{other} > {}", dice.below(3)),
        (false, 2) => format!("accounts.opportunities.opportunityAmount.amount.sum() > {}", dice.below(3)),
        (false, 3) => "exists v from xEvent where v.eventType = \"a\"".to_owned(),
        (false, 4) => format!("not inSegment(\"{other}\") and b2b.personScore > 1"),
        (false, _) => "b2b.personScore > 1".to_owned(),
    };
    let subject = if dice.below(8) == 0 { SubjectKind::Account } else { SubjectKind::Person };
    let named = |pql: &str| Definition {
        name: name.into(),
        kind,
        ..definition(subject, Tz::UTC, pql)
    };
    // What the account does not have is replaced by what every rule may say.
    let constant = if kind == Kind::ComputedAttribute { "1" } else { "true" };
    compile(&named(&pql), schema_once()).unwrap_or_else(|_| compile(&named(constant), schema_once()).expect("a constant"))
}

/// Everything that a plan is for, but the conditions shown to people.
fn shown(plan: &Plan) -> String {
    let segments = plan
        .segments
        .iter()
        .chain(&plan.attributes)
        .map(|of| format!("{} {:016x} {:?}\n", of.name, of.fingerprint, of.reads));
    let features = plan
        .features
        .iter()
        .map(|of| format!("{:?} {:?} {:?}\n", of.id, of.reads, plan.bands.get(&of.id)));
    let queries = plan.queries.iter().map(|of| format!("{:?}\n", of.id));
    segments.chain(features).chain(queries).collect()
}

#[test]
fn one_by_one_or_together() {
    let (mut accepted, mut refused) = (0, 0);
    for seed in seeds!(0..300) {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut rules = Rules::new(&settings());
        let mut present: BTreeMap<Text, Compiled> = BTreeMap::new();
        for _ in 0..12 {
            let name = dice.pick(&NAMES).to_owned();
            let change = (dice.below(5) > 0).then(|| rule(&name, &mut dice));
            let mut after = present.clone();
            match &change {
                Some(rule) => drop(after.insert(name.as_str().into(), rule.clone())),
                None => drop(after.remove(name.as_str())),
            }
            let all: Vec<Compiled> = after.values().cloned().collect();
            let together = link(&all, schema_once()).and_then(|linked| Plan::build(&linked, &settings()));
            match (
                rules.change([(name.as_str().into(), change.map(|rule| rules.prepare(rule)))].into(), schema_once()),
                together,
            ) {
                (Ok(()), Ok(plan)) => {
                    assert_eq!(shown(&rules.plan()), shown(&plan), "seed {seed}, {name}");
                    present = after;
                    accepted += 1;
                }
                (Err(_), Err(_)) => refused += 1,
                (one_by_one, together) => panic!("seed {seed}, {name}: one by one {one_by_one:?}, together {:?}", together.err()),
            }
            let all: Vec<Compiled> = present.values().cloned().collect();
            let linked = link(&all, schema_once()).expect("they were accepted");
            assert_eq!(
                shown(&rules.plan()),
                shown(&Plan::build(&linked, &settings()).expect("they were accepted")),
                "seed {seed}: a refusal changes nothing"
            );
        }
    }
    assert!(accepted > refused && refused > 50, "{accepted} accepted, {refused} refused");
}
