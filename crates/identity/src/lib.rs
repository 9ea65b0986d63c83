//! millrace-identity
