//! Simulators of foreign systems: real servers on loopback that speak the systems' wire protocols
//! and misbehave on demand.
//!
//! What they are *not*: complete. Each answers the calls that connectors use, as its reference
//! describes them, and refuses the rest as the system does. Clients that are not ours prove the
//! contents of a simulator (`tests/simulators/python`).

pub mod linkedin;
pub mod marketo;
pub mod salesforce;
mod serve;
