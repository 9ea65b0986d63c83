//! Several source records of one thing become one profile.
//!
//! Per leaf the latest version wins, of equal ones the record with the least node; null and absent never win over a value. Arrays are leaves, and so
//! are the record types that the schema calls atomic: an amount with its currency, a source key.

use std::collections::BTreeMap;

use millrace_model::{Identity, RecordType, Text, Timestamp, Type, Value};

use crate::record::Fragment;

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
        put(&mut merged.value, &path, leaf.value);
    }
    merged
}

fn leaves_of(fragment: &Fragment, record: &RecordType) -> BTreeMap<Vec<Text>, (Timestamp, Value)> {
    let mut leaves = BTreeMap::new();
    collect(&fragment.value, Shape::Record(record), fragment.at, &mut Vec::new(), &mut leaves);
    for patch in &fragment.patches {
        let steps = patch.path.steps();
        let mut shape = Shape::Record(record);
        for (depth, step) in steps.iter().enumerate() {
            shape = shape.field(step);
            if matches!(shape, Shape::Leaf) && depth + 1 < steps.len() {
                // The path leads into an atomic value: the whole of it takes the patch.
                patch_atomic(&mut leaves, &steps[..=depth], fragment);
                break;
            }
        }
        if matches!(shape, Shape::Leaf) && leads_into_atomic(record, steps) {
            continue;
        }
        leaves.retain(|path, _| !path.starts_with(steps));
        collect(&patch.value, shape, patch.at, &mut steps.to_vec(), &mut leaves);
    }
    leaves
}

fn leads_into_atomic(record: &RecordType, steps: &[Text]) -> bool {
    let mut shape = Shape::Record(record);
    for step in &steps[..steps.len() - 1] {
        shape = shape.field(step);
        if matches!(shape, Shape::Leaf) {
            return true;
        }
    }
    false
}

/// An atomic value some of whose fields were patched: its current value, as new as the newest patch of it.
fn patch_atomic(leaves: &mut BTreeMap<Vec<Text>, (Timestamp, Value)>, path: &[Text], fragment: &Fragment) {
    let current = fragment.current();
    let value = path.iter().fold(&current, |value, step| value.field(step)).clone();
    let touched = fragment.patches.iter().filter(|patch| patch.path.steps().starts_with(path) || path.starts_with(patch.path.steps()));
    let newest = touched.map(|patch| patch.at).max().unwrap_or(fragment.at);
    leaves.remove(path);
    if !value.is_null() {
        leaves.insert(path.to_vec(), (newest, value));
    }
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
            Type::Map(inner) => match Shape::of(inner) {
                Shape::Leaf => Shape::Open,
                // Maps of records are rare, and open is right for them but for atomic values inside.
                _ => Shape::Open,
            },
            Type::Any => Shape::Open,
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

fn put(target: &mut Value, path: &[Text], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        *target = value;
        return;
    };
    if !matches!(target, Value::Map(_)) {
        *target = Value::Map(Default::default());
    }
    let Value::Map(map) = target else { return };
    if map.get(first).is_none() {
        map.insert(first, Value::Null);
    }
    if let Some(inner) = map.get_mut(first) {
        put(inner, rest, value);
    }
}
