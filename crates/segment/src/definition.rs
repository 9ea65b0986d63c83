//! Definitions of segments, external audiences and computed attributes: the YAML or JSON documents
//! that people write and the control topic carries.

use std::collections::BTreeSet;

use chrono_tz::Tz;
use millrace_model::{DAY_MS, SubjectKind, Text};
use millrace_pql::ast::Span;
use millrace_pql::{DIAGNOSTICS_MAX, Diagnostic, did_you_mean};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_norway::{Mapping, Value as Yaml};

use crate::yaml::{self, DEFINITIONS_MAX, check_brackets};

/// A rule and the use of its members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// What the rule defines.
    pub kind: Kind,
    /// `[a-z0-9-]+`, at most `NAME_BYTES_MAX` bytes.
    pub name: Text,
    /// For people, in any words; empty where none is given.
    pub description: String,
    /// `Person` or `Account`.
    pub subject: SubjectKind,
    /// How far the definition takes effect.
    pub status: Status,
    /// The time zone of calendar words and calendar steps. Stored by its name.
    #[serde(serialize_with = "zone_name", deserialize_with = "zone_of_name")]
    pub time_zone: Tz,
    /// The rule as text; for a rule in JSON form its canonical text, for an external audience the
    /// rule that it amounts to.
    pub pql: String,
    /// Names of destinations, as `name`, in the order written, each once.
    pub destinations: Vec<Text>,
}

/// What a definition defines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Members are the subjects for which the rule holds.
    #[default]
    Segment,
    /// Members are imported.
    ExternalAudience {
        /// For how many milliseconds from its `modifiedAt` a membership without an end of its own
        /// counts; `None`: until it is withdrawn.
        expires_after_ms: Option<i64>,
    },
    /// No members: the rule is an expression whose value is kept with every subject, and other
    /// rules name it as `computed.name`.
    ComputedAttribute,
}

/// How long a membership of an external audience counts by default: 30 days, as in the systems such
/// audiences come from.
pub const EXPIRES_AFTER_MS: i64 = 30 * DAY_MS;

/// The longest `expiresAfter`: 100 years, so that instants stay within the calendar.
const EXPIRES_AFTER_MS_MAX: i64 = 36_500 * DAY_MS;

/// How far a definition takes effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Status {
    /// Can be previewed; emits nothing.
    Draft,
    /// Members are kept and sent; the status of a definition that names none.
    #[default]
    Published,
    /// Everyone has left.
    Inactive,
}

/// Names are topic keys and parts of metrics.
pub const NAME_BYTES_MAX: usize = 128;

impl Kind {
    /// As definitions write it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Segment => "Segment",
            Kind::ExternalAudience { .. } => "ExternalAudience",
            Kind::ComputedAttribute => "ComputedAttribute",
        }
    }
}

impl Status {
    /// As definitions write it.
    pub fn name(self) -> &'static str {
        match self {
            Status::Draft => "draft",
            Status::Published => "published",
            Status::Inactive => "inactive",
        }
    }
}

fn zone_name<S: Serializer>(zone: &Tz, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(zone.name())
}

fn zone_of_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tz, D::Error> {
    let name = String::deserialize(deserializer)?;
    name.parse().map_err(|_| serde::de::Error::custom(format!("`{name}` is no time zone")))
}

/// Reads definitions: YAML or JSON, one or more documents divided by `---`.
///
/// # Errors
/// All errors of the text, with places in it. Rules are not parsed here; see `compile`.
pub fn parse_definitions(text: &str) -> Result<Vec<Definition>, Vec<Diagnostic>> {
    check_brackets(text).map_err(|problem| vec![problem])?;
    let texts = documents(text);
    if texts.len() > DEFINITIONS_MAX {
        let message = format!("there are {} definitions, more than {DEFINITIONS_MAX} at a time", texts.len());
        return Err(vec![Diagnostic::error("too-large", Span::default(), message)]);
    }
    let mut reader = Reader {
        text,
        from: 0,
        to: 0,
        problems: Vec::new(),
    };
    let mut texts = texts.into_iter();
    let mut definitions: Vec<Definition> = Vec::new();
    let mut names = BTreeSet::new();
    for document in serde_norway::Deserializer::from_str(text) {
        if reader.has_enough() {
            break;
        }
        match yaml::tree(document) {
            Ok(Yaml::Null) => {}
            Ok(yaml) => {
                reader.enter(texts.next().unwrap_or_default());
                if let Some(definition) = reader.definition(&yaml) {
                    if !names.insert(definition.name.clone()) {
                        reader.problem("duplicate", &definition.name, format!("the segment `{}` is defined twice", definition.name));
                    }
                    definitions.push(definition);
                }
            }
            Err(error) => {
                let at = error.location().map_or(0, |location| location.index());
                let place = span(at.min(text.len()), at.min(text.len()));
                reader.problems.push(yaml::unreadable(&error, place));
                // After a syntax error the rest would be misread.
                break;
            }
        }
    }
    if reader.problems.is_empty() && definitions.is_empty() {
        reader
            .problems
            .push(Diagnostic::error("empty", Span::default(), "there is no definition here").expecting("a document with `kind: Segment`"));
    }
    reader.problems.truncate(DIAGNOSTICS_MAX);
    if reader.problems.is_empty() { Ok(definitions) } else { Err(reader.problems) }
}

