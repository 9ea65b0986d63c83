//! What the settings of connectors have in common.

/// All errors of a connector's settings, one sentence each.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

/// Whether a setting is the second of two words; left out, it is the first. Any other word is an
/// error.
pub fn choice(key: &str, given: Option<&str>, words: [&str; 2], wrong: &mut Vec<String>) -> bool {
    match given {
        None => false,
        Some(word) if words.contains(&word) => word == words[1],
        Some(word) => {
            wrong.push(format!("{key}: `{word}` is neither `{}` nor `{}`", words[0], words[1]));
            false
        }
    }
}
