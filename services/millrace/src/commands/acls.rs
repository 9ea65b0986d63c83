//! `topics acls`: the permissions that this deployment's user needs on Kafka, and nothing more.
//!
//! The topic catalogue lists the readers and writers of each topic; the deployment's user needs the
//! permissions of its own services. Another program that produces or consumes has a user of its
//! own.

use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;
use crate::settings::Settings;
use crate::shown;

/// The catalogue as it was when this program was built.
const CATALOGUE: &str = include_str!("../../../../schemas/topics.yaml");

/// Means other programs in the catalogue's lists of readers and writers.
const OTHERS: &str = "anyone";
/// Ends the name of a topic that exists once per destination.
const EACH: &str = "<name>";

#[derive(Deserialize)]
struct Catalogue {
    topics: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    #[serde(default)]
    optional: bool,
    writers: Vec<String>,
    readers: Vec<String>,
}

/// One resource and its operations; the words are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Acl {
    #[serde(rename = "resourceType")]
    kind: Kind,
    name: String,
    pattern: Pattern,
    operations: Vec<Operation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Topic,
    Group,
    TransactionalId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Pattern {
    Literal,
    Prefixed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Operation {
    Create,
    Describe,
    DescribeConfigs,
    Read,
    Write,
}

/// Prints the list as arguments of Kafka's own tool, one resource per line. Contacts no broker.
pub fn run(settings: &Settings, principal: &str) -> anyhow::Result<()> {
    let acls = needed(&settings.config.topics.prefix, &settings.config.kafka.application_id)?;
    shown::show(settings.output, &acls, |acls| acls.iter().map(|acl| line(acl, principal)).collect())
}

/// The needs of a deployment's user.
fn needed(prefix: &str, application: &str) -> anyhow::Result<Vec<Acl>> {
    let catalogue: Catalogue = serde_norway::from_str(CATALOGUE).map_err(|error| Refusal(format!("the topic catalogue: {error}")))?;
    let topics = catalogue.topics.iter().filter(|entry| !entry.optional);
    let mut acls: Vec<Acl> = topics.map(|entry| of_topic(prefix, entry)).collect();
    let own = |kind, operations| Acl {
        kind,
        name: format!("{application}."),
        pattern: Pattern::Prefixed,
        operations,
    };
    acls.push(own(Kind::Group, vec![Operation::Describe, Operation::Read]));
    acls.push(own(Kind::TransactionalId, vec![Operation::Describe, Operation::Write]));
    Ok(acls)
}

fn of_topic(prefix: &str, entry: &Entry) -> Acl {
    let ours = |who: &[String]| who.iter().any(|name| name != OTHERS);
    let mut operations = vec![Operation::Create, Operation::Describe, Operation::DescribeConfigs];
    operations.extend(ours(&entry.readers).then_some(Operation::Read));
    operations.extend(ours(&entry.writers).then_some(Operation::Write));
    let (name, pattern) = match entry.name.strip_suffix(EACH) {
        Some(beginning) => (beginning, Pattern::Prefixed),
        None => (entry.name.as_str(), Pattern::Literal),
    };
    Acl {
        kind: Kind::Topic,
        name: format!("{prefix}{name}"),
        pattern,
        operations,
    }
}

fn line(acl: &Acl, principal: &str) -> String {
    let kind = match acl.kind {
        Kind::Topic => "topic",
        Kind::Group => "group",
        Kind::TransactionalId => "transactional-id",
    };
    let pattern = match acl.pattern {
        Pattern::Literal => "literal",
        Pattern::Prefixed => "prefixed",
    };
    let operations: String = acl.operations.iter().map(|operation| format!(" --operation {operation:?}")).collect();
    format!(
        "--add --allow-principal {principal}{operations} --{kind} {} --resource-pattern-type {pattern}\n",
        acl.name
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use millrace_model::ShardId;
    use millrace_runtime::topology::Topology;

    use super::*;

    fn all() -> Vec<Acl> {
        needed("acme.", "cdp").unwrap()
    }

    #[test]
    fn every_topic_that_is_created_is_listed_and_no_other() {
        let topology = Topology::new("acme.", 4).with_application("cdp");
        let mut created: BTreeSet<String> = topology.specs(4).into_iter().map(|spec| spec.name).collect();
        created.insert(topology.ownership());
        let topics = all().into_iter().filter(|acl| acl.kind == Kind::Topic);
        let (literal, prefixed): (Vec<Acl>, Vec<Acl>) = topics.partition(|acl| acl.pattern == Pattern::Literal);
        assert_eq!(literal.into_iter().map(|acl| acl.name).collect::<BTreeSet<_>>(), created);
        let beginnings: Vec<String> = prefixed.into_iter().map(|acl| acl.name).collect();
        let families = [
            topology.destination_spec("crm"),
            topology.source_spec("crm"),
            topology.sink_changelog_spec("crm"),
        ];
        for family in &families {
            assert!(beginnings.iter().any(|beginning| family.name.starts_with(beginning)), "{}", family.name);
        }
        assert_eq!(beginnings.len(), families.len());
    }

    #[test]
    fn groups_and_transactions_are_those_of_the_topology() {
        let topology = Topology::new("acme.", 4).with_application("cdp");
        for (kind, name) in [
            (Kind::Group, topology.owners_group()),
            (Kind::Group, topology.positions_group()),
            (Kind::TransactionalId, topology.transactional_id(ShardId(3))),
        ] {
            assert!(all().iter().any(|acl| acl.kind == kind && name.starts_with(&acl.name)), "{name}");
        }
    }

    #[test]
    fn nobody_writes_where_the_catalogue_names_no_writer() {
        let shards = all().into_iter().find(|acl| acl.name == "acme.internal.shards").unwrap();
        assert_eq!(
            shards.operations,
            [Operation::Create, Operation::Describe, Operation::DescribeConfigs, Operation::Read]
        );
        assert_eq!(
            line(&shards, "User:millrace"),
            "--add --allow-principal User:millrace --operation Create --operation Describe --operation DescribeConfigs --operation Read \
             --topic acme.internal.shards --resource-pattern-type literal\n"
        );
    }
}
