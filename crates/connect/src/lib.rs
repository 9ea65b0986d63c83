//! The frame of connectors: everything that sources and sinks need and that names no foreign
//! system.
//!
//! Both directions share: waiting before a repeat (`backoff`), the calls that an instance of a
//! foreign system allows (`budget`), HTTP with answers sorted by what to do about them (`http`),
//! access tokens (`token`), values that never print (`secret`).
//!
//! What it is *not*: it knows no foreign system, no configuration file and no rules. A connector is
//! a crate of its own under `services/sources` or `services/sinks`, built on this one.
//!
//! ```
//! use millrace_connect::mapping::Mapping;
//! use serde_json::{Map, Value, json};
//!
//! let object = |value: Value| -> Map<String, Value> { value.as_object().cloned().expect("an object") };
//! let rules = object(json!({ "person.name.firstName": "first_name", "b2b.personType": { "constant": "lead" } }));
//! let mapping = Mapping::parse(&rules).expect("the rules hold");
//! let mapped = mapping.apply(&object(json!({ "first_name": "Ann" }))).expect("the fields can be read");
//! assert_eq!(Value::Object(mapped), json!({ "person": { "name": { "firstName": "Ann" } }, "b2b": { "personType": "lead" } }));
//! ```

#![warn(missing_docs)]

pub mod backoff;
pub mod budget;
pub mod http;
pub mod mapping;
pub mod row;
pub mod secret;
pub mod settings;
pub mod sink;
pub mod source;
pub mod token;
