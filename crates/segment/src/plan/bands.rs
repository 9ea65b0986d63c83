//! Numbers of things of which rules only ask on which side of some constants they lie.
//!
//! A person's accounts' won deals "exceed a million" whether they come to two or to three. Where a feature is added up over the person's accounts and
//! the total is compared with constants, and nothing else asks for the feature, then for a person with one account the *band* between the constants
//! says all that matters, and a deal that crosses none of them changes nothing. Who has several accounts needs the number itself.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::{Relation, Value};

use super::{FeatureId, FeaturePlan, SegmentPlan};
use crate::ast::Aggregate;
use crate::core::{Bind, Core, Op, SUBJECT};
use crate::split::hash;

/// Beyond this a float does not tell whole numbers apart, and a band could not be named by one.
const BOUND_MAX: f64 = (1_u64 << 52) as f64;

/// The bands that rules tell apart in a feature's values.
#[derive(Clone, Debug, PartialEq)]
pub struct Bands {
    /// Of the feature as told in bands: another one where the bounds are others, so that bands of an older plan are not taken for those of this one.
    pub id: FeatureId,
    /// Ascending, each once.
    bounds: Vec<Value>,
}

impl Bands {
    fn new(feature: FeatureId, bounds: BTreeSet<Value>) -> Bands {
        let bounds: Vec<Value> = bounds.into_iter().collect();
        Bands {
            id: FeatureId(hash("bands", &format!("{:016x}", feature.0), &format!("{bounds:?}"))),
            bounds,
        }
    }

    /// One value for all of a band; it compares with every bound as they do. What is no number is itself.
    pub fn of(&self, value: &Value) -> Value {
        let Some(number) = value.as_f64().filter(|number| !number.is_nan()) else {
            return value.clone();
        };
        let at = self.bounds.partition_point(|bound| bound < value);
        match self.bounds.get(at) {
            Some(bound) if bound == value => bound.clone(),
            Some(bound) => bound.as_f64().map_or(Value::Float(number), |bound| Value::Float(bound.next_down())),
            None => self
                .bounds
                .last()
                .and_then(Value::as_f64)
                .map_or(Value::Float(number), |bound| Value::Float(bound.next_up())),
        }
    }
}

/// What rules do with features.
#[derive(Default)]
struct Uses {
    bounds: BTreeMap<FeatureId, BTreeSet<Value>>,
    /// Those asked for in another way.
    exact: BTreeSet<FeatureId>,
}

/// Finds the features that can be told in bands.
pub(super) fn find(rules: &[&SegmentPlan], features: &mut [FeaturePlan]) {
    let mut uses = Uses::default();
    for rule in rules {
        uses.gather(&rule.residual.core);
    }
    for feature in features.iter() {
        uses.exact.extend(feature.reads.features.iter().copied());
    }
    for feature in features {
        let bounds = uses.bounds.remove(&feature.id).filter(|_| !uses.exact.contains(&feature.id));
        feature.bands = bounds.map(|bounds| Bands::new(feature.id, bounds));
    }
}

impl Uses {
    fn gather(&mut self, core: &Core) {
        if let Core::Apply(Op::Compare(_), sides) = core {
            let compared = [(0, 1), (1, 0)]
                .into_iter()
                .find_map(|(of, with)| Some((total(&sides[of])?, bound(&sides[with])?)));
            if let Some((feature, bound)) = compared {
                self.bounds.entry(feature).or_default().insert(bound.clone());
                return;
            }
        }
        if let Core::Apply(Op::Feature(id), _) = core {
            self.exact.insert(*id);
        }
        core.each(&mut |child| self.gather(child));
    }
}

/// The feature of which an expression is the total over the person's accounts; with one account, the feature's own value.
fn total(core: &Core) -> Option<FeatureId> {
    let Core::Apply(Op::Aggregate(Aggregate::Sum | Aggregate::Average | Aggregate::Min | Aggregate::Max), of) = core else {
        return None;
    };
    let [
        Core::Bind {
            bind: Bind::Map,
            source,
            var,
            body,
        },
    ] = of.as_slice()
    else {
        return None;
    };
    let of_accounts = **source == Core::relation(Core::Var(SUBJECT), Relation::Accounts);
    match &**body {
        Core::Apply(Op::Feature(id), of) if of_accounts && of[0] == Core::Var(*var) => Some(*id),
        _ => None,
    }
}

fn bound(core: &Core) -> Option<&Value> {
    let Core::Literal(value) = core else { return None };
    value.as_f64().is_some_and(|number| number.abs() < BOUND_MAX).then_some(value)
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;
    use millrace_model::SubjectKind;

    use super::*;
    use crate::testing::{definition, schema_once, settings};
    use crate::{Definition, Plan};

    const WON: &str = "select o.opportunityAmount.amount from accounts.opportunities where o.isWon";

    /// The bounds of the first banded feature under these rules.
    fn bounds(rules: &[&str]) -> Option<Vec<Value>> {
        let named = |(at, rule): (usize, &&str)| {
            let definition = Definition {
                name: format!("rule-{at}").into(),
                ..definition(SubjectKind::Person, Tz::UTC, rule)
            };
            crate::compile(&definition, schema_once()).expect("the test's own rule")
        };
        let rules: Vec<_> = rules.iter().enumerate().map(named).collect();
        let plan = Plan::build(&rules, &settings()).expect("a plan");
        plan.features
            .iter()
            .find_map(|feature| feature.bands.as_ref())
            .map(|bands| bands.bounds.clone())
    }

    #[test]
    fn what_is_only_compared_with_constants_has_bands() {
        let (million, half) = (Value::Int(1_000_000), Value::Int(500_000));
        assert_eq!(bounds(&[&format!("sum({WON}) > 1000000")]), Some(vec![million.clone()]));
        assert_eq!(
            bounds(&[&format!("1000000 <= sum({WON})"), &format!("not(sum({WON}) = 500000)")]),
            Some(vec![half, million])
        );
        assert_eq!(bounds(&[&format!("sum({WON}) > b2b.personScore")]), None);
        assert_eq!(
            bounds(&[&format!("sum({WON}) > 1000000"), &format!("sum({WON}) > b2b.personScore")]),
            None,
            "one of the two needs the number"
        );
        assert_eq!(bounds(&[&format!("sum({WON}) * 2 > 1000000")]), None);
    }

    #[test]
    fn a_band_compares_as_its_values_do() {
        let bounds = [Value::Int(-5), Value::Int(0), Value::Float(0.5), Value::Int(1_000_000)];
        let bands = Bands::new(FeatureId(1), bounds.clone().into());
        for value in [-9.0, -5.0, -4.9, 0.0, 0.2, 0.5, 0.50001, 999_999.0, 1_000_000.0, 1_000_000.5, 9e18].map(Value::Float) {
            let told = bands.of(&value);
            for bound in &bounds {
                assert_eq!(told.cmp(bound), value.cmp(bound), "{value:?} told as {told:?}");
            }
        }
        assert_eq!(bands.of(&Value::Null), Value::Null);
        assert_eq!(bands.of(&Value::Int(3)), bands.of(&Value::Int(70_000)));
    }
}
