//! The operator's settings of a Marketo destination. The comments are the manual.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_marketo::Instance;
use serde::Deserialize;
use serde_json::Value;

pub use millrace_connect::settings::ConfigError;

/// One destination as written. Secrets may be `file:` references; the code that reads the file
/// resolves them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// The Munchkin account id, `AAA-BBB-CCC`.
    pub munchkin: String,
    pub client_id: String,
    pub client_secret: String,
    /// The REST address; left out: `https://<munchkin>.mktorest.com`.
    #[serde(default)]
    pub url: Option<String>,
    /// Calls per day of the instance, as Marketo sells them: 50,000.
    #[serde(default)]
    pub day_calls: Option<u64>,
    /// Calls per day left to other integrations; left out: half of them.
    #[serde(default)]
    pub reserve_calls: Option<u64>,
    /// Calls per day for one source or destination of the instance alone, by its name.
    #[serde(default)]
    pub shares: BTreeMap<String, u64>,
    /// The field of persons that holds the destination's ids. In the namespace `b2b_person` the ids
    /// are those of persons of this instance, and this field is not used.
    #[serde(default = "email")]
    pub match_field: String,
    /// The list of each audience, by its id or its name. An audience that is not named here goes to
    /// the list of the same name.
    #[serde(default)]
    pub lists: BTreeMap<String, Value>,
    /// Where missing lists are created: `{ folder = 13 }` or `{ program = 1001 }`. Left out: they
    /// are not.
    #[serde(default)]
    pub create_lists_in: Option<Parent>,
    /// Whether persons that Marketo does not know are created, with the destination's attributes.
    /// Otherwise they are refused until `millrace destination retry`.
    #[serde(default)]
    pub create_persons: bool,
    /// Whether the destination's attributes are written to existing persons.
    #[serde(default)]
    pub update_persons: bool,
    /// Which of several persons with one address goes on the list; all of them come off it.
    #[serde(default)]
    pub duplicates: Duplicates,
    /// How long a change waits for others to fill a call.
    #[serde(default = "wait_seconds")]
    pub wait_seconds: f64,
}

/// A list by id or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListRef {
    Id(u64),
    Name(String),
}

/// Where Marketo keeps a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Parent {
    Folder(u64),
    Program(u64),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Duplicates {
    /// The person that was updated last; of equal ones that with the lower id.
    #[default]
    Latest,
    All,
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub instance: Instance,
    pub match_field: String,
    pub lists: BTreeMap<String, ListRef>,
    pub create_lists_in: Option<Parent>,
    pub create_persons: bool,
    pub update_persons: bool,
    pub duplicates: Duplicates,
    pub wait: Duration,
}

fn email() -> String {
    "email".to_owned()
}

const fn wait_seconds() -> f64 {
    15.0
}

impl Config {
    /// Checks everything. No IO.
    ///
    /// # Errors
    /// All errors.
    pub fn new(raw: Raw) -> Result<Config, ConfigError> {
        let mut wrong = Vec::new();
        let instance = Instance::new(millrace_marketo::Raw {
            munchkin: raw.munchkin,
            client_id: raw.client_id,
            client_secret: raw.client_secret,
            url: raw.url,
            day_calls: raw.day_calls,
            reserve_calls: raw.reserve_calls,
            shares: raw.shares,
        });
        let instance = instance.map_err(|errors| wrong.extend(errors)).ok();
        if raw.match_field.is_empty() {
            wrong.push("match_field: a field's name is needed".to_owned());
        }
        let mut lists = BTreeMap::new();
        for (audience, list) in raw.lists {
            match (list.as_u64(), list.as_str()) {
                (Some(id), _) => drop(lists.insert(audience, ListRef::Id(id))),
                (_, Some(name)) if !name.is_empty() => drop(lists.insert(audience, ListRef::Name(name.to_owned()))),
                _ => wrong.push(format!("lists.{audience}: {list} is neither an id nor a name")),
            }
        }
        let wait = Duration::try_from_secs_f64(raw.wait_seconds).ok();
        if wait.is_none() {
            wrong.push(format!("wait_seconds: `{}` is no time in seconds", raw.wait_seconds));
        }
        match (instance, wait) {
            (Some(instance), Some(wait)) if wrong.is_empty() => Ok(Config {
                instance,
                match_field: raw.match_field,
                lists,
                create_lists_in: raw.create_lists_in,
                create_persons: raw.create_persons,
                update_persons: raw.update_persons,
                duplicates: raw.duplicates,
                wait,
            }),
            _ => Err(ConfigError(wrong)),
        }
    }
}
