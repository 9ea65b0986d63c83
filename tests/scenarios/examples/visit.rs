//! Weighs a hundred visits of one kind: `visit history <rule> <events>` or `visit segments
//! <number>`. Prints the bytes of changed rows per visit; `scripts/instructions` runs it under
//! valgrind.

use std::process::ExitCode;

use millrace_test_scenarios::visits::{RULES, visit, with_history, with_segments};

/// As the product allocates.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<u32>().ok());
    let solo = match (arguments.first().map(String::as_str), number(1), number(2)) {
        (Some("history"), Some(rule), Some(events)) => RULES.get(rule as usize).map(|(_, pql)| with_history(pql, events)),
        (Some("segments"), Some(segments), None) => Some(with_segments(segments)),
        _ => None,
    };
    let Some(mut solo) = solo else {
        eprintln!("visit history <rule 0..{}> <events> | visit segments <number>", RULES.len());
        return ExitCode::FAILURE;
    };
    let bytes: usize = (0..100).map(|_| visit(&mut solo)).sum();
    println!("{}", bytes / 100);
    ExitCode::SUCCESS
}
