//! Inputs that nobody would write, through every reader of outside text and on through the
//! evaluator: nothing panics, overflows the stack or hangs.
//!
//! They grow from the corpus, the rules and tables of the reference and its definitions, which are
//! cut, doubled and spliced, by words and by bytes. `SEEDS=0..1000000` runs more of them; a failure
//! prints its seed and the command that runs it alone.

use chrono_tz::Tz;
use millrace_model::{SubjectKind, Timestamp};
use millrace_pql::promises::{self, round_trip, survive};
use millrace_pql::{json, parse};
use millrace_test_seeds::seeds;

use super::conformance;
use super::random::Dice;
use crate::testing::{at, definition, schema_once, settings, value};
use crate::{Form, Plan, compile, convert_text, format_text, lint, parse_definitions};

const REFERENCE: &str = include_str!("../../../../docs/segments.md");
const RECIPES: &str = include_str!("../../../../docs/recipes.md");

/// Runs inputs grown from seeds, and returns how many.
fn run(cases: u64, corpus: &[String], mut f: impl FnMut(&str, &mut Dice)) -> u64 {
    let mut inputs = 0;
    for seed in seeds!(0..cases) {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice.below(2);
        let input = grown(corpus, &mut dice);
        f(&input, &mut dice);
        inputs += 1;
    }
    inputs
}

