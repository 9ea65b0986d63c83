//! The meaning of a record: its key, its version, and whether it is whole, partial or a deletion.
//!
//! A record's own key is its key object; the Kafka key, if there is one, must equal it, because
//! compaction and tombstones use the Kafka key: a record filed under another key could never be
//! deleted. If the value has no key object, the Kafka key names the record.

use std::collections::BTreeSet;

use millrace_model::{
    Change, Event, EventOperation, Identity, Map, Operation, Path, RecordType, Rejection, SourceChange, SourceKind, SubjectKind, Text, Timestamp, Type, Value,
    namespace,
};

use super::typed::{is_key, key_object_of};
use super::{Limits, consent};
use crate::Reason;

/// Fields about the change and not about the thing.
const BOOKKEEPING: [&str; 3] = ["modifiedAt", "isDeleted", "changedFields"];

/// What is known about a record besides its fields.
pub(super) struct Context<'a> {
    pub limits: &'a Limits,
    pub record_type: &'a RecordType,
    /// The Kafka key, trimmed and not empty.
    pub key: Option<&'a str>,
    pub record_timestamp: Timestamp,
    pub now: Timestamp,
    /// Whether `modifiedAt` or the time of a consent lay too far ahead.
    pub clock_ahead: std::cell::Cell<bool>,
}

/// The change a null value makes.
pub(super) fn tombstone(kind: SourceKind, key: Option<&str>, record_timestamp: Timestamp) -> Result<SourceChange, Rejection> {
    if kind == SourceKind::Activity {
        return Err(Reason::TombstoneOnActivity.because("the key of this topic names a person, not an event; send the event's `_id` with `isDeleted: true`"));
    }
    let key = key.ok_or_else(|| Reason::TombstoneWithoutKey.because("null value and no key: nothing says what is removed"))?;
    Ok(SourceChange::Record(Change {
        kind,
        key: Text::new(key),
        modified_at: record_timestamp,
        operation: Operation::Tombstone,
    }))
}

/// Moves fields that are not in the schema to `extra` at their own path (`x` to `extra.x`, `web.x`
/// to `extra.web.x`), unless `extra` has a value there. Returns their paths, ascending, each once.
pub(super) fn graft_unknown(mut fields: Map, unknown: Vec<(Vec<Text>, Option<Value>)>) -> Result<(Map, Vec<String>), Rejection> {
    if let Some(extra) = fields.get("extra")
        && extra.as_map().is_none()
    {
        return Err(Reason::WrongType.because("`extra`: expected an object, found something else"));
    }
    let mut names = BTreeSet::new();
    for (path, value) in unknown {
        names.insert(path.join("."));
        let Some(value) = value else { continue };
        if fields.get("extra").is_none() {
            fields.insert("extra", Value::Map(Map::new()));
        }
        if let Some(extra) = fields.get_mut("extra") {
            graft(extra, &path, value);
        }
    }
    Ok((fields, names.into_iter().collect()))
}

fn graft(place: &mut Value, path: &[Text], value: Value) {
    let (Value::Map(map), Some((first, rest))) = (place, path.split_first()) else {
        return;
    };
    match (map.get_mut(first), rest) {
        (None, []) => {
            map.insert(first, value);
        }
        (Some(_), []) => {}
        (Some(inner), _) => graft(inner, rest, value),
        (None, _) => {
            let mut inner = Value::Map(Map::new());
            graft(&mut inner, rest, value);
            map.insert(first, inner);
        }
    }
}

