//! Numbers of things that rules only compare with some constants.
//!
//! A person's accounts' won opportunities "exceed a million" whether they total two or three. If a feature
//! is added up over the person's accounts and the total is compared with constants, and nothing
//! else uses the feature, then for a person with one account the *band* between the constants is
//! all that matters, and an opportunity that crosses none of them changes nothing. A person with several
//! accounts needs the number itself.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::{Decimal, Relation, Value};
use millrace_pql::ast::Aggregate;

use super::split::hash;
use super::{FeaturePlan, SegmentPlan};
use crate::core::{Bind, Core, Op, SUBJECT};
use crate::view::FeatureId;

/// The bands that rules distinguish in a feature's values.
#[derive(Clone, Debug, PartialEq)]
pub struct Bands {
    /// The id of the feature in bands: it differs if the bounds differ, so that bands of an older
    /// plan are not taken for those of this one.
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

    /// One value for all of a band; it compares with every bound as they do. A value that is not a
    /// number stands for itself.
    pub fn of(&self, value: &Value) -> Value {
        if !value.is_number() {
            return value.clone();
        }
        let at = self.bounds.partition_point(|bound| bound < value);
        let below = at.checked_sub(1).and_then(|below| self.bounds.get(below)).and_then(Value::as_decimal);
        let number = match (below, self.bounds.get(at)) {
            (_, Some(bound)) if bound == value => return bound.clone(),
            (Some(below), Some(above)) => above.as_decimal().and_then(|above| below.checked_add(above)?.checked_div(Decimal::TWO)),
            (None, Some(above)) => above.as_decimal().and_then(|above| above.checked_sub(Decimal::ONE)),
            (Some(below), None) => below.checked_add(Decimal::ONE),
            (None, None) => None,
        };
        // If two bounds are so close, or so great, that no such number lies in the band, the value
        // stands for itself.
        let name = Value::number_or_null(number);
        let in_band = name.is_number() && self.bounds.iter().all(|bound| name.cmp(bound) == value.cmp(bound));
        if in_band { name } else { value.clone() }
    }
}

/// How rules use features.
#[derive(Debug, Default)]
pub(super) struct Uses {
    bounds: BTreeMap<FeatureId, BTreeSet<Value>>,
    /// Features used in another way.
    exact: BTreeSet<FeatureId>,
}

/// The features that can be sent in bands.
pub(super) fn of(uses: Uses) -> BTreeMap<FeatureId, Bands> {
    let banded = uses.bounds.into_iter().filter(|(feature, _)| !uses.exact.contains(feature));
    banded.map(|(feature, bounds)| (feature, Bands::new(feature, bounds))).collect()
}

impl Uses {
    /// How a rule, and the features that it needs, use features.
    pub fn of(rule: &SegmentPlan, features: &[FeaturePlan]) -> Uses {
        let mut uses = Uses::default();
        uses.gather(&rule.residual.core);
        uses.exact.extend(features.iter().flat_map(|feature| feature.reads.features.iter().copied()));
        uses
    }

    pub fn add(&mut self, others: &Uses) {
        for (feature, bounds) in &others.bounds {
            self.bounds.entry(*feature).or_default().extend(bounds.iter().cloned());
        }
        self.exact.extend(&others.exact);
    }

    fn gather(&mut self, core: &Core) {
        if let Core::Apply(Op::Compare(_), sides) = core
            && let [left, right] = sides.as_slice()
        {
            let compared = [(left, right), (right, left)]
                .into_iter()
                .find_map(|(of, with)| Some((total(of)?, bound(with)?)));
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

/// The feature whose total over the person's accounts an expression is; with one account, the
/// feature's own value.
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
    let Core::Apply(Op::Feature(id), of) = &**body else { return None };
    (of_accounts && of[0] == Core::Var(*var)).then_some(*id)
}

fn bound(core: &Core) -> Option<&Value> {
    let Core::Literal(value) = core else { return None };
    value.is_number().then_some(value)
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
            .find_map(|feature| plan.bands.get(&feature.id))
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
        let number = |text: &str| Value::number_or_null(millrace_model::number::parse(text));
        let bounds = [
            Value::Int(-5),
            Value::Int(0),
            number("0.5"),
            number("0.5000000000000000000000000001"),
            Value::Int(1_000_000),
        ];
        let bands = Bands::new(FeatureId(1), bounds.clone().into());
        let values = [
            "-9",
            "-5",
            "-4.9",
            "0",
            "0.2",
            "0.5",
            "0.50001",
            "999999.99",
            "1000000",
            "1000000.01",
            "9e18",
            "7e28",
        ];
        for value in values.map(number) {
            let band = bands.of(&value);
            for bound in &bounds {
                assert_eq!(band.cmp(bound), value.cmp(bound), "{value:?} in band {band:?}");
            }
        }
        assert_eq!(bands.of(&Value::Null), Value::Null);
        assert_eq!(bands.of(&Value::Int(3)), bands.of(&Value::Int(70_000)));
    }
}
