//! How long other work waits during a long task: the longest step, in rows and in time, with a
//! hundred thousand events, persons and so on.
//!
//! `cargo bench -p millrace-test-scenarios --bench long [-- events story]`. Rows are in memory, so this
//! is the engine alone. Steps are as small as the tests' (four inputs, three portions of twenty
//! rows), so their number has no meaning.

use millrace_test_scenarios::long::{self, ORDERS, Part};

/// As the product allocates.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|text| !text.starts_with('-')).collect();
    let count: i64 = arguments.iter().find_map(|text| text.parse().ok()).unwrap_or(100_000);
    let only = arguments.iter().find(|text| text.parse::<i64>().is_err());
    println!(
        "{:<48} {:>9} {:>9} {:>9} {:>12} {:>9}",
        "story", "read max", "wrote max", "read", "longest step", "in all"
    );
    let run = |name: &str, story: &dyn Fn() -> Vec<Part>| {
        if only.is_none_or(|only| only == name) {
            show(&story());
        }
    };
    for order in ORDERS {
        run("moves", &|| long::moves(count, order));
        run("expires", &|| long::expires(count, order, false));
        run("rules", &|| long::rules_come_and_go(count, order));
    }
    run("expires", &|| long::expires(count, "ascending", true));
    run("definitions", &|| long::many_definitions(count / 50));
    run("persons", &|| long::many_persons(count));
    run("links", &|| long::many_links(false));
    run("links", &|| long::many_links(true));
}

fn show(parts: &[Part]) {
    for part in parts {
        let Part {
            story,
            rows_read_max,
            rows_written_max,
            rows_read,
            longest,
            taken,
            ..
        } = part;
        println!("{story:<48} {rows_read_max:>9} {rows_written_max:>9} {rows_read:>9} {longest:>12.1?} {taken:>9.1?}");
    }
}
