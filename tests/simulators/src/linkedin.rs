//! LinkedIn's interface for audiences: DMP segments with their users or companies, under an ad
//! account, and the OAuth service in front of it.
//!
//! `world` is the content of the account and its processing over time; `gate` is passed by every
//! call (headers, version, tokens, throttles, faults); `tokens` grants them; `segments` and
//! `members` answer the calls; `server` carries bytes. One clock, which the caller brings, decides
//! everything that takes time, so that months pass in a test at once.
//!
//! Members cannot be read over the interface, as at LinkedIn. What a segment holds is read with
//! `LinkedIn::with`.

mod gate;
mod members;
mod segments;
mod server;
mod tokens;
mod world;

pub use gate::{Faults, Limits};
pub use server::{Clock, LinkedIn, Request};
pub use world::{Early, Refusals, Segment, Settings, World};
