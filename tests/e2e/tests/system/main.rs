//! The whole system on a real Kafka, judged from outside.

mod cloudevents;
mod debezium;
mod graceful;
mod kills;
mod malformed;
mod postgres;
mod programs;
mod registry;
mod segments;
mod several;
mod sinks;
mod topics;
