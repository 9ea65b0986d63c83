//! millrace-oracle
