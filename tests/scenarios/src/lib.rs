//! millrace-test-scenarios
