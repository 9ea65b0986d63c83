//! Texts of definitions as trees, within limits that are checked before the work.
//!
//! The YAML reader examines every open bracket again with every token, and writes aliases out: a
//! text of some kilobytes could take minutes and gigabytes. Here brackets are counted before it
//! begins, and values while it runs.

use std::cell::Cell;
use std::fmt;

use millrace_pql::Diagnostic;
use millrace_pql::ast::Span;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Visitor};
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
