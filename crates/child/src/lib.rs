//! Sources that are programs of others: a child process writes records of named streams to its
//! standard output, one JSON message a line, and this crate makes a source of it.
//!
//! `process` runs the program in a process group of its own: lines of bounded length, standard error
//! to the log with secrets masked (`mask`), files that this user alone can read. `settings` is what
//! an operator writes. `source` decides when to run it and what its end means, `run` turns its
//! messages into batches of the frame, `seal` keeps a configuration that the program changed.
//! A protocol (`protocol`) says how the program is called and what a line means.
//!
//! ```text
//! sync     the run in progress: its number, the streams seen, whether a line was lost; gone at its end
//! last     when the last complete run began
//! config   the configuration as the program changed it, sealed
//! state…   where the program continues, in the form of its protocol
//! ```
//!
//! What it is *not*: it knows no protocol. Those are connectors under `services/sources`.

#![warn(missing_docs)]

mod mask;
mod process;
pub mod protocol;
mod run;
mod seal;
mod settings;
mod source;

pub use mask::Masks;
pub use process::{Folder, Output, ProcessError, Program};
pub use settings::{Config, Mode, Raw, RawStream, Stream};
pub use source::ChildSource;
