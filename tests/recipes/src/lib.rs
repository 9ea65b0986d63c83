//! The documents about segments, read as data: every rule, definition and table in them is taken
//! from the text that people read.
//!
//! What it is *not*: a Markdown parser. It knows headings, fenced blocks and tables, as these
//! documents write them.

pub mod cases;

use millrace_oracle::{Rule, SourceRecord, Subject};
use serde_json::Value as Json;

/// The reference of the language.
pub const REFERENCE: &str = include_str!("../../../docs/segments.md");
/// The recipes.
pub const RECIPES: &str = include_str!("../../../docs/recipes.md");

/// A fenced block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block<'d> {
    /// The word after the fence, such as `pql`.
    pub language: &'d str,
    pub text: String,
    /// Line of the opening fence, counted from one.
    pub line: usize,
    /// The heading above it, without its signs.
    pub heading: &'d str,
}

/// The fenced blocks of a document, in order.
///
/// # Panics
/// Where a fence is not closed: a defect of the document.
pub fn blocks(document: &str) -> Vec<Block<'_>> {
    let mut found = Vec::new();
    let mut heading = "";
    let mut open: Option<Block<'_>> = None;
    for (number, line) in document.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, Some(language)) => {
                open = Some(Block {
                    language: language.trim(),
                    text: String::new(),
                    line: number + 1,
                    heading,
                })
            }
            (None, None) if line.starts_with('#') => heading = line.trim_start_matches('#').trim(),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "the fence of line {} is not closed", open.map_or(0, |block| block.line));
    found
}

/// The rows of every table whose first two columns have these heads: line, and the contents of the
/// first two cells between their backquotes.
///
/// # Panics
/// Where a row has no two such cells: a defect of the document.
pub fn rows<'d>(document: &'d str, columns: (&str, &str)) -> Vec<(usize, &'d str, &'d str)> {
    let head = format!("| {} | {} |", columns.0, columns.1);
    let mut found = Vec::new();
    let mut within = false;
    for (number, line) in document.lines().enumerate() {
        within = line.starts_with(&head) || within && line.starts_with('|');
        if !within || line.starts_with(&head) || line.starts_with("|-") {
            continue;
        }
        let mut cells = line.split(" | ").map(|cell| cell.trim_matches(['|', ' ']));
        let mut cell = || cells.next().and_then(|cell| cell.strip_prefix('`')).and_then(|cell| cell.strip_suffix('`'));
        let (Some(first), Some(second)) = (cell(), cell()) else {
            panic!("line {}: two cells between backquotes are needed", number + 1)
        };
        found.push((number + 1, first, second));
    }
    found
}

/// Records as the quickstart writes them, one JSON object per line: `topic`, `key`, `value`.
///
/// # Panics
/// Where a line is not such an object: a defect of the document.
pub fn records(text: &str, timestamp_ms: i64) -> Vec<SourceRecord> {
    let read = |line: &str| {
        let json: Json = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let word = |name: &str| json[name].as_str().unwrap_or_else(|| panic!("no {name}: {line}")).to_owned();
        SourceRecord {
            topic: word("topic"),
            key: word("key"),
            value: Some(json["value"].clone()),
            timestamp_ms,
        }
    };
    text.lines().filter(|line| !line.trim().is_empty()).map(read).collect()
}

/// The subject of a block's rule.
///
/// # Panics
/// Where the block holds no rule: a defect of the test.
pub fn subject(language: &str) -> Subject {
    match language {
        "pql" => Subject::Person,
        "pql-account" => Subject::Account,
        other => panic!("a block of {other} holds no rule"),
    }
}

/// A rule in UTC.
pub fn rule(name: &str, subject: Subject, pql: &str) -> Rule {
    Rule {
        name: name.to_owned(),
        subject,
        time_zone: "UTC".to_owned(),
        pql: pql.to_owned(),
    }
}

/// A recipe: a heading such as ``3. `name`: purpose`` and the rules under it, the recipe's own
/// first, its variants after it as `name-2` and on.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub number: usize,
    pub name: String,
    pub rules: Vec<Rule>,
}

/// The recipes of the document, in order.
///
/// # Panics
/// Where a heading over a rule is not of that form: a defect of the document.
pub fn recipes() -> Vec<Recipe> {
    let mut found: Vec<Recipe> = Vec::new();
    for block in blocks(RECIPES).into_iter().filter(|block| block.language.starts_with("pql")) {
        let parts = || {
            let (number, rest) = block.heading.split_once(". `")?;
            Some((number.parse().ok()?, rest.split_once("`: ")?.0))
        };
        let (number, name): (usize, &str) = parts().unwrap_or_else(|| panic!("the heading over line {} names no recipe: {}", block.line, block.heading));
        if found.last().is_none_or(|recipe| recipe.number != number) {
            found.push(Recipe {
                number,
                name: name.to_owned(),
                rules: Vec::new(),
            });
        }
        if let Some(recipe) = found.last_mut() {
            let name = if recipe.rules.is_empty() {
                name.to_owned()
            } else {
                format!("{name}-{}", recipe.rules.len() + 1)
            };
            recipe.rules.push(rule(&name, subject(block.language), block.text.trim_end()));
        }
    }
    found
}
