//! Level 0: the floors inside a crate. A module uses those below it and none above: whoever reads
//! from the bottom never has to look ahead.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use millrace_test_tidy::{files, root, text};

/// The modules of each crate, lowest first; a module stands for its folder, and what the root
/// itself defines is below all of them. Modules joined by `+` use each other: a circle that is
/// known, and is to become smaller. A new one is never the remedy: move what both need down.
const FLOORS: [(&str, &str); 11] = [
    ("config", "raw text secret units manual suggest environment validate layers"),
    ("connect", "backoff budget http secret settings source token mapping row sink"),
    ("events", "cloud traits segment"),
    ("identity", "evidence policy store rows report writer replay apply rebuild"),
    ("log", "embedded random simulated"),
    ("marketo", "instance client"),
    (
        "model",
        "chain json metric text number time value identity shard subject kind relation path change schema source_key",
    ),
    ("pql", "ast diagnostic words functions lexer operands same parser format json promises"),
    ("runtime", "clock state meta observe topology task host memory_store simulation"),
    (
        "segment",
        // The port and what its answers are made of; a checked rule; the document around it; text
        // to core, and core to value; what is kept in the place of events and children; all of it
        // together.
        "calendar totals view world settings \
         core condition coerce types \
         yaml definition places \
         eval check \
         sequence tally kin cost normal ordered \
         compile plan explain whole lint rewrite",
    ),
    (
        "shard",
        "murmur placement record state format origin row message tx key lifecycle machine deployment merge program engine query",
    ),
];

/// The floor of each module.
fn floors(line: &str) -> BTreeMap<&str, usize> {
    line.split_whitespace()
        .enumerate()
        .flat_map(|(floor, modules)| modules.split('+').map(move |module| (module, floor)))
        .collect()
}

/// The text without comments and without the tests at its end.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..end]
        .lines()
        .map(|line| line.split_once("//").map_or(line, |(code, _)| code))
        .collect::<Vec<_>>()
        .join("\n")
}

fn word(text: &str) -> &str {
    let end = text.find(|sign: char| !sign.is_alphanumeric() && sign != '_').unwrap_or(text.len());
    &text[..end]
}

/// The first words of a list's items: of `{a::{b, c}, d}` these are `a` and `d`.
fn firsts(list: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut depth = 0;
    for (at, sign) in list.char_indices() {
        match sign {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && matches!(sign, '{' | ',') {
            found.push(word(list[at + 1..].trim_start()));
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

/// What a text names directly below `crate::`.
fn used(code: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for (at, path) in code.match_indices("crate::") {
        if code[..at].ends_with(|sign: char| sign.is_alphanumeric() || sign == '_' || sign == '$') {
            continue;
        }
        let rest = &code[at + path.len()..];
        if rest.starts_with('{') {
            found.extend(firsts(rest));
        } else {
            found.insert(word(rest));
        }
    }
    found
}

/// The modules that names at a crate's root come from.
fn shown(root: &str) -> BTreeMap<&str, &str> {
    let mut found = BTreeMap::new();
    for (at, line) in root.match_indices("pub use ") {
        let path = &root[at + line.len()..];
        let path = &path[..path.find(';').unwrap_or(path.len())];
        let module = word(path);
        match path.find('{') {
            Some(list) => found.extend(firsts(&path[list..]).into_iter().map(|name| (name, module))),
            None => found.extend(path.rsplit("::").next().map(|name| (name, module))),
        }
    }
    found
}

/// The module that a file below `src` belongs to; `None` for the root, and for what is compiled for
/// tests alone.
fn module(path: &Path, tests: &BTreeSet<String>) -> Option<String> {
    let first = path.components().next()?.as_os_str().to_str()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    let tested = path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")));
    (!matches!(name, "lib" | "main") && !tests.contains(name) && !tested).then(|| name.to_owned())
}

/// The modules that the root declares for tests alone.
fn for_tests(root: &str) -> BTreeSet<String> {
    let after = root.split("#[cfg(test)]").skip(1);
    after
        .filter_map(|rest| rest.trim_start().strip_prefix("mod ").map(|rest| word(rest).to_owned()))
        .collect()
}

#[test]
fn a_module_uses_those_below_it() {
    for (name, line) in FLOORS {
        let source = root().join("crates").join(name).join("src");
        let (floors, lib) = (floors(line), text(&source.join("lib.rs")));
        let (shown, tests) = (shown(&lib), for_tests(&lib));
        for path in files(&source, "rs") {
            let below = path.strip_prefix(&source).expect("a file of the folder");
            let Some(own) = module(below, &tests) else { continue };
            let floor = *floors
                .get(own.as_str())
                .unwrap_or_else(|| panic!("crates/{name}: the module {own} has no floor in tests/tidy/tests/floors.rs"));
            let text = text(&path);
            for used in used(&code(&text)) {
                let other = shown.get(used).copied().unwrap_or(used);
                assert!(
                    floors.get(other).is_none_or(|other| *other <= floor),
                    "crates/{name}: {} uses {other}, which is above {own}: move what both need to a floor below, or the caller up",
                    below.display()
                );
            }
        }
    }
}

#[test]
fn floors_name_modules_that_are_there() {
    for (name, line) in FLOORS {
        let source = root().join("crates").join(name).join("src");
        for module in floors(line).into_keys() {
            let there = source.join(format!("{module}.rs")).is_file();
            assert!(there, "crates/{name} has no module {module}; tests/tidy/tests/floors.rs gives it a floor");
        }
    }
}

#[test]
fn paths_are_read_as_the_compiler_reads_them() {
    let text = "use crate::{a::{b, c}, d};\nuse crate::e::f; // crate::g\nlet x = my_crate::h + crate::i::j();\n#[cfg(test)]\nmod tests {\nuse crate::k;\n}";
    assert_eq!(used(&code(text)).into_iter().collect::<Vec<_>>(), ["a", "d", "e", "i"]);
    let shown = shown("pub use a::{B, c};\npub use d::e::F;\n");
    assert_eq!(shown.into_iter().collect::<Vec<_>>(), [("B", "a"), ("F", "d"), ("c", "a")]);
}
