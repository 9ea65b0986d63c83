//! Commands that people look for and that do not exist yet: the answer names what exists.

use crate::refusal::Refusal;

pub const ERASE: &str = "\
there is no `person erase` yet. What is known of a person goes with its records:
  a tombstone for each source record that `millrace person show` names, as one line of JSON
    echo '{\"topic\":\"person\",\"key\":\"1001@marketo1.Marketo\",\"value\":null}' | millrace source file
  `isDeleted` for each event
    echo '{\"topic\":\"activity\",\"key\":\"email:ann@acme.com\",\"value\":{\"_id\":\"v1\",\"isDeleted\":true, ...}}' | millrace source file
The person then leaves every segment. The bytes stay in the source topics until their retention or compaction takes them.";

pub const EXPORT: &str = "\
there is no `person export` yet. These write all that is known as JSON:
  millrace person show ID --output json
  curl http://127.0.0.1:8080/v1/persons/NAMESPACE:ID/events";

pub const REPLAY: &str = "\
there is no `dead-letter replay` yet. `millrace dead-letter list --output json` shows each record with its topic, its key and its bytes:
correct it, and bring it again as a line of `millrace source file`. A dead letter stays in the list: it says what came, not what is missing.";

/// # Errors
/// Always: a refusal with the text.
pub fn answer(text: &str) -> anyhow::Result<()> {
    Err(Refusal(text.to_owned()).into())
}
