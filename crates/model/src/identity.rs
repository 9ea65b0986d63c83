//! Identities: pairs of namespace and id, normalised so that equal things are equal bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Text;
use crate::text::{composed, named};

/// The built-in namespaces. A deployment may use any others.
pub mod namespace {
    /// Source keys of persons.
    pub const PERSON: &str = "b2b_person";
    /// Source keys of accounts.
    pub const ACCOUNT: &str = "b2b_account";
    /// Source keys of opportunities.
    pub const OPPORTUNITY: &str = "b2b_opportunity";
    /// Source keys of campaigns.
    pub const CAMPAIGN: &str = "b2b_campaign";
    /// Source keys of marketing lists.
    pub const LIST: &str = "b2b_marketing_list";
    /// E-mail addresses, in lower case.
    pub const EMAIL: &str = "email";
    /// Internet domains, where a destination knows companies by them.
    pub const DOMAIN: &str = "domain";
    /// Ids of browsers and devices.
    pub const ECID: &str = "ecid";
}

/// One name of one thing. Ordered by namespace, then id, both as bytes; *not* by namespace
/// priority, which is configuration.
///
/// Invariant: the namespace is lower case and without blanks around it; the id is in NFC, without
/// blanks and format characters at its ends, and lower case in the namespace `email`; neither is
/// empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    namespace: Text,
    id: Text,
}

/// The identity that names a cluster: its least member by namespace priority, then id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CanonicalId(pub Identity);

/// The text does not name an identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no identity of the form namespace:id")]
pub struct IdentityParseError(pub String);

impl Identity {
    /// Normalises both parts. `None` where either is empty after trimming.
    pub fn new(namespace: &str, id: &str) -> Option<Identity> {
        let (namespace, id) = (named(namespace), named(id));
        if namespace.is_empty() || id.is_empty() {
            return None;
        }
        let namespace: Text = if namespace.bytes().any(|b| b.is_ascii_uppercase()) {
            namespace.to_ascii_lowercase().into()
        } else {
            Text::new(namespace)
        };
        // Lower case may decompose a letter.
        let id = if namespace == namespace::EMAIL {
            Text::new(composed(&id.to_lowercase()))
        } else {
            Text::new(id)
        };
        Some(Identity { namespace, id })
    }

    /// Reads `namespace:id`; the id may itself hold colons.
    ///
    /// # Errors
    /// Where there is no colon or a part is empty.
    pub fn parse(text: &str) -> Result<Identity, IdentityParseError> {
        text.split_once(':')
            .and_then(|(namespace, id)| Identity::new(namespace, id))
            .ok_or_else(|| IdentityParseError(text.to_owned()))
    }

    /// The space in which the id is unique, in lower case.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The id within the namespace.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.namespace, self.id)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises() {
        let table = [
            ("Email", " P2@Townsend.COM ", Some("email:p2@townsend.com")),
            ("ECID", "AbC", Some("ecid:AbC")),
            ("b2b_person", "7@m1.Marketo", Some("b2b_person:7@m1.Marketo")),
            ("email", "  ", None),
            ("", "x", None),
            ("crm", "Zu\u{308}rich", Some("crm:Z\u{fc}rich")),
            ("email", "\u{feff}RENE\u{301}@x.com\u{200b} ", Some("email:ren\u{e9}@x.com")),
            ("ecid", "a\u{200d}b", Some("ecid:a\u{200d}b")),
            ("crm", "\u{200b}", None),
        ];
        for (namespace, id, expected) in table {
            assert_eq!(Identity::new(namespace, id).map(|i| i.to_string()).as_deref(), expected, "{namespace} {id}");
        }
    }
}
