//! millrace-test-simulation
