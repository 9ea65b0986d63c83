//! millrace-telemetry
