//! millrace-test-tidy
