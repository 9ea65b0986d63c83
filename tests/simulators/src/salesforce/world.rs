//! What the org holds, and single changes of it. Deleted records stay, with `IsDeleted`, until they
//! are purged.

use std::collections::BTreeMap;

use millrace_log::random::Random;
use millrace_model::Timestamp;
use serde_json::{Map, Value, json};

use super::schema::{self, Field, OBJECTS};

/// A record: every field of its object, null where empty.
pub type Row = Map<String, Value>;

/// How the org is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Eighteen characters.
    pub org: String,
    pub client_id: String,
    pub client_secret: String,
    pub user: String,
    /// The certificate of the connected app, for JWT; `None`: none is uploaded.
    pub public_key: Option<String>,
    /// The server is the org's own domain: otherwise client credentials are refused.
    pub my_domain: bool,
    /// Contacts may belong to several accounts: `AccountContactRelation` exists.
    pub relations: bool,
    /// Amounts name their currency.
    pub currencies: bool,
    /// Rows of a page of a query, at most.
    pub page_rows: usize,
    /// How long a query job takes.
    pub job_ms: i64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            org: "00D5g000004XyZaEAK".to_owned(),
            client_id: "client".to_owned(),
            client_secret: "secret".to_owned(),
            user: "millrace@bodea.example".to_owned(),
            public_key: Some(include_str!("../../fixtures/salesforce.public.pem").to_owned()),
            my_domain: true,
            relations: true,
            currencies: false,
            page_rows: 2_000,
            job_ms: 0,
        }
    }
}

/// One kind of record.
#[derive(Clone, Debug, Default)]
pub struct Object {
    pub prefix: String,
    pub fields: Vec<Field>,
    pub rows: BTreeMap<String, Row>,
    /// Deletions that are remembered: id and instant. Undeleted ones are gone.
    pub deleted: BTreeMap<String, Timestamp>,
}

/// The org.
pub struct World {
    pub settings: Settings,
    pub now: Timestamp,
    pub objects: BTreeMap<String, Object>,
    /// Changes get a `SystemModstamp` this much before the present: a long transaction commits now.
    pub late_ms: i64,
    pub random: Random,
    count: u64,
}

impl World {
    pub fn new(settings: Settings, seed: u64, now: Timestamp) -> World {
        let mut world = World {
            now,
            objects: BTreeMap::new(),
            late_ms: 0,
            random: Random::new(seed),
            count: 0,
            settings,
        };
        for (name, prefix, fields) in OBJECTS {
            let object = Object {
                prefix: prefix.to_owned(),
                fields: schema::fields(fields, world.settings.currencies && matches!(name, "Account" | "Opportunity" | "Campaign")),
                ..Object::default()
            };
            if name != "AccountContactRelation" || world.settings.relations {
                world.objects.insert(name.to_owned(), object);
            }
        }
        world
    }

    /// Adds a custom field.
    pub fn add_field(&mut self, object: &str, name: &str, kind: &str) {
        let object = self.objects.get_mut(object).expect("an object of the org");
        object.fields.push(Field {
            name: name.to_owned(),
            kind: kind.to_owned(),
        });
    }

    /// Removes a field with its values, or hides it from the integration's user.
    pub fn remove_field(&mut self, object: &str, name: &str) {
        let object = self.objects.get_mut(object).expect("an object of the org");
        object.fields.retain(|field| field.name != name);
    }

    /// Switches on that contacts may belong to several accounts: each gets its direct relation.
    pub fn allow_relations(&mut self) {
        self.settings.relations = true;
        for (name, prefix, fields) in OBJECTS {
            let object = Object {
                prefix: prefix.to_owned(),
                fields: schema::fields(fields, false),
                ..Object::default()
            };
            self.objects.entry(name.to_owned()).or_insert(object);
        }
        for contact in self.ids("Contact") {
            self.relate_directly(&contact);
        }
    }

    /// A new record; returns its id of eighteen characters.
    pub fn create(&mut self, object: &str, values: Value) -> String {
        self.count += 1;
        let now = json!(stamp(self.now));
        let kind = self.objects.get_mut(object).expect("an object of the org");
        let id = id18(&format!("{}5g{}", kind.prefix, base62(self.count)));
        let mut row: Row = kind.fields.iter().map(|field| (field.name.clone(), empty(field))).collect();
        row.insert("Id".to_owned(), json!(id));
        row.insert("CreatedDate".to_owned(), now);
        kind.rows.insert(id.clone(), row);
        self.update(object, &id, values);
        id
    }

    /// Changes fields of a record.
    pub fn update(&mut self, object: &str, id: &str, values: Value) {
        let at = stamp(self.now.plus_ms(-self.late_ms));
        let Some(row) = self.objects.get_mut(object).and_then(|kind| kind.rows.get_mut(id)) else {
            return;
        };
        // A transaction that waits for a record gets its lock after the change before; instants of
        // one form order as their texts.
        let at = json!(row["SystemModstamp"].as_str().map_or(at.as_str(), |before| before.max(at.as_str())));
        for (name, value) in values.as_object().cloned().unwrap_or_default() {
            assert!(row.contains_key(&name), "{object} has no field {name}");
            row.insert(name, value);
        }
        row.insert("LastModifiedDate".to_owned(), at.clone());
        row.insert("SystemModstamp".to_owned(), at);
        derive(object, row);
        if object == "Contact" {
            self.relate_directly(id);
        }
    }

