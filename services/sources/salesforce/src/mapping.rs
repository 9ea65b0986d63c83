//! From Salesforce's records to contract records. Pure.

use std::collections::{BTreeMap, BTreeSet};

use millrace_connect::mapping::{Fields, Mapping};
use millrace_connect::source::Emitted;
use millrace_model::{SourceKind, Timestamp};
use serde_json::{Map, Value, json};

const BUILT_IN: &str = include_str!("mapping.yaml");

/// An object that this source reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    Account,
    Contact,
    Lead,
    AccountContactRelation,
    Opportunity,
    OpportunityContactRole,
    Campaign,
    CampaignMember,
}

impl Object {
    /// In the order of loading: what others refer to comes first.
    pub const ALL: [Object; 8] = [
        Object::Account,
        Object::Contact,
        Object::Lead,
        Object::AccountContactRelation,
        Object::Opportunity,
        Object::OpportunityContactRole,
        Object::Campaign,
        Object::CampaignMember,
    ];

    /// Salesforce's name.
    pub fn name(self) -> &'static str {
        match self {
            Object::Account => "Account",
            Object::Contact => "Contact",
            Object::Lead => "Lead",
            Object::AccountContactRelation => "AccountContactRelation",
            Object::Opportunity => "Opportunity",
            Object::OpportunityContactRole => "OpportunityContactRole",
            Object::Campaign => "Campaign",
            Object::CampaignMember => "CampaignMember",
        }
    }

    /// The topic of its records, and the name of their key.
    fn place(self) -> (SourceKind, &'static str) {
        match self {
            Object::Account => (SourceKind::Account, "accountKey"),
            Object::Contact | Object::Lead => (SourceKind::Person, "personKey"),
            Object::AccountContactRelation => (SourceKind::AccountPerson, "accountPersonKey"),
            Object::Opportunity => (SourceKind::Opportunity, "opportunityKey"),
            Object::OpportunityContactRole => (SourceKind::OpportunityPerson, "opportunityPersonKey"),
            Object::Campaign => (SourceKind::Campaign, "campaignKey"),
            Object::CampaignMember => (SourceKind::CampaignMember, "campaignMemberKey"),
        }
    }
}

/// Rules as text, by object.
#[derive(Clone, Debug)]
pub struct Rules(BTreeMap<String, Map<String, Value>>);

impl Rules {
    /// Never panics: a test reads the built-in rules.
    pub fn built_in() -> Rules {
        Rules(serde_norway::from_str(BUILT_IN).expect("the built-in rules are YAML of this form; a test reads them"))
    }

    /// Puts the operator's rules over these, target by target.
    pub fn over(&mut self, object: Object, own: Map<String, Value>) {
        self.0.entry(object.name().to_owned()).or_default().extend(own);
    }

    fn of(&self, object: Object) -> Map<String, Value> {
        self.0.get(object.name()).cloned().unwrap_or_default()
    }
}

/// What relations of contacts to accounts rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relations {
    /// On `AccountContactRelation`.
    Own,
    /// On the field `AccountId` of contacts, because the org has no `AccountContactRelation`.
    Derived,
    /// On `AccountContactRelation` now; they were derived before, so those are withdrawn.
    NoLongerDerived,
}

/// The keys of one org.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Eighteen characters.
    pub org: String,
    /// Of an org with one currency.
    pub currency: Option<String>,
    pub relations: Relations,
}

impl Keys {
    /// The key of a record, by its id of fifteen or eighteen characters.
    pub fn key(&self, id: &str) -> String {
        format!("{}@{}.Salesforce", id18(id), self.org)
    }

    /// A contact has at most one account of its own: the relation's key is the contact's.
    fn derived(&self, contact: &str) -> String {
        format!("{}.account@{}.Salesforce", id18(contact), self.org)
    }
}

/// An id with its three characters that make it unique without regard to case; any text of another
/// length stays as it is.
pub fn id18(id: &str) -> String {
    const SUFFIX: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
    let mut full = id.to_owned();
    if id.len() != 15 || !id.is_ascii() {
        return full;
    }
    for five in id.as_bytes().chunks(5) {
        let capitals = five.iter().rev().fold(0, |bits, sign| bits * 2 + usize::from(sign.is_ascii_uppercase()));
        full.push(char::from(SUFFIX[capitals]));
    }
    full
}

/// An object as the org has it: which fields are read, what they hold, what becomes of them.
#[derive(Clone, Debug)]
pub struct Shape {
    pub object: Object,
    /// The org's instant at which it was described.
    pub at: Timestamp,
    /// Whether Salesforce keeps a log of its deletions.
    pub logs_deletions: bool,
    /// The fields of a query.
    pub fields: Vec<String>,
    /// Salesforce's type of each field.
    types: BTreeMap<String, String>,
    mapping: Mapping,
}

