//! How single fields are written: instants, identities, attributes. "People" are human-readable
//! formats, here JSON; "machines" are Avro.

use std::borrow::Cow;
use std::fmt;

use millrace_model::{Identity, Timestamp};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// RFC 3339 for people, epoch milliseconds for machines; either is read.
pub(super) mod instant {
    use super::*;

    pub fn serialize<S: Serializer>(instant: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(instant)
        } else {
            serializer.serialize_i64(instant.0)
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        AnyInstant::deserialize(deserializer).map(|instant| instant.0)
    }
}

/// The same, or null.
pub(super) mod optional_instant {
    use super::*;

    pub fn serialize<S: Serializer>(instant: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        instant.map(AnyInstant).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<AnyInstant>::deserialize(deserializer)?.map(|instant| instant.0))
    }
}

/// `{namespace, id}`.
pub(super) mod identity {
    use super::*;

    pub fn serialize<S: Serializer>(identity: &Identity, serializer: S) -> Result<S::Ok, S::Error> {
        Named::from(identity).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Identity, D::Error> {
        Named::deserialize(deserializer)?.identity()
    }
}

/// A list of `{namespace, id}`.
pub(super) mod identities {
    use super::*;

    pub fn serialize<S: Serializer>(identities: &[Identity], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(identities.iter().map(Named::from))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Identity>, D::Error> {
        Vec::<Named<'_>>::deserialize(deserializer)?.iter().map(Named::identity).collect()
    }
}

/// Plain JSON for people, a map of JSON texts for machines. The reader of such maps returns the
/// JSON in the texts.
pub(super) mod attributes {
    use std::collections::BTreeMap;

    use super::*;

    type Attributes = BTreeMap<String, serde_json::Value>;

    pub fn serialize<S: Serializer>(attributes: &Attributes, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            attributes.serialize(serializer)
        } else {
            serializer.collect_map(attributes.iter().map(|(name, value)| (name, value.to_string())))
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Attributes, D::Error> {
        Attributes::deserialize(deserializer)
    }
}

#[derive(Serialize, Deserialize)]
struct Named<'a> {
    namespace: Cow<'a, str>,
    id: Cow<'a, str>,
}

impl<'a> From<&'a Identity> for Named<'a> {
    fn from(identity: &'a Identity) -> Named<'a> {
        Named {
            namespace: identity.namespace().into(),
            id: identity.id().into(),
        }
    }
}

impl Named<'_> {
    fn identity<E: Error>(&self) -> Result<Identity, E> {
        Identity::new(&self.namespace, &self.id).ok_or_else(|| E::custom("identity with a blank part"))
    }
}

struct AnyInstant(Timestamp);

impl Serialize for AnyInstant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        instant::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for AnyInstant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AnyInstant, D::Error> {
        struct InstantVisitor;

        impl Visitor<'_> for InstantVisitor {
            type Value = AnyInstant;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("RFC 3339 or epoch milliseconds")
            }

            fn visit_i64<E: Error>(self, ms: i64) -> Result<AnyInstant, E> {
                Ok(AnyInstant(Timestamp(ms)))
            }

            fn visit_u64<E: Error>(self, ms: u64) -> Result<AnyInstant, E> {
                i64::try_from(ms).map(|ms| AnyInstant(Timestamp(ms))).map_err(E::custom)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<AnyInstant, E> {
                Timestamp::parse(text).map(AnyInstant).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(InstantVisitor)
    }
}