/// The non-empty documents of a YAML text, in order; together they are the text. A line that begins
/// with `---` opens a document: inside a value none can stand at the first column. Comments before
/// the first such line belong to the document after it, comments after the last document to that
/// one.
pub fn documents(text: &str) -> Vec<&str> {
    let mut begins = Vec::new();
    // The beginning of a document without content so far.
    let mut open = Some(0);
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let opened = line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if opened.is_some() {
            open = open.or(Some(at));
        }
        if holds_something(opened.unwrap_or(line)) {
            begins.extend(open.take());
        }
        at += line.len();
    }
    let ends = begins.iter().skip(1).copied().chain([text.len()]);
    begins.iter().zip(ends).map(|(begin, end)| &text[*begin..end]).collect()
}

/// Blank lines, comments, directives and ends of documents are no content.
fn holds_something(line: &str) -> bool {
    let line = line.trim();
    !(line.is_empty() || line == "..." || line.starts_with(['#', '%']))
}

fn span(start: usize, end: usize) -> Span {
    Span {
        start: u32::try_from(start).unwrap_or(u32::MAX),
        end: u32::try_from(end).unwrap_or(u32::MAX),
    }
}

/// Reads one document after the other, and collects the errors.
struct Reader<'t> {
    text: &'t str,
    /// Where the current document begins and ends.
    from: usize,
    to: usize,
    problems: Vec<Diagnostic>,
}

