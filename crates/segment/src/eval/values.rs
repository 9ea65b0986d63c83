//! Values under evaluation: fields, items, truth, comparison.

use std::borrow::Cow;
use std::cmp::Ordering;

use millrace_model::{Map, Text, Timestamp, Value};
use millrace_pql::ast::Comparison;

use super::{Object, Val};
use crate::coerce::read;
use crate::core::Kind;

const NULL: &Value = &Value::Null;

impl<'a> Val<'a> {
    pub fn null() -> Val<'a> {
        Val::Own(Value::Null)
    }

    pub fn is_null(&self) -> bool {
        match self {
            Val::Own(value) => value.is_null(),
            Val::Ref(value) => value.is_null(),
            Val::Object(_) | Val::List(_) | Val::Map(_) => false,
        }
    }

    pub fn truth(&self) -> bool {
        match self {
            // A list in the place of a condition, under `Any`.
            Val::List(items) => !items.is_empty(),
            Val::Own(Value::List(items)) => !items.is_empty(),
            Val::Ref(Value::List(items)) => !items.is_empty(),
            Val::Own(value) => *value == Value::Bool(true),
            Val::Ref(value) => **value == Value::Bool(true),
            Val::Object(_) | Val::Map(_) => false,
        }
    }

    /// As a plain value; things are null.
    pub fn value(&self) -> Cow<'_, Value> {
        match self {
            Val::Own(value) => Cow::Borrowed(value),
            Val::Ref(value) => Cow::Borrowed(value),
            Val::Object(_) => Cow::Borrowed(NULL),
            Val::List(items) => Cow::Owned(Value::List(items.iter().map(|item| item.value().into_owned()).collect())),
            Val::Map(entries) => Cow::Owned(Value::Map(
                entries.iter().map(|(name, value)| (name.clone(), value.value().into_owned())).collect(),
            )),
        }
    }

    pub fn into_value(self) -> Value {
        match self {
            Val::Own(value) => value,
            other @ (Val::Ref(_) | Val::Object(_) | Val::List(_) | Val::Map(_)) => other.value().into_owned(),
        }
    }

    /// The items of a list; of null none, of anything else itself.
    pub fn items(self) -> Vec<Val<'a>> {
        if self.is_null() {
            return Vec::new();
        }
        match self {
            Val::List(items) => items,
            Val::Own(Value::List(items)) => items.into_iter().map(Val::Own).collect(),
            Val::Ref(Value::List(items)) => items.iter().map(Val::Ref).collect(),
            other @ (Val::Own(_) | Val::Ref(_) | Val::Object(_) | Val::Map(_)) => vec![other],
        }
    }

    pub fn is_list(&self) -> bool {
        matches!(self, Val::List(_) | Val::Own(Value::List(_)) | Val::Ref(Value::List(_)))
    }

    /// The entries of a map, in order of keys.
    pub fn entries(self) -> Vec<(Text, Val<'a>)> {
        match self {
            Val::Map(entries) => entries,
            Val::Own(Value::Map(map)) => map.into_iter().map(|(name, value)| (name, Val::Own(value))).collect(),
            Val::Ref(Value::Map(map)) => map.iter().map(|(name, value)| (name.clone(), Val::Ref(value))).collect(),
            Val::Own(_) | Val::Ref(_) | Val::Object(_) | Val::List(_) => Vec::new(),
        }
    }

    /// A field of a value that is not a thing; for a list, those of its items.
    pub fn plain_field(self, name: &str) -> Val<'a> {
        match self {
            Val::Ref(Value::Map(map)) => Val::Ref(map.get(name).unwrap_or(NULL)),
            Val::Own(Value::Map(mut map)) => Val::Own(map.remove(name).unwrap_or_default()),
            Val::Map(entries) => entries.into_iter().find(|(known, _)| known == name).map_or(Val::null(), |(_, val)| val),
            list if list.is_list() => {
                let mut out = Vec::new();
                for item in list.items() {
                    let field = item.plain_field(name);
                    out.extend(field.items().into_iter().filter(|val| !val.is_null()));
                }
                Val::List(out)
            }
            Val::Own(_) | Val::Ref(_) | Val::Object(_) | Val::List(_) => Val::null(),
        }
    }

    /// The canonical or source id of a thing, row or event.
    pub fn id(&self) -> Option<&str> {
        match self {
            Val::Object(Object::Item(item, _)) => Some(&item.id),
            Val::Object(Object::Target(id, _)) => Some(id),
            Val::Object(Object::Event(row, _)) => Some(&row.id),
            Val::Object(Object::WorldThing(_, id)) => Some(id),
            Val::Object(Object::WorldRow(link, _)) => Some(&link.id),
            Val::Object(Object::WorldEvent(event)) => Some(&event.id),
            // Rows of list-valued features, and events under their own record.
            Val::Own(value) => value.field(crate::core::ROW_ID).as_str(),
            Val::Ref(value) => value.field(crate::core::ROW_ID).as_str().or_else(|| value.field("_id").as_str()),
            Val::Object(_) | Val::List(_) | Val::Map(_) => None,
        }
    }

    /// The instant of an event.
    pub fn at(&self) -> Option<Timestamp> {
        match self {
            Val::Object(Object::Event(row, _)) => Some(row.at),
            Val::Object(Object::WorldEvent(event)) => Some(event.at),
            Val::Own(_) | Val::Ref(_) | Val::Object(_) | Val::List(_) | Val::Map(_) => None,
        }
    }
}

