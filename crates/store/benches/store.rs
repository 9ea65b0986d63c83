//! Reads and writes of a store of a million rows of 200 bytes, cache warm.
//!
//! `cargo bench -p millrace-store`

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use millrace_shard::state::{RowChange, StateStore, StateView};
use millrace_store::{Limits, Resources, RocksStore};

const ROWS: u64 = 1_000_000;
const BATCH: u64 = 500;

/// Spreads row numbers over the key space, one key per number.
fn key(table: u8, number: u64) -> Vec<u8> {
    let mut key = vec![table];
    key.extend_from_slice(&(number % ROWS).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key.extend_from_slice(&number.to_be_bytes()[1..]);
    key
}

/// Half text, half noise, like real rows.
fn value(number: u64) -> Vec<u8> {
    let mut value = b"web.webpagedetails.pageViews;https://example.com/new-product;2026-01-01T00:00:00Z;New product;utm=".to_vec();
    let mut state = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    while value.len() < 200 {
        state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
        value.push((state >> 56) as u8);
    }
    value
}

fn rows(from: u64) -> Vec<RowChange> {
    (from..from + BATCH).map(|number| (key(1, number % ROWS), Some(value(number)))).collect()
}

fn filled(path: &std::path::Path) -> RocksStore {
    let mut store = RocksStore::open(path, None, &Resources::new(Limits::default())).expect("an empty folder");
    for batch in 0..ROWS / BATCH {
        store.apply(rows(batch * BATCH), batch as i64 + 1).expect("room on disk");
    }
    store.flush().expect("room on disk");
    store
}

fn store(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut store = filled(folder.path());
    let mut number = 0_u64;
    let mut next = move || {
        number = number.wrapping_add(0x5851_f42d) % ROWS;
        number
    };

    criterion.bench_function("get, present", |bench| {
        bench.iter_batched(|| key(1, next()), |key| store.get(&key), BatchSize::SmallInput)
    });
    criterion.bench_function("get, absent", |bench| {
        bench.iter_batched(|| key(2, next()), |key| store.get(&key), BatchSize::SmallInput)
    });
    criterion.bench_function("scan of 10", |bench| {
        bench.iter_batched(|| key(1, next()), |key| store.scan(&key, &[2], 10), BatchSize::SmallInput);
    });

    neighbours(criterion, &store, &mut next);

    let mut position = ROWS as i64;
    let mut group = criterion.benchmark_group("batch of 500");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("overwrite", |bench| {
        bench.iter_batched(
            || rows(next()),
            |rows| {
                position += 1;
                store.apply(rows, position)
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("get then overwrite", |bench| {
        bench.iter_batched(
            || rows(next()),
            |rows| {
                position += 1;
                let read: usize = rows
                    .iter()
                    .filter_map(|(key, _)| store.get(key).expect("a healthy store"))
                    .map(|row| row.len())
                    .sum();
                store.apply(rows, position).expect("room on disk");
                read
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
    queue(criterion, &mut store, position);
}

/// Five rows that lie together, for each of two hundred places: what a batch of events reads.
fn neighbours(criterion: &mut Criterion, store: &RocksStore, next: &mut dyn FnMut() -> u64) {
    const PLACES: usize = 200;
    const EACH: usize = 5;
    let mut places = || -> Vec<Vec<Vec<u8>>> {
        let rows = |from: u64| store.scan(&key(1, from), &[2], EACH).expect("a healthy store");
        (0..PLACES).map(|_| rows(next()).into_iter().map(|(key, _)| key).collect()).collect()
    };
    let mut group = criterion.benchmark_group("five rows at 200 places");
    group.throughput(Throughput::Elements((PLACES * EACH) as u64));
    group.bench_function("one by one", |bench| {
        let read = |places: Vec<Vec<Vec<u8>>>| places.iter().flatten().filter(|key| store.get(key).is_ok_and(|row| row.is_some())).count();
        bench.iter_batched(&mut places, read, BatchSize::SmallInput);
    });
    group.bench_function("together", |bench| {
        let read = |places: Vec<Vec<Vec<u8>>>| {
            let mut keys: Vec<Vec<u8>> = places.into_iter().flatten().collect();
            keys.sort_unstable();
            store.get_all(&keys)
        };
        bench.iter_batched(&mut places, read, BatchSize::SmallInput);
    });
    group.bench_function("by ranges", |bench| {
        let read = |places: Vec<Vec<Vec<u8>>>| {
            let range = |rows: &Vec<Vec<u8>>| Some(store.scan(rows.first()?, &[2], EACH).ok()?.len());
            places.iter().filter_map(range).sum::<usize>()
        };
        bench.iter_batched(&mut places, read, BatchSize::SmallInput);
    });
    group.finish();
}

/// A timer queue: find due rows, delete them at the front, add at the back.
fn queue(criterion: &mut Criterion, store: &mut RocksStore, mut position: i64) {
    let timer = |at: u64| [&[0x90][..], &at.to_be_bytes()].concat();
    let (mut front, mut back) = (0_u64, 100_000_u64);
    store
        .apply((front..back).map(|at| (timer(at), Some(Vec::new()))).collect(), position)
        .expect("room on disk");
    criterion.bench_function("timer queue: scan, delete, add", |bench| {
        bench.iter(|| {
            let due = store.scan(&[0x90], &timer(front + 1), 100).expect("a healthy store");
            let mut rows: Vec<RowChange> = due.into_iter().map(|(key, _)| (key, None)).collect();
            rows.push((timer(back), Some(Vec::new())));
            (front, back, position) = (front + 1, back + 1, position + 1);
            store.apply(rows, position)
        });
    });
}

criterion_group!(benches, store);
criterion_main!(benches);
