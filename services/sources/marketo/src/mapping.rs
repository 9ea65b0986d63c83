//! From Marketo's records to contract records. Pure.

use std::collections::{BTreeMap, BTreeSet};

use millrace_connect::mapping::{Fields, Mapping};
use millrace_connect::source::Emitted;
use millrace_model::{SourceKind, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};

const BUILT_IN: &str = include_str!("mapping.yaml");

/// Activity types that carry more than an event: lists, merges, programs.
const COMPOUND: [u32; 4] = [24, 25, 32, 104];

/// Marketo logs these by itself, the others because of what a person did.
const BY_PERSON: [u32; 6] = [1, 2, 3, 9, 10, 11];

#[derive(Deserialize)]
struct BuiltIn {
    person: Map<String, Value>,
    account: Map<String, Value>,
    activities: BTreeMap<u32, String>,
}

fn built_in() -> BuiltIn {
    serde_norway::from_str(BUILT_IN).expect("the built-in mapping is YAML of this form; a test reads it")
}

/// The rules of this instance.
#[derive(Clone, Debug)]
pub struct Mappings {
    pub person: Mapping,
    pub account: Mapping,
}

impl Mappings {
    /// Never: a test reads the built-in rules.
    /// Never: a test reads the built-in rules.
    pub fn built_in() -> Mappings {
        let rules = built_in();
        Mappings {
            person: Mapping::parse(&rules.person).expect("the built-in rules hold; a test reads them"),
            account: Mapping::parse(&rules.account).expect("the built-in rules hold; a test reads them"),
        }
    }

    /// The operator's rules over these.
    #[must_use]
    pub fn under(&self, person: &Mapping, account: &Mapping) -> Mappings {
        Mappings {
            person: person.over(&self.person),
            account: account.over(&self.account),
        }
    }

    /// The fields of a lead that are needed; `None` where all are.
    pub fn reads(&self) -> Option<BTreeSet<String>> {
        let mut read = self.person.reads()?;
        read.extend(self.account.reads()?);
        read.extend(ALWAYS_READ.map(str::to_owned));
        Some(read)
    }
}

/// Fields of a lead that keys and instants are built from.
pub const ALWAYS_READ: [&str; 8] = [
    "id",
    "createdAt",
    "updatedAt",
    "contactCompany",
    "externalCompanyId",
    "sfdcContactId",
    "sfdcLeadId",
    "sfdcAccountId",
];

/// Which activities become events, and of which type.
#[derive(Clone, Debug)]
pub struct ActivityTypes(BTreeMap<u32, String>);

impl Default for ActivityTypes {
    fn default() -> ActivityTypes {
        ActivityTypes(built_in().activities)
    }
}

impl ActivityTypes {
    /// The operator's types over the built-in ones.
    ///
    /// # Errors
    /// The first error.
    pub fn over(own: &BTreeMap<String, Value>) -> Result<ActivityTypes, String> {
        let mut types = ActivityTypes::default();
        for (id, event) in own {
            let id: u32 = id.parse().map_err(|_| format!("activities: `{id}` is no id of an activity type"))?;
            match event {
                Value::String(event) => types.0.insert(id, event.clone()),
                Value::Bool(false) => types.0.remove(&id),
                _ => return Err(format!("activities.{id}: expected an event type, or false")),
            };
        }
        Ok(types)
    }

    /// All types to read, in groups of as many as one call takes.
    pub fn groups(&self) -> Vec<Vec<u32>> {
        let ids: BTreeSet<u32> = self.0.keys().copied().chain(COMPOUND).collect();
        ids.into_iter().collect::<Vec<_>>().chunks(10).map(<[u32]>::to_vec).collect()
    }
}

/// The keys of one instance.
#[derive(Clone, Debug)]
pub struct Keys {
    pub munchkin: String,
    /// `<instance>.<type>` of the CRM.
    pub crm: Option<String>,
}

impl Keys {
    pub fn key(&self, id: &str) -> String {
        format!("{id}@{}.Marketo", self.munchkin)
    }

    /// A lead belongs to at most one company: the relation's key is the lead's.
    pub fn relation(&self, lead: &str) -> String {
        self.key(&format!("{lead}.company"))
    }

    pub fn member(&self, of: &str, lead: &str) -> String {
        self.key(&format!("{of}-{lead}"))
    }

    fn crm(&self, id: Option<&Value>) -> Option<Value> {
        let id = words(id?)?;
        // An id of fifteen characters is the same as its form of eighteen; Marketo shows the
        // latter.
        self.crm.as_ref().map(|crm| json!({"sourceKey": format!("{id}@{crm}")}))
    }

