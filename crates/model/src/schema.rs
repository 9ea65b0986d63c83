//! The types of source records, read from the Avro schemas in `schemas/` so that the two cannot
//! drift.
//!
//! An Avro schema is written for programs that produce; this is the same schema as the
//! type-checker, the decoder and the merge see it: nullability is gone (everything may be null),
//! logical dates are `Date` and instants `Time`, and records that merge as one value are `atomic`.
//!
//! The supported part of Avro: `boolean`, `int`, `long`, `float`, `double`, `string`, the logical
//! types `date` and `timestamp-millis`, arrays, maps, records, names of records defined before, and
//! the union of `null` with one of these. Two properties are ours: `"millrace.atomic": true` on a
//! record and `"millrace.any": true` on a map of texts that hold JSON. Every field of a record is
//! such a union and has the default null.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::{Cause, SourceKind, Text};

/// The type of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// `boolean`.
    Bool,
    /// `int` or `long`.
    Int,
    /// `float` or `double`: a decimal.
    Number,
    /// `string`.
    Text,
    /// `date`: a calendar date, in no zone.
    Date,
    /// `timestamp-millis`.
    Time,
    /// An array of such values.
    List(Box<Type>),
    /// Keys are texts.
    Map(Box<Type>),
    /// A nested record.
    Record(Arc<RecordType>),
    /// Any JSON, typed when it is evaluated: the values under `extra`.
    Any,
}

/// A record type: fields by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordType {
    /// The Avro name without namespace, such as `B2BSource` or `Money`.
    pub name: Text,
    /// The fields by name.
    pub fields: BTreeMap<Text, Field>,
    /// Merges as one value (Avro property `"millrace.atomic": true`): money with its currency, a
    /// source key.
    pub atomic: bool,
}

/// A field of a record type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The type of its values; every field may also be null.
    pub ty: Type,
    /// The Avro `doc`, units included.
    pub doc: String,
}

/// An Avro schema uses a feature outside the supported part. A defect of the schema file, found by
/// a test.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("schema {schema}")]
pub struct SchemaError {
    /// The name of the schema.
    pub schema: String,
    /// What is wrong with it.
    #[source]
    pub reason: Cause,
}

/// The source record types of one version of the product.
#[derive(Clone, Debug)]
pub struct Schema {
    records: BTreeMap<SourceKind, Arc<RecordType>>,
}

impl Schema {
    /// The text of the Avro schema of a kind, as it lies in `schemas/source/<name>.avsc`.
    pub fn avro_text(kind: SourceKind) -> &'static str {
        match kind {
            SourceKind::Person => include_str!("../../../schemas/source/person.avsc"),
            SourceKind::Account => include_str!("../../../schemas/source/account.avsc"),
            SourceKind::Opportunity => include_str!("../../../schemas/source/opportunity.avsc"),
            SourceKind::AccountPerson => include_str!("../../../schemas/source/account-person.avsc"),
            SourceKind::OpportunityPerson => include_str!("../../../schemas/source/opportunity-person.avsc"),
            SourceKind::Campaign => include_str!("../../../schemas/source/campaign.avsc"),
            SourceKind::CampaignMember => include_str!("../../../schemas/source/campaign-member.avsc"),
            SourceKind::MarketingList => include_str!("../../../schemas/source/marketing-list.avsc"),
            SourceKind::MarketingListMember => include_str!("../../../schemas/source/marketing-list-member.avsc"),
            SourceKind::AccountLink => include_str!("../../../schemas/source/account-link.avsc"),
            SourceKind::Activity => include_str!("../../../schemas/source/activity.avsc"),
            SourceKind::AudienceMember => include_str!("../../../schemas/source/audience-member.avsc"),
        }
    }

    /// The schemas compiled into this build.
    ///
    /// # Errors
    /// Where a file uses Avro types outside the supported set.
    pub fn built_in() -> Result<Schema, SchemaError> {
        let mut records = BTreeMap::new();
        for kind in SourceKind::ALL {
            records.insert(kind, RecordType::from_avro(kind.name(), Schema::avro_text(kind))?);
        }
        Ok(Schema { records })
    }

    /// The fields a record of this kind has, bookkeeping fields (`modifiedAt`, `isDeleted`,
    /// `changedFields`) among them.
    pub fn record(&self, kind: SourceKind) -> &Arc<RecordType> {
        &self.records[&kind]
    }
}

