//! The topic catalogue in `schemas/topics.yaml` and the topics that the program creates are the
//! same.

use std::collections::BTreeMap;

use millrace_runtime::topology::Topology;
use millrace_test_tidy::{root, text};
use serde::Deserialize;

const SHARDS: u32 = 7;
const SOURCE_PARTITIONS: u32 = 5;

#[derive(Deserialize)]
struct Catalogue {
    topics: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    partitions: serde_norway::Value,
    cleanup: String,
    retention: String,
}

fn milliseconds(text: &str) -> String {
    let days: u64 = text
        .strip_suffix('d')
        .and_then(|days| days.parse().ok())
        .unwrap_or_else(|| panic!("retention `{text}` is not like `7d`"));
    (days * 86_400_000).to_string()
}

#[test]
fn the_catalogue_is_what_is_created() {
    let catalogue: Catalogue = serde_norway::from_str(&text(&root().join("schemas/topics.yaml"))).expect("the catalogue is YAML of this form");
    let topology = Topology::new("", SHARDS);
    let mut made: BTreeMap<String, _> = topology.specs(SOURCE_PARTITIONS).into_iter().map(|spec| (spec.name.clone(), spec)).collect();
    made.insert("internal.source.<name>".to_owned(), topology.source_spec("<name>"));
    made.insert("destination.<name>".to_owned(), topology.destination_spec("<name>"));
    made.insert("internal.sink.<name>".to_owned(), topology.sink_changelog_spec("<name>"));
    // Created separately: the empty topic of the ownership group. Not created yet: profiles, which
    // the catalogue marks.
    let mut described = Vec::new();
    for entry in catalogue.topics {
        let Some(spec) = made.get(&entry.name) else {
            described.push(entry.name);
            continue;
        };
        let partitions = match &entry.partitions {
            serde_norway::Value::String(word) if word == "shards" => SHARDS,
            serde_norway::Value::String(word) if word == "source" => SOURCE_PARTITIONS,
            other => other
                .as_u64()
                .and_then(|number| u32::try_from(number).ok())
                .unwrap_or_else(|| panic!("{}: partitions {other:?}", entry.name)),
        };
        assert_eq!(spec.partitions, partitions, "partitions of {}", entry.name);
        assert_eq!(spec.compacted, entry.cleanup == "compact", "cleanup of {}", entry.name);
        let setting = if spec.compacted { "delete.retention.ms" } else { "retention.ms" };
        let kept = spec.settings.iter().find(|(name, _)| name == setting).map(|(_, value)| value.as_str());
        assert_eq!(kept, Some(milliseconds(&entry.retention).as_str()), "retention of {}", entry.name);
        made.remove(&entry.name);
    }
    assert!(made.is_empty(), "created, but not in the catalogue: {:?}", made.keys());
    described.sort();
    assert_eq!(
        described,
        ["internal.shards", "profile.account", "profile.person"],
        "in the catalogue, but not created"
    );
}
