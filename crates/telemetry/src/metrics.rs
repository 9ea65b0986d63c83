//! The handle that records, and the text Prometheus scrapes.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus::{CounterVec, Encoder, GaugeVec, HistogramOpts, HistogramVec, Opts, Registry, TextEncoder};

use millrace_model::metric::{Counter, Gauge, Histogram};

/// Metrics could not be set up or written.
#[derive(Debug, thiserror::Error)]
#[error("metrics")]
pub struct MetricsError(#[from] prometheus::Error);

/// Records measurements; cheap to clone, shared by all threads.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    counters: BTreeMap<Counter, CounterVec>,
    gauges: BTreeMap<Gauge, GaugeVec>,
    histograms: BTreeMap<Histogram, HistogramVec>,
}

impl Metrics {
    /// A handle with every metric registered. Metrics without labels show from the start, others
    /// from their first measurement.
    ///
    /// # Errors
    /// Where a declaration violates Prometheus' rules: a defect of the catalogue.
    pub fn new() -> Result<Metrics, MetricsError> {
        let registry = Registry::new();
        let mut counters = BTreeMap::new();
        for &counter in Counter::ALL {
            let vector = CounterVec::new(Opts::new(counter.name(), counter.help()), counter.labels())?;
            registry.register(Box::new(vector.clone()))?;
            counters.insert(counter, vector);
        }
        let mut gauges = BTreeMap::new();
        for &gauge in Gauge::ALL {
            let vector = GaugeVec::new(Opts::new(gauge.name(), gauge.help()), gauge.labels())?;
            if gauge.labels().is_empty() {
                vector.with_label_values::<&str>(&[]);
            }
            registry.register(Box::new(vector.clone()))?;
            gauges.insert(gauge, vector);
        }
        let mut histograms = BTreeMap::new();
        for &histogram in Histogram::ALL {
            let options = HistogramOpts::new(histogram.name(), histogram.help()).buckets(histogram.buckets().to_vec());
            let vector = HistogramVec::new(options, histogram.labels())?;
            if histogram.labels().is_empty() {
                vector.with_label_values::<&str>(&[]);
            }
            registry.register(Box::new(vector.clone()))?;
            histograms.insert(histogram, vector);
        }
        Ok(Metrics(Arc::new(Inner {
            registry,
            counters,
            gauges,
            histograms,
        })))
    }

    /// Adds to a counter. `labels` in the order of the declaration; a wrong number of them is a
    /// defect: it shows in debug builds and is dropped otherwise.
    pub fn add(&self, counter: Counter, labels: &[&str], amount: u64) {
        let series = self.0.counters[&counter].get_metric_with_label_values(labels);
        debug_assert!(series.is_ok(), "{counter:?} has other labels than {labels:?}");
        if let Ok(series) = series {
            series.inc_by(amount as f64);
        }
    }

    /// Sets a gauge; labels as for `add`.
    pub fn set(&self, gauge: Gauge, labels: &[&str], value: f64) {
        let series = self.0.gauges[&gauge].get_metric_with_label_values(labels);
        debug_assert!(series.is_ok(), "{gauge:?} has other labels than {labels:?}");
        if let Ok(series) = series {
            series.set(value);
        }
    }

    /// Drops one series of a gauge: its subject is no longer here.
    pub fn forget(&self, gauge: Gauge, labels: &[&str]) {
        // A series that was never set is gone already.
        let _ = self.0.gauges[&gauge].remove_label_values(labels);
    }

    /// Adds a measurement to a histogram; labels as for `add`.
    pub fn observe(&self, histogram: Histogram, labels: &[&str], value: f64) {
        let series = self.0.histograms[&histogram].get_metric_with_label_values(labels);
        debug_assert!(series.is_ok(), "{histogram:?} has other labels than {labels:?}");
        if let Ok(series) = series {
            series.observe(value);
        }
    }