/// Fields that every record needs.
const ALWAYS_READ: [&str; 4] = ["Id", "SystemModstamp", "IsDeleted", "MasterRecordId"];

impl Shape {
    /// From the org's description of the object.
    ///
    /// # Errors
    /// A rule that cannot be read.
    pub fn new(object: Object, description: &Value, rules: &Rules, at: Timestamp) -> Result<Shape, String> {
        let all = description["fields"].as_array().map_or(&[][..], Vec::as_slice);
        let named = |field: &Value| Some((field["name"].as_str()?.to_owned(), field["type"].as_str()?.to_owned()));
        // Compound fields repeat others, and query jobs refuse them.
        let compound = |kind: &str| matches!(kind, "address" | "location" | "base64");
        let types: BTreeMap<String, String> = all.iter().filter_map(named).filter(|(_, kind)| !compound(kind)).collect();
        let custom = all
            .iter()
            .filter(|field| field["custom"] == Value::Bool(true))
            .filter_map(|field| field["name"].as_str());
        let custom: Vec<&str> = custom.filter(|name| types.contains_key(*name)).collect();
        let mapping = mapping(rules.of(object), &custom)?;
        let read = mapping.reads().unwrap_or_default();
        let read = read.iter().map(|name| name.trim_start_matches('@')).chain(ALWAYS_READ);
        let fields: BTreeSet<&str> = read.filter(|name| types.contains_key(*name)).collect();
        Ok(Shape {
            object,
            at,
            logs_deletions: description["replicateable"] == Value::Bool(true),
            fields: fields.into_iter().map(str::to_owned).collect(),
            types,
            mapping,
        })
    }

    /// `SELECT … FROM …`.
    pub fn select(&self) -> String {
        format!("SELECT {} FROM {}", self.fields.join(", "), self.object.name())
    }

    /// A record as REST or a query job gives it, in one form: numbers, truth values and lists as
    /// such, instants in UTC, `@Field` for the key that a reference stands for.
    fn typed(&self, row: &Fields, keys: &Keys) -> Fields {
        let mut typed = Fields::new();
        for (name, value) in row {
            let Some(kind) = self.types.get(name) else { continue };
            let value = one_form(kind, value);
            if let ("reference", Some(id)) = (kind.as_str(), value.as_str()) {
                typed.insert(format!("@{name}"), json!({"sourceKey": keys.key(id)}));
            }
            typed.insert(name.clone(), value);
        }
        if let Some(currency) = &keys.currency {
            let held = typed.entry("CurrencyIsoCode").or_insert(Value::Null);
            if held.is_null() {
                *held = json!(currency);
            }
        }
        typed
    }
}

/// The mapping, with the org's custom fields where the rules say `*`.
fn mapping(mut rules: Map<String, Value>, custom: &[&str]) -> Result<Mapping, String> {
    let parse = |rules: &Map<String, Value>| Mapping::parse(rules).map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
    let wildcard = rules.iter().find(|(_, rule)| rule["fields"] == json!("*")).map(|(target, _)| target.clone());
    if let Some(target) = wildcard {
        rules.remove(&target);
        let read = parse(&rules)?.reads().unwrap_or_default();
        let free: Vec<&&str> = custom
            .iter()
            .filter(|name| !read.contains(**name) && !read.contains(&format!("@{name}")))
            .collect();
        rules.insert(target, json!({"fields": free}));
    }
    parse(&rules)
}

