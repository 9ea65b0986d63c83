//! Texts of definitions as trees, within limits that are checked before the work.
//!
//! The YAML reader examines every open bracket again with every token, and writes aliases out: a
//! text of some kilobytes could take minutes and gigabytes. Here brackets are counted before it
//! begins, and values while it runs.

use std::cell::Cell;
use std::fmt;

use millrace_model::number;
use millrace_pql::Diagnostic;
use millrace_pql::ast::Span;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value as Json};
use serde_norway::{Mapping, Value as Yaml};

/// Definitions of one text: five times the number of the largest deployment.
pub const DEFINITIONS_MAX: usize = 10_000;

/// Values of one definition, aliases counted as written out. The largest rule in JSON form has some
/// 100,000.
pub const VALUES_MAX: usize = 200_000;

/// Brackets open at a time, wherever they are: 128 of YAML, its own limit, and 128 of a rule, which
/// is also its limit.
pub const BRACKETS_MAX: usize = 256;

/// Checks that the brackets of a text are few enough to read.
pub(crate) fn check_brackets(text: &str) -> Result<(), Diagnostic> {
    let mut open = 0_usize;
    let mut at_line_start = true;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            // Each document starts over.
            b'-' if at_line_start && text[at..].starts_with("---") => open = 0,
            _ => {}
        }
        at_line_start = byte == b'\n';
        if open > BRACKETS_MAX {
            let at = u32::try_from(at).unwrap_or(u32::MAX);
            let place = Span { start: at, end: at + 1 };
            let message = format!("more than {BRACKETS_MAX} brackets are open here");
            return Err(Diagnostic::error("too-deep", place, message));
        }
    }
    Ok(())
}

/// One document as a tree.
pub(crate) fn tree<'de, D: Deserializer<'de>>(document: D) -> Result<Yaml, D::Error> {
    Counted(&Cell::new(0)).deserialize(document)
}

/// Reads a value, and counts it.
#[derive(Clone, Copy)]
struct Counted<'c>(&'c Cell<usize>);

