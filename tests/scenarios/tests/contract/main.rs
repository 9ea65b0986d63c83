//! The public contract's promises about source topics, output topics and definitions, one by one,
//! as an outsider would test them.
//!
//! Every promise about members is judged twice: by the case's own expectation and by the oracle.

mod activities;
mod belonging;
mod definitions;
mod destinations;
mod examples;
mod horizons;
mod identities;
mod memberships;
mod records;
mod refusals;
mod stage;
mod values;
