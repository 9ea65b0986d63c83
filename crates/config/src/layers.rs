//! Layers to one tree, and the tree to `Raw`; every misfit is reported at once.

use std::collections::BTreeMap;
use std::path::Path;

use figment::error::{Actual, Error, Kind};
use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Tag, Value};
use figment::{Figment, Metadata, Profile, Provider};
use millrace_model::number;
use serde::Deserialize;

use crate::environment::{ENVIRONMENT_PREFIX, meant};
use crate::raw::Raw;
use crate::suggest::suggestion;
use crate::text::text_of;
use crate::validate::validate;
use crate::{Config, ConfigError, Problem};

/// How a configuration file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// TOML, in which a key stands once.
    Toml,
    /// YAML, which JSON is a part of.
    Yaml,
}

/// A configuration file's text.
#[derive(Clone, Debug)]
pub struct Document<'a> {
    /// Named in problems.
    pub name: &'a str,
    /// The syntax of `text`.
    pub format: Format,
    /// The whole file, without a byte-order mark.
    pub text: &'a str,
}

/// The search stops after this number of misfits: the file is not one of ours.
const MISFITS_MAX: usize = 50;

/// Reads `file` (TOML, or YAML where it ends in `.yaml`, `.yml` or `.json`) and layers it between
/// the defaults and `environment`.
///
/// # Errors
/// Where the file cannot be read, or the configuration is invalid.
pub fn load(file: Option<&Path>, environment: impl IntoIterator<Item = (String, String)>) -> Result<Config, ConfigError> {
    let Some(path) = file else { return parse(None, environment) };
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let text = std::fs::read(path)
        .and_then(|bytes| text_of(bytes).map_err(std::io::Error::from))
        .map_err(unreadable)?;
    let format = match path.extension().and_then(|extension| extension.to_str()) {
        Some("yaml" | "yml" | "json") => Format::Yaml,
        _ => Format::Toml,
    };
    parse(
        Some(Document {
            name: &path.display().to_string(),
            format,
            text: &text,
        }),
        environment,
    )
}

/// As `load`, from texts: reads no file.
///
/// # Errors
/// Where the configuration is invalid; all problems at once.
pub fn parse(document: Option<Document<'_>>, environment: impl IntoIterator<Item = (String, String)>) -> Result<Config, ConfigError> {
    let mut problems = Vec::new();
    let mut figment = Figment::new();
    if let Some(document) = document {
        match read_document(&document) {
            Ok(layer) => figment = figment.merge(layer),
            Err(problem) => problems.push(problem),
        }
    }
    let mut warnings = Vec::new();
    let mut texts = BTreeMap::new();
    for (name, text) in environment {
        match name.strip_prefix(ENVIRONMENT_PREFIX) {
            Some(key) => {
                figment = figment.merge(variable(&name, key, &text));
                texts.insert(name, text);
            }
            None => warnings.extend(meant(&name).map(|meant| format!("the environment variable `{name}` is not read; did you mean `{meant}`?"))),
        }
    }
    let raw = extract(&figment, &texts, &mut problems);
    match validate(raw, &mut problems) {
        Some(mut config) if problems.is_empty() => {
            config.warnings.splice(..0, warnings);
            Ok(config)
        }
        _ => {
            problems.sort_by(|a, b| a.key.cmp(&b.key));
            Err(ConfigError::Invalid(problems))
        }
    }
}

/// One layer: a tree and where it is from.
struct Layer {
    origin: String,
    tree: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.tree.clone()))
    }
}

fn read_document(document: &Document<'_>) -> Result<Layer, Problem> {
    let tree = match document.format {
        Format::Toml => Toml::string(document.text)
            .data()
            .map(|mut profiles| profiles.remove(&Profile::Default).unwrap_or_default())
            .map_err(|e| e.to_string()),
        Format::Yaml if document.text.trim().is_empty() => Ok(Dict::new()),
        // Read as a tree of its own first: that refuses a duplicate key, of which a map would
        // silently keep the last.
        Format::Yaml => serde_norway::from_str::<serde_norway::Value>(document.text)
            .and_then(|_| serde_norway::from_str::<Dict>(document.text))
            .map_err(|e| e.to_string()),
    };
    match tree {
        Ok(tree) => Ok(Layer {
            origin: document.name.to_owned(),
            tree,
        }),
        Err(detail) => Err(Problem {
            key: String::new(),
            detail: detail.trim().replace('\n', "\n    "),
            origin: Some(document.name.to_owned()),
        }),
    }
}

/// `TOPICS__SHARDS` as `topics.shards`. `8` is a number, `[a, b]` a list, the rest texts.
fn variable(name: &str, key: &str, text: &str) -> Layer {
    let mut steps: Vec<String> = key.split("__").map(str::to_ascii_lowercase).collect();
    let mut value = scalar_or_list(text);
    if let [kafka, properties, rest @ ..] = steps.as_mut_slice()
        && kafka == "kafka"
        && properties == "properties"
    {
        rest.iter_mut().for_each(|step| *step = step.replace('_', "."));
        // The client expects texts, and a password of digits must stay as it is.
        value = Value::from(text.to_owned());
    }
    let mut tree = Dict::new();
    if let Some(last) = steps.pop() {
        tree.insert(last, value);
        while let Some(step) = steps.pop() {
            tree = Dict::from([(step, Value::Dict(Tag::Default, tree))]);
        }
    }
    Layer { origin: name.to_owned(), tree }
}

