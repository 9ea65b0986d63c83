//! A Salesforce org: accounts, contacts, leads, deals, campaigns and their relations, OAuth, the
//! REST API with SOQL, and query jobs of Bulk API 2.0.
//!
//! `schema` lists objects and fields; `world` is the content of the org and its changes; `merges`
//! holds the changes that touch several records; `soql` reads and runs queries; `gate` is passed by
//! every call (sessions, limits, faults); `oauth`, `rest` and `jobs` answer; `server` carries bytes.
//! All instants come from one clock that tests can move. `SystemModstamp` counts whole seconds, as
//! Salesforce's does, so several changes share one.

mod gate;
mod jobs;
mod merges;
mod oauth;
mod rest;
mod schema;
mod server;
mod soql;
mod world;

pub use gate::{Faults, Limits};
pub use server::Salesforce;
pub use world::{Row, Settings, World};

/// The private key that belongs to `Settings::public_key`; it protects nothing.
pub const PRIVATE_KEY: &str = include_str!("../fixtures/salesforce.key.pem");
