//! The frame of connectors: everything that sources and sinks need and that names no foreign
//! system.
//!
//! Both directions share: waiting before a repeat (`backoff`), the calls that an instance of a
//! foreign system allows (`budget`), HTTP with answers sorted by what to do about them (`http`),
//! access tokens (`token`), values that never print (`secret`).
//!
//! What it is *not*: it knows no foreign system, no configuration file and no rules. A connector is
//! a crate of its own under `services/sources` or `services/sinks`, built on this one.

pub mod backoff;
pub mod budget;
pub mod http;
pub mod mapping;
pub mod secret;
pub mod sink;
pub mod source;
pub mod token;
