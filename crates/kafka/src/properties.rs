//! Client properties: those of the deployment, with our defaults below them and the requirements of
//! correctness above them.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

/// How long a transaction may stay open before the broker aborts it. An abandoned one holds up
/// every committed-only reader that long.
const TRANSACTION_TIMEOUT_MS: u64 = 15_000;

/// The `kafka.properties` of the deployment, passed to every client.
#[derive(Clone, Debug)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    pub fn new(given: BTreeMap<String, String>) -> Self {
        Self(given)
    }

    /// `defaults` may be overridden by the deployment, `fixed` may not.
    fn config(&self, defaults: &[(&str, &str)], fixed: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        // Properties are given once for all kinds of clients, so that each kind finds some of
        // another.
        config.set("log.connection.close", "false").set("client.id", "millrace");
        for (key, value) in defaults {
            config.set(*key, *value);
        }
        for (key, value) in &self.0 {
            config.set(key, value);
        }
        for (key, value) in fixed {
            config.set(*key, *value);
        }
        config.set_log_level(RDKafkaLogLevel::Info);
        config
    }

    /// A client for metadata, watermarks and topics. It joins no group. `isolation`: whether it
    /// gets offsets of undecided records too.
    pub fn metadata(&self, isolation: &str) -> ClientConfig {
        let mut config = self.config(&[], &[("isolation.level", isolation), ("allow.auto.create.topics", "false")]);
        config.remove("group.id");
        config
    }

    /// A consumer of committed records at given offsets. It needs a group to be able to assign; it
    /// commits nothing to it.
    ///
    /// `end_events`: report the end of each partition.
    pub fn consumer(&self, group: &str, end_events: bool) -> ClientConfig {
        let defaults = [
            // Bounds the memory of a consumer that is not polled; a process has one per shard.
            ("queued.max.messages.kbytes", "16384"),
            ("queued.min.messages", "20000"),
            // The pause after the queue was full, where the usual second would show as latency.
            ("fetch.queue.backoff.ms", "5"),
            ("fetch.error.backoff.ms", "100"),
            ("statistics.interval.ms", "1000"),
        ];
        let fixed = [
            ("group.id", group),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("isolation.level", "read_committed"),
            // A missing offset is an error, never a silent jump.
            ("auto.offset.reset", "error"),
            ("allow.auto.create.topics", "false"),
            ("enable.partition.eof", if end_events { "true" } else { "false" }),
        ];
        let mut config = self.config(&defaults, &fixed);
        config.remove("group.instance.id");
        config
    }

    /// A member of a group, for what it is assigned only.
    ///
    /// Not KIP-848: librdkafka 2.12 loses static members and stalls under it.
    pub fn member(&self, group: &str, instance: &str) -> ClientConfig {
        let defaults = [
            ("session.timeout.ms", "10000"),
            ("heartbeat.interval.ms", "1000"),
            ("max.poll.interval.ms", "60000"),
        ];
        let fixed = [
            ("group.id", group),
            ("group.instance.id", instance),
            ("group.protocol", "classic"),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "latest"),
            ("allow.auto.create.topics", "false"),
        ];
        self.config(&defaults, &fixed)
    }

    /// A producer outside of transactions.
    pub fn producer(&self) -> ClientConfig {
        let defaults = [("linger.ms", "5"), ("compression.type", "lz4"), ("message.timeout.ms", "30000")];
        self.config(&defaults, &[("enable.idempotence", "true")])
    }

    /// A shard's producer.
    pub fn transactional_producer(&self, transactional_id: &str) -> ClientConfig {
        let timeout = TRANSACTION_TIMEOUT_MS.to_string();
        let bytes_max = millrace_runtime::topology::RECORD_BYTES_MAX.to_string();
        let defaults = [
            ("transaction.timeout.ms", timeout.as_str()),
            // A commit hands over all its records at once and waits for them: lingering would only
            // delay it.
            ("linger.ms", "0"),
            // A broker answers a commit before it has ended the transaction everywhere, and the
            // next one's first requests may have to be repeated until it has: a matter of
            // milliseconds, where the usual pause is a tenth of a second.
            ("retry.backoff.ms", "5"),
            ("compression.type", "lz4"),
            ("queue.buffering.max.kbytes", "65536"),
            // As the topics are made that shards write.
            ("message.max.bytes", bytes_max.as_str()),
        ];
        self.config(&defaults, &[("transactional.id", transactional_id), ("enable.idempotence", "true")])
    }

    /// How long a commit may take before its outcome counts as unknown: less than the broker gives
    /// the transaction.
    pub fn commit_within(&self) -> Duration {
        let given = self.0.get("transaction.timeout.ms").and_then(|text| text.parse::<u64>().ok());
        Duration::from_millis(given.unwrap_or(TRANSACTION_TIMEOUT_MS) * 4 / 5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(pairs: &[(&str, &str)]) -> Properties {
        Properties::new(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn the_deployment_overrides_defaults_and_not_what_correctness_demands() {
        let config = given(&[
            ("isolation.level", "read_uncommitted"),
            ("fetch.error.backoff.ms", "7"),
            ("security.protocol", "ssl"),
        ])
        .consumer("g", true);
        for (key, value) in [
            ("isolation.level", "read_committed"),
            ("fetch.error.backoff.ms", "7"),
            ("security.protocol", "ssl"),
            ("auto.offset.reset", "error"),
            ("enable.partition.eof", "true"),
            ("group.id", "g"),
        ] {
            assert_eq!(config.get(key), Some(value), "{key}");
        }
    }

    #[test]
    fn a_commit_gives_up_before_its_transaction_is_aborted() {
        assert_eq!(given(&[]).commit_within(), Duration::from_secs(12));
        assert_eq!(given(&[("transaction.timeout.ms", "5000")]).commit_within(), Duration::from_secs(4));
    }
}
