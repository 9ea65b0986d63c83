//! Several source records of one thing become one profile.
//!
//! Per leaf the latest version wins, of equal ones the record with the least node; null and absent never win over a value. Arrays are leaves, and so
//! are the record types that the schema calls atomic: an amount with its currency, a source key.

use std::collections::BTreeMap;

use millrace_model::{Identity, RecordType, Text, Timestamp, Type, Value};

use crate::record::{Fragment, set};

/// A merged record and, for each leaf, where it comes from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Merged {
    pub value: Value,
    /// By dotted path.
    pub provenance: BTreeMap<String, Provenance>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The source record.
    pub node: Identity,
    pub modified_at: Timestamp,
}

/// A leaf that some record speaks for.
struct Leaf {
    modified_at: Timestamp,
    node: Identity,
    value: Value,
}

/// Merges fragments; their order does not matter.
pub fn merge<'a>(fragments: impl IntoIterator<Item = (&'a Identity, &'a Fragment)>, record: &RecordType) -> Merged {
    let mut leaves: BTreeMap<Vec<Text>, Leaf> = BTreeMap::new();
    for (node, fragment) in fragments {
        for (path, (modified_at, value)) in leaves_of(fragment, record) {
            let wins = leaves.get(&path).is_none_or(|known| (modified_at, std::cmp::Reverse(node)) > (known.modified_at, std::cmp::Reverse(&known.node)));
            if wins {
                leaves.insert(path, Leaf { modified_at, node: node.clone(), value });
            }
        }
    }
    let mut merged = Merged { value: Value::Map(Default::default()), provenance: BTreeMap::new() };
    // Where one record has a leaf and another a branch (fields of `extra` only), the branch, which sorts behind, takes the place.
    for (path, leaf) in leaves {
        merged.provenance.insert(path.join("."), Provenance { node: leaf.node, modified_at: leaf.modified_at });
        set(&mut merged.value, &path, leaf.value);
    }
    merged
}

fn leaves_of(fragment: &Fragment, record: &RecordType) -> BTreeMap<Vec<Text>, (Timestamp, Value)> {
    let mut leaves = BTreeMap::new();
    collect(&fragment.value, Shape::Record(record), fragment.at, &mut Vec::new(), &mut leaves);
    for patch in &fragment.patches {
        // Ingest widens a path that leads into an atomic value to the whole of it.
        let steps = patch.path.steps();
        let shape = steps.iter().fold(Shape::Record(record), |shape, step| shape.field(step));
        leaves.retain(|path, _| !path.starts_with(steps));
        collect(&patch.value, shape, patch.at, &mut steps.to_vec(), &mut leaves);
    }
    leaves
}

/// How the merge descends.
#[derive(Clone, Copy)]
enum Shape<'a> {
    Record(&'a RecordType),
    /// Maps within are branches, everything else is a leaf.
    Open,
    Leaf,
}

impl<'a> Shape<'a> {
    fn field(self, name: &str) -> Shape<'a> {
        match self {
            Shape::Record(record) => record.fields.get(name).map_or(Shape::Open, |field| Shape::of(&field.ty)),
            Shape::Open => Shape::Open,
            Shape::Leaf => Shape::Leaf,
        }
    }

    fn of(ty: &'a Type) -> Shape<'a> {
        match ty {
            Type::Record(record) if record.atomic => Shape::Leaf,
            Type::Record(record) => Shape::Record(record),
            Type::Map(_) | Type::Any => Shape::Open,
            _ => Shape::Leaf,
        }
    }
}

fn collect(value: &Value, shape: Shape<'_>, at: Timestamp, path: &mut Vec<Text>, leaves: &mut BTreeMap<Vec<Text>, (Timestamp, Value)>) {
    match (value, shape) {
        (Value::Null, _) => {}
        (Value::Map(map), Shape::Record(_) | Shape::Open) => {
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
        let change = |at, operation| Change { kind: SourceKind::Opportunity, key: "k".into(), modified_at: Timestamp(at), operation };
        let mut state = RecordState::default();
        state.apply(change(at, Operation::Replace(value(json))));
        if let Some((at, path, json)) = patch {
            state.apply(change(at, Operation::Patch { paths: Path::parse(path).into_iter().collect(), value: value(json) }));
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
            (fragment(1, r#"{"isWon":true,"opportunityStage":"x"}"#, None), fragment(1, r#"{"isWon":null,"opportunityStage":"y"}"#, None), r#"{"isWon":true,"opportunityStage":"x"}"#),
            // A partial update makes its path newer than the rest of its record.
            (
                fragment(1, r#"{"opportunityStage":"x","opportunityName":"n"}"#, Some((5, "opportunityStage", r#"{"opportunityStage":"z"}"#))),
                fragment(3, r#"{"opportunityStage":"y","opportunityName":"m"}"#, None),
                r#"{"opportunityStage":"z","opportunityName":"m"}"#,
            ),
            // Custom fields merge by leaf as well.
            (fragment(1, r#"{"extra":{"p":1,"q":{"r":1}}}"#, None), fragment(2, r#"{"extra":{"q":{"s":2}}}"#, None), r#"{"extra":{"p":1,"q":{"r":1,"s":2}}}"#),
        ];
        for (of_a, of_b, expected) in &table {
            let expected: serde_json::Value = serde_json::from_str(expected).expect("valid in the table");
            assert_eq!(merge([(&a, of_a), (&b, of_b)], record).value.to_json(), expected);
            assert_eq!(merge([(&b, of_b), (&a, of_a)], record).value.to_json(), expected, "in the other order");
        }
    }
}
