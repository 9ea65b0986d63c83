//! The meaning of librdkafka's errors for the port.

use millrace_log::LogError;
use millrace_model::Cause;
use rdkafka::error::{KafkaError, RDKafkaError, RDKafkaErrorCode as Code};

/// Another session of the same transactional id, or of the same static member, took over.
pub fn fenced(code: Code) -> bool {
    matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch | Code::FencedInstanceId)
}

/// Retrying cannot help: a person must act.
pub fn hopeless(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::InvalidTransactionTimeout
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature
            | Code::InvalidConfig
            | Code::InvalidPartitions
            | Code::InvalidReplicationFactor
            | Code::PolicyViolation
            | Code::InvalidTopic
            | Code::MessageSizeTooLarge
            | Code::InvalidRecord
            | Code::BadMessage
            | Code::BadCompression
    )
}

/// The topic, or that partition of it, does not exist.
pub fn no_such_topic(code: Code) -> bool {
    matches!(code, Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicOrPartition)
}

/// An error of a request that changes nothing, or of one that is repeated as a whole.
pub fn request(doing: &str, error: &KafkaError) -> LogError {
    let cause = Cause::of(doing, error.clone());
    match error.rdkafka_error_code() {
        Some(code) if fenced(code) => LogError::Fenced,
        Some(code) if !hopeless(code) => LogError::Unavailable(cause),
        _ => LogError::Failure(cause),
    }
}

/// The result of a failed step of a transaction.
#[derive(Debug)]
pub enum Broken {
    /// The transaction cannot commit any more: abort it. Nothing of it will be visible.
    Abort { cause: Cause, code: Option<Code> },
    /// As is.
    Over(LogError),
}

/// An error of a step of a transaction.
pub fn transaction(doing: &str, error: &KafkaError) -> Broken {
    let cause = Cause::of(doing, error.clone());
    match error {
        KafkaError::Transaction(error) => of_transaction(error, cause),
        _ => Broken::Over(match error.rdkafka_error_code() {
            Some(code) if fenced(code) => LogError::Fenced,
            Some(code) if hopeless(code) => LogError::Failure(cause),
            _ => LogError::OutcomeUnknown(cause),
        }),
    }
}

fn of_transaction(error: &RDKafkaError, cause: Cause) -> Broken {
    if fenced(error.code()) {
        Broken::Over(LogError::Fenced)
    } else if error.txn_requires_abort() {
        Broken::Abort {
            cause,
            code: Some(error.code()),
        }
    } else if hopeless(error.code()) {
        Broken::Over(LogError::Failure(cause))
    } else {
        // Time-outs above all. librdkafka speaks the transaction protocol before KIP-890: a late
        // answer could hit the next transaction, so the producer is not used again, and the
        // changelog shows what happened.
        Broken::Over(LogError::OutcomeUnknown(cause))
    }
}

#[cfg(test)]
mod tests {
    use millrace_model::chain;

    use super::*;

    #[test]
    fn errors_of_requests() {
        for (code, expected) in [
            (Code::BrokerTransportFailure, "log unavailable: reading: "),
            (Code::OperationTimedOut, "log unavailable: reading: "),
            (Code::TopicAuthorizationFailed, "log failure: reading: "),
            (Code::FencedInstanceId, "fenced: another process owns this shard now"),
        ] {
            let text = chain(&request("reading", &KafkaError::MessageConsumption(code)));
            assert!(text.starts_with(expected), "{text}");
        }
    }

    #[test]
    fn errors_of_transactions() {
        for (error, expected) in [
            (
                KafkaError::Flush(Code::OperationTimedOut),
                "outcome of the transaction is unknown: committing: ",
            ),
            (KafkaError::MessageProduction(Code::MessageSizeTooLarge), "log failure: committing: "),
            (
                KafkaError::MessageProduction(Code::ProducerFenced),
                "fenced: another process owns this shard now",
            ),
        ] {
            let Broken::Over(error) = transaction("committing", &error) else {
                panic!("{error} asks for an abort")
            };
            assert!(chain(&error).starts_with(expected), "{error}");
        }
    }
}
