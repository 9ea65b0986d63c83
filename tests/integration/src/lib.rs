//! millrace-test-integration
