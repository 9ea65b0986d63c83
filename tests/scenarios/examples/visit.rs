//! Weighs a record a hundred times: `visit history <rule> <events>`, `visit segments <number>` or
//! `visit path <number>`. Prints the bytes of changed rows each time, and for a path its name;
//! `visit paths` the numbers of the paths. `scripts/instructions` runs it under valgrind.

use std::process::ExitCode;

use millrace_test_scenarios::paths::PATHS;
use millrace_test_scenarios::visits::{RULES, visit, with_history, with_segments};

/// As the product allocates.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<u32>().ok());
    if arguments == ["paths"] {
        (0..PATHS.len()).for_each(|number| println!("{number}"));
        return ExitCode::SUCCESS;
    }
    if let (Some("path"), Some(path)) = (arguments.first().map(String::as_str), number(1)) {
        let Some((name, prepare)) = PATHS.get(path as usize) else {
            return ExitCode::FAILURE;
        };
        let mut path = prepare();
        let bytes: usize = (0..100).map(|_| path.weigh()).sum();
        println!("{}\t{name}", bytes / 100);
        return ExitCode::SUCCESS;
    }
    let solo = match (arguments.first().map(String::as_str), number(1), number(2)) {
        (Some("history"), Some(rule), Some(events)) => RULES.get(rule as usize).map(|(_, pql)| with_history(pql, events)),
        (Some("segments"), Some(segments), None) => Some(with_segments(segments)),
        _ => None,
    };
    let Some(mut solo) = solo else {
        eprintln!(
            "visit history <rule 0..{}> <events> | visit segments <number> | visit path <0..{}>",
            RULES.len(),
            PATHS.len()
        );
        return ExitCode::FAILURE;
    };
    let bytes: usize = (0..100).map(|_| visit(&mut solo)).sum();
    println!("{}", bytes / 100);
    ExitCode::SUCCESS
}