impl Context<'_> {
    /// The change of a keyed record.
    pub fn change(&self, kind: SourceKind, mut fields: Map) -> Result<Change, Rejection> {
        let key_field = kind.key_field().unwrap_or_default();
        let key = self.record_key(key_field, &mut fields)?;
        let book = Bookkeeping::take(&mut fields);
        self.bounded_names(&fields)?;
        if kind == SourceKind::AudienceMember && !book.deleted && book.changed_fields.is_none() {
            audience_membership(&fields)?;
        }
        let modified_at = self.version(&book);
        self.bound_consents(&mut fields, modified_at);
        let changed = book.changed_fields.map(|names| self.changed_paths(&names)).transpose()?;
        // A partial update may concern the validity alone.
        let says_members = changed.as_ref().is_none_or(|paths| paths.iter().any(|path| path.steps() == [MEMBERS]));
        if kind == SourceKind::AccountLink && !book.deleted && says_members {
            linked_accounts(&fields)?;
        }
        let operation = match changed {
            _ if book.deleted => Operation::Delete,
            Some(paths) => Operation::Patch {
                paths,
                value: Value::Map(fields),
            },
            None => Operation::Replace(Value::Map(fields)),
        };
        Ok(Change {
            kind,
            key,
            modified_at,
            operation,
        })
    }

    /// The event of an activity. A deletion needs no `timestamp` (its `modified_at` takes its
    /// place), and `changedFields` has no meaning: an event counts whole.
    pub fn event(&self, mut fields: Map) -> Result<Event, Rejection> {
        let id = fields.get("_id").and_then(Value::as_str).map(str::trim).filter(|id| !id.is_empty());
        let id = Text::new(id.ok_or_else(|| Reason::MissingId.because("`_id` is missing or blank"))?);
        self.bounded("_id", &id)?;
        fields.insert("_id", Value::Text(id.clone()));
        let book = Bookkeeping::take(&mut fields);
        let modified_at = self.version(&book);
        let occurred_at = fields.get("timestamp").and_then(Value::as_time);
        let identities = self.identities(&fields)?;
        if book.deleted {
            return Ok(Event {
                id,
                occurred_at: occurred_at.unwrap_or(modified_at),
                modified_at,
                identities,
                operation: EventOperation::Delete,
            });
        }
        let occurred_at = occurred_at.ok_or_else(|| Reason::MissingTimestamp.because("`timestamp` is missing"))?;
        if occurred_at > self.now.plus_ms(self.limits.future_ms_max) {
            let detail = format!(
                "`timestamp` is {occurred_at}, now is {}, {} ms ahead are allowed",
                self.now, self.limits.future_ms_max
            );
            return Err(Reason::FromTheFuture.because(detail));
        }
        Ok(Event {
            id,
            occurred_at,
            modified_at,
            identities,
            operation: EventOperation::Put(Value::Map(fields)),
        })
    }

    /// The record's version. A time too far ahead of the broker's timestamp counts as that
    /// timestamp, because otherwise one wrong clock would win permanently.
    fn version(&self, book: &Bookkeeping) -> Timestamp {
        match book.modified_at {
            Some(modified_at) if modified_at > self.latest() => {
                self.clock_ahead.set(true);
                self.record_timestamp
            }
            modified_at => modified_at.unwrap_or(self.record_timestamp),
        }
    }

    /// The latest plausible time: a later one comes from a wrong clock.
    fn latest(&self) -> Timestamp {
        self.record_timestamp.plus_ms(self.limits.future_ms_max)
    }

    /// The time of a consent takes precedence over versions, so the same bound applies to it.
    fn bound_consents(&self, fields: &mut Map, version: Timestamp) {
        if let (Some(field), Some(consents)) = (self.record_type.fields.get("consents"), fields.get_mut("consents"))
            && consent::bound_times(&field.ty, consents, self.latest(), version)
        {
            self.clock_ahead.set(true);
        }
    }

    /// The record's own `sourceKey`. Afterwards the fields contain the key object, even if the Kafka
    /// key provided it.
    fn record_key(&self, key_field: &str, fields: &mut Map) -> Result<Text, Rejection> {
        let own = fields.get(key_field).map(|key| key.field("sourceKey")).and_then(Value::as_str);
        match (own, self.key) {
            (Some(own), Some(kafka)) if own != kafka => Err(Reason::KeyMismatch.because(format!(
                "`{key_field}.sourceKey` is `{own}`, the Kafka key is `{kafka}`; compaction and tombstones go by the Kafka key, so both must be equal"
            ))),
            (Some(own), _) => Ok(Text::new(own)),
            (None, Some(kafka)) => {
                if let Some(key) = key_object_of(kafka) {
                    fields.insert(key_field, Value::Map(key));
                }
                Ok(Text::new(kafka))
            }
            (None, None) => Err(Reason::MissingKey.because(format!("neither `{key_field}.sourceKey` nor a Kafka key is there"))),
        }
    }

    /// `changedFields` as paths, known ones only. A path into a key, or to the `val` of a consent,
    /// becomes the path to the whole. No path occurs twice or below another.
    fn changed_paths(&self, names: &[Value]) -> Result<Vec<Path>, Rejection> {
        let mut paths = BTreeSet::new();
        for name in names.iter().filter_map(Value::as_str) {
            let path = Path::parse(name).filter(|path| self.record_type.type_at(path.steps()).is_some());
            let path = path.ok_or_else(|| Reason::UnknownChangedField.because(format!("`changedFields` names `{name}`, which is no field")))?;
            if !BOOKKEEPING.contains(&path.steps()[0].as_str()) {
                paths.insert(self.whole(path));
            }
        }
        // Ascending order puts a path right before everything under it.
        let mut kept: Vec<Path> = Vec::with_capacity(paths.len());
        for path in paths {
            if !kept.last().is_some_and(|last| last.covers(&path)) {
                kept.push(path);
            }
        }
        Ok(kept)
    }

    /// The path to the whole key for a path into a key: its parts are parts of one text, so a mixture
    /// of a newer and an older one names nothing. The same for the `val` of a consent, because a
    /// decision replaces the whole consent.
    fn whole(&self, path: Path) -> Path {
        let steps = path.steps();
        let means_all = |len: usize| {
            let Some(Type::Record(record)) = self.record_type.type_at(&steps[..len]) else {
                return false;
            };
            is_key(record) || consent::is_decision(record, &steps[len])
        };
        let whole = (1..steps.len()).find(|len| means_all(*len));
        whole.and_then(|len| Path::parse(&steps[..len].join("."))).unwrap_or(path)
    }

    /// The person of an event: `personKey` and `identities`, or else the Kafka key. Namespaces of
    /// accounts, opportunities, campaigns and lists name no person.
    fn identities(&self, fields: &Map) -> Result<Vec<Identity>, Rejection> {
        let mut found = BTreeSet::new();
        if let Some(key) = fields.get("personKey").and_then(|key| key.field("sourceKey").as_str()) {
            found.extend(Identity::new(namespace::PERSON, key));
        }
        for item in fields.get("identities").and_then(Value::as_list).unwrap_or_default() {
            if let (Some(namespace), Some(id)) = (item.field("namespace").as_str(), item.field("id").as_str()) {
                found.extend(Identity::new(namespace, id));
            }
        }
        let names_person = |identity: &Identity| SubjectKind::of_namespace(identity.namespace()) == SubjectKind::Person;
        found.retain(names_person);
        if found.is_empty()
            && let Some(key) = self.key
        {
            let named = if key.contains(':') {
                Identity::parse(key).ok()
            } else {
                Identity::new(namespace::PERSON, key)
            };
            found.extend(named.filter(names_person));
        }
        for identity in &found {
            self.bounded(identity.namespace(), identity.id())?;
        }
        if found.is_empty() {
            return Err(Reason::NoIdentity.because("neither `personKey`, `identities` nor the Kafka key names a person"));
        }
        Ok(found.into_iter().collect())
    }

    /// Every name of a thing in a record becomes a key of state rows: its own key, keys of others,
    /// identities.
    fn bounded_names(&self, fields: &Map) -> Result<(), Rejection> {
        for (name, value) in fields.iter() {
            match (name.as_str(), value) {
                // Custom fields name nothing.
                ("extra", _) => {}
                ("sourceKey" | "address" | "namespace" | "id" | "member", Value::Text(text)) => self.bounded(name, text)?,
                (_, Value::Map(inner)) => self.bounded_names(inner)?,
                (_, Value::List(items)) => items.iter().filter_map(Value::as_map).try_for_each(|item| self.bounded_names(item))?,
                _ => {}
            }
        }
        Ok(())
    }

    fn bounded(&self, what: &str, text: &str) -> Result<(), Rejection> {
        if text.len() <= self.limits.key_bytes_max {
            return Ok(());
        }
        Err(Reason::Oversize.because(format!("`{what}` of {} bytes, {} allowed", text.len(), self.limits.key_bytes_max)))
    }
}

