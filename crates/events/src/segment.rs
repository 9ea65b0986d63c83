//! The calls of the Segment specification.
//!
//! ```text
//! identify   person: the traits it names, its user id; the device it came from points to the user
//! group      account: the traits it names; the person's relation to it
//! alias      person: two ids are one
//! track      activity: the event's name is its type; some names of the B2B specification are relations too
//! page       activity web.webpagedetails.pageViews
//! screen     activity application.screenViews
//! ```
//!
//! A record has a key by what it states: `42@site.Segment` what is known of user 42,
//! `a1@site.SegmentAnonymous` of a device without a user, `a1@site.SegmentDevice` which user the
//! device is with. So a later statement replaces an earlier one of the same kind, and no other.

use core::net::IpAddr;

use millrace_model::{Identity, Rejection, SourceKind, Timestamp, namespace};
use millrace_wire::Reason;
use serde_json::{Map, Value, json};

use crate::traits::{self, Update};
use crate::{Arrival, Fact, Facts, Sender, instant, put, words};

/// A clock that differs by less is right: the time that a request travels looks the same.
const SKEW_MS_MIN: i64 = 5_000;

/// The calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// What is known of a user or a device.
    Identify,
    /// What is known of an account, and that the user belongs to it.
    Group,
    /// Two ids are one user.
    Alias,
    /// Something happened.
    Track,
    /// A page was seen.
    Page,
    /// A screen of an application was seen.
    Screen,
}

impl Call {
    /// Every call.
    pub const ALL: [Call; 6] = [Call::Identify, Call::Group, Call::Alias, Call::Track, Call::Page, Call::Screen];

    /// As paths and batches name it.
    pub fn name(self) -> &'static str {
        match self {
            Call::Identify => "identify",
            Call::Group => "group",
            Call::Alias => "alias",
            Call::Track => "track",
            Call::Page => "page",
            Call::Screen => "screen",
        }
    }

    /// The call of an item of a batch.
    ///
    /// # Errors
    /// Where its `type` is none.
    pub fn of(item: &Map<String, Value>) -> Result<Call, Rejection> {
        let named = item.get("type").and_then(Value::as_str).unwrap_or_default();
        let found = Call::ALL.into_iter().find(|call| call.name() == named);
        found.ok_or_else(|| Reason::WrongType.because(format!("`type` is `{named}`; expected identify, group, alias, track, page or screen")))
    }
}

/// What surrounds the items of a batch.
#[derive(Debug, Default)]
pub struct Envelope {
    /// When the request was sent, by the sender's clock.
    pub sent_at: Option<Value>,
    /// Its members hold where an item has none of the same name.
    pub context: Map<String, Value>,
}

/// What a call says.
///
/// # Errors
/// Where it names nobody, or an instant cannot be read.
pub fn facts(call: Call, item: &Map<String, Value>, envelope: &Envelope, sender: &Sender, arrival: &Arrival, index: usize) -> Facts {
    let mut context = envelope.context.clone();
    context.extend(item.get("context").and_then(Value::as_object).cloned().unwrap_or_default());
    let id = words(item.get("messageId")).unwrap_or_else(|| arrival.id(index));
    let at = occurred_at(item, envelope, arrival)?;
    let person = Person::of(item, sender)?;
    let reading = Reading {
        sender,
        item,
        context,
        id,
        at,
        person,
    };
    match call {
        Call::Identify => Ok(reading.identify()),
        Call::Group => reading.group(),
        Call::Alias => reading.alias(),
        Call::Track => reading.track(),
        Call::Page | Call::Screen => Ok(vec![reading.activity(call)]),
    }
}

/// The instant of the event by our clock: the client's, moved by what its clock was off when it
/// sent.
fn occurred_at(item: &Map<String, Value>, envelope: &Envelope, arrival: &Arrival) -> Result<Timestamp, Rejection> {
    let said = match instant("originalTimestamp", item.get("originalTimestamp"))? {
        None => instant("timestamp", item.get("timestamp"))?,
        original => original,
    };
    let sent = match instant("sentAt", item.get("sentAt"))? {
        None => instant("sentAt", envelope.sent_at.as_ref())?,
        sent => sent,
    };
    let off = sent.map_or(0, |sent| arrival.at.0.saturating_sub(sent.0));
    let off = if off.saturating_abs() < SKEW_MS_MIN { 0 } else { off };
    Ok(said.map_or(arrival.at, |said| said.plus_ms(off)))
}