impl Reader<'_> {
    /// Goes on to the next document, with this text.
    fn enter(&mut self, document: &str) {
        self.from = self.to;
        self.to += document.len();
    }

    /// Further problems would not be shown.
    fn has_enough(&self) -> bool {
        self.problems.len() >= DIAGNOSTICS_MAX
    }

    /// The parsed tree holds no places: the first mention of a word within the document must do.
    fn place(&self, word: &str) -> Span {
        match self.text[self.from..self.to].find(word) {
            Some(at) => span(self.from + at, self.from + at + word.len()),
            None => span(self.from, self.from),
        }
    }

    fn problem(&mut self, code: &'static str, word: &str, message: String) -> &mut Diagnostic {
        let place = self.place(word);
        self.problems.push(Diagnostic::error(code, place, message));
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }

    /// A map with these keys only.
    fn map<'y>(&mut self, yaml: &'y Yaml, name: &str, keys: &[&str]) -> Option<&'y Mapping> {
        let Yaml::Mapping(map) = yaml else {
            self.problem("type", name, format!("`{name}` is a map with the keys {}", keys.join(", ")));
            return None;
        };
        for key in map.keys() {
            if self.has_enough() {
                break;
            }
            let Some(key) = key.as_str() else {
                self.problem("type", name, format!("the keys of `{name}` are texts"));
                continue;
            };
            if !keys.contains(&key) {
                let near = did_you_mean(key, keys.iter().copied()).map(str::to_owned);
                let problem = self.problem("unknown-key", key, format!("`{name}` has no key `{key}`"));
                problem.suggestion = near;
                problem.expected = Some(keys.join(", "));
            }
        }
        Some(map)
    }

    /// A text; missing or null is the default.
    fn text(&mut self, map: &Mapping, key: &str, default: &str) -> String {
        match map.get(key) {
            None | Some(Yaml::Null) => default.to_owned(),
            Some(Yaml::String(text)) => text.clone(),
            Some(_) => {
                self.problem("type", key, format!("`{key}` is a text"));
                default.to_owned()
            }
        }
    }

    /// One of several words; the first is the default.
    fn word<T: Copy>(&mut self, map: &Mapping, key: &str, words: &[(&str, T)]) -> T {
        let text = self.text(map, key, words[0].0);
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return *value;
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let near = did_you_mean(&text, known.iter().copied()).map(str::to_owned);
        let problem = self.problem("unknown-value", &text, format!("`{key}` cannot be `{text}`"));
        problem.suggestion = near;
        problem.expected = Some(known.join(", "));
        words[0].1
    }

    fn wrong_kind(&mut self, kind: &str) {
        let known = ["Segment", "ExternalAudience", "ComputedAttribute"];
        let wrong = match kind {
            "" => "`kind` is missing".to_owned(),
            kind => format!("`kind` cannot be `{kind}`"),
        };
        let problem = self.problem("kind", "kind", wrong);
        problem.suggestion = did_you_mean(kind, known).map(str::to_owned);
        problem.expected = Some(known.join(", "));
    }

    fn definition(&mut self, yaml: &Yaml) -> Option<Definition> {
        let problems = self.problems.len();
        let top = self.map(yaml, "definition", &["kind", "metadata", "spec"])?;
        let kind = self.text(top, "kind", "");
        let external = kind == "ExternalAudience";
        let keys: &[&str] = match kind.as_str() {
            "Segment" => &SPEC,
            "ExternalAudience" => &EXTERNAL_SPEC,
            "ComputedAttribute" => &ATTRIBUTE_SPEC,
            _ => {
                self.wrong_kind(&kind);
                &SPEC
            }
        };
        let metadata = self.part(top, "metadata", &["name", "description"]);
        // An external audience may have only a name.
        let nothing = Mapping::new();
        let spec = if external && top.get("spec").is_none() {
            Some(&nothing)
        } else {
            self.part(top, "spec", keys)
        };
        let (metadata, spec) = (metadata?, spec?);
        let name = self.text(metadata, "name", "");
        if !is_name(&name) {
            self.problem("name", "name", no_name(&name));
        }
        let zone = self.text(spec, "timeZone", "UTC");
        let time_zone = zone.parse().unwrap_or_else(|_| {
            let near = did_you_mean(&zone, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name())).map(str::to_owned);
            let problem = self.problem("unknown-value", &zone, format!("`{zone}` is no time zone"));
            problem.suggestion = near;
            problem.expected = Some("a name such as `Europe/Berlin`".to_owned());
            Tz::UTC
        });
        let subject = self.word(spec, "subject", &[("person", SubjectKind::Person), ("account", SubjectKind::Account)]);
        let status = self.word(
            spec,
            "status",
            &[("published", Status::Published), ("draft", Status::Draft), ("inactive", Status::Inactive)],
        );
        let kind = match kind.as_str() {
            "ExternalAudience" => Kind::ExternalAudience {
                expires_after_ms: self.expires_after(spec),
            },
            "ComputedAttribute" => Kind::ComputedAttribute,
            _ => Kind::Segment,
        };
        let pql = match kind {
            Kind::Segment | Kind::ComputedAttribute => self.pql(yaml, spec),
            Kind::ExternalAudience { expires_after_ms } => membership_rule(&name, expires_after_ms),
        };
        let definition = Definition {
            kind,
            name: Text::new(&name),
            description: self.text(metadata, "description", ""),
            subject,
            status,
            time_zone,
            pql,
            destinations: self.destinations(spec),
        };
        (self.problems.len() == problems).then_some(definition)
    }

    fn part<'y>(&mut self, top: &'y Mapping, key: &str, keys: &[&str]) -> Option<&'y Mapping> {
        match top.get(key) {
            Some(part) => self.map(part, key, keys),
            None => {
                self.problem("missing-key", "", format!("`{key}` is missing"));
                None
            }
        }
    }

    /// The rule: text, or an object in JSON form.
    fn pql(&mut self, document: &Yaml, spec: &Mapping) -> String {
        match spec.get("pql") {
            None | Some(Yaml::Null) => {
                self.problem("missing-key", "spec", "`pql` is missing: a segment has a rule".to_owned());
                String::new()
            }
            // The JSON form may also come as a text that holds it.
            Some(Yaml::String(text)) if text.trim_start().starts_with('{') => match serde_json::from_str(text) {
                Ok(json) => self.json(&json),
                Err(_) => text.clone(),
            },
            Some(Yaml::String(text)) => text.clone(),
            Some(Yaml::Mapping(_)) => match yaml::json_at(&self.text[self.from..self.to], document, "/spec/pql") {
                Ok(json) => self.json(&json),
                Err(error) => {
                    self.problem("pql", "pql", format!("the rule is no JSON: {error}"));
                    String::new()
                }
            },
            // `pql: true` is YAML's boolean.
            Some(Yaml::Bool(flag)) => flag.to_string(),
            Some(_) => {
                self.problem("type", "pql", "`pql` is a text, or an object in JSON form".to_owned());
                String::new()
            }
        }
    }

    fn json(&mut self, json: &serde_json::Value) -> String {
        rule_of_json(json).unwrap_or_else(|problems| {
            let place = self.place("pql");
            self.problems.extend(problems.into_iter().map(|problem| Diagnostic { span: place, ..problem }));
            String::new()
        })
    }

    /// How long memberships count: a number with a unit, or `never`.
    fn expires_after(&mut self, spec: &Mapping) -> Option<i64> {
        let text = self.text(spec, "expiresAfter", "30d");
        if text == "never" {
            return None;
        }
        let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = DURATIONS.iter().find(|(name, _, _)| *name == unit).map(|(_, ms, _)| *ms);
        let ms = number.parse::<i64>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
        if let Some(ms) = ms.filter(|ms| (1..=EXPIRES_AFTER_MS_MAX).contains(ms)) {
            return Some(ms);
        }
        let problem = self.problem("unknown-value", &text, format!("`expiresAfter` cannot be `{text}`"));
        problem.expected = Some("a number with a unit such as `30d` or `12h` (s, m, h, d, w), at most 36500d, or `never`".to_owned());
        Some(EXPIRES_AFTER_MS)
    }

    fn destinations(&mut self, spec: &Mapping) -> Vec<Text> {
        let items = match spec.get("destinations") {
            None | Some(Yaml::Null) => return Vec::new(),
            Some(Yaml::Sequence(items)) => items,
            Some(_) => {
                self.problem("type", "destinations", "`destinations` is a list of names".to_owned());
                return Vec::new();
            }
        };
        let mut names: Vec<Text> = Vec::new();
        for item in items {
            if self.has_enough() {
                break;
            }
            match item.as_str() {
                Some(name) if !is_name(name) => {
                    self.problem("name", name, no_name(name));
                }
                Some(name) if names.iter().any(|known| known == name) => {}
                Some(name) => names.push(Text::new(name)),
                None => {
                    self.problem("type", "destinations", "`destinations` is a list of names".to_owned());
                }
            }
        }
        names
    }
}

