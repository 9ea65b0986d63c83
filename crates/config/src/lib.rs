//! millrace-config