/// Who a call is about.
#[derive(Clone)]
struct Person {
    user: Option<String>,
    device: Option<String>,
    /// Of the record with what is known.
    key: String,
}

impl Person {
    fn of(item: &Map<String, Value>, sender: &Sender) -> Result<Person, Rejection> {
        let (user, device) = (words(item.get("userId")), words(item.get("anonymousId")));
        let key = match (&user, &device) {
            (Some(user), _) => user_key(user, sender),
            (None, Some(device)) => format!("{device}@{}.SegmentAnonymous", sender.name),
            (None, None) => return Err(Reason::NoIdentity.because("neither `userId` nor `anonymousId` is there")),
        };
        Ok(Person { user, device, key })
    }
}

fn user_key(user: &str, sender: &Sender) -> String {
    format!("{user}@{}.Segment", sender.name)
}

fn identity(namespace: &str, id: &str) -> Value {
    json!({"namespace": namespace, "id": id})
}

/// One call under way.
struct Reading<'a> {
    sender: &'a Sender,
    item: &'a Map<String, Value>,
    context: Map<String, Value>,
    id: String,
    at: Timestamp,
    person: Person,
}

impl Reading<'_> {
    fn traits(&self) -> Map<String, Value> {
        self.item.get("traits").and_then(Value::as_object).cloned().unwrap_or_default()
    }

    fn properties(&self) -> Map<String, Value> {
        self.item.get("properties").and_then(Value::as_object).cloned().unwrap_or_default()
    }

    fn identify(&self) -> Vec<Fact> {
        let mut update = Update::default();
        traits::person(&self.traits(), &mut update);
        self.known(update)
    }

    fn group(&self) -> Facts {
        let group = words(self.item.get("groupId")).ok_or_else(|| Reason::MissingKey.because("`groupId` is missing"))?;
        let mut update = Update::default();
        traits::account(&self.traits(), &mut update);
        update.set("extSourceSystemAudit.externalID", json!(group));
        let mut facts = self.known(Update::default());
        facts.push(self.partial(SourceKind::Account, &user_key(&group, self.sender), update));
        facts.push(self.relation(&group, true, None));
        Ok(facts)
    }

    fn alias(&self) -> Facts {
        if self.person.user.is_none() {
            return Err(Reason::NoIdentity.because("`userId` is missing"));
        }
        let previous = words(self.item.get("previousId")).ok_or_else(|| Reason::NoIdentity.because("`previousId` is missing"))?;
        let key = format!("{previous}@{}.SegmentAlias", self.sender.name);
        // The former id may be of a user or of a device.
        let identities = json!([
            identity(namespace::PERSON, &self.person.key),
            identity(namespace::PERSON, &user_key(&previous, self.sender)),
            identity(&self.sender.device_namespace, &previous),
        ]);
        Ok(vec![self.whole(&key, identities)])
    }

    fn track(&self) -> Facts {
        let event = words(self.item.get("event")).ok_or_else(|| Reason::WrongType.because("`event` is missing: the name of what happened"))?;
        let mut facts = vec![self.activity(Call::Track)];
        let (properties, group) = (self.properties(), words(self.context.get("groupId")));
        let Some(group) = group.or_else(|| words(properties.get("groupId"))) else {
            return Ok(facts);
        };
        match event.as_str() {
            "Account Added User" => {
                facts.extend(self.known(Update::default()));
                facts.push(self.relation(&group, true, properties.get("role")));
            }
            "Account Removed User" => facts.push(self.relation(&group, false, None)),
            "Account Deleted" => facts.push(self.gone(&user_key(&group, self.sender))),
            _ => {}
        }
        Ok(facts)
    }

    /// What is known of the person, and which user its device is with.
    fn known(&self, mut update: Update) -> Vec<Fact> {
        let id = self.person.user.as_ref().or(self.person.device.as_ref());
        // A record that settles nothing would be no record: a person of a relation alone is no
        // subject.
        update.set("extSourceSystemAudit.externalID", json!(id));
        let identities = match (&self.person.user, &self.person.device) {
            (Some(user), _) => self.sender.user_namespace.as_ref().map(|namespace| identity(namespace, user)),
            (None, Some(device)) => Some(identity(&self.sender.device_namespace, device)),
            (None, None) => None,
        };
        if let Some(identity) = identities {
            update.set("identities", json!([identity]));
        }
        let mut facts = vec![self.partial(SourceKind::Person, &self.person.key, update)];
        if let (Some(_), Some(device)) = (&self.person.user, &self.person.device) {
            let key = format!("{device}@{}.SegmentDevice", self.sender.name);
            let identities = json!([identity(namespace::PERSON, &self.person.key), identity(&self.sender.device_namespace, device),]);
            facts.push(self.whole(&key, identities));
        }
        facts
    }

    fn relation(&self, group: &str, active: bool, role: Option<&Value>) -> Fact {
        let key = format!("{}|{}@{}.Segment", part(&self.person.key), part(group), self.sender.name);
        let mut update = Update::default();
        update.set("accountKey", json!({"sourceKey": user_key(group, self.sender)}));
        update.set("personKey", json!({"sourceKey": self.person.key}));
        update.set("isActive", json!(active));
        update.set("relationEndDate", if active { Value::Null } else { json!(self.at.to_string()) });
        if let Some(role) = words(role) {
            update.set("personRole", json!(role));
        }
        self.partial(SourceKind::AccountPerson, &key, update)
    }

    fn partial(&self, kind: SourceKind, key: &str, update: Update) -> Fact {
        let mut fields = update.fields;
        fields.insert("changedFields".to_owned(), json!(update.paths));
        self.record(kind, key, fields)
    }

    /// A person record of identities alone.
    fn whole(&self, key: &str, identities: Value) -> Fact {
        let fields = [("identities".to_owned(), identities)].into_iter().collect();
        self.record(SourceKind::Person, key, fields)
    }

    fn gone(&self, account: &str) -> Fact {
        let fields = [("isDeleted".to_owned(), json!(true))].into_iter().collect();
        self.record(SourceKind::Account, account, fields)
    }

    fn record(&self, kind: SourceKind, key: &str, mut fields: Map<String, Value>) -> Fact {
        fields.insert(kind.key_field().unwrap_or_default().to_owned(), json!({"sourceKey": key}));
        fields.insert("modifiedAt".to_owned(), json!(self.at.to_string()));
        Fact {
            kind,
            key: key.to_owned(),
            value: Value::Object(fields),
        }
    }

    fn activity(&self, call: Call) -> Fact {
        let properties = self.properties();
        let mut fields = Map::new();
        fields.insert("_id".to_owned(), json!(self.id));
        fields.insert("timestamp".to_owned(), json!(self.at.to_string()));
        fields.insert("eventType".to_owned(), self.event_type(call));
        let mut identities = Vec::new();
        if let Some(user) = &self.person.user {
            fields.insert("personKey".to_owned(), json!({"sourceKey": self.person.key}));
            identities.extend(self.sender.user_namespace.as_ref().map(|namespace| identity(namespace, user)));
        }
        identities.extend(self.person.device.as_ref().map(|device| identity(&self.sender.device_namespace, device)));
        fields.insert("identities".to_owned(), Value::Array(identities));
        self.page(call, &properties, &mut fields);
        self.surroundings(&mut fields);
        let mut extra = properties;
        if let Some(group) = words(self.context.get("groupId")) {
            extra.entry("groupId").or_insert(json!(group));
        }
        fields.insert("extra".to_owned(), Value::Object(extra));
        let key = match (&self.person.user, &self.person.device) {
            (None, Some(device)) => Identity::new(&self.sender.device_namespace, device),
            _ => Identity::new(namespace::PERSON, &self.person.key),
        };
        Fact {
            kind: SourceKind::Activity,
            key: key.map(|key| key.to_string()).unwrap_or_default(),
            value: Value::Object(fields),
        }
    }

    fn event_type(&self, call: Call) -> Value {
        match call {
            Call::Page => json!("web.webpagedetails.pageViews"),
            Call::Screen => json!("application.screenViews"),
            Call::Track | Call::Identify | Call::Group | Call::Alias => json!(words(self.item.get("event"))),
        }
    }

    /// The page that was viewed, or on which something happened.
    fn page(&self, call: Call, properties: &Map<String, Value>, fields: &mut Map<String, Value>) {
        let page = self.context.get("page").and_then(Value::as_object);
        let from_page = |name: &str| words(page.and_then(|page| page.get(name)));
        let own = |name: &str| if call == Call::Page { words(properties.get(name)) } else { None };
        let said = |name: &str| own(name).or_else(|| from_page(name));
        let name = words(self.item.get("name")).or_else(|| words(properties.get("name")));
        let name = match call {
            Call::Page => name.or_else(|| said("title")),
            Call::Screen => name,
            Call::Track | Call::Identify | Call::Group | Call::Alias => from_page("title"),
        };
        let query = said("search")
            .map(|query| query.trim_start_matches('?').to_owned())
            .filter(|query| !query.is_empty());
        let category = words(self.item.get("category")).or_else(|| own("category"));
        let details = [
            ("URL", said("url")),
            (if call == Call::Screen { "viewName" } else { "name" }, name),
            ("queryParameters", query),
            ("siteSection", category),
        ];
        for (field, text) in details {
            if let Some(text) = text {
                put(fields, &["web", "webPageDetails", field], json!(text));
            }
        }
        if call == Call::Page {
            put(fields, &["web", "webPageDetails", "pageViews", "value"], json!(1));
        }
        if let Some(referrer) = said("referrer") {
            put(fields, &["web", "webReferrer", "URL"], json!(referrer));
        }
    }

    /// Where it happened: browser, device, application, campaign.
    fn surroundings(&self, fields: &mut Map<String, Value>) {
        for (from, to) in SURROUNDINGS {
            let (first, second) = from.split_once('.').map_or((from, None), |(first, second)| (first, Some(second)));
            let found = self
                .context
                .get(first)
                .and_then(|inside| second.map_or(Some(inside), |second| inside.get(second)));
            if let Some(text) = words(found) {
                put(fields, &to.split('.').collect::<Vec<_>>(), json!(text));
            }
        }
        let address = words(self.context.get("ip")).and_then(|text| text.parse::<IpAddr>().ok());
        if let Some(address) = address {
            let field = if address.is_ipv4() { "ipV4" } else { "ipV6" };
            put(fields, &["environment", field], json!(address.to_string()));
        }
        for (from, to) in [("width", "screenWidth"), ("height", "screenHeight")] {
            let size = self.context.get("screen").and_then(|screen| screen.get(from)).and_then(Value::as_i64);
            if let Some(size) = size.and_then(|size| i32::try_from(size).ok()) {
                put(fields, &["device", to], json!(size));
            }
        }
    }
}

/// Texts of a call's context, and the fields of an activity that have them.
const SURROUNDINGS: [(&str, &str); 13] = [
    ("userAgent", "environment.browserDetails.userAgent"),
    ("locale", "environment.language"),
    ("os.name", "environment.operatingSystem"),
    ("os.version", "environment.operatingSystemVersion"),
    ("device.type", "device.type"),
    ("device.manufacturer", "device.manufacturer"),
    ("device.model", "device.model"),
    ("app.name", "application.name"),
    ("app.version", "application.version"),
    ("app.namespace", "application.id"),
    ("campaign.name", "marketing.campaignName"),
    ("campaign.source", "marketing.campaignGroup"),
    ("campaign.content", "marketing.trackingCode"),
];

/// A part of a compound key: the bar between parts stands in none.
fn part(text: &str) -> String {
    text.replace('%', "%25").replace('|', "%7C")
}