/// Names of definitions and destinations become keys, parts of metrics and of topic names: names
/// that Kafka would refuse must not get that far.
fn is_name(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    plain && (1..=NAME_BYTES_MAX).contains(&text.len())
}

fn no_name(text: &str) -> String {
    format!("`{text}` is no name: small letters, digits and hyphens, 1 to {NAME_BYTES_MAX} of them")
}

/// The rule of an external audience: its memberships are rows of the subject, and end by
/// themselves.
fn membership_rule(name: &str, expires_after_ms: Option<i64>) -> String {
    let open = match expires_after_ms {
        None => "m.validUntil.isNull()".to_owned(),
        Some(ms) => {
            let (number, unit) = DURATIONS
                .iter()
                .rev()
                .find(|(_, unit, _)| ms % unit == 0)
                .map_or((ms, "milliseconds"), |(_, unit, name)| (ms / unit, name));
            format!("m.validUntil.isNull() and m.modifiedAt occurs < {number} {unit} before now")
        }
    };
    format!("exists m from audienceMemberships where m.audience = \"{name}\"\n    and (m.validUntil > now or {open})\n")
}

/// Units of durations: as definitions write them, in milliseconds, as rules write them; ascending.
const DURATIONS: [(&str, i64, &str); 5] = [
    ("s", 1_000, "seconds"),
    ("m", 60_000, "minutes"),
    ("h", 3_600_000, "hours"),
    ("d", DAY_MS, "days"),
    ("w", 7 * DAY_MS, "weeks"),
];

/// `expiresAfter` as definitions write it.
pub(crate) fn expires_after(ms: Option<i64>) -> String {
    let Some(ms) = ms else { return "never".to_owned() };
    let unit = DURATIONS.iter().rev().find(|(_, length, _)| ms % length == 0);
    unit.map_or_else(String::new, |(name, length, _)| format!("{}{name}", ms / length))
}

/// The text of a rule in JSON form, bare or within `{"type": "PQL", "format": "pql/json", "value":
/// …}`.
///
/// # Errors
/// As for `from_json`.
pub(crate) fn rule_of_json(json: &serde_json::Value) -> Result<String, Vec<Diagnostic>> {
    let rule = match json.get("value") {
        Some(value) if json.get("format").is_some() => match value.as_str() {
            Some(text) => match serde_json::from_str(text) {
                Ok(inner) => inner,
                Err(_) => return Ok(text.to_owned()),
            },
            None => value.clone(),
        },
        _ => json.clone(),
    };
    millrace_pql::json::from_json(&rule).map(|expr| millrace_pql::format(&expr))
}

const SPEC: [&str; 5] = ["subject", "status", "timeZone", "pql", "destinations"];

const ATTRIBUTE_SPEC: [&str; 4] = ["subject", "status", "timeZone", "pql"];

const EXTERNAL_SPEC: [&str; 4] = ["subject", "status", "expiresAfter", "destinations"];
