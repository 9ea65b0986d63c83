//! Decisions of persons about channels: `{val, time, reason}`, one value each.
//!
//! A partial update that names `val` is a new decision and replaces the whole consent: an older `y`
//! with the reason of a newer refusal would be a permission that nobody gave. An update that names
//! only `reason` or `time` describes the current decision and keeps it.

use millrace_model::{RecordType, Timestamp, Type, Value};

/// Whether a path from a consent to this part of it means the whole.
pub(super) fn is_decision(record: &RecordType, part: &str) -> bool {
    is_consent(record) && part == "val"
}

fn is_consent(record: &RecordType) -> bool {
    record.name == "Consent"
}

/// Gives every decision later than `latest` the time `version`, and returns whether there was one. A
/// decision from the future would outrank all later ones.
pub(super) fn bound_times(ty: &Type, value: &mut Value, latest: Timestamp, version: Timestamp) -> bool {
    let Value::Map(map) = value else { return false };
    match ty {
        Type::Record(record) if is_consent(record) => {
            let ahead = map.get("time").and_then(Value::as_time).is_some_and(|time| time > latest);
            if ahead {
                map.insert("time", Value::Time(version));
            }
            ahead
        }
        Type::Record(record) => {
            let mut found = false;
            for (name, field) in &record.fields {
                if let Some(inner) = map.get_mut(name) {
                    found |= bound_times(&field.ty, inner, latest, version);
                }
            }
            found
        }
        Type::Map(values) => {
            let mut found = false;
            for inner in map.values_mut() {
                found |= bound_times(values, inner, latest, version);
            }
            found
        }
        Type::Bool | Type::Int | Type::Number | Type::Text | Type::Date | Type::Time | Type::List(_) | Type::Any => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use millrace_model::{Operation, Schema, SourceChange, SourceKind};

    use super::super::{Decoded, Decoder};
    use super::*;

    fn decode(value: &str) -> Decoded {
        let decoder = Decoder::builder(Arc::new(Schema::built_in().unwrap())).unwrap().build();
        decoder
            .decode(SourceKind::Person, Some(b"p"), Some(value.as_bytes()), Timestamp(1_000), Timestamp(2_000))
            .unwrap()
    }

    #[test]
    fn a_partial_update_that_decides_nothing_leaves_the_decision() {
        for (named, paths) in [
            (r#""consents.marketing.email.reason""#, &["consents.marketing.email.reason"][..]),
            (r#""consents.collect.time""#, &["consents.collect.time"]),
            (r#""consents.marketing.email.val""#, &["consents.marketing.email"]),
            (
                r#""consents.marketing.email.reason","consents.marketing.email.val""#,
                &["consents.marketing.email"],
            ),
        ] {
            let SourceChange::Record(change) = decode(&format!(r#"{{"changedFields":[{named}]}}"#)).change else {
                panic!("a person is no event");
            };
            let Operation::Patch { paths: found, .. } = change.operation else {
                panic!("{named} is partial");
            };
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), paths, "{named}");
        }
    }

    #[test]
    fn a_decision_from_the_future_is_as_old_as_its_record() {
        let decided = |consents: &str| {
            let decoded = decode(&format!(r#"{{"modifiedAt":900,"consents":{consents}}}"#));
            let SourceChange::Record(change) = decoded.change else {
                panic!("a person is no event");
            };
            let Operation::Replace(value) = change.operation else {
                panic!("the record is whole");
            };
            (decoded.clock_ahead, value.field("consents").to_json().to_string())
        };
        let version = r#""1970-01-01T00:00:00.900Z""#;
        for (consents, ahead, expected) in [
            (
                r#"{"marketing":{"call":{"val":"n","time":900},"email":{"val":"y","time":"9999-01-01T00:00:00Z"}}}"#,
                true,
                format!(r#"{{"marketing":{{"call":{{"time":{version},"val":"n"}},"email":{{"time":{version},"val":"y"}}}}}}"#),
            ),
            (
                r#"{"share":{"val":"y","time":301001}}"#,
                true,
                format!(r#"{{"share":{{"time":{version},"val":"y"}}}}"#),
            ),
            (
                r#"{"share":{"val":"y","time":301000}}"#,
                false,
                r#"{"share":{"time":"1970-01-01T00:05:01.000Z","val":"y"}}"#.to_owned(),
            ),
        ] {
            assert_eq!(decided(consents), (ahead, expected), "{consents}");
        }
    }
}
