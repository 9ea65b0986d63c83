//! Values that may be secret: only the client that needs one sees it.

use std::fmt;
use std::path::PathBuf;

/// A value as written, or where to read it. Neither `Debug` nor `Display` shows a value whose key
/// sounds secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    source: Source,
    confidential: bool,
}

#[derive(Clone, PartialEq, Eq)]
enum Source {
    Inline(String),
    File(PathBuf),
}

/// A secret's file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the secret {}", path.display())]
pub struct SecretError {
    /// The file that the configuration names.
    pub path: PathBuf,
    /// Why it could not be read.
    #[source]
    pub source: std::io::Error,
}

/// Parts of a property's name that make an inline value confidential.
const CONFIDENTIAL: [&str; 10] = [
    "password",
    "secret",
    "token",
    "credential",
    "jaas",
    "oauthbearer.config",
    ".pem",
    "authorization",
    "api-key",
    "bearer",
];

/// Begins a key in PEM, whatever its property is called.
const PRIVATE_KEY: &str = "PRIVATE KEY-----";

impl Secret {
    /// `file:<path>` names a file; anything else is the value itself.
    pub fn new(key: &str, text: &str) -> Secret {
        match text.strip_prefix("file:") {
            Some(path) => Secret {
                source: Source::File(PathBuf::from(path)),
                confidential: true,
            },
            None => {
                let key = key.to_ascii_lowercase();
                Secret {
                    source: Source::Inline(text.to_owned()),
                    confidential: CONFIDENTIAL.iter().any(|part| key.contains(part)) || text.contains(PRIVATE_KEY),
                }
            }
        }
    }

    /// Whether the value must not be shown: it comes from a file, or its key sounds secret.
    pub fn is_confidential(&self) -> bool {
        self.confidential
    }

    /// The value; a file's content without the trailing line end.
    ///
    /// # Errors
    /// Where the file cannot be read; name it to the operator.
    pub fn reveal(&self) -> Result<String, SecretError> {
        match &self.source {
            Source::Inline(text) => Ok(text.clone()),
            Source::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => Ok(text.trim_end_matches(['\n', '\r']).to_owned()),
                Err(source) => Err(SecretError { path: path.clone(), source }),
            },
        }
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::File(path) => write!(f, "file:{}", path.display()),
            Source::Inline(_) if self.confidential => f.write_str("(hidden)"),
            Source::Inline(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_is_hidden_whatever_its_property_is_called() {
        let shown = |key: &str, text: &str| Secret::new(key, text).to_string();
        assert_eq!(
            shown("client_key", "-----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY-----\n"),
            "(hidden)"
        );
        assert_eq!(shown("client_password", "x"), "(hidden)");
        assert_eq!(shown("ca", "-----BEGIN CERTIFICATE-----"), "-----BEGIN CERTIFICATE-----");
    }
}
