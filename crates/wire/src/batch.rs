//! Batches of the control topic: definitions that were applied together.

use millrace_model::Text;

/// The header that names a record's batch. Its value is the batch's id, and ` last` after it in the
/// last record.
pub const BATCH: &str = "millrace.batch";

/// A record's batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The same in all its records, and in no other.
    pub id: Text,
    /// No record of the batch comes after this one.
    pub last: bool,
}

impl Batch {
    /// As a header.
    pub fn header(&self) -> (String, String) {
        let last = if self.last { " last" } else { "" };
        (BATCH.to_owned(), format!("{}{last}", self.id))
    }

    /// From a record's headers.
    pub fn of<V: AsRef<[u8]>>(headers: &[(String, V)]) -> Option<Batch> {
        let (_, value) = headers.iter().find(|(name, _)| name == BATCH)?;
        let text = std::str::from_utf8(value.as_ref()).ok()?;
        let (id, last) = match text.strip_suffix(" last") {
            Some(id) => (id, true),
            None => (text, false),
        };
        Some(Batch { id: id.into(), last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        for last in [false, true] {
            let batch = Batch { id: "4f2a".into(), last };
            assert_eq!(Batch::of(&[("other".to_owned(), String::new()), batch.header()]), Some(batch));
        }
        assert_eq!(Batch::of::<String>(&[]), None);
    }
}