/// One to six changes of a seed.
fn grown(seeds: &[String], dice: &mut Dice) -> String {
    let mut text = seeds[dice.below(seeds.len())].clone();
    for _ in 0..1 + dice.below(6) {
        let other = &seeds[dice.below(seeds.len())];
        text = if dice.below(4) == 0 { bytes(&text, dice) } else { words(&text, other, dice) };
    }
    text.truncate((0..=4_000.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
    text
}

/// Words of one text put into another, in the place of some of its own.
fn words(text: &str, other: &str, dice: &mut Dice) -> String {
    let places = |text: &str| -> Vec<(usize, usize)> { promises::words(text).iter().map(|span| (span.start as usize, span.end as usize)).collect() };
    let stretch = |places: &[(usize, usize)], dice: &mut Dice| {
        let first = dice.below(places.len());
        let last = (first + dice.below(8)).min(places.len() - 1);
        (places[first].0, places[last].1)
    };
    let (to, from) = (stretch(&places(text), dice), stretch(&places(other), dice));
    let with = match dice.below(6) {
        0 => "",
        1 => &text[to.0..to.1],
        _ => &other[from.0..from.1],
    };
    let keep = if dice.below(3) == 0 { to.1 } else { to.0 };
    format!("{} {with} {}", &text[..keep], &text[to.1..])
}

fn bytes(text: &str, dice: &mut Dice) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let from = dice.below(bytes.len() + 1);
    let to = (from + dice.below(6)).min(bytes.len());
    let with: Vec<u8> = match dice.below(4) {
        0 => Vec::new(),
        1 => bytes[from..to].repeat(1 + dice.below(40)),
        2 => dice
            .pick(&[
                "(",
                "[",
                "{",
                "\"",
                "`",
                "\\",
                "-",
                "^",
                "not ",
                "99999999999999999999",
                "1e308",
                "\u{feff}",
                "é",
                "0",
                ":",
                "\n",
                "\n---\n",
                "*",
                "&a ",
            ])
            .into(),
        _ => vec![dice.below(256) as u8],
    };
    bytes.splice(from..to, with);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Blocks of the documents whose fence names one of these languages.
fn blocks(languages: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for document in [REFERENCE, RECIPES] {
        let mut parts = document.split("```");
        while let (Some(_), Some(block)) = (parts.next(), parts.next()) {
            let (language, text) = block.split_once('\n').unwrap_or((block, ""));
            if languages.contains(&language) {
                found.push(text.to_owned());
            }
        }
    }
    found
}

/// The expressions of the reference's tables, as conditions.
fn expressions() -> Vec<String> {
    let cells = REFERENCE.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | `"));
    let condition = |(expression, value): (&str, &str)| match value {
        "true` |" | "false` |" => expression.to_owned(),
        _ => format!("({expression}).isNotNull()"),
    };
    cells.map(condition).filter(|expression| parse(expression).is_ok()).collect()
}

/// Rules as text and as JSON are the corpus of the language, definitions that of this crate.
fn corpus(ending: &str) -> Vec<String> {
    let folder = match ending {
        "yaml" => concat!(env!("CARGO_MANIFEST_DIR"), "/corpus"),
        _ => concat!(env!("CARGO_MANIFEST_DIR"), "/../pql/corpus"),
    };
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder exists")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths.retain(|path| path.extension().is_some_and(|found| found == ending));
    paths
        .iter()
        .map(|path| String::from_utf8_lossy(&std::fs::read(path).expect("a file")).into_owned())
        .collect()
}

fn rules() -> Vec<String> {
    let mut rules = blocks(&["pql", "pql-account"]);
    rules.extend(expressions());
    rules
}

#[test]
fn seeds_are_plenty() {
    assert!(expressions().len() > 120, "{} expressions", expressions().len());
    assert!(blocks(&["pql", "pql-account"]).len() > 35);
    assert!(blocks(&["yaml", "json"]).len() > 1 && corpus("pql").len() > 12 && corpus("yaml").len() > 3 && corpus("json").len() > 1);
}

#[test]
fn rules_as_text() {
    let mut seeds = rules();
    seeds.extend(corpus("pql"));
    run(8_000, &seeds, |text, _| {
        if survive(text).is_ok()
            && let Ok(formatted) = format_text(text)
        {
            let again = format_text(&formatted.text).unwrap_or_else(|found| panic!("{text}\n{}\n{found:?}", formatted.text));
            assert_eq!(again.text, formatted.text, "formatted twice: {text}");
        }
    });
}

#[test]
fn rules_in_json_form() {
    let mut seeds: Vec<String> = rules()
        .iter()
        .filter_map(|rule| parse(rule).ok())
        .map(|expr| json::to_json(&expr).to_string())
        .collect();
    seeds.extend(corpus("json"));
    let mut read = 0;
    let inputs = run(8_000, &seeds, |text, _| {
        let Ok(json) = serde_json::from_str(text) else { return };
        match json::from_json(&json) {
            Ok(expr) => {
                read += 1;
                round_trip(&expr);
            }
            Err(found) => assert!((1..=20).contains(&found.len()), "{text}"),
        }
    });
    assert!(read > 0 || inputs < 100, "no mutation was a rule");
}

#[test]
fn definitions() {
    let mut seeds = blocks(&["yaml", "json"]);
    seeds.extend(corpus("yaml"));
    run(8_000, &seeds, |text, _| {
        match parse_definitions(text) {
            Ok(definitions) => definitions.iter().for_each(|definition| {
                let _ = compile(definition, schema_once());
            }),
            Err(found) => assert!(!found.is_empty() && found.iter().all(|each| !each.render(text).is_empty()), "{text}"),
        }
        if let Ok(formatted) = format_text(text) {
            let again = format_text(&formatted.text).unwrap_or_else(|found| panic!("{text}\n{}\n{found:?}", formatted.text));
            assert_eq!(again.text, formatted.text, "formatted twice: {text}");
        }
        for form in [Form::Text, Form::Json] {
            if let Ok(converted) = convert_text(text, form) {
                assert!(
                    convert_text(&converted, form).is_ok_and(|again| again == converted),
                    "converted twice: {text}\n{converted}"
                );
            }
        }
    });
}

/// A rule that compiles has one meaning however it is evaluated, and reports how long it holds.
#[test]
fn meaning() {
    let tree = conformance::world();
    let mut evaluated = 0;
    let inputs = run(6_000, &rules(), |pql, dice| {
        let (subject, id) = if dice.below(4) == 0 {
            (SubjectKind::Account, "a1")
        } else {
            (SubjectKind::Person, "p")
        };
        let zone = [Tz::UTC, Tz::Europe__Berlin, Tz::America__St_Johns][dice.below(3)];
        let Ok(rule) = compile(&definition(subject, zone, pql), schema_once()) else {
            return;
        };
        let rules = std::slice::from_ref(&rule);
        lint(rules, &settings(), at(conformance::NOW));
        let Ok(plan) = Plan::build(rules, &settings()) else { return };
        evaluated += 1;
        let now = at(conformance::NOW);
        for now in [
            now,
            now.plus_ms(12 * 3_600_000),
            now.plus_ms(45 * 86_400_000),
            Timestamp(0),
            Timestamp(253_402_300_799_000),
        ] {
            value(&rule, &plan, &tree, id, now);
        }
    });
    assert!(evaluated > 100 || inputs < 6_000, "{evaluated} rules were evaluated");
}