    /// Moves a record to the recycle bin, and with it what hangs on it.
    pub fn delete(&mut self, object: &str, id: &str) {
        self.update(object, id, json!({"IsDeleted": true}));
        let now = self.now;
        if let Some(kind) = self.objects.get_mut(object) {
            kind.deleted.insert(id.to_owned(), now);
        }
        let hanging: &[(&str, &str)] = match object {
            "Account" => &[("AccountContactRelation", "AccountId")],
            "Contact" => &[
                ("AccountContactRelation", "ContactId"),
                ("OpportunityContactRole", "ContactId"),
                ("CampaignMember", "ContactId"),
            ],
            "Lead" => &[("CampaignMember", "LeadId")],
            "Opportunity" => &[("OpportunityContactRole", "OpportunityId")],
            "Campaign" => &[("CampaignMember", "CampaignId")],
            _ => &[],
        };
        for (child, field) in hanging {
            for one in self.live(child, field, id) {
                self.delete(child, &one);
            }
        }
    }

    /// Takes a record out of the recycle bin.
    pub fn undelete(&mut self, object: &str, id: &str) {
        self.update(object, id, json!({"IsDeleted": false}));
        if let Some(kind) = self.objects.get_mut(object) {
            kind.deleted.remove(id);
        }
    }

    /// Empties the recycle bin of an object: queries no longer see what is deleted.
    pub fn purge(&mut self, object: &str) {
        if let Some(kind) = self.objects.get_mut(object) {
            kind.rows.retain(|_, row| row["IsDeleted"] != json!(true));
        }
    }

    /// Ids of live records with this value in a field.
    pub fn live(&self, object: &str, field: &str, value: &str) -> Vec<String> {
        let rows = self.objects.get(object).into_iter().flat_map(|kind| &kind.rows);
        rows.filter(|(_, row)| row["IsDeleted"] != json!(true) && row[field] == json!(value))
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// A record, deleted or not.
    pub fn row(&self, object: &str, id: &str) -> Option<&Row> {
        self.objects.get(object)?.rows.get(id)
    }

    /// Ids of all live records of an object.
    pub fn ids(&self, object: &str) -> Vec<String> {
        let rows = self.objects.get(object).into_iter().flat_map(|kind| &kind.rows);
        rows.filter(|(_, row)| row["IsDeleted"] != json!(true)).map(|(id, _)| id.clone()).collect()
    }

    /// The direct relation of a contact follows its account.
    fn relate_directly(&mut self, contact: &str) {
        if !self.objects.contains_key("AccountContactRelation") {
            return;
        }
        let row = self.row("Contact", contact).cloned().unwrap_or_default();
        let account = row["AccountId"].as_str().map(str::to_owned).filter(|_| row["IsDeleted"] != json!(true));
        let relations = self.live("AccountContactRelation", "ContactId", contact);
        for id in relations {
            let relation = self.row("AccountContactRelation", &id).cloned().unwrap_or_default();
            if relation["IsDirect"] != json!(true) {
                continue;
            }
            if relation["AccountId"].as_str() == account.as_deref() {
                return;
            }
            self.delete("AccountContactRelation", &id);
        }
        if let Some(account) = account {
            let values = json!({"AccountId": account, "ContactId": contact, "IsActive": true, "IsDirect": true});
            self.create("AccountContactRelation", values);
        }
    }
}

fn empty(field: &Field) -> Value {
    if field.kind == "boolean" { json!(false) } else { Value::Null }
}

/// Fields that follow from others.
fn derive(object: &str, row: &mut Row) {
    match object {
        "Opportunity" => {
            let (closed, won, probability) = match row["StageName"].as_str() {
                Some("Closed Won") => (true, true, 100),
                Some("Closed Lost") => (true, false, 0),
                _ => (false, false, 50),
            };
            row.insert("IsClosed".to_owned(), json!(closed));
            row.insert("IsWon".to_owned(), json!(won));
            row.insert("Probability".to_owned(), json!(probability));
        }
        "Contact" | "Lead" => {
            let parts = ["FirstName", "LastName"].map(|name| row[name].as_str().unwrap_or_default().to_owned());
            row.insert("Name".to_owned(), json!(parts.join(" ").trim()));
        }
        "CampaignMember" => {
            let person = if row["ContactId"].is_null() {
                row["LeadId"].clone()
            } else {
                row["ContactId"].clone()
            };
            row.insert("LeadOrContactId".to_owned(), person);
        }
        _ => {}
    }
}

/// An instant as Salesforce stores it, in whole seconds and written as REST answers it.
pub fn stamp(at: Timestamp) -> String {
    let text = Timestamp(at.0 - at.0.rem_euclid(1_000)).to_string();
    format!("{}+0000", text.trim_end_matches('Z'))
}

/// A number of up to ten digits in base 62, zeros in front.
fn base62(mut number: u64) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut digits = Vec::new();
    for _ in 0..10 {
        digits.push(char::from(DIGITS[(number % 62) as usize]));
        number /= 62;
    }
    digits.into_iter().rev().collect()
}

/// The form of eighteen characters: three more say which of the fifteen are capitals.
fn id18(id: &str) -> String {
    const SUFFIX: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
    let bytes = id.as_bytes();
    let mut full = id.to_owned();
    for part in bytes.chunks(5) {
        let bits = part
            .iter()
            .enumerate()
            .map(|(bit, sign)| usize::from(sign.is_ascii_uppercase()) << bit)
            .sum::<usize>();
        full.push(char::from(SUFFIX[bits]));
    }
    full
}
