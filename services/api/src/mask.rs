//! Personal fields of an answer, masked for viewers.
//!
//! The gate masks whole answers, whatever their route: a route that is added later cannot forget
//! it. An answer that is not JSON is withheld.

use axum::body::{Body, to_bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::problem::Problem;

/// Takes the place of a personal value.
pub const MASKED: &str = "•••";

/// Answers to viewers are pages of at most 1,000 items.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Fields of records that describe business and not a person. Every other field of a record is
/// masked: a field that is added later, and every field that a deployment keeps under `extra`, is
/// personal until it is listed here.
pub const BUSINESS: [&str; 43] = [
    "accountBillingAddress",
    "accountKey",
    "accountName",
    "accountOrganization",
    "accountParentKey",
    "accountPhysicalAddress",
    "accountScore",
    "accountType",
    "actualCloseDate",
    "actualCost",
    "b2b",
    "budgetedCost",
    "campaignKey",
    "campaignName",
    "campaignStatus",
    "campaignType",
    "consents",
    "eventType",
    "expectedCloseDate",
    "expectedRevenue",
    "hasReachedSuccess",
    "hasResponded",
    "isActive",
    "isClosed",
    "isDeleted",
    "isDirect",
    "isPrimary",
    "isWon",
    "leadSource",
    "marketingListKey",
    "marketingListName",
    "memberStatus",
    "modifiedAt",
    "opportunityAmount",
    "opportunityKey",
    "opportunityName",
    "opportunityStage",
    "opportunityType",
    "personRole",
    "personRoles",
    "probabilityPercentage",
    "relatedAccountKeys",
    "timestamp",
];

/// Namespaces whose ids are numbers of source systems, and reveal nothing about a person without
/// access to those.
const IMPERSONAL: &str = "b2b_";

/// Namespaces of things that are not persons: their names are business.
const THINGS: [&str; 4] = ["b2b_account:", "b2b_opportunity:", "b2b_campaign:", "b2b_marketing_list:"];

/// Fields of answers that identify the subject of the `name` next to them.
const NAMED: [&str; 2] = ["id", "subjectId"];

/// Fields of answers that hold a record.
const RECORDS: [&str; 2] = ["attributes", "fields"];

/// Fields of answers that hold values of records.
const VALUES: [&str; 3] = ["computed", "compared", "value"];

/// The answer with every personal value masked.
pub(crate) async fn response(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, ANSWER_BYTES_MAX).await.unwrap_or_default();
    if bytes.is_empty() {
        return Response::from_parts(parts, Body::empty());
    }
    // A problem repeats the request, and no more.
    if parts.status.is_client_error() {
        return Response::from_parts(parts, Body::from(bytes));
    }
    match serde_json::from_slice::<Value>(&bytes) {
        Ok(mut value) => {
            mask(&mut value);
            parts.headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(parts, Body::from(value.to_string()))
        }
        Err(_) => Problem::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "The role does not allow it",
            "what cannot be masked is not shown to viewers",
        )
        .into_response(),
    }
}

fn mask(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Object(fields) => {
            let namespace = fields.get("namespace").and_then(Value::as_str);
            let personal = namespace.is_some_and(|namespace| !namespace.starts_with(IMPERSONAL));
            let named = NAMED.iter().find_map(|field| fields.get(*field)?.as_str());
            let named = named.is_some_and(|id| !THINGS.iter().any(|thing| id.starts_with(thing)));
            for (name, value) in fields.iter_mut() {
                match value {
                    value if named && name == "name" => erase(value),
                    Value::Object(record) if RECORDS.contains(&name.as_str()) => {
                        let other = record.iter_mut().filter(|(field, _)| !BUSINESS.contains(&field.as_str()));
                        other.for_each(|(_, value)| erase(value));
                    }
                    value if VALUES.contains(&name.as_str()) => erase(value),
                    value if personal && name == "id" => erase(value),
                    value => mask(value),
                }
            }
        }
        Value::String(text) => *text = shown(text),
        _ => {}
    }
}

/// Whether identities of a namespace are shown to viewers as they are: source systems assigned them.
pub fn is_impersonal(namespace: &str) -> bool {
    namespace.starts_with(IMPERSONAL)
}

/// A text that is an identity, by its namespace alone, unless a source system assigned it.
fn shown(text: &str) -> String {
    match text.split_once(':') {
        Some((namespace, id)) if !id.is_empty() && !id.starts_with(' ') && is_namespace(namespace) && !is_impersonal(namespace) => {
            format!("{namespace}:{MASKED}")
        }
        _ => text.to_owned(),
    }
}

/// As written: `email`, `ecid`, a deployment's own. An instant begins with a digit.
fn is_namespace(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_lowercase()) && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.'))
}

/// Masks every value below; the names of fields stay.
fn erase(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(erase),
        Value::Object(fields) => fields.values_mut().for_each(erase),
        Value::Null | Value::Bool(_) => {}
        value => *value = Value::String(MASKED.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_is_named_is_masked_and_what_business_there_is_stays() {
        for (mut shown, expected) in [
            (
                json!({"id": "b2b_person:1@m.M", "name": "Ann", "identities": ["email:ann@x.com", "b2b_person:1@m.M"]}),
                json!({"id": "b2b_person:1@m.M", "name": MASKED, "identities": [format!("email:{MASKED}"), "b2b_person:1@m.M"]}),
            ),
            (
                json!({"items": [{"subjectId": "email:ann@x.com", "name": "Ann"}]}),
                json!({"items": [{"subjectId": format!("email:{MASKED}"), "name": MASKED}]}),
            ),
            (
                json!({"id": "b2b_account:1@c.C", "name": "Townsend"}),
                json!({"id": "b2b_account:1@c.C", "name": "Townsend"}),
            ),
            (
                json!({"name": "upsell", "status": "published"}),
                json!({"name": "upsell", "status": "published"}),
            ),
            (json!({"namespace": "email", "id": "ann@x.com"}), json!({"namespace": "email", "id": MASKED})),
            (
                json!({"attributes": {"accountName": "Townsend", "extra": {"n": [1, true]}, "workEmail": {"address": "ann@x.com"}}}),
                json!({"attributes": {"accountName": "Townsend", "extra": {"n": [MASKED, true]}, "workEmail": {"address": MASKED}}}),
            ),
            (
                json!({"compared": {"left": "Ann", "right": 3}, "evaluatedAt": "2026-03-18T12:00:00.000Z"}),
                json!({"compared": {"left": MASKED, "right": MASKED}, "evaluatedAt": "2026-03-18T12:00:00.000Z"}),
            ),
        ] {
            mask(&mut shown);
            assert_eq!(shown, expected);
        }
    }
}
