//! The public contract's promises about source topics, output topics and definitions, one by one, as somebody outside would probe them.
//!
//! Every promise about who is in a segment is judged twice: by what the case says and by the oracle.

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