/// A value of a type; what cannot be read stays as it is, and the rule that needs it says so.
fn one_form(kind: &str, value: &Value) -> Value {
    let text = match value {
        Value::String(text) if text.is_empty() => return Value::Null,
        Value::String(text) => text.as_str(),
        Value::Number(number) => return number_of(&number.to_string()).unwrap_or_else(|| value.clone()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return value.clone(),
    };
    let read = match kind {
        "boolean" => text.parse::<bool>().ok().map(Value::Bool),
        "double" | "currency" | "percent" | "int" | "long" => number_of(text),
        "datetime" => Timestamp::parse(text).ok().map(|at| json!(at.to_string())),
        "multipicklist" => Some(json!(text.split(';').collect::<Vec<_>>())),
        _ => None,
    };
    read.unwrap_or_else(|| value.clone())
}

fn number_of(text: &str) -> Option<Value> {
    let number = millrace_model::number::parse_spelled(text)?;
    serde_json::from_str(&number.to_string()).ok()
}

/// What a row of a query says.
#[derive(Clone, Debug)]
pub enum Said {
    /// The record is there; these follow from it.
    Live(Vec<Emitted>),
    /// It is in the recycle bin.
    Deleted { id: String, at: Timestamp },
    /// It is the loser of a merge.
    Merged { id: String, winner: String, at: Timestamp },
}

/// Reads a row.
pub fn read(shape: &Shape, row: &Fields, keys: &Keys) -> Said {
    let typed = shape.typed(row, keys);
    let text = |name: &str| typed.get(name).and_then(Value::as_str).map(str::to_owned);
    let id = text("Id").map(|id| id18(&id)).unwrap_or_default();
    let at = text("SystemModstamp").and_then(|text| Timestamp::parse(&text).ok());
    let Some(at) = at.filter(|_| !id.is_empty()) else {
        return Said::Live(vec![rejected(shape.object, &id, row, "`Id` or `SystemModstamp` is missing".to_owned())]);
    };
    if typed.get("IsDeleted") != Some(&Value::Bool(true)) {
        return Said::Live(live(shape, &id, row, &typed, at, keys));
    }
    match text("MasterRecordId") {
        Some(winner) => Said::Merged { id, winner: id18(&winner), at },
        None => Said::Deleted { id, at },
    }
}

fn live(shape: &Shape, id: &str, row: &Fields, typed: &Fields, at: Timestamp, keys: &Keys) -> Vec<Emitted> {
    let mut emitted = Vec::new();
    match shape.mapping.apply(typed) {
        Ok(mut fields) => {
            if let Some(contact) = typed.get("@ConvertedContactId") {
                identify(&mut fields, contact);
            }
            emitted.push(record(shape.object, &keys.key(id), at, fields));
        }
        Err(error) => emitted.push(rejected(shape.object, id, row, error.to_string())),
    }
    if shape.object == Object::Contact {
        emitted.extend(relation(id, typed.get("@AccountId"), at, keys));
    }
    emitted
}

/// The person of this key is the same one.
fn identify(fields: &mut Map<String, Value>, key: &Value) {
    let identity = json!({"namespace": "b2b_person", "id": key["sourceKey"]});
    match fields.get_mut("identities") {
        Some(Value::Array(held)) => held.push(identity),
        _ => drop(fields.insert("identities".to_owned(), json!([identity]))),
    }
}

/// The relation that follows from a contact's own account.
fn relation(contact: &str, account: Option<&Value>, at: Timestamp, keys: &Keys) -> Option<Emitted> {
    let account = match keys.relations {
        Relations::Own => return None,
        Relations::Derived => account,
        Relations::NoLongerDerived => None,
    };
    let fields = account.map_or_else(
        || object([("isDeleted", json!(true))]),
        |account| {
            object([
                ("accountKey", account.clone()),
                ("personKey", json!({"sourceKey": keys.key(contact)})),
                ("isActive", json!(true)),
                ("isDirect", json!(true)),
            ])
        },
    );
    Some(record(Object::AccountContactRelation, &keys.derived(contact), at, fields))
}

/// A deleted record is withdrawn, and with it the relation that was derived from it.
pub fn gone(which: Object, id: &str, at: Timestamp, keys: &Keys) -> Vec<Emitted> {
    let mut emitted = vec![record(which, &keys.key(id), at, object([("isDeleted", json!(true))]))];
    if which == Object::Contact {
        emitted.extend(relation(id, None, at, keys));
    }
    emitted
}

/// The loser of a merge: its key names the winner from now on, and nothing else of it is left.
pub fn merged(which: Object, id: &str, winner: &str, at: Timestamp, keys: &Keys) -> Vec<Emitted> {
    let mut emitted = gone(which, id, at, keys);
    let mut fields = Map::new();
    let winner = json!({"sourceKey": keys.key(winner)});
    match which.place().0 {
        SourceKind::Person => identify(&mut fields, &winner),
        _ => drop(fields.insert("extSourceSystemAudit".to_owned(), json!({"externalKey": winner}))),
    }
    emitted[0] = record(which, &keys.key(id), at, fields);
    emitted
}

/// A record of the object under its key, with the fields that every record has.
fn record(object: Object, key: &str, at: Timestamp, fields: Map<String, Value>) -> Emitted {
    let (kind, own_key) = object.place();
    let mut value = fields;
    value.insert(own_key.to_owned(), json!({"sourceKey": key}));
    value.insert("modifiedAt".to_owned(), json!(at.to_string()));
    Emitted::Record {
        kind,
        key: key.to_owned(),
        value: Some(Value::Object(value)),
    }
}

fn rejected(object: Object, id: &str, row: &Fields, detail: String) -> Emitted {
    Emitted::Rejected {
        kind: object.place().0,
        id: id.to_owned(),
        raw: Value::Object(row.clone()),
        detail,
    }
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