    /// The key of the company of a lead: its id, otherwise its other name.
    fn company(&self, lead: &Fields) -> Option<String> {
        let named = |field: &str| lead.get(field).and_then(words);
        let id = named("contactCompany")
            .or_else(|| named("externalCompanyId").map(|id| format!("ext-{id}")))
            .or_else(|| named("sfdcAccountId").map(|id| format!("sfdc-{id}")))?;
        Some(self.key(&format!("{id}.mkto_org")))
    }
}

/// A value as text; `None` where it is absent or empty. Extracts write numbers as text.
pub fn words(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        other => Some(other.to_string()),
    }
}

/// An instant in any of the shapes Marketo writes; the asset API puts `+0000` after the `Z`.
pub fn instant(value: &Value) -> Option<Timestamp> {
    let text = words(value)?;
    Timestamp::parse(text.strip_suffix("Z+0000").map(|text| format!("{text}Z")).as_deref().unwrap_or(&text)).ok()
}

/// A record of the kind under its key, with the fields that every record has.
fn record(kind: SourceKind, own_key: &str, key: &str, at: Timestamp, fields: Map<String, Value>) -> Emitted {
    let mut value = fields;
    value.insert(own_key.to_owned(), json!({"sourceKey": key}));
    value.insert("modifiedAt".to_owned(), json!(at.to_string()));
    Emitted::Record {
        kind,
        key: key.to_owned(),
        value: Some(Value::Object(value)),
    }
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A withdrawn record.
fn gone(kind: SourceKind, own_key: &str, key: &str, at: Timestamp) -> Emitted {
    record(kind, own_key, key, at, object([("isDeleted", json!(true))]))
}

/// The contents of one lead: a person, its company, and the relation between them.
///
/// Company values are read through the lead, so they are as of the moment of the read (`observed`),
/// not of the lead's own last change.
pub fn lead(lead: &Fields, mappings: &Mappings, keys: &Keys, observed: Timestamp) -> Vec<Emitted> {
    let id = lead.get("id").and_then(words).unwrap_or_default();
    let reject = |kind, detail: String| Emitted::Rejected {
        kind,
        id: id.clone(),
        raw: Value::Object(lead.clone()),
        detail,
    };
    let Some(at) = lead.get("updatedAt").and_then(instant).filter(|_| !id.is_empty()) else {
        return vec![reject(SourceKind::Person, "`id` or `updatedAt` is missing".to_owned())];
    };
    let key = keys.key(&id);
    let company = keys.company(lead);
    let mut emitted = Vec::new();
    match mappings.person.apply(lead) {
        Ok(mut person) => {
            if let Some(company) = &company {
                nested(&mut person, "b2b").insert("accountKey".to_owned(), json!({"sourceKey": company}));
            }
            if let Some(external) = keys.crm(lead.get("sfdcContactId")).or_else(|| keys.crm(lead.get("sfdcLeadId"))) {
                nested(&mut person, "extSourceSystemAudit").insert("externalKey".to_owned(), external);
            }
            emitted.push(record(SourceKind::Person, "personKey", &key, at, person));
        }
        Err(error) => emitted.push(reject(SourceKind::Person, error.to_string())),
    }
    let Some(company) = company else { return emitted };
    match mappings.account.apply(lead) {
        Ok(mut account) => {
            if let Some(external) = keys.crm(lead.get("sfdcAccountId")) {
                nested(&mut account, "extSourceSystemAudit").insert("externalKey".to_owned(), external);
            }
            emitted.push(record(SourceKind::Account, "accountKey", &company, observed, account));
        }
        Err(error) => emitted.push(reject(SourceKind::Account, error.to_string())),
    }
    let relation = object([
        ("accountKey", json!({"sourceKey": company})),
        ("personKey", json!({"sourceKey": key})),
        ("isActive", json!(true)),
        ("isDirect", json!(true)),
    ]);
    emitted.push(record(SourceKind::AccountPerson, "accountPersonKey", &keys.relation(&id), at, relation));
    emitted
}

fn nested<'a>(record: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let inner = record.entry(name).or_insert_with(|| json!({}));
    if !inner.is_object() {
        *inner = json!({});
    }
    inner.as_object_mut().expect("made an object above")
}

/// A deleted lead, with its dependent records; `lists` and `programs` are those it may have been a
/// member of.
pub fn deleted(lead: &str, at: Timestamp, keys: &Keys, lists: &[String], programs: &[String]) -> Vec<Emitted> {
    let mut emitted = vec![
        gone(SourceKind::Person, "personKey", &keys.key(lead), at),
        gone(SourceKind::AccountPerson, "accountPersonKey", &keys.relation(lead), at),
    ];
    let lists = lists
        .iter()
        .map(|list| gone(SourceKind::MarketingListMember, "marketingListMemberKey", &keys.member(list, lead), at));
    let programs = programs
        .iter()
        .map(|one| gone(SourceKind::CampaignMember, "campaignMemberKey", &keys.member(one, lead), at));
    emitted.extend(lists.chain(programs));
    emitted
}