impl RecordType {
    /// Reads the text of an Avro record schema.
    ///
    /// # Errors
    /// Where the text is not JSON, or uses Avro types outside the supported set.
    pub fn from_avro(schema: &str, text: &str) -> Result<Arc<RecordType>, SchemaError> {
        let caused = |reason: Cause| SchemaError {
            schema: schema.to_owned(),
            reason,
        };
        let fail = |reason: String| caused(reason.into());
        let json: Json = serde_json::from_str(text).map_err(|error| caused(Cause::of("it is no JSON", error)))?;
        let mut reader = AvroReader { known: BTreeMap::new() };
        let top = reader.read(&json, "").map_err(fail)?;
        let Type::Record(record) = top else {
            return Err(fail(format!("top level is {top:?}, not a record")));
        };
        Ok(record)
    }

    /// The type at the end of a path of field names; `None` where a step is unknown. A step into a
    /// map of one type yields that type, one into anything under `Any` yields `Any`, and lists have
    /// no steps.
    pub fn type_at(&self, steps: &[Text]) -> Option<&Type> {
        let (first, rest) = steps.split_first()?;
        self.fields.get(first)?.ty.type_at(rest)
    }
}

impl Type {
    fn type_at(&self, steps: &[Text]) -> Option<&Type> {
        let Some((_, rest)) = steps.split_first() else { return Some(self) };
        match self {
            Type::Record(record) => record.type_at(steps),
            Type::Map(values) => values.type_at(rest),
            Type::Any => Some(self),
            Type::Bool | Type::Int | Type::Number | Type::Text | Type::Date | Type::Time | Type::List(_) => None,
        }
    }
}

/// Reads Avro's JSON. Errors are reasons; the caller names the schema.
struct AvroReader {
    /// Records by full name, once they are read.
    known: BTreeMap<String, Arc<RecordType>>,
}

impl AvroReader {
    fn read(&mut self, json: &Json, namespace: &str) -> Result<Type, String> {
        match json {
            Json::String(name) => self.named(name, namespace),
            Json::Array(branches) => self.union(branches, namespace),
            Json::Object(_) => self.complex(json, namespace),
            Json::Null | Json::Bool(_) | Json::Number(_) => Err(format!("`{json}` is no schema")),
        }
    }

    fn named(&self, name: &str, namespace: &str) -> Result<Type, String> {
        Ok(match name {
            "boolean" => Type::Bool,
            "int" | "long" => Type::Int,
            "float" | "double" => Type::Number,
            "string" => Type::Text,
            _ => {
                let full = full_name(name, namespace);
                Type::Record(
                    self.known
                        .get(&full)
                        .cloned()
                        .ok_or_else(|| format!("type `{full}` is not supported, or not defined before its use"))?,
                )
            }
        })
    }

    fn union(&mut self, branches: &[Json], namespace: &str) -> Result<Type, String> {
        match branches {
            [null, some] if null == "null" => self.read(some, namespace),
            _ => Err(format!("union of {} branches is not `null` and one other", branches.len())),
        }
    }

    fn complex(&mut self, json: &Json, namespace: &str) -> Result<Type, String> {
        let ty = json["type"].as_str().ok_or_else(|| format!("`{json}` has no type"))?;
        if let Some(logical) = json["logicalType"].as_str() {
            return match (ty, logical) {
                ("int", "date") => Ok(Type::Date),
                ("long", "timestamp-millis") => Ok(Type::Time),
                _ => Err(format!("logical type `{logical}` of {ty} is not supported")),
            };
        }
        match ty {
            "array" => Ok(Type::List(Box::new(self.read(&json["items"], namespace)?))),
            "map" => match (self.read(&json["values"], namespace)?, json["millrace.any"] == true) {
                (Type::Text, true) => Ok(Type::Any),
                (_, true) => Err("a map of any JSON must have texts for values".to_owned()),
                (values, false) => Ok(Type::Map(Box::new(values))),
            },
            "record" => self.record(json, namespace),
            _ => self.named(ty, namespace),
        }
    }

