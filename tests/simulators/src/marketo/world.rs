//! The content of an instance, and its changes: every change logs the activities that Marketo would
//! log.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SecondsFormat};
use millrace_log::random::Random;
use millrace_model::{DAY_MS, Timestamp};
use serde_json::{Map, Value, json};

use super::bulk::Export;

/// Fields of one record, by REST name.
pub type Fields = Map<String, Value>;

/// Whether native CRM synchronisation blocks companies, opportunities and roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrmSync {
    Off,
    ReadOnly,
    Disabled,
}

/// How this instance is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `AAA-BBB-CCC`.
    pub munchkin: String,
    pub client_id: String,
    pub client_secret: String,
    pub crm_sync: CrmSync,
    /// Whether a merge leaves a deletion (type 37) of each loser.
    pub merge_deletes_losers: bool,
    /// Whether bulk extract of leads accepts the filter `updatedAt`.
    pub extract_by_update: bool,
    /// Whether the fields of leads show the id of their company.
    pub contact_company: bool,
    /// How long a deletion is readable, in milliseconds.
    pub deletions_kept_ms: i64,
    /// How long each step of an extract takes, in milliseconds.
    pub extract_step_ms: i64,
    /// How long a paging token lives, in milliseconds; 0: for ever.
    pub paging_token_ms: i64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            munchkin: "111-AAA-222".to_owned(),
            client_id: "client".to_owned(),
            client_secret: "secret".to_owned(),
            crm_sync: CrmSync::Off,
            merge_deletes_losers: true,
            extract_by_update: true,
            contact_company: true,
            deletions_kept_ms: 14 * DAY_MS,
            extract_step_ms: 0,
            paging_token_ms: 0,
        }
    }
}

/// A person. `fields` holds everything but id, instants and the values of the company.
#[derive(Clone, Debug, PartialEq)]
pub struct Lead {
    pub id: u64,
    pub fields: Fields,
    pub company: Option<u64>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Clone, Debug)]
pub struct Activity {
    pub id: u64,
    pub guid: String,
    pub lead: u64,
    pub date: Timestamp,
    pub logged_at: Timestamp,
    pub kind: u32,
    pub primary: Option<(u64, String)>,
    pub attributes: Vec<(String, Value)>,
    /// Of type 13: field, new value, old value.
    pub change: Option<(String, Value, Value)>,
}

#[derive(Clone, Debug)]
pub struct List {
    pub name: String,
    pub members: BTreeSet<u64>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Clone, Debug)]
pub struct Program {
    pub name: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Lead to status, whether success was reached, and when the membership last changed.
    pub members: BTreeMap<u64, (String, bool, Timestamp)>,
}

/// The whole content of an instance.
pub struct World {
    pub settings: Settings,
    pub(super) random: Random,
    pub now: Timestamp,
    pub leads: BTreeMap<u64, Lead>,
    pub companies: BTreeMap<u64, Fields>,
    /// Opportunities, roles and named accounts, each by `marketoGUID`.
    pub objects: BTreeMap<&'static str, BTreeMap<String, Fields>>,
    pub activities: Vec<Activity>,
    pub lists: BTreeMap<u64, List>,
    pub programs: BTreeMap<u64, Program>,
    pub(super) exports: BTreeMap<String, Export>,
    /// Opaque text to place in the log and end of life.
    pub(super) paging: BTreeMap<String, (usize, Timestamp)>,
    next_id: u64,
    next_activity: u64,
}

/// Fields of a lead that are its company's.
pub const READ_THROUGH: [&str; 13] = [
    "company",
    "site",
    "website",
    "mainPhone",
    "annualRevenue",
    "numberOfEmployees",
    "industry",
    "sicCode",
    "billingStreet",
    "billingCity",
    "billingState",
    "billingPostalCode",
    "billingCountry",
];

impl World {
    pub fn new(settings: Settings, seed: u64, now: Timestamp) -> World {
        World {
            settings,
            random: Random::new(seed),
            now,
            leads: BTreeMap::new(),
            companies: BTreeMap::new(),
            objects: BTreeMap::new(),
            activities: Vec::new(),
            lists: BTreeMap::new(),
            programs: BTreeMap::new(),
            exports: BTreeMap::new(),
            paging: BTreeMap::new(),
            next_id: 1,
            next_activity: 100_001,
        }
    }

    pub(super) fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    pub(super) fn fresh_guid(&mut self) -> String {
        let (a, b) = (self.random.next_u64(), self.random.next_u64());
        format!("{a:016x}{b:016x}")
    }

