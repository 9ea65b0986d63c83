//! Traits of persons and groups as fields of records.
//!
//! A call changes the traits it names and no others: a trait that is null is removed, one that is
//! left out stays. So each trait is a path of a partial update.

use millrace_model::Date;
use serde_json::{Map, Value};

use crate::{instant, put, words};

/// A partial update under construction.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Update {
    pub fields: Map<String, Value>,
    /// The paths that it settles.
    pub paths: Vec<String>,
}

impl Update {
    /// Settles a path; null removes what is there.
    pub fn set(&mut self, path: &str, value: Value) {
        if !value.is_null() {
            put(&mut self.fields, &path.split('.').collect::<Vec<_>>(), value);
        }
        self.paths.push(path.to_owned());
    }

    /// A trait without a field of its own. A dot would divide the path.
    fn extra(&mut self, name: &str, value: Value) {
        let name = name.trim().replace('.', "_");
        if !name.is_empty() {
            self.set(&format!("extra.{name}"), value);
        }
    }
}

/// What a field takes of a trait.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Email,
    Date,
    Instant,
    Whole,
}

impl Form {
    /// The trait in the field's form; `None` where it does not fit.
    fn fit(self, value: &Value) -> Option<Value> {
        let text = words(Some(value));
        match self {
            Form::Text => text.map(Value::from),
            Form::Email => text.filter(|text| text.contains('@')).map(Value::from),
            Form::Date => Date::parse_written(&text?).map(|date| Value::from(date.to_string())),
            Form::Instant => instant("", Some(value)).ok().flatten().map(|at| Value::from(at.to_string())),
            Form::Whole => text?.parse::<i64>().ok().map(Value::from),
        }
    }
}

/// Names without underscores, in lower case: senders write `firstName` and `first_name`.
const PERSON: [(&str, &str, Form); 9] = [
    ("email", "workEmail.address", Form::Email),
    ("firstname", "person.name.firstName", Form::Text),
    ("lastname", "person.name.lastName", Form::Text),
    ("name", "person.name.fullName", Form::Text),
    ("title", "extendedWorkDetails.jobTitle", Form::Text),
    ("phone", "workPhone.number", Form::Text),
    ("birthday", "person.birthDate", Form::Date),
    ("gender", "person.gender", Form::Text),
    ("createdat", "extSourceSystemAudit.createdDate", Form::Instant),
];

const ACCOUNT: [(&str, &str, Form); 8] = [
    ("name", "accountName", Form::Text),
    ("industry", "accountOrganization.industry", Form::Text),
    ("employees", "accountOrganization.numberOfEmployees", Form::Whole),
    ("website", "accountOrganization.website", Form::Text),
    ("domain", "accountOrganization.domain", Form::Text),
    ("description", "accountDescription", Form::Text),
    ("phone", "accountPhone.number", Form::Text),
    ("createdat", "extSourceSystemAudit.createdDate", Form::Instant),
];

const ADDRESS: [(&str, &str); 5] = [
    ("street", "street1"),
    ("city", "city"),
    ("state", "state"),
    ("postalcode", "postalCode"),
    ("country", "country"),
];

/// The traits of a person. One that does not fit its field is kept under `extra`.
pub(super) fn person(traits: &Map<String, Value>, update: &mut Update) {
    for (name, value) in traits {
        match plain(name).as_str() {
            "address" if value.is_object() => address("workAddress", value, update),
            "company" => company(name, value, update),
            plain => known(&PERSON, plain, name, value, update),
        }
    }
}

/// The traits of a group, which is an account.
pub(super) fn account(traits: &Map<String, Value>, update: &mut Update) {
    for (name, value) in traits {
        match plain(name).as_str() {
            "address" if value.is_object() => address("accountBillingAddress", value, update),
            plain => known(&ACCOUNT, plain, name, value, update),
        }
    }
}

fn plain(name: &str) -> String {
    name.trim().replace('_', "").to_ascii_lowercase()
}

fn known(table: &[(&str, &str, Form)], plain: &str, name: &str, value: &Value, update: &mut Update) {
    let Some((_, path, form)) = table.iter().find(|(known, _, _)| *known == plain) else {
        return update.extra(name, value.clone());
    };
    match form.fit(value) {
        Some(fit) => update.set(path, fit),
        None if value.is_null() => update.set(path, Value::Null),
        None => update.extra(name, value.clone()),
    }
}

fn address(field: &str, value: &Value, update: &mut Update) {
    for (name, part) in value.as_object().into_iter().flatten() {
        let plain = plain(name);
        if let Some((_, to)) = ADDRESS.iter().find(|(known, _)| *known == plain) {
            update.set(&format!("{field}.{to}"), words(Some(part)).map_or(Value::Null, Value::from));
        }
    }
}

/// A company's name, or an object that has one. It states no relation to an account: `group` does.
fn company(name: &str, value: &Value, update: &mut Update) {
    let named = if value.is_object() { value.get("name") } else { Some(value) };
    if value.is_null() || named.is_some_and(|name| words(Some(name)).is_some()) {
        update.set("b2b.companyName", words(named).map_or(Value::Null, Value::from));
    }
    if !value.is_string() {
        update.extra(name, value.clone());
    }
}
