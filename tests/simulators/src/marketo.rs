//! A Marketo instance: leads, companies, opportunities, activities, static lists, programs, bulk
//! extract, and the REST API over it.
//!
//! `world` is the content of the instance and its changes; `gate` is passed by every call (tokens,
//! limits, faults); `calls`, `lists`, `objects` and `bulk` answer the calls; `server` carries
//! bytes. All instants come from one clock that tests can move.

mod bulk;
mod calls;
mod gate;
mod lists;
mod objects;
mod server;
mod world;

pub use gate::{Faults, Limits};
pub use server::Marketo;
pub use world::{CrmSync, Lead, Settings, World};