/// A membership names its audience and its member.
fn audience_membership(fields: &Map) -> Result<(), Rejection> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    if text("audience").is_none() {
        return Err(Reason::MissingKey.because("`audience` is missing: which external audience this is a membership of"));
    }
    if let Some(member) = text("member") {
        let parsed = Identity::parse(member);
        return parsed
            .map(drop)
            .map_err(|error| Reason::NoIdentity.because(format!("`member`: {error}; expected `namespace:id`")));
    }
    let named = |name: &str| fields.get(name).is_some_and(|key| key.field("sourceKey").as_str().is_some());
    if named("personKey") || named("accountKey") {
        return Ok(());
    }
    Err(Reason::NoIdentity.because("neither `member`, `personKey` nor `accountKey` says who is in the audience"))
}

/// The field of a link with the linked accounts.
const MEMBERS: &str = "members";

/// A link of an account to itself is a mistake: if accepted, it would silently withdraw the
/// existing link.
fn linked_accounts(fields: &Map) -> Result<(), Rejection> {
    let Some(members) = fields.get(MEMBERS).and_then(Value::as_list) else {
        return Ok(());
    };
    let accounts = members
        .iter()
        .filter_map(|member| Identity::new(namespace::ACCOUNT, member.field("sourceKey").as_str()?));
    match accounts.collect::<BTreeSet<_>>().len() {
        0 | 1 => Err(Reason::TooFewMembers.because("`members` are fewer than two different accounts; delete the record to withdraw a link")),
        _ => Ok(()),
    }
}

/// The bookkeeping fields of a record.
struct Bookkeeping {
    modified_at: Option<Timestamp>,
    deleted: bool,
    changed_fields: Option<Vec<Value>>,
}

impl Bookkeeping {
    fn take(fields: &mut Map) -> Bookkeeping {
        let [modified_at, deleted, changed_fields] = BOOKKEEPING.map(|name| fields.remove(name).unwrap_or_default());
        let changed_fields = if let Value::List(names) = changed_fields { Some(names) } else { None };
        Bookkeeping {
            modified_at: modified_at.as_time(),
            deleted: deleted.as_bool().unwrap_or_default(),
            changed_fields,
        }
    }
}
