//! Metrics and logs: what the process reports to its operators.
//!
//! Metrics are declared once, as enums with name, help, labels and buckets
//! (`millrace_model::metric`); a `Metrics` handle records into them and writes the Prometheus text.
//! Logs go to standard error through `tracing`.
//!
//! What it is *not*: it serves nothing (the API crate does) and knows none of the stages it
//! measures.
//!
//! ```
//! use millrace_telemetry::{Counter, Metrics};
//!
//! let metrics = Metrics::new()?;
//! metrics.add(Counter::DeadLetters, &["millrace.source.person", "wrong-type"], 2);
//! assert!(metrics.text()?.contains(r#"millrace_dead_letters_total{reason="wrong-type",topic="millrace.source.person"} 2"#));
//! # Ok::<(), millrace_telemetry::MetricsError>(())
//! ```

#![warn(missing_docs)]

mod logs;
mod metrics;

pub use logs::{LogError, init_logs};
pub use metrics::{Metrics, MetricsError};
pub use millrace_model::metric::{Counter, Gauge, Histogram};