/// A value as a key of a map; `None` for null and composites.
pub(super) fn key(value: &Value) -> Option<Text> {
    match value {
        Value::Null | Value::List(_) | Value::Map(_) => None,
        Value::Text(text) => Some(text.clone()),
        other @ (Value::Bool(_) | Value::Int(_) | Value::Decimal(_) | Value::Date(_) | Value::Time(_)) => read(other, Kind::Text).as_str().map(Text::new),
    }
}

/// A comparison under the null rule: false if a side is null or the types differ.
pub(super) fn compare(comparison: Comparison, left: &Value, right: &Value) -> bool {
    let same = left.is_number() && right.is_number() || std::mem::discriminant(left) == std::mem::discriminant(right);
    if left.is_null() || right.is_null() || !same {
        return false;
    }
    if let (Value::List(a), Value::List(b)) = (left, right) {
        let equal = within(a, b) && within(b, a);
        return match comparison {
            Comparison::Equal => equal,
            Comparison::NotEqual => !equal,
            Comparison::Less | Comparison::LessOrEqual | Comparison::Greater | Comparison::GreaterOrEqual => false,
        };
    }
    let order = left.cmp(right);
    match comparison {
        Comparison::Equal => order == Ordering::Equal,
        Comparison::NotEqual => order != Ordering::Equal,
        _ if matches!(left, Value::Map(_)) => false,
        Comparison::Less => order == Ordering::Less,
        Comparison::LessOrEqual => order != Ordering::Greater,
        Comparison::Greater => order == Ordering::Greater,
        Comparison::GreaterOrEqual => order != Ordering::Less,
    }
}

/// Whether `list` holds `value`.
pub(super) fn holds(list: &[Value], value: &Value) -> bool {
    list.iter().any(|item| compare(Comparison::Equal, value, item))
}

/// Whether every item of `a` is in `b`; nulls aside.
pub(super) fn within(a: &[Value], b: &[Value]) -> bool {
    a.iter().filter(|item| !item.is_null()).all(|item| holds(b, item))
}

/// One map of several; later entries win.
pub(super) fn merge(maps: Vec<Val<'_>>) -> Value {
    let mut merged = Map::new();
    for map in maps {
        for (name, value) in map.entries() {
            merged.insert(name, value.into_value());
        }
    }
    Value::Map(merged)
}
