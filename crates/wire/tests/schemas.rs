//! The files of `schemas/` against each other: both readings of each Avro schema agree, and the
//! topic catalogue names all of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use apache_avro::Schema as Avro;
use millrace_model::{RecordType, Schema, SourceKind, Type};
use serde_json::Value as Json;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas")
}

fn text(file: &str) -> String {
    std::fs::read_to_string(folder().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Both readings of one type, step by step. Repeated named types are looked up in `known`.
fn agree<'a>(place: &str, avro: &'a Avro, ty: &Type, known: &mut Vec<&'a Avro>) {
    let avro = match avro {
        Avro::Ref { name } => known
            .iter()
            .find(|schema| schema.name() == Some(name))
            .copied()
            .unwrap_or_else(|| panic!("{place}: {name} is not known")),
        other => other,
    };
    match (avro, ty) {
        (Avro::Union(union), ty) => {
            assert!(matches!(union.variants(), [Avro::Null, _]), "{place}: {union:?}");
            agree(place, &union.variants()[1], ty, known);
        }
        (Avro::Boolean, Type::Bool) | (Avro::Int | Avro::Long, Type::Int) | (Avro::Double, Type::Number) | (Avro::String, Type::Text) => {}
        (Avro::Date, Type::Date) | (Avro::TimestampMillis, Type::Time) => {}
        (Avro::Array(array), Type::List(ty)) => agree(place, &array.items, ty, known),
        (Avro::Map(map), Type::Any) => {
            assert_eq!(map.attributes["millrace.any"], true, "{place}");
            assert!(matches!(*map.types, Avro::String), "{place}");
        }
        (Avro::Map(map), Type::Map(ty)) => agree(place, &map.types, ty, known),
        (Avro::Record(record), Type::Record(ours)) => {
            known.push(avro);
            assert_eq!(record.name.name(), ours.name, "{place}");
            assert_eq!(
                record.attributes.get("millrace.atomic").is_some_and(|mark| *mark == true),
                ours.atomic,
                "{place}"
            );
            let names: BTreeSet<&str> = record.fields.iter().map(|field| field.name.as_str()).collect();
            assert_eq!(names, ours.fields.keys().map(|name| name.as_str()).collect(), "{place}");
            for field in &record.fields {
                let place = format!("{place}.{}", field.name);
                assert_eq!(field.default, Some(Json::Null), "{place}");
                assert_eq!(field.doc.as_deref(), Some(ours.fields[field.name.as_str()].doc.as_str()), "{place}");
                agree(&place, &field.schema, &ours.fields[field.name.as_str()].ty, known);
            }
        }
        (avro, ty) => panic!("{place}: {avro:?} is not {ty:?}"),
    }
}

#[test]
fn both_readings_of_the_source_schemas_agree() {
    let schema = Schema::built_in().unwrap();
    for kind in SourceKind::ALL {
        let file = text(&format!("source/{}.avsc", kind.name()));
        assert_eq!(file, Schema::avro_text(kind));
        let avro = Avro::parse_str(&file).unwrap();
        agree(kind.name(), &avro, &Type::Record(schema.record(kind).clone()), &mut Vec::new());
    }
    assert_eq!(
        std::fs::read_dir(folder().join("source"))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().path().is_file())
            .count(),
        SourceKind::ALL.len()
    );
}

/// Types of one name have one shape in every file, so that a registry and generated code can hold
/// them together.
#[test]
fn shared_types_are_the_same_everywhere() {
    fn collect(ty: &Type, found: &mut Vec<std::sync::Arc<RecordType>>) {
        match ty {
            Type::Record(record) => {
                found.push(record.clone());
                record.fields.values().for_each(|field| collect(&field.ty, found));
            }
            Type::List(inner) | Type::Map(inner) => collect(inner, found),
            Type::Bool | Type::Int | Type::Number | Type::Text | Type::Date | Type::Time | Type::Any => {}
        }
    }
    let schema = Schema::built_in().unwrap();
    let mut found = Vec::new();
    for kind in SourceKind::ALL {
        collect(&Type::Record(schema.record(kind).clone()), &mut found);
    }
    for one in &found {
        for other in found.iter().filter(|other| other.name == one.name) {
            assert_eq!(one, other);
        }
    }
}

#[test]
fn the_catalogue_names_every_topic_once_and_files_that_exist() {
    let catalogue: Json = serde_norway::from_str(&text("topics.yaml")).unwrap();
    let topics = catalogue["topics"].as_array().unwrap();
    let names: Vec<&str> = topics.iter().map(|topic| topic["name"].as_str().unwrap()).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    for kind in SourceKind::ALL {
        assert!(names.contains(&format!("source.{}", kind.name()).as_str()), "{}", kind.name());
    }
    for name in [
        "control.segments",
        "audience.membership",
        "destination.<name>",
        "dead-letter",
        "profile.person",
        "profile.account",
    ] {
        assert!(names.contains(&name), "{name}");
    }
    for name in ["records", "inbox", "changelog", "shards", "hosts"] {
        assert!(names.contains(&format!("internal.{name}").as_str()), "{name}");
    }
    for topic in topics {
        let name = topic["name"].as_str().unwrap();
        let field = |field: &str| topic[field].as_str().unwrap_or_else(|| panic!("{name} has no {field}"));
        for text in ["key", "value", "placement", "doc"] {
            assert!(!field(text).is_empty());
        }
        assert!(
            ["shards", "source", "1"].contains(&topic["partitions"].as_str().unwrap_or(&topic["partitions"].to_string())),
            "{name}"
        );
        assert!(["compact", "delete"].contains(&field("cleanup")), "{name}");
        assert!(field("retention").strip_suffix('d').is_some_and(|days| days.parse::<u32>().is_ok()), "{name}");
        assert!(topic["writers"].is_array() && topic["readers"].is_array(), "{name}");
        for word in field("value").split([' ', ',']).filter(|word| word.ends_with(".avsc") || word.ends_with(".md")) {
            assert!(folder().join(word).is_file(), "{name} speaks of {word}");
        }
    }
}

#[test]
fn every_reason_is_documented() {
    let page = text("output/dead-letter.md");
    for reason in millrace_wire::Reason::ALL {
        assert!(page.contains(&format!("| `{reason}` |")), "{reason}");
    }
    let rows = page
        .lines()
        .skip_while(|line| !line.starts_with("| reason "))
        .filter(|line| line.starts_with("| `"))
        .count();
    assert_eq!(rows, millrace_wire::Reason::ALL.len());
}

#[test]
fn the_definition_schema_is_json() {
    let schema: Json = serde_json::from_str(&text("segment.schema.json")).unwrap();
    assert_eq!(schema["properties"]["kind"]["enum"][0], "Segment");
}