    /// Logs an activity; `date` may lie before now: a late arrival.
    pub fn log(&mut self, lead: u64, kind: u32, date: Timestamp, primary: Option<(u64, String)>, attributes: Vec<(&str, Value)>) -> String {
        let id = self.next_activity;
        self.next_activity += 1;
        // In some rows the integer id and the text differ.
        let guid = if id.is_multiple_of(7) { format!("{}x{id}", id * 3) } else { id.to_string() };
        self.activities.push(Activity {
            id,
            guid: guid.clone(),
            lead,
            date,
            logged_at: self.now,
            kind,
            primary,
            attributes: attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            change: None,
        });
        guid
    }

    /// A company; `fields` by REST name.
    pub fn create_company(&mut self, fields: Value) -> u64 {
        let id = self.fresh_id();
        let mut fields = object(fields);
        let now = instant(self.now);
        fields.insert("id".to_owned(), json!(id));
        fields.insert("createdAt".to_owned(), json!(now));
        fields.insert("updatedAt".to_owned(), json!(now));
        self.companies.insert(id, fields);
        id
    }

    /// A new person; logs type 12.
    pub fn create_lead(&mut self, fields: Value) -> u64 {
        let id = self.fresh_id();
        let mut fields = object(fields);
        let company = fields.remove("contactCompany").and_then(|company| company.as_u64());
        let source = fields.get("leadSource").cloned().unwrap_or_default();
        self.leads.insert(
            id,
            Lead {
                id,
                fields,
                company,
                created_at: self.now,
                updated_at: self.now,
            },
        );
        let created = json!(instant(self.now));
        self.log(id, 12, self.now, None, vec![("Created Date", created), ("Lead Source", source)]);
        id
    }

    /// Changes values of a person; logs one type 13 per field. `false` if there is no such person.
    pub fn update_lead(&mut self, id: u64, fields: Value) -> bool {
        let now = self.now;
        let Some(lead) = self.leads.get_mut(&id) else { return false };
        let mut changes = Vec::new();
        for (name, value) in object(fields) {
            let before = if name == "contactCompany" {
                let before = json!(lead.company);
                lead.company = value.as_u64();
                before
            } else if value.is_null() {
                lead.fields.remove(&name).unwrap_or_default()
            } else {
                lead.fields.insert(name.clone(), value.clone()).unwrap_or_default()
            };
            if before != value {
                changes.push((name, value, before));
            }
        }
        if !changes.is_empty() {
            lead.updated_at = now;
        }
        for (name, new, old) in changes {
            // If the company's id is not a field, its name is the visible change.
            let name = if name == "contactCompany" && !self.settings.contact_company {
                "company".to_owned()
            } else {
                name
            };
            let field_id = name.len() as u64 + 40;
            self.log(id, 13, now, Some((field_id, name.clone())), vec![("Reason", json!("Web service API"))]);
            if let Some(logged) = self.activities.last_mut() {
                logged.change = Some((name, new, old));
            }
        }
        true
    }

    /// Removes a person from everywhere; logs type 37.
    pub fn delete_lead(&mut self, id: u64) -> bool {
        let Some(lead) = self.leads.remove(&id) else { return false };
        let name = lead.fields.get("email").and_then(Value::as_str).unwrap_or_default().to_owned();
        self.forget(id);
        // The primary id is not always that of the lead.
        self.log(id, 37, self.now, Some((id + 1_000_000, name)), Vec::new());
        true
    }

    fn forget(&mut self, id: u64) {
        self.lists.values_mut().for_each(|list| {
            list.members.remove(&id);
        });
        self.programs.values_mut().for_each(|program| {
            program.members.remove(&id);
        });
    }