/// A lead that was merged into another: its records are withdrawn, and its key names the winner
/// from now on, so that late events under it still count.
pub fn merged(loser: &str, winner: &str, at: Timestamp, keys: &Keys, lists: &[String], programs: &[String]) -> Vec<Emitted> {
    let mut emitted = deleted(loser, at, keys, lists, programs);
    let bare = object([("identities", json!([{"namespace": "b2b_person", "id": keys.key(winner)}]))]);
    emitted[0] = record(SourceKind::Person, "personKey", &keys.key(loser), at, bare);
    emitted
}

pub fn list(list: &Fields, keys: &Keys) -> Option<(String, Emitted)> {
    let id = list.get("id").and_then(words)?;
    let at = list.get("updatedAt").and_then(instant)?;
    let fields = object([("marketingListName", list.get("name").cloned().unwrap_or_default())]);
    let emitted = record(SourceKind::MarketingList, "marketingListKey", &keys.key(&id), at, fields);
    Some((id, emitted))
}

pub fn list_member(list: &str, lead: &str, member: bool, at: Timestamp, keys: &Keys) -> Emitted {
    let key = keys.member(list, lead);
    if !member {
        return gone(SourceKind::MarketingListMember, "marketingListMemberKey", &key, at);
    }
    let fields = object([
        ("marketingListKey", json!({"sourceKey": keys.key(list)})),
        ("personKey", json!({"sourceKey": keys.key(lead)})),
    ]);
    record(SourceKind::MarketingListMember, "marketingListMemberKey", &key, at, fields)
}

pub fn program(program: &Fields, keys: &Keys) -> Option<(String, Emitted)> {
    let id = program.get("id").and_then(words)?;
    let at = program.get("updatedAt").and_then(instant)?;
    let named = |field: &str| program.get(field).cloned().unwrap_or_default();
    let fields = object([
        ("campaignName", named("name")),
        ("campaignType", named("type")),
        ("campaignStatus", named("status")),
        ("channelName", named("channel")),
    ]);
    let emitted = record(SourceKind::Campaign, "campaignKey", &keys.key(&id), at, fields);
    Some((id, emitted))
}

/// A person's status in a program.
pub fn program_member(program: &str, lead: &str, status: Value, success: Option<bool>, at: Timestamp, keys: &Keys) -> Emitted {
    let fields = object([
        ("campaignKey", json!({"sourceKey": keys.key(program)})),
        ("personKey", json!({"sourceKey": keys.key(lead)})),
        ("memberStatus", status),
        ("hasReachedSuccess", json!(success)),
    ]);
    record(SourceKind::CampaignMember, "campaignMemberKey", &keys.member(program, lead), at, fields)
}

/// An activity, from a feed or an extract.
#[derive(Clone, Debug, PartialEq)]
pub struct Activity {
    pub guid: String,
    pub lead: String,
    pub at: Timestamp,
    pub kind: u32,
    pub primary_id: Option<String>,
    pub primary: Option<String>,
    pub attributes: Map<String, Value>,
}

impl Activity {
    /// Reads a row of a feed, where attributes are a list, or of an extract, where they are an
    /// object in a text.
    pub fn read(row: &Fields) -> Option<Activity> {
        let text = |name: &str| row.get(name).and_then(words);
        let attributes = match row.get("attributes") {
            Some(Value::Array(pairs)) => {
                let pair = |pair: &Value| Some((pair["name"].as_str()?.to_owned(), pair["value"].clone()));
                pairs.iter().filter_map(pair).collect()
            }
            Some(Value::String(json)) => serde_json::from_str(json).unwrap_or_default(),
            _ => Map::new(),
        };
        Some(Activity {
            guid: text("marketoGUID").or_else(|| text("id"))?,
            lead: text("leadId")?,
            at: row.get("activityDate").and_then(instant)?,
            kind: text("activityTypeId")?.parse().ok()?,
            primary_id: text("primaryAttributeValueId"),
            primary: text("primaryAttributeValue"),
            attributes,
        })
    }

    /// An attribute's text; `None` where it is absent or empty.
    pub fn attribute(&self, name: &str) -> Option<String> {
        self.attributes.get(name).and_then(words)
    }

    /// The event of an activity; `None` if its type is not an event.
    pub fn event(&self, types: &ActivityTypes, keys: &Keys) -> Option<Emitted> {
        let event_type = types.0.get(&self.kind)?;
        let person = keys.key(&self.lead);
        let mut value = object([
            ("_id", json!(format!("{}@{}", self.guid, keys.munchkin))),
            ("timestamp", json!(self.at.to_string())),
            ("modifiedAt", json!(self.at.to_string())),
            ("eventType", json!(event_type)),
            ("producedBy", json!(if BY_PERSON.contains(&self.kind) { "self" } else { "system" })),
            ("personKey", json!({"sourceKey": person})),
        ]);
        self.details(&mut value, keys);
        Some(Emitted::Record {
            kind: SourceKind::Activity,
            key: format!("b2b_person:{person}"),
            value: Some(Value::Object(value)),
        })
    }

