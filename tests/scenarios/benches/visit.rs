//! The cost of one visit for a shard, against the length of the person's history and against the
//! number of segments.
//!
//! `cargo bench -p millrace-test-scenarios`. Every iteration takes the same visit into the same
//! rows: its effects are computed and dropped. Rows are in memory, so this is the engine alone.
//! `scripts/instructions` counts instructions of the same.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use millrace_test_scenarios::visits::{HISTORIES, RULES, SEGMENTS, late_visit, visit, with_history, with_segments};

/// As the product allocates.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn against_history(criterion: &mut Criterion) {
    for (name, pql) in RULES {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20);
        for history in HISTORIES {
            let mut solo = with_history(pql, history);
            group.bench_with_input(BenchmarkId::from_parameter(history), &history, |bench, _| bench.iter(|| visit(&mut solo)));
        }
        group.finish();
    }
}

/// The rules that process events in order of time.
fn late(criterion: &mut Criterion) {
    for (name, pql) in RULES.into_iter().filter(|(name, _)| name.starts_with("sequence")) {
        let mut group = criterion.benchmark_group(format!("late: {name}"));
        group.sample_size(20);
        for history in HISTORIES {
            let mut solo = with_history(pql, history);
            group.bench_with_input(BenchmarkId::from_parameter(history), &history, |bench, _| bench.iter(|| late_visit(&mut solo)));
        }
        group.finish();
    }
}

fn against_segments(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("segments, of which 5 care");
    group.sample_size(20);
    for segments in SEGMENTS {
        let mut solo = with_segments(segments);
        group.bench_with_input(BenchmarkId::from_parameter(segments), &segments, |bench, _| bench.iter(|| visit(&mut solo)));
    }
    group.finish();
}

criterion_group!(benches, against_history, late, against_segments);
criterion_main!(benches);
