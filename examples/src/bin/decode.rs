//! Decodes source records, good and bad: `cargo run -p millrace-examples --bin decode`.
//!
//! A record is decoded into a change of one key, or rejected with a reason, which is a value and no failure of the program.

use std::sync::Arc;

use anyhow::Result;
use millrace_model::{Operation, Schema, SourceChange, SourceKind, Timestamp};
use millrace_wire::{DecodeError, Decoder};

const RECORDS: [&str; 4] = [
    r#"{"personKey":{"sourceKey":"1@crm.Salesforce"},"modifiedAt":"2026-11-01T12:00:00Z","workEmail":{"address":"ann@acme.com"}}"#,
    r#"{"personKey":{"sourceKey":"1@crm.Salesforce"},"modifiedAt":1793534400000,"changedFields":["b2b.personScore"],"b2b":{"personScore":80}}"#,
    r#"{"personKey":{"sourceKey":"1@crm.Salesforce"},"isDeleted":true}"#,
    r#"{"personKey":{"sourceKey":"1@crm.Salesforce"},"isDeleted":"perhaps"}"#,
];

fn main() -> Result<()> {
    let decoder = Decoder::builder(Arc::new(Schema::built_in()?))?.build();
    let now = Timestamp::parse("2026-11-02T00:00:00Z")?;
    for record in RECORDS {
        match decoder.decode(SourceKind::Person, Some(b"1@crm.Salesforce"), Some(record.as_bytes()), now, now) {
            Ok(decoded) => println!("{}", describe(&decoded.change)),
            Err(DecodeError::Rejected(rejection)) => println!("dead letter, {}: {}", rejection.reason, rejection.detail),
            Err(error @ DecodeError::Retry(_)) => return Err(error.into()),
        }
    }
    Ok(())
}

fn describe(change: &SourceChange) -> String {
    match change {
        SourceChange::Record(change) => {
            let operation = match &change.operation {
                Operation::Replace(value) => format!("is now {}", value.to_json()),
                Operation::Patch { paths, value } => {
                    let paths: Vec<String> = paths.iter().map(ToString::to_string).collect();
                    format!("has new {}: {}", paths.join(", "), value.to_json())
                }
                Operation::Delete => "is deleted".to_owned(),
                Operation::Tombstone => "is gone".to_owned(),
            };
            format!("{} {} at {} {operation}", change.kind.name(), change.key, change.modified_at)
        }
        SourceChange::Event(event) => format!("event {} at {}", event.id, event.occurred_at),
    }
}
