//! The cost of one piece of evidence: pairs, chains, and a mailbox shared by ten thousand persons;
//! over rows in memory.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use millrace_identity::{Claim, Edge, Evidence, MemoryGraph, Policy, apply};
use millrace_model::{Identity, SubjectKind};

const HUB_EDGES: u64 = 10_000;

fn id(namespace: &str, number: u64) -> Identity {
    Identity::new(namespace, &format!("{number:08}@crm1.Salesforce")).expect("neither part is empty")
}

fn assert_of(a: Identity, b: Identity) -> Evidence {
    Evidence::Assert {
        edge: Edge::new(a, b).expect("two identities"),
        claim: Claim("b2b_person:00000001@crm1.Salesforce".into()),
    }
}

fn reversed(evidence: &Evidence) -> Evidence {
    match evidence.clone() {
        Evidence::Assert { edge, claim } => Evidence::Withdraw { edge, claim },
        Evidence::Withdraw { edge, claim } => Evidence::Assert { edge, claim },
    }
}

fn graph_of(policy: &Policy, evidence: &[Evidence]) -> MemoryGraph {
    let mut graph = MemoryGraph::default();
    for one in evidence {
        let Ok(_) = apply(&mut graph, policy, std::slice::from_ref(one)).map_err(|error| panic!("{error}"));
    }
    graph
}

fn hub(range: impl Iterator<Item = u64>) -> Vec<Evidence> {
    range.map(|n| assert_of(id("b2b_person", n), id("email", 0))).collect()
}

/// A scattered number, the same each time.
fn scattered(n: u64) -> u64 {
    n * 7_919 % HUB_EDGES
}

fn building(c: &mut Criterion) {
    let mut group = c.benchmark_group("build");
    group.sample_size(10);
    let default = Policy::default();
    let open = Policy::default().with_identities_max(SubjectKind::Person, u64::MAX);
    let crowded = Policy::default().with_claims_max("email", 20);
    let pairs: Vec<_> = (0..HUB_EDGES).map(|n| assert_of(id("b2b_person", n), id("email", n))).collect();
    let chain: Vec<_> = (0..HUB_EDGES)
        .filter(|n| n % 50 != 49)
        .map(|n| assert_of(id("b2b_person", n), id("b2b_person", n + 1)))
        .collect();
    let cases = [
        ("pairs", &default, pairs),
        ("chains of 50", &default, chain),
        ("hub, ascending", &default, hub(0..HUB_EDGES)),
        ("hub, descending", &default, hub((0..HUB_EDGES).rev())),
        ("hub, scattered", &default, hub((0..HUB_EDGES).map(scattered))),
        ("hub, crowded", &crowded, hub((0..HUB_EDGES).map(scattered))),
        ("hub, no bound", &open, hub(0..HUB_EDGES)),
    ];
    for (name, policy, evidence) in &cases {
        group.throughput(Throughput::Elements(evidence.len() as u64));
        group.bench_function(*name, |b| b.iter(|| graph_of(policy, evidence)));
    }
    group.finish();
}

/// One edge comes and goes at a mailbox with ten thousand: after all linked ones, before them all,
/// and a linked one goes and comes again.
fn further(c: &mut Criterion) {
    let mut group = c.benchmark_group("one edge at a full hub, there and back");
    let policy = Policy::default();
    let cases = [("after", HUB_EDGES + 1), ("before", 0), ("between", 25)];
    for (name, number) in cases {
        let graph = graph_of(&policy, &hub((1..=HUB_EDGES).filter(|n| *n != number)));
        let there = assert_of(id("b2b_person", number), id("email", 0));
        let back = reversed(&there);
        let both = |graph: &mut MemoryGraph| {
            [&there, &back].map(|one| {
                apply(graph, &policy, std::slice::from_ref(one))
                    .map(|outcome| outcome.moves.len())
                    .unwrap_or_else(|error| panic!("{error}"))
            })
        };
        let mut graph = graph;
        group.bench_function(name, |b| b.iter(|| both(&mut graph)));
    }
    group.finish();
}

/// All of a mailbox's persons are deleted, the linked ones first: each makes room for the next.
fn emptying(c: &mut Criterion) {
    let mut group = c.benchmark_group("empty");
    group.sample_size(10).throughput(Throughput::Elements(HUB_EDGES));
    let policy = Policy::default();
    let evidence = hub(0..HUB_EDGES);
    let full = graph_of(&policy, &evidence);
    let deletes: Vec<_> = evidence.iter().map(reversed).collect();
    group.bench_function("hub, linked first", |b| {
        b.iter_batched(
            || full.clone(),
            |mut graph| {
                deletes
                    .iter()
                    .map(|one| apply(&mut graph, &policy, std::slice::from_ref(one)).map_or(0, |outcome| outcome.moves.len()))
                    .sum::<usize>()
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, building, further, emptying);
criterion_main!(benches);
