//! One module per command.

pub mod account;
pub mod audience;
pub mod bench;
pub mod check_config;
pub mod dead_letter;
pub mod demo;
pub mod destination;
pub mod person;
pub mod processor;
pub mod run;
pub mod segment;
pub mod sink_file;
pub mod source_file;
pub mod topics;
