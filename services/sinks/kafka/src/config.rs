//! The operator's settings of a copy. The comments are the manual.

use serde::Deserialize;

/// One destination as written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The topic, in full; Millrace's own topics are refused.
    pub topic: String,
    /// Where the topic is missing, it is created with this number of partitions, compacted under the
    /// key `audience_identity`. Left out: it is waited for.
    #[serde(default)]
    pub partitions: Option<u32>,
    /// The key of records: `audience_identity` (`hot|email:pat@townsend.com`), `identity`
    /// (`email:pat@townsend.com`) or `id` (`pat@townsend.com`). Left out: `audience_identity`, the only
    /// one under which a compacted topic keeps several audiences.
    #[serde(default)]
    pub key: Key,
    /// What an exit is: a `value` with the status `exited`, or a `tombstone`, which removes the key from
    /// a compacted topic. Left out: `value`.
    #[serde(default)]
    pub exits: Exits,
}

/// The key of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    /// `<audience>|<namespace>:<id>`.
    #[default]
    AudienceIdentity,
    /// `<namespace>:<id>`.
    Identity,
    /// The id alone.
    Id,
}

/// What an exit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exits {
    /// A value that says so.
    #[default]
    Value,
    /// No value.
    Tombstone,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl Config {
    /// Checks everything. No IO. `prefix`: with which Millrace's own topics begin.
    ///
    /// # Errors
    /// The first error, which begins with the key.
    pub fn check(&self, prefix: &str) -> Result<(), ConfigError> {
        let sign = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '.' | '_' | '-');
        if self.topic.is_empty() || self.topic.len() > 249 || !self.topic.chars().all(sign) {
            return Err(ConfigError(format!("topic: `{}` is no name of a topic", self.topic)));
        }
        if self.partitions == Some(0) {
            return Err(ConfigError("partitions: a topic has one at least".to_owned()));
        }
        if self.topic.starts_with(prefix) {
            return Err(ConfigError(format!(
                "topic: `{}` begins with `{prefix}` as Millrace's own topics do",
                self.topic
            )));
        }
        Ok(())
    }
}
