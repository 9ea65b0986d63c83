//! millrace-segment
