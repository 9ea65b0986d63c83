//! A sink under test: the frame on an embedded log, with a clock that the test moves, desired
//! states that the test writes, and processes that die where a seed says so.
//!
//! ```text
//! desire ─▶ embedded log ─▶ SinkTask with the destination under test ─▶ the far side, which the test brings
//!              ▲                 ▲
//!           Stage             Deaths: at points of the frame, at awaits of a delivery
//! ```
//!
//! A test of one sink wraps a `Stage`, adds the far side, and compares the two. `storm` kills the
//! process again and again while desired states change; the far side must be as desired afterwards.
//!
//! What it is *not*: it knows no foreign system.

mod deaths;
mod stage;
mod storm;

pub use deaths::{Deaths, Dying, Interruptible};
pub use stage::{Attributes, Stage, email};
pub use storm::{Scene, storm};