/// Flags, numbers, lists and maps in YAML's flow style; everything else is text.
fn scalar_or_list(text: &str) -> Value {
    let trimmed = text.trim();
    if let Ok(flag) = trimmed.parse::<bool>() {
        return Value::from(flag);
    }
    // `007` is a text: as a number it would lose its zeros, and a password is what it is.
    if let Ok(number) = trimmed.parse::<i64>()
        && number.to_string() == trimmed
    {
        return Value::from(number);
    }
    match trimmed.chars().next() {
        Some('0'..='9' | '-' | '.') => match trimmed.parse::<f64>() {
            // A number that no double is stays a text, with all its digits.
            Ok(number) if number::of_double(number) == number::parse_spelled(trimmed) => Value::from(number),
            _ => Value::from(text.to_owned()),
        },
        Some('[' | '{') => serde_norway::from_str(trimmed).unwrap_or_else(|_| Value::from(text.to_owned())),
        _ => Value::from(text.to_owned()),
    }
}

/// Deserialises; notes each misfit, removes the offending key and tries again. `texts`: the
/// variables as they were written.
fn extract(figment: &Figment, texts: &BTreeMap<String, String>, problems: &mut Vec<Problem>) -> Raw {
    let mut tree = match figment.extract::<Dict>() {
        Ok(tree) => tree,
        Err(error) => {
            problems.push(Problem {
                key: String::new(),
                detail: error.to_string(),
                origin: None,
            });
            return Raw::default();
        }
    };
    for _ in 0..MISFITS_MAX {
        let error = match Raw::deserialize(&Value::Dict(Tag::Default, tree.clone())) {
            Ok(raw) => return raw,
            Err(error) => error,
        };
        let (path, mut detail) = describe(&error);
        let origin = origin(figment, &path);
        // A variable says nothing of its type: where a text is expected, digits are one.
        if let (Kind::InvalidType(Actual::Bool(_) | Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_), expected), Some(text)) =
            (&error.kind, origin.as_ref().and_then(|name| texts.get(name)))
            && expected.contains("string")
            && replace(&mut tree, &path, text)
        {
            continue;
        }
        // It was there, and was removed above for what is wrong with it.
        if matches!(error.kind, Kind::MissingField(_)) && problems.iter().any(|problem| problem.key == key_below(&path, &error.kind)) {
            if !remove(&mut tree, &path) {
                break;
            }
            continue;
        }
        if let (Kind::UnknownField(..), Some(meant)) = (&error.kind, origin.as_deref().and_then(meant)) {
            detail = format!("unknown key; did you mean `{meant}`?");
        }
        problems.push(Problem {
            key: path.join("."),
            detail,
            origin,
        });
        if !remove(&mut tree, &path) {
            break;
        }
    }
    Raw::default()
}

/// The key that is missing.
fn key_below(path: &[String], kind: &Kind) -> String {
    match kind {
        Kind::MissingField(name) => format!("{}.{name}", path.join(".")),
        _ => path.join("."),
    }
}

/// Where the misfit is and what it is. Never shows the value: it may be a secret.
fn describe(error: &Error) -> (Vec<String>, String) {
    let mut path = error.path.clone();
    let detail = match &error.kind {
        Kind::UnknownField(name, known) => {
            if path.last() != Some(name) {
                path.push(name.clone());
            }
            format!("unknown key{}", suggestion(name, known))
        }
        Kind::UnknownVariant(name, known) => format!("`{name}` is none of {}{}", known.join(", "), suggestion(name, known)),
        Kind::MissingField(name) => format!("`{name}` is missing"),
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => match expected.as_str() {
            "u32" | "u16" => "expected a whole number".to_owned(),
            "f64" => "expected a number".to_owned(),
            other => format!("expected {other}"),
        },
        other => other.to_string(),
    };
    (path, detail)
}

/// The layer that says something at `path`.
fn origin(figment: &Figment, path: &[String]) -> Option<String> {
    let value = figment.find_value(&path.join(".")).ok()?;
    figment.get_metadata(value.tag()).map(|metadata| metadata.name.to_string())
}

/// Puts a text in the place of what is at `path`; returns whether there was something.
fn replace(tree: &mut Dict, path: &[String], text: &str) -> bool {
    match path {
        [] => false,
        [last] => tree.get_mut(last).map(|value| *value = Value::from(text.to_owned())).is_some(),
        [step, rest @ ..] => match tree.get_mut(step) {
            Some(Value::Dict(_, inner)) => replace(inner, rest, text),
            _ => false,
        },
    }
}

/// Removes what is at `path` from the tree; returns whether there was something.
fn remove(tree: &mut Dict, path: &[String]) -> bool {
    match path {
        [] => false,
        [last] => tree.remove(last).is_some(),
        [step, rest @ ..] => match tree.get_mut(step) {
            Some(Value::Dict(_, inner)) => remove(inner, rest),
            // The path leads into a list, or to a value where a section belongs: remove all of it.
            Some(_) => tree.remove(step).is_some(),
            None => false,
        },
    }
}
