//! What a line says of its own time.

use millrace_model::Timestamp;
use serde_json::Value;

/// A record with its line's timestamp. The log gives records the time of their arrival, so what the timestamp decides is said in the record: it is the
/// `modifiedAt` of a record that has none, and of one whose `modifiedAt` lies more than `future_ms_max` after it, as a shard decides by the log's.
/// Returns whether the latter is the case.
///
/// # Errors
/// Where the timestamp names no instant.
pub(super) fn stamped(mut value: Value, timestamp: Option<Value>, future_ms_max: i64) -> Result<(Value, bool), String> {
    let Some(timestamp) = timestamp else { return Ok((value, false)) };
    let Some(at) = instant(&timestamp) else {
        return Err(format!("timestamp {timestamp} is neither RFC 3339 nor epoch milliseconds"));
    };
    let mut ahead = false;
    if let Value::Object(fields) = &mut value {
        let modified_at = fields.entry("modifiedAt").or_insert(Value::Null);
        ahead = instant(modified_at).is_some_and(|modified_at| modified_at > at.plus_ms(future_ms_max));
        if ahead || says_nothing(modified_at) {
            *modified_at = timestamp;
        }
    }
    Ok((value, ahead))
}

/// Null and blank texts say as little as nothing does.
fn says_nothing(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty())
}

/// As the decoder reads instants.
fn instant(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => Timestamp::parse(text).ok(),
        Value::Number(number) => {
            let whole = |ms: f64| (ms.fract() == 0.0).then_some(ms as i64);
            number.as_i64().or_else(|| number.as_f64().and_then(whole)).map(Timestamp)
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_line_s_timestamp_bounds_the_version() {
        let found = |modified_at: Value, timestamp: Value| {
            let value = stamped(json!({ "modifiedAt": modified_at }), Some(timestamp), 300_000);
            value.map_or_else(
                |error| error,
                |(value, ahead)| format!("{}{}", value["modifiedAt"], if ahead { ", ahead" } else { "" }),
            )
        };
        let at = "2026-11-20T00:00:00Z";
        let kept = |text: &str| json!(text).to_string();
        for (modified_at, timestamp, expected) in [
            (json!(null), json!(at), kept(at)),
            (json!(" "), json!(at), kept(at)),
            (json!("2026-11-19T00:00:00Z"), json!(at), kept("2026-11-19T00:00:00Z")),
            (json!("2026-11-20T00:05:00Z"), json!(at), kept("2026-11-20T00:05:00Z")),
            (json!("2026-11-20T00:06:00Z"), json!(at), kept(at) + ", ahead"),
            (json!("9999-01-01T00:00:00Z"), json!(at), kept(at) + ", ahead"),
            (json!(1_300_000), json!(1_000_000), "1300000".to_owned()),
            (json!(1_300_001), json!(1_000_000), "1000000, ahead".to_owned()),
            (json!(1.4e15), json!(1_000_000), "1000000, ahead".to_owned()),
            // The decoder refuses it with its own words.
            (json!("soon"), json!(at), kept("soon")),
            (
                json!(null),
                json!("soon"),
                "timestamp \"soon\" is neither RFC 3339 nor epoch milliseconds".to_owned(),
            ),
            (json!(null), json!(1.5), "timestamp 1.5 is neither RFC 3339 nor epoch milliseconds".to_owned()),
        ] {
            assert_eq!(found(modified_at.clone(), timestamp.clone()), expected, "{modified_at} {timestamp}");
        }
        assert_eq!(stamped(json!({}), None, 0), Ok((json!({}), false)));
        assert_eq!(stamped(json!(null), Some(json!(at)), 0), Ok((json!(null), false)));
    }
}
