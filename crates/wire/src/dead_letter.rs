//! Headers of the dead-letter topic. The record's own key, value and headers are kept as they are;
//! these are added.
//!
//! Names follow Kafka Connect's error headers, so that tools made for its dead letters read ours;
//! names that Connect lacks begin with `millrace.`. All values are UTF-8 text.

use millrace_model::Rejection;

/// The names of the headers.
pub mod header {
    /// Topic the record came from.
    pub const TOPIC: &str = "__connect.errors.topic";
    /// Its partition, decimal.
    pub const PARTITION: &str = "__connect.errors.partition";
    /// Its offset, decimal.
    pub const OFFSET: &str = "__connect.errors.offset";
    /// Stage that refused it, such as `ingest`.
    pub const STAGE: &str = "__connect.errors.stage";
    /// Reason and detail in one sentence.
    pub const MESSAGE: &str = "__connect.errors.exception.message";
    /// The reason's fixed word.
    pub const REASON: &str = "millrace.reason";
    /// Where in the record, what was expected, what was found.
    pub const DETAIL: &str = "millrace.detail";
}

/// Where a record was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetterOrigin<'a> {
    /// The full name of the topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// The offset of the record.
    pub offset: i64,
    /// The stage that refused it.
    pub stage: &'a str,
}

/// The headers to add to a record that goes to the dead-letter topic, in a fixed order.
pub fn dead_letter_headers(origin: DeadLetterOrigin<'_>, rejection: &Rejection) -> Vec<(&'static str, String)> {
    vec![
        (header::TOPIC, origin.topic.to_owned()),
        (header::PARTITION, origin.partition.to_string()),
        (header::OFFSET, origin.offset.to_string()),
        (header::STAGE, origin.stage.to_owned()),
        (header::MESSAGE, format!("{}: {}", rejection.reason, rejection.detail)),
        (header::REASON, rejection.reason.to_string()),
        (header::DETAIL, rejection.detail.clone()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reason;

    #[test]
    fn names_and_values() {
        let origin = DeadLetterOrigin {
            topic: "millrace.source.person",
            partition: 3,
            offset: 42,
            stage: "ingest",
        };
        let headers = dead_letter_headers(origin, &Reason::WrongType.because("`isWon`: expected true or false, found text `yes`"));
        let shown: Vec<String> = headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            shown,
            [
                "__connect.errors.topic=millrace.source.person",
                "__connect.errors.partition=3",
                "__connect.errors.offset=42",
                "__connect.errors.stage=ingest",
                "__connect.errors.exception.message=wrong-type: `isWon`: expected true or false, found text `yes`",
                "millrace.reason=wrong-type",
                "millrace.detail=`isWon`: expected true or false, found text `yes`",
            ]
        );
    }
}
