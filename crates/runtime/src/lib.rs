//! millrace-runtime
