//! millrace-test-e2e
