//! Metrics and logs: what the process reports to its operators.
//!
//! Metrics are declared once, as constants of enums, with help, labels and buckets (`catalogue`); a
//! `Metrics` handle records into them and writes the Prometheus text. Logs go to standard error
//! through `tracing`.
//!
//! What it is *not*: it serves nothing (the API crate does) and knows none of the stages it
//! measures.

mod catalogue;
mod logs;
mod metrics;

pub use catalogue::{Counter, Gauge, Histogram};
pub use logs::{LogError, init_logs};
pub use metrics::{Metrics, MetricsError};
