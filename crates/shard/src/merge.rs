//! Merges several source records of one thing into one profile.
//!
//! For each leaf the latest version wins, of equal ones the record with the least node; null and
//! absent never win over a value. Arrays are leaves, and so are the record types that the schema
//! calls atomic: an amount with its currency, a source key, a consent. A currency without an amount
//! wins over no amount. For a consent the later `time` counts in place of the version, and on a tie
//! the refusal.

use std::collections::BTreeMap;

use millrace_model::{Identity, RecordType, Text, Timestamp, Type, Value};

use crate::record::{Fragment, set};

/// A merged record and, for each leaf, its origin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Merged {
    /// The merged fields: a map, empty where no record has a value.
    pub value: Value,
    /// By dotted path.
    pub provenance: BTreeMap<String, Provenance>,
}

/// The origin of one leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The source record.
    pub node: Identity,
    /// The version of the record, or of the update, that set it.
    pub modified_at: Timestamp,
}

/// A leaf with a value in some record.
struct Leaf<'a> {
    modified_at: Timestamp,
    node: &'a Identity,
    value: Value,
    rank: Rank<'a>,
}

/// The order of leaves: whether they have the essential value, since when, whether they refuse.
type Rank<'a> = (bool, Timestamp, bool, Timestamp, std::cmp::Reverse<&'a Identity>);

/// Merges fragments; their order does not matter.
pub fn merge<'a>(fragments: impl IntoIterator<Item = (&'a Identity, &'a Fragment)>, record: &RecordType) -> Merged {
    let mut leaves: BTreeMap<Vec<Text>, Leaf<'a>> = BTreeMap::new();
    for (node, fragment) in fragments {
        for (path, (modified_at, value)) in leaves_of(fragment, record) {
            let rank = if is_consent(&path, record) {
                let since = value.field("time").as_time().unwrap_or(modified_at);
                (!value.field("val").is_null(), since, refuses(&value), modified_at, std::cmp::Reverse(node))
            } else {
                (!lacks_amount(&value), modified_at, false, modified_at, std::cmp::Reverse(node))
            };
            if leaves.get(&path).is_none_or(|known| rank > known.rank) {
                leaves.insert(
                    path,
                    Leaf {
                        modified_at,
                        node,
                        value,
                        rank,
                    },
                );
            }
        }
    }
    let mut merged = Merged {
        value: Value::Map(Default::default()),
        provenance: BTreeMap::new(),
    };
    // If one record has a leaf and another a branch (fields of `extra` only), the branch, which
    // sorts later, replaces it.
    for (path, leaf) in leaves {
        merged.provenance.insert(
            path.join("."),
            Provenance {
                node: leaf.node.clone(),
                modified_at: leaf.modified_at,
            },
        );
        set(&mut merged.value, &path, leaf.value);
    }
    merged
}

/// Whether this is a currency without an amount.
fn lacks_amount(value: &Value) -> bool {
    !value.field("currencyCode").is_null() && value.field("amount").is_null()
}

/// Whether a leaf is a person's decision about one channel.
fn is_consent(path: &[Text], record: &RecordType) -> bool {
    // Nothing else is below a field of this name.
    path.first().is_some_and(|first| first == "consents") && matches!(record.type_at(path), Some(Type::Record(record)) if record.name == "Consent")
}

/// `n` and the default `dn`, as XDM spells them.
fn refuses(consent: &Value) -> bool {
    let val = consent.field("val").as_str().map(str::trim).unwrap_or_default();
    ["n", "dn"].iter().any(|no| val.eq_ignore_ascii_case(no))
}

fn leaves_of(fragment: &Fragment, record: &RecordType) -> BTreeMap<Vec<Text>, (Timestamp, Value)> {
    let mut leaves = BTreeMap::new();
    collect(&fragment.value, Shape::Record(record), fragment.at, &mut Vec::new(), &mut leaves);
    for patch in &fragment.patches {
        let (depth, shape) = Shape::Record(record).reach(patch.path.steps());
        let (place, part) = patch.path.steps().split_at(depth);
        let known = if part.is_empty() { None } else { leaves.get(place) };
        // What is added to a decision makes it no newer one.
        let at = known.filter(|_| is_consent(place, record)).map_or(patch.at, |(at, _)| *at);
        let mut value = known.map(|(_, value)| value.clone()).unwrap_or_default();
        set(&mut value, part, patch.value.clone());
        leaves.retain(|path, _| !path.starts_with(place));
        collect(&value, shape, at, &mut place.to_vec(), &mut leaves);
    }
    leaves
}

