//! Topics: created once, alike, and described.

use millrace_log::{Log, LogError, TopicPartition, TopicSpec};

use super::world::{World, spec, to};

#[test]
fn a_topic_is_created_once_and_described() {
    let world = World::new();
    let name = world.name("states");
    assert_eq!(world.log.partitions(&name).unwrap(), None);
    assert_eq!(world.log.describe_topic(&name).unwrap(), None);
    let settings = vec![
        ("max.message.bytes".to_owned(), "2000000".to_owned()),
        ("min.cleanable.dirty.ratio".to_owned(), "0.2".to_owned()),
    ];
    let wanted = TopicSpec {
        name: name.clone(),
        partitions: 3,
        compacted: true,
        settings,
    };
    let mut given = wanted.clone();
    given.settings.push((millrace_log::DELETE_CONSUMED.to_owned(), "true".to_owned()));
    world.log.create_topic(&given).unwrap();
    assert_eq!(world.log.partitions(&name).unwrap(), Some(3));
    assert_eq!(world.log.describe_topic(&name).unwrap(), Some(wanted.clone()));
    world.log.create_topic(&wanted).unwrap();
    world.log_again().create_topic(&wanted).unwrap();
    let error = world.log.create_topic(&spec(&name, 4)).unwrap_err();
    assert_eq!(
        millrace_model::chain(&error),
        format!("log failure: topic {name} has 3 partitions and should have 4")
    );
}

#[test]
fn a_setting_that_does_not_exist_is_a_failure() {
    let world = World::new();
    let settings = vec![("retention.ms".to_owned(), "soon".to_owned())];
    let error = world
        .log
        .create_topic(&TopicSpec {
            settings,
            ..spec(&world.name("a"), 1)
        })
        .unwrap_err();
    assert!(matches!(error, LogError::Failure(_)), "{error}");
}

#[test]
fn a_property_that_does_not_exist_is_a_failure() {
    let properties = [("no.such.property".to_owned(), "1".to_owned())];
    let error = millrace_kafka::KafkaLog::new(properties.into()).err().unwrap();
    assert!(
        matches!(&error, LogError::Failure(cause) if millrace_model::chain(cause).contains("no.such.property")),
        "{error}"
    );
}

#[test]
fn appending_to_a_topic_that_does_not_exist_tells_so() {
    let world = World::on(
        millrace_kafka_harness::KafkaBroker::shared().bootstrap(),
        &[("topic.metadata.propagation.max.ms", "500")],
    );
    let missing = TopicPartition {
        topic: world.name("missing").into(),
        partition: 0,
    };
    let error = world.log.append(to(&missing, &["a"])).unwrap_err();
    assert!(matches!(&error, LogError::NoSuchTopic(topic) if **topic == *missing.topic), "{error}");
    // The next append works.
    let there = world.topic("there");
    world.log.append(to(&there, &["b"])).unwrap();
    assert_eq!(super::world::values(&world.read_all(&[&there])), ["b"]);
}
