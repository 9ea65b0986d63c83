//! millrace-wire