impl<'de> DeserializeSeed<'de> for Counted<'_> {
    type Value = Yaml;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Yaml, D::Error> {
        self.0.set(self.0.get() + 1);
        if self.0.get() > VALUES_MAX {
            return Err(D::Error::custom(format!(
                "the document has more than {VALUES_MAX} values, where an alias counts as what it stands for"
            )));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Counted<'_> {
    type Value = Yaml;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Yaml, E> {
        Ok(Yaml::Bool(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Yaml, E> {
        Ok(Yaml::Number(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Yaml, E> {
        Ok(Yaml::Number(number.into()))
    }

    // A tree has room for doubles only. Who needs the other digits reads the text again: see `json_at`.

    fn visit_i128<E: Error>(self, number: i128) -> Result<Yaml, E> {
        self.visit_f64(number as f64)
    }

    fn visit_u128<E: Error>(self, number: u128) -> Result<Yaml, E> {
        self.visit_f64(number as f64)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Yaml, E> {
        Ok(Yaml::Number(number.into()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Yaml, E> {
        Ok(Yaml::String(text.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, of: D) -> Result<Yaml, D::Error> {
        self.deserialize(of)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Yaml, A::Error> {
        let mut read = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            read.push(item);
        }
        Ok(Yaml::Sequence(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Yaml, A::Error> {
        let mut read = Mapping::new();
        while let Some(key) = entries.next_key_seed(self)? {
            if read.contains_key(&key) {
                let shown = key.as_str().map_or_else(String::new, |key| format!(" `{key}`"));
                return Err(A::Error::custom(format!("the key{shown} stands twice in a map")));
            }
            read.insert(key, entries.next_value_seed(self)?);
        }
        Ok(Yaml::Mapping(read))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Yaml, A::Error> {
        Err(A::Error::custom("tags such as `!name` are not taken"))
    }
}

/// Maps and lists within each other that the reader takes, and aliases that it follows for each value that is written.
const LEVELS_MAX: usize = 128;
const FOLLOWED_MAX: usize = 100;

/// What the reader refused; of its own limits it says no number.
pub(crate) fn unreadable(error: &serde_norway::Error, place: Span) -> Diagnostic {
    let text = error.to_string();
    if text.contains("recursion limit exceeded") {
        let message = format!("maps and lists stand in each other more than {LEVELS_MAX} levels deep");
        return Diagnostic::error("too-deep", place, message);
    }
    if text.contains("repetition limit exceeded") {
        let message = format!("aliases stand for more than {FOLLOWED_MAX} times what the document holds");
        return Diagnostic::error("yaml", place, message);
    }
    Diagnostic::error("yaml", place, format!("neither YAML nor JSON: {text}"))
}

/// The part of a document at a pointer, as JSON, its numbers with all the digits that are written; `tree` is what `tree` read of the same text.
///
/// # Errors
/// Why there is no such JSON.
pub(crate) fn json_at(text: &str, tree: &Yaml, pointer: &str) -> Result<Json, String> {
    let json = if has_doubles(tree) {
        let document = serde_norway::Deserializer::from_str(text).next().ok_or("there is no document")?;
        Exactly(tree).deserialize(document).map_err(|error| error.to_string())?
    } else {
        serde_json::to_value(tree).map_err(|error| error.to_string())?
    };
    json.pointer(pointer).cloned().ok_or_else(|| format!("{pointer} is missing"))
}

fn has_doubles(tree: &Yaml) -> bool {
    match tree {
        Yaml::Number(number) => number.is_f64(),
        Yaml::Sequence(items) => items.iter().any(has_doubles),
        Yaml::Mapping(entries) => entries.iter().any(|(_, value)| has_doubles(value)),
        Yaml::Null | Yaml::Bool(_) | Yaml::String(_) | Yaml::Tagged(_) => false,
    }
}

/// Reads once more what has become this tree: numbers as texts, which the reader of YAML hands out where it is asked for one.
#[derive(Clone, Copy)]
struct Exactly<'t>(&'t Yaml);

impl<'de> DeserializeSeed<'de> for Exactly<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        let plain = match self.0 {
            Yaml::Number(_) => return deserializer.deserialize_str(self),
            Yaml::Sequence(_) => return deserializer.deserialize_seq(self),
            Yaml::Mapping(_) => return deserializer.deserialize_map(self),
            Yaml::Null | Yaml::Tagged(_) => Json::Null,
            Yaml::Bool(flag) => Json::Bool(*flag),
            Yaml::String(text) => Json::String(text.clone()),
        };
        deserializer.deserialize_ignored_any(IgnoredAny)?;
        Ok(plain)
    }
}

impl<'de> Visitor<'de> for Exactly<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what was read before")
    }

    /// A number. Null where it has no form in JSON, as infinity has none.
    fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
        if let Ok(number) = text.parse::<Number>() {
            return Ok(Json::Number(number));
        }
        // YAML knows further forms, such as `0x1F` and `.5`.
        if let Yaml::Number(number) = self.0
            && !number.is_f64()
        {
            return serde_json::to_value(number).map_err(E::custom);
        }
        let number = number::parse_spelled(text).and_then(|number| number.to_string().parse::<Number>().ok());
        Ok(number.map_or(Json::Null, Json::Number))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut read = Vec::new();
        for tree in self.0.as_sequence().into_iter().flatten() {
            read.extend(items.next_element_seed(Exactly(tree))?);
        }
        Ok(Json::Array(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut read = serde_json::Map::new();
        for (key, tree) in self.0.as_mapping().into_iter().flatten() {
            let name = key.as_str().ok_or_else(|| A::Error::custom("a key is no text"))?;
            if entries.next_key::<IgnoredAny>()?.is_some() {
                read.insert(name.to_owned(), entries.next_value_seed(Exactly(tree))?);
            }
        }
        Ok(Json::Object(read))
    }
}
