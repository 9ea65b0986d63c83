//! The record of a change.
//!
//! ```text
//! key     by the settings, UTF-8
//! value   {"audience":…,"namespace":…,"id":…,"status":"realized"|"exited","attributes":{…},"changedAt":…}, JSON; or none
//! ```

use bytes::Bytes;
use millrace_connect::sink::Change;
use millrace_log::Record;
use serde_json::json;

use crate::config::{Config, Exits, Key};

/// The record that a copy holds of a change.
pub fn record(config: &Config, change: &Change) -> Record {
    let key = match config.key {
        Key::AudienceIdentity => change.key.clone(),
        Key::Identity => change.identity.to_string(),
        Key::Id => change.identity.id().to_owned(),
    };
    let value = json!({
        "audience": change.audience, "namespace": change.identity.namespace(), "id": change.identity.id(),
        "status": if change.present { "realized" } else { "exited" }, "attributes": change.attributes,
        "changedAt": change.changed_at.to_string(),
    });
    let shown = change.present || config.exits == Exits::Value;
    Record {
        key: Some(Bytes::from(key)),
        value: shown.then(|| Bytes::from(value.to_string())),
        headers: Vec::new(),
    }
}