    /// Unites persons: the winner keeps its values and takes the losers' where it has none, their
    /// activities and memberships. Logs type 32.
    pub fn merge_leads(&mut self, winner: u64, losers: &[u64]) -> bool {
        if !self.leads.contains_key(&winner) || losers.iter().any(|loser| *loser == winner || !self.leads.contains_key(loser)) {
            return false;
        }
        for loser in losers {
            let Some(lost) = self.leads.remove(loser) else { continue };
            if let Some(kept) = self.leads.get_mut(&winner) {
                for (name, value) in lost.fields {
                    kept.fields.entry(name).or_insert(value);
                }
                kept.company = kept.company.or(lost.company);
                kept.updated_at = self.now;
            }
            self.activities
                .iter_mut()
                .filter(|activity| activity.lead == *loser)
                .for_each(|activity| activity.lead = winner);
            for list in self.lists.values_mut() {
                if list.members.remove(loser) {
                    list.members.insert(winner);
                }
            }
            self.forget(*loser);
            if self.settings.merge_deletes_losers {
                self.log(*loser, 37, self.now, Some((*loser, String::new())), Vec::new());
            }
        }
        let ids: Vec<String> = losers.iter().map(ToString::to_string).collect();
        let attributes = vec![("Master Updated", json!(true)), ("Merge IDs", json!(ids.join(",")))];
        self.log(winner, 32, self.now, Some((winner, winner.to_string())), attributes);
        true
    }

    /// A page visit; `page` is host and path, the query without its mark.
    pub fn visit(&mut self, lead: u64, page: &str, query: &str, date: Timestamp) -> String {
        let path = page.find('/').map_or("/", |at| &page[at..]).to_owned();
        let attributes = vec![
            ("Client IP Address", json!("203.0.113.7")),
            ("Query Parameters", json!(query)),
            ("Referrer URL", json!("")),
            ("User Agent", json!("Mozilla/5.0")),
            ("Webpage ID", json!(71)),
            ("Webpage URL", json!(path)),
        ];
        self.log(lead, 1, date, Some((71, page.to_owned())), attributes)
    }

    pub fn create_list(&mut self, name: &str) -> u64 {
        let id = self.fresh_id() + 1_000;
        let list = List {
            name: name.to_owned(),
            members: BTreeSet::new(),
            created_at: self.now,
            updated_at: self.now,
        };
        self.lists.insert(id, list);
        id
    }

    /// Puts a person on a list or takes it off; logs type 24 or 25 where that changes anything.
    pub fn set_member(&mut self, list_id: u64, lead: u64, member: bool) {
        let Some(list) = self.lists.get_mut(&list_id) else { return };
        let changed = if member { list.members.insert(lead) } else { list.members.remove(&lead) };
        if changed {
            let name = list.name.clone();
            self.log(lead, if member { 24 } else { 25 }, self.now, Some((list_id, name)), Vec::new());
        }
    }

    pub fn create_program(&mut self, name: &str) -> u64 {
        let id = self.fresh_id() + 2_000;
        let program = Program {
            name: name.to_owned(),
            created_at: self.now,
            updated_at: self.now,
            members: BTreeMap::new(),
        };
        self.programs.insert(id, program);
        id
    }

    /// Sets a person's status in a program; logs type 104.
    pub fn set_status(&mut self, program_id: u64, lead: u64, status: &str, success: bool) {
        let now = self.now;
        let Some(program) = self.programs.get_mut(&program_id) else { return };
        let before = program.members.insert(lead, (status.to_owned(), success, now));
        let old = before.map(|(status, _, _)| status);
        let primary = Some((program_id, program.name.clone()));
        self.log(
            lead,
            104,
            now,
            primary,
            vec![("Old Status", json!(old)), ("New Status", json!(status)), ("Success", json!(success))],
        );
    }

    /// All values of a lead, the company's read through.
    pub fn shown_lead(&self, lead: &Lead) -> Fields {
        let mut shown = lead.fields.clone();
        if let Some(company) = lead.company.and_then(|id| self.companies.get(&id)) {
            for name in READ_THROUGH {
                if let Some(value) = company.get(name) {
                    shown.insert(name.to_owned(), value.clone());
                }
            }
            if let Some(external) = company.get("externalCompanyId") {
                shown.insert("externalCompanyId".to_owned(), external.clone());
            }
        }
        if self.settings.contact_company && lead.company.is_some() {
            shown.insert("contactCompany".to_owned(), json!(lead.company));
        }
        shown.insert("id".to_owned(), json!(lead.id));
        shown.insert("createdAt".to_owned(), json!(instant(lead.created_at)));
        shown.insert("updatedAt".to_owned(), json!(instant(lead.updated_at)));
        shown
    }
}

/// An instant in the shape of the lead database.
pub fn instant(at: Timestamp) -> String {
    DateTime::from_timestamp_millis(at.0).map_or_else(String::new, |at| at.to_rfc3339_opts(SecondsFormat::Secs, true))
}

pub(super) fn object(value: Value) -> Fields {
    match value {
        Value::Object(fields) => fields,
        _ => Fields::new(),
    }
}
