//! Worlds for tests: the Bodea case, random streams of changes, and their rules.

use serde_json::{Value as Json, json};

use crate::SourceRecord;

pub mod bodea;
pub mod random;
pub mod random_rules;
pub mod rules;
pub mod shrink;

/// A fixed instant to count from: 2026-03-18T12:00:00Z, a Wednesday.
pub const NOON_MS: i64 = 1_773_835_200_000;

/// Milliseconds of a minute.
pub const MINUTE_MS: i64 = 60_000;
/// Milliseconds of an hour.
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
/// Milliseconds of a day.
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// The event type of a page visit.
pub const PAGE_VIEW: &str = "web.webpagedetails.pageViews";

/// A key object that holds no more than the source key.
pub fn key(source_key: &str) -> Json {
    json!({ "sourceKey": source_key })
}

/// The field that holds a record's own key object.
///
/// # Panics
/// On a topic without keyed records: a defect of the test.
pub fn key_field(topic: &str) -> &'static str {
    match topic {
        "person" => "personKey",
        "account" => "accountKey",
        "opportunity" => "opportunityKey",
        "account-person" => "accountPersonKey",
        "opportunity-person" => "opportunityPersonKey",
        "campaign" => "campaignKey",
        "campaign-member" => "campaignMemberKey",
        "marketing-list" => "marketingListKey",
        "marketing-list-member" => "marketingListMemberKey",
        "audience-member" => "audienceMemberKey",
        "account-link" => "linkKey",
        other => panic!("topic {other} has no keyed records"),
    }
}

/// A record of a keyed topic with its own key, `modifiedAt` and `fields`, appended at
/// `modified_at_ms`.
///
/// # Panics
/// Where `fields` is not an object: a defect of the test.
pub fn record(topic: &str, source_key: &str, modified_at_ms: i64, fields: Json) -> SourceRecord {
    let mut value = fields;
    let object = value.as_object_mut().expect("the fields of a record are an object");
    object.insert(key_field(topic).to_owned(), key(source_key));
    object.insert("modifiedAt".to_owned(), json!(modified_at_ms));
    SourceRecord {
        topic: topic.to_owned(),
        key: source_key.to_owned(),
        value: Some(value),
        timestamp_ms: modified_at_ms,
    }
}

/// A null value for a key.
pub fn tombstone(topic: &str, source_key: &str, timestamp_ms: i64) -> SourceRecord {
    SourceRecord {
        topic: topic.to_owned(),
        key: source_key.to_owned(),
        value: None,
        timestamp_ms,
    }
}

/// A visit of a page by the person that `identities` (`namespace:id`) name.
///
/// # Panics
/// Where an identity has no colon, or there is none: a defect of the test.
pub fn visit(id: &str, at_ms: i64, page: &str, identities: &[&str]) -> SourceRecord {
    event(
        id,
        at_ms,
        identities,
        json!({ "eventType": PAGE_VIEW, "web": { "webPageDetails": { "name": page } } }),
    )
}

/// An event with `fields`, by the person that `identities` (`namespace:id`) name.
///
/// # Panics
/// As `visit`.
pub fn event(id: &str, at_ms: i64, identities: &[&str], fields: Json) -> SourceRecord {
    let mut value = fields;
    let listed: Vec<Json> = identities
        .iter()
        .map(|text| text.split_once(':').expect("an identity is namespace:id"))
        .map(|(namespace, id)| json!({ "namespace": namespace, "id": id }))
        .collect();
    let object = value.as_object_mut().expect("the fields of an event are an object");
    object.insert("_id".to_owned(), json!(id));
    object.insert("timestamp".to_owned(), json!(at_ms));
    object.insert("modifiedAt".to_owned(), json!(at_ms));
    object.insert("identities".to_owned(), Json::Array(listed));
    SourceRecord {
        topic: "activity".to_owned(),
        key: identities[0].to_owned(),
        value: Some(value),
        timestamp_ms: at_ms,
    }
}