    fn details(&self, value: &mut Map<String, Value>, keys: &Keys) {
        let text = |name: &str| json!(self.attribute(name));
        let key = |id: &Option<String>| json!(id.as_ref().map(|id| json!({"sourceKey": keys.key(id)})));
        match self.kind {
            1 => {
                value.insert("web".to_owned(), self.page());
                let environment = json!({"ipV4": text("Client IP Address"), "browserDetails": {"userAgent": text("User Agent")}});
                value.insert("environment".to_owned(), environment);
                return;
            }
            2 => {
                let form = json!({"webFormID": self.primary_id, "webFormName": self.primary});
                value.insert("web".to_owned(), json!({"fillOutForm": form, "webReferrer": {"URL": text("Referrer URL")}}));
            }
            3 => {
                value.insert(
                    "web".to_owned(),
                    json!({"webInteraction": {"name": self.primary}, "webReferrer": {"URL": text("Referrer URL")}}),
                );
            }
            6..=11 | 27 => {
                let mailing =
                    json!({"mailingID": self.primary_id, "mailingName": self.primary, "linkURL": text("Link"), "emailBouncedDetails": text("Details")});
                value.insert("directMarketing".to_owned(), mailing);
            }
            22 => {
                let number = |name: &str| -> Option<Value> {
                    let number = millrace_model::number::parse_spelled(&self.attribute(name)?)?;
                    serde_json::from_str(&number.to_string()).ok()
                };
                let score = json!({
                    "attributeName": self.primary, "oldValue": number("Old Value"), "newValue": number("New Value"),
                    "changeValue": number("Change Value"), "reason": text("Reason"),
                });
                value.insert("leadOperation".to_owned(), json!({"scoreChanged": score}));
            }
            24 | 25 => {
                let list = json!({"listKey": key(&self.primary_id), "listID": self.primary_id, "listName": self.primary});
                value.insert("listOperations".to_owned(), list);
            }
            104 => {
                let progression = json!({
                    "campaignKey": key(&self.primary_id), "campaignID": self.primary_id, "campaignName": self.primary,
                    "oldStatus": text("Old Status"), "newStatus": text("New Status"), "hasReachedSuccess": self.success(),
                });
                value.insert("leadOperation".to_owned(), json!({"campaignProgression": progression}));
            }
            _ => {}
        }
        let mut extra: Map<String, Value> = self.attributes.iter().map(|(name, value)| (camel(name), value.clone())).collect();
        if let Some(primary) = &self.primary {
            extra.insert("primaryAttributeValue".to_owned(), json!(primary));
        }
        value.insert("extra".to_owned(), Value::Object(extra));
    }

    pub fn success(&self) -> Option<bool> {
        self.attribute("Success").map(|text| text.eq_ignore_ascii_case("true"))
    }

    /// The visited page. `Webpage URL` is a path alone; host and path together are the primary
    /// value, without scheme.
    fn page(&self) -> Value {
        let query = self.attribute("Query Parameters");
        let place = self.primary.as_ref().filter(|place| !place.starts_with('/'));
        let url = place.map(|place| {
            let scheme = if place.contains("://") { "" } else { "https://" };
            let query = query.as_ref().map(|query| format!("?{}", query.trim_start_matches('?'))).unwrap_or_default();
            format!("{scheme}{place}{query}")
        });
        json!({
            "webPageDetails": {
                "URL": url, "name": self.primary, "webPageID": self.attribute("Webpage ID"), "queryParameters": query,
                "isPersonalizedURL": self.attribute("Personalized URL").map(|text| text.eq_ignore_ascii_case("true")),
            },
            "webReferrer": {"URL": self.attribute("Referrer URL")},
        })
    }

    /// The losers of a merge.
    pub fn losers(&self) -> Vec<String> {
        let ids = self.attribute("Merge IDs").unwrap_or_default();
        let ids = ids.split([',', ';', ' ', '[', ']']).map(str::trim).filter(|id| !id.is_empty());
        ids.map(str::to_owned).collect()
    }
}

/// `Old Value` to `oldValue`: a name that a rule can write.
fn camel(name: &str) -> String {
    let words = name.split(|sign: char| !sign.is_alphanumeric()).filter(|word| !word.is_empty());
    let mut made = String::new();
    for word in words {
        let mut signs = word.chars();
        let Some(first) = signs.next() else { continue };
        let first: String = if made.is_empty() {
            first.to_lowercase().collect()
        } else {
            first.to_uppercase().collect()
        };
        made.push_str(&first);
        made.extend(signs);
    }
    made
}
