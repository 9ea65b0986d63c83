//! The shards' measurements as this process's metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use millrace_model::{ShardId, Text};
use millrace_runtime::observe::Observer;
use millrace_runtime::state::ShardState;
use millrace_shard::machine::{Measure, Measurement};
use millrace_telemetry::{Gauge, Metrics};

/// A gauge's series within this process.
type Series = (Gauge, Vec<Text>);

/// Passes measurements on. Each shard measures its own part of a gauge: the process reports the
/// sum, for delays the greatest.
pub struct MetricsObserver {
    metrics: Metrics,
    parts: Mutex<Parts>,
}

#[derive(Default)]
struct Parts {
    gauges: BTreeMap<Series, BTreeMap<ShardId, f64>>,
    states: BTreeMap<ShardId, &'static str>,
}

/// The words of `ShardState::name` that count as owning the shard.
const STATES: [&str; 4] = ["opening", "running", "waiting", "failed"];

impl MetricsObserver {
    pub fn new(metrics: Metrics) -> MetricsObserver {
        MetricsObserver {
            metrics,
            parts: Mutex::default(),
        }
    }

    fn set(&self, parts: &mut Parts, shard: ShardId, series: Series, value: f64) {
        let shares = parts.gauges.entry(series.clone()).or_default();
        shares.insert(shard, value);
        let whole = match series.0 {
            Gauge::TimersDueLag => shares.values().copied().fold(0.0, f64::max),
            // One disk, or the one that will be full first.
            Gauge::StateDiskFree => shares.values().copied().reduce(f64::min).unwrap_or(0.0),
            _ => shares.values().sum(),
        };
        let labels: Vec<&str> = series.1.iter().map(Text::as_str).collect();
        self.metrics.set(series.0, &labels, whole);
    }
}

impl Observer for MetricsObserver {
    fn measured(&self, shard: ShardId, measurements: &[Measurement]) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        for measurement in measurements {
            let labels: Vec<&str> = measurement.labels.iter().map(Text::as_str).collect();
            match measurement.value {
                Measure::Add(counter, amount) => self.metrics.add(counter, &labels, amount),
                Measure::Set(gauge, value) => self.set(&mut parts, shard, (gauge, measurement.labels.clone()), value),
                Measure::Sample(histogram, value) => self.metrics.observe(histogram, &labels, value),
                // The runtime turns these into samples when the step is committed.
                Measure::SecondsSince(..) => {}
            }
        }
    }

    fn state_changed(&self, shard: ShardId, state: &ShardState) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(state, ShardState::Released) {
            parts.states.remove(&shard);
            let held: Vec<Series> = parts
                .gauges
                .iter()
                .filter(|(_, shares)| shares.contains_key(&shard))
                .map(|(series, _)| series.clone())
                .collect();
            for series in held {
                self.set(&mut parts, shard, series, 0.0);
            }
        } else {
            parts.states.insert(shard, state.name());
        }
        for name in STATES {
            let count = parts.states.values().filter(|state| **state == name).count();
            self.metrics.set(Gauge::ShardsOwned, &[name], count as f64);
        }
    }
}