    /// All series in Prometheus' text format, version 0.0.4.
    ///
    /// # Errors
    /// Where a series cannot be written.
    pub fn text(&self) -> Result<String, MetricsError> {
        let mut buffer = Vec::new();
        TextEncoder::new().encode(&self.0.registry.gather(), &mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// A metric as it is declared.
    struct Declared {
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    }

    fn declarations() -> Vec<(&'static str, Declared)> {
        let declared = |name, help, labels| Declared { name, help, labels };
        let counters = Counter::ALL.iter().map(|c| ("counter", declared(c.name(), c.help(), c.labels())));
        let gauges = Gauge::ALL.iter().map(|g| ("gauge", declared(g.name(), g.help(), g.labels())));
        let histograms = Histogram::ALL.iter().map(|h| ("histogram", declared(h.name(), h.help(), h.labels())));
        counters.chain(gauges).chain(histograms).collect()
    }

    #[test]
    fn names_and_labels_are_those_of_the_contract() {
        let mut lines: Vec<String> = declarations()
            .iter()
            .map(|(kind, declared)| format!("{kind} {}{{{}}}\n", declared.name, declared.labels.join(",")))
            .collect();
        lines.sort();
        expect![[r#"
            counter millrace_amounts_without_rate_total{currency}
            counter millrace_collector_events_total{source,outcome}
            counter millrace_collector_requests_total{status}
            counter millrace_dead_letters_total{topic,reason}
            counter millrace_identity_parked_total{reason}
            counter millrace_invariant_violations_total{id}
            counter millrace_membership_changes_total{segment,status}
            counter millrace_records_total{stage,topic,outcome}
            counter millrace_rules_exhausted_total{rule}
            counter millrace_sink_deliveries_total{destination,outcome}
            counter millrace_slow_steps_total{part}
            counter millrace_source_records_total{source,outcome}
            counter millrace_source_requests_total{source,outcome}
            counter millrace_transactions_aborted_total{cause}
            gauge millrace_audience_size{segment}
            gauge millrace_build_info{version}
            gauge millrace_collector_held_bytes{}
            gauge millrace_consumer_lag{topic,partition}
            gauge millrace_log_disk_free_bytes{path}
            gauge millrace_shards_owned{state}
            gauge millrace_shards{}
            gauge millrace_sink_backlog{destination}
            gauge millrace_source_lag_seconds{source}
            gauge millrace_source_load_ratio{source}
            gauge millrace_source_quota_left{source}
            gauge millrace_source_quota_resets_timestamp_seconds{source}
            gauge millrace_state_bytes{store}
            gauge millrace_state_disk_free_bytes{}
            gauge millrace_timers_due_lag_seconds{}
            gauge millrace_work_in_hand{shard}
            histogram millrace_collector_append_seconds{}
            histogram millrace_commit_seconds{}
            histogram millrace_end_to_end_seconds{}
            histogram millrace_identity_cluster_size{}
            histogram millrace_restore_seconds{}
        "#]]
        .assert_eq(&lines.concat());
    }

    /// The rules of `promtool check metrics`, and ours.
    #[test]
    fn names_follow_the_rules() {
        for (kind, declared) in declarations() {
            let name = declared.name;
            assert!(
                name.starts_with("millrace_") && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{name}: prefix and letters"
            );
            assert_eq!(
                name.ends_with("_total"),
                kind == "counter",
                "{name}: _total belongs to counters, and to them alone"
            );
            assert!(
                !["_count", "_sum", "_bucket", "_info_total"].iter().any(|suffix| name.ends_with(suffix)),
                "{name}: suffix of histograms"
            );
            assert!(
                !["_ms", "_milliseconds", "_minutes", "_kb", "_kilobytes"].iter().any(|unit| name.contains(unit)),
                "{name}: base units"
            );
            assert!(!declared.help.is_empty() && declared.help.ends_with('.'), "{name}: help is a sentence");
            assert!(
                declared
                    .labels
                    .iter()
                    .all(|label| !["le", "quantile"].contains(label) && !label.starts_with("__")),
                "{name}: reserved label"
            );
        }
        for histogram in Histogram::ALL {
            assert!(histogram.buckets().is_sorted(), "{histogram:?}");
        }
    }

    #[test]
    fn measurements_show() {
        let metrics = Metrics::new().unwrap();
        metrics.add(Counter::DeadLetters, &["millrace.source.person", "wrong-type"], 2);
        metrics.set(Gauge::AudienceSize, &["upsell"], 3.0);
        metrics.observe(Histogram::Commit, &[], 0.004);
        metrics.set(Gauge::ShardsOwned, &["running"], 1.0);
        metrics.forget(Gauge::ShardsOwned, &["running"]);
        let text = metrics.text().unwrap();
        for line in [
            "millrace_dead_letters_total{reason=\"wrong-type\",topic=\"millrace.source.person\"} 2",
            "millrace_audience_size{segment=\"upsell\"} 3",
            "millrace_commit_seconds_bucket{le=\"0.005\"} 1",
            "millrace_commit_seconds_bucket{le=\"0.002\"} 0",
            "millrace_end_to_end_seconds_count 0",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\nnot in\n{text}");
        }
        assert!(!text.contains("millrace_shards_owned{"), "{text}");
    }
}