/// How the merge descends.
#[derive(Clone, Copy)]
enum Shape<'a> {
    Record(&'a RecordType),
    /// A map of such values.
    Values(&'a Type),
    /// Maps within are branches, everything else is a leaf.
    Open,
    Leaf,
}

impl<'a> Shape<'a> {
    /// How far a path leads before it is inside a leaf, and what is there. A path on into a leaf changes a part of it, and the leaf is as new as that; a
    /// consent is as new as its decision.
    fn reach(self, path: &[Text]) -> (usize, Shape<'a>) {
        path.iter().fold((0, self), |(depth, shape), step| match shape {
            Shape::Leaf => (depth, Shape::Leaf),
            Shape::Record(_) | Shape::Values(_) | Shape::Open => (depth + 1, shape.field(step)),
        })
    }

    fn field(self, name: &str) -> Shape<'a> {
        match self {
            Shape::Record(record) => record.fields.get(name).map_or(Shape::Open, |field| Shape::of(&field.ty)),
            Shape::Values(ty) => Shape::of(ty),
            Shape::Open => Shape::Open,
            Shape::Leaf => Shape::Leaf,
        }
    }

    fn of(ty: &'a Type) -> Shape<'a> {
        match ty {
            Type::Record(record) if record.atomic => Shape::Leaf,
            Type::Record(record) => Shape::Record(record),
            Type::Map(values) => Shape::Values(values),
            Type::Any => Shape::Open,
            Type::Bool | Type::Int | Type::Number | Type::Text | Type::Date | Type::Time | Type::List(_) => Shape::Leaf,
        }
    }
}

fn collect(value: &Value, shape: Shape<'_>, at: Timestamp, path: &mut Vec<Text>, leaves: &mut BTreeMap<Vec<Text>, (Timestamp, Value)>) {
    match (value, shape) {
        (Value::Null, _) => {}
        (Value::Map(map), Shape::Leaf) if map.iter().all(|(_, part)| part.is_null()) => {}
        (Value::Map(map), Shape::Record(_) | Shape::Values(_) | Shape::Open) => {
            for (name, inner) in map.iter() {
                path.push(name.clone());
                collect(inner, shape.field(name), at, path, leaves);
                path.pop();
            }
        }
        _ => {
            leaves.insert(path.clone(), (at, value.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use millrace_model::{Change, Operation, Path, Schema, SourceKind};

    use super::*;
    use crate::record::RecordState;

    fn fragment(at: i64, json: &str, patch: Option<(i64, &str, &str)>) -> Fragment {
        let value = |json: &str| Value::from_json(&serde_json::from_str(json).expect("valid in the table"));
        let change = |at, operation| Change {
            kind: SourceKind::Opportunity,
            key: "k".into(),
            modified_at: Timestamp(at),
            operation,
        };
        let mut state = RecordState::default();
        state.apply(change(at, Operation::Replace(value(json))));
        if let Some((at, path, json)) = patch {
            state.apply(change(
                at,
                Operation::Patch {
                    paths: Path::parse(path).into_iter().collect(),
                    value: value(json),
                },
            ));
        }
        state.fragment().expect("it was written")
    }

    #[test]
    fn the_latest_version_of_each_leaf_wins() {
        let schema = Schema::built_in().expect("the schemas of the build parse");
        let record = schema.record(SourceKind::Opportunity);
        let a = Identity::new("b2b_opportunity", "a").expect("an identity");
        let b = Identity::new("b2b_opportunity", "b").expect("an identity");
        let table = [
            // An amount and its currency are one value.
            (
                fragment(1, r#"{"opportunityAmount":{"amount":1,"currencyCode":"EUR"},"isWon":true}"#, None),
                fragment(2, r#"{"opportunityAmount":{"amount":2}}"#, None),
                r#"{"opportunityAmount":{"amount":2},"isWon":true}"#,
            ),
            // Null and absent never win; equal versions go to the least node.
            (
                fragment(1, r#"{"isWon":true,"opportunityStage":"x"}"#, None),
                fragment(1, r#"{"isWon":null,"opportunityStage":"y"}"#, None),
                r#"{"isWon":true,"opportunityStage":"x"}"#,
            ),
            // A partial update makes its path newer than the rest of its record.
            (
                fragment(
                    1,
                    r#"{"opportunityStage":"x","opportunityName":"n"}"#,
                    Some((5, "opportunityStage", r#"{"opportunityStage":"z"}"#)),
                ),
                fragment(3, r#"{"opportunityStage":"y","opportunityName":"m"}"#, None),
                r#"{"opportunityStage":"z","opportunityName":"m"}"#,
            ),
            // A partial update of an amount leaves its currency, and makes both newer than another
            // record's.
            (
                fragment(
                    1,
                    r#"{"opportunityAmount":{"amount":1,"currencyCode":"EUR"}}"#,
                    Some((5, "opportunityAmount.amount", r#"{"opportunityAmount":{"amount":3}}"#)),
                ),
                fragment(3, r#"{"opportunityAmount":{"amount":2,"currencyCode":"USD"}}"#, None),
                r#"{"opportunityAmount":{"amount":3,"currencyCode":"EUR"}}"#,
            ),
            // No amount never wins over an amount, whatever currency comes with it.
            (
                fragment(1, r#"{"opportunityAmount":{"amount":1,"currencyCode":"EUR"}}"#, None),
                fragment(
                    2,
                    r#"{"opportunityAmount":{"currencyCode":"USD"}}"#,
                    Some((3, "opportunityAmount.amount", "{}")),
                ),
                r#"{"opportunityAmount":{"amount":1,"currencyCode":"EUR"}}"#,
            ),
            // Custom fields merge by leaf as well.
            (
                fragment(1, r#"{"extra":{"p":1,"q":{"r":1}}}"#, None),
                fragment(2, r#"{"extra":{"q":{"s":2}}}"#, None),
                r#"{"extra":{"p":1,"q":{"r":1,"s":2}}}"#,
            ),
        ];
        for (of_a, of_b, expected) in &table {
            let expected: serde_json::Value = serde_json::from_str(expected).expect("valid in the table");
            assert_eq!(merge([(&a, of_a), (&b, of_b)], record).value.to_json(), expected);
            assert_eq!(merge([(&b, of_b), (&a, of_a)], record).value.to_json(), expected, "in the other order");
        }
    }

    #[test]
    fn what_is_added_to_a_decision_changes_neither_it_nor_its_age() {
        let schema = Schema::built_in().expect("the schemas of the build parse");
        let record = schema.record(SourceKind::Person);
        let a = Identity::new("b2b_person", "a").expect("an identity");
        let b = Identity::new("b2b_person", "b").expect("an identity");
        let consent = |consent: &str| format!(r#"{{"consents":{{"marketing":{{"email":{consent}}}}}}}"#);
        let with_reason = |at, decision: &str| {
            let added = consent(r#"{"reason":"by phone"}"#);
            fragment(at, &consent(decision), Some((9, "consents.marketing.email.reason", added.as_str())))
        };
        for (of_a, of_b, expected) in [
            // The refusal stands, with the new reason.
            (
                with_reason(6, r#"{"val":"n","reason":"asked"}"#),
                r#"{"val":"y"}"#,
                r#"{"val":"n","reason":"by phone"}"#,
            ),
            // A newer refusal is not outranked by words about an older permission, nor a newer permission by words about an older refusal.
            (with_reason(1, r#"{"val":"y"}"#), r#"{"val":"n"}"#, r#"{"val":"n"}"#),
            (with_reason(1, r#"{"val":"n"}"#), r#"{"val":"y"}"#, r#"{"val":"y"}"#),
            // Words about no decision are none.
            (with_reason(1, "{}"), r#"{"val":"y"}"#, r#"{"val":"y"}"#),
        ] {
            let of_b = fragment(5, &consent(of_b), None);
            let expected: serde_json::Value = serde_json::from_str(&consent(expected)).expect("valid in the table");
            assert_eq!(merge([(&a, &of_a), (&b, &of_b)], record).value.to_json(), expected);
            assert_eq!(merge([(&b, &of_b), (&a, &of_a)], record).value.to_json(), expected, "in the other order");
        }
    }
}
