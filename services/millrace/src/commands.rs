//! One module per command.

pub mod account;
pub mod acls;
pub mod audience;
pub mod bench;
pub mod check_config;
pub mod collector;
pub mod dead_letter;
pub mod demo;
pub mod destination;
pub mod find;
pub mod health;
pub mod log;
pub mod missing;
pub mod person;
pub mod processor;
pub mod run;
pub mod segment;
pub mod sink;
pub mod sink_file;
pub mod source_file;
pub mod source_run;
pub mod topics;
