//! Shared by the source and the sink of Marketo Engage: one instance with its limits, and the
//! client that calls it.
//!
//! What it is *not*: it knows no topic and no record. The connectors decide what is read or
//! written, and when.
//!
//! ```
//! use millrace_marketo::{Instance, Raw};
//!
//! let raw = Raw { munchkin: "abc-123-xyz".to_owned(), client_id: "id".to_owned(), client_secret: "secret".to_owned(), ..Raw::default() };
//! let instance = Instance::new(raw).expect("the settings hold");
//! assert_eq!(instance.munchkin, "ABC-123-XYZ");
//! assert_eq!(instance.url.as_str(), "https://abc-123-xyz.mktorest.com/");
//! ```

#![warn(missing_docs)]

mod client;
mod instance;

pub use client::{CallError, Client, Parameters, result};
pub use instance::{Instance, Raw};