    fn record(&mut self, json: &Json, namespace: &str) -> Result<Type, String> {
        let name = json["name"].as_str().ok_or("record without a name")?;
        let namespace = json["namespace"].as_str().unwrap_or(namespace);
        let mut fields = BTreeMap::new();
        for field in json["fields"].as_array().ok_or_else(|| format!("record `{name}` has no fields"))? {
            let field_name = field["name"].as_str().ok_or_else(|| format!("field without a name in `{name}`"))?;
            let at = |reason: String| format!("{name}.{field_name}: {reason}");
            if !field["type"].is_array() || field.get("default") != Some(&Json::Null) {
                return Err(at("not nullable, or without the default null".to_owned()));
            }
            let ty = self.read(&field["type"], namespace).map_err(at)?;
            let doc = field["doc"].as_str().unwrap_or_default().to_owned();
            if fields.insert(Text::new(field_name), Field { ty, doc }).is_some() {
                return Err(at("defined twice".to_owned()));
            }
        }
        let record = Arc::new(RecordType {
            name: Text::new(name),
            fields,
            atomic: json["millrace.atomic"] == true,
        });
        if self.known.insert(full_name(name, namespace), record.clone()).is_some() {
            return Err(format!("record `{name}` is defined twice"));
        }
        Ok(Type::Record(record))
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type_at<'a>(schema: &'a Schema, kind: SourceKind, dotted: &str) -> Option<&'a Type> {
        let steps: Vec<Text> = dotted.split('.').map(Text::new).collect();
        schema.record(kind).type_at(&steps)
    }

    /// A type in one word, records by name.
    fn word(ty: &Type) -> String {
        match ty {
            Type::Record(record) => record.name.to_string(),
            Type::List(items) => format!("[{}]", word(items)),
            Type::Map(values) => format!("{{{}}}", word(values)),
            other => format!("{other:?}"),
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one table")]
    fn the_contract_names_exist() {
        let schema = Schema::built_in().unwrap();
        let table = "
            person personKey B2BSource
            person workEmail.address Text
            person person.name.firstName Text
            person person.name.lastName Text
            person extendedWorkDetails.jobTitle Text
            person extendedWorkDetails.departments [Text]
            person workAddress Address
            person homeAddress.city Text
            person workPhone.number Text
            person b2b.accountKey.sourceKey Text
            person b2b.personStatus Text
            person b2b.personType Text
            person b2b.personScore Number
            person b2b.companyName Text
            person b2b.isConverted Bool
            person b2b.isMarketingSuspended Bool
            person consents.marketing.email.val Text
            person identities [Identity]
            person extSourceSystemAudit.externalKey B2BSource
            person extra.anything.below Any
            person modifiedAt Time
            person isDeleted Bool
            person changedFields [Text]
            account accountName Text
            account accountType Text
            account accountOrganization.industry Text
            account accountOrganization.annualRevenue Money
            account accountOrganization.annualRevenue.amount Number
            account accountOrganization.annualRevenue.currencyCode Text
            account accountOrganization.numberOfEmployees Int
            account accountOrganization.website Text
            account accountOrganization.domain Text
            account accountOrganization.DUNSNumber Text
            account accountBillingAddress.country Text
            account accountPhysicalAddress.postalCode Text
            account accountParentKey B2BSource
            account relatedAccountKeys [B2BSource]
            account accountScore Number
            opportunity accountKey B2BSource
            opportunity campaignKey B2BSource
            opportunity opportunityName Text
            opportunity opportunityType Text
            opportunity opportunityStage Text
            opportunity opportunityAmount.amount Number
            opportunity opportunityAmount.currencyCode Text
            opportunity expectedRevenue.amount Number
            opportunity isClosed Bool
            opportunity isWon Bool
            opportunity expectedCloseDate Date
            opportunity actualCloseDate Date
            opportunity probabilityPercentage Number
            opportunity leadSource Text
            account-person accountKey B2BSource
            account-person personKey B2BSource
            account-person personRole Text
            account-person personRoles [Text]
            account-person isActive Bool
            account-person isDirect Bool
            account-person isPrimary Bool
            account-person relationStartDate Time
            account-person relationEndDate Time
            opportunity-person opportunityKey B2BSource
            opportunity-person personKey B2BSource
            opportunity-person personRole Text
            opportunity-person isPrimary Bool
            campaign campaignName Text
            campaign campaignType Text
            campaign campaignStatus Text
            campaign budgetedCost.amount Number
            campaign actualCost.amount Number
            campaign campaignStartDate Time
            campaign campaignEndDate Time
            campaign-member campaignKey B2BSource
            campaign-member personKey B2BSource
            campaign-member memberStatus Text
            campaign-member hasResponded Bool
            campaign-member hasReachedSuccess Bool
            marketing-list marketingListName Text
            marketing-list-member marketingListKey B2BSource
            marketing-list-member personKey B2BSource
            audience-member audience Text
            audience-member member Text
            audience-member personKey B2BSource
            audience-member accountKey B2BSource
            audience-member validUntil Time
            account-link linkKey B2BSource
            account-link members [B2BSource]
            account-link validFrom Time
            account-link validTo Time
            activity _id Text
            activity timestamp Time
            activity eventType Text
            activity personKey B2BSource
            activity identities [Identity]
            activity web.webPageDetails.URL Text
            activity web.webPageDetails.name Text
            activity web.webPageDetails.webPageID Text
            activity web.webPageDetails.queryParameters Text
            activity web.webReferrer.URL Text
            activity productListItems [ProductListItem]
            activity commerce.order.priceTotal Number
            activity commerce.purchases.value Number
            activity environment.browserDetails.userAgent Text
            activity extra Any
        ";
        for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let [kind, path, expected] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            let found = type_at(&schema, SourceKind::from_name(kind).unwrap(), path).map(word);
            assert_eq!(found.as_deref(), Some(expected), "{kind} {path}");
        }
        for kind in SourceKind::ALL {
            for field in ["modifiedAt", "isDeleted", "changedFields", "extSourceSystemAudit", "extra"]
                .into_iter()
                .chain(kind.key_field())
            {
                assert!(type_at(&schema, kind, field).is_some(), "{} {field}", kind.name());
            }
        }
    }

    #[test]
    fn atomic_records_and_docs() {
        fn walk(ty: &Type, seen: &mut BTreeMap<Text, bool>) {
            match ty {
                Type::Record(record) => {
                    seen.insert(record.name.clone(), record.atomic);
                    for (name, field) in &record.fields {
                        assert!(!field.doc.is_empty(), "{}.{name} has no doc", record.name);
                        walk(&field.ty, seen);
                    }
                }
                Type::List(inner) | Type::Map(inner) => walk(inner, seen),
                _ => {}
            }
        }
        let schema = Schema::built_in().unwrap();
        let mut seen = BTreeMap::new();
        for kind in SourceKind::ALL {
            walk(&Type::Record(schema.record(kind).clone()), &mut seen);
        }
        let atomic: Vec<&str> = seen.iter().filter(|(_, atomic)| **atomic).map(|(name, _)| name.as_str()).collect();
        assert_eq!(atomic, ["B2BSource", "Consent", "Money"]);
    }

    #[test]
    fn unknown_paths_have_no_type() {
        let schema = Schema::built_in().unwrap();
        for path in ["nonsense", "workEmail.addres", "workEmail.address.x", "identities.id", ""] {
            assert_eq!(type_at(&schema, SourceKind::Person, path), None, "{path}");
        }
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let record = |ty: &str| format!(r#"{{"type":"record","name":"R","fields":[{{"name":"f","type":{ty},"default":null}}]}}"#);
        let table = [
            ("nonsense".to_owned(), "expected ident"),
            (r#""string""#.to_owned(), "not a record"),
            (record(r#""string""#), "not nullable"),
            (record(r#"["null","bytes"]"#), "not supported"),
            (record(r#"["null","R"]"#), "not defined before its use"),
            (record(r#"["null","int","string"]"#), "union of 3 branches"),
            (record(r#"["null",{"type":"long","logicalType":"time-micros"}]"#), "logical type `time-micros`"),
            (record(r#"["null",{"type":"map","values":"int","millrace.any":true}]"#), "texts for values"),
        ];
        for (text, expected) in table {
            let error = RecordType::from_avro("test", &text).unwrap_err();
            assert!(crate::chain(&error).contains(expected), "{text}: {error}");
        }
    }
}
