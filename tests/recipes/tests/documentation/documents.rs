//! Every rule and definition in the documents is valid: it parses, keeps its meaning when it is
//! formatted, and compiles; rules shown as refused are refused.

use millrace_model::{Schema, SubjectKind, Text};
use millrace_oracle::Subject;
use millrace_pql::{format, parse};
use millrace_segment::{Definition, Kind, Plan, Settings, Status, compile, parse_definitions};
use millrace_test_recipes::{Block, RECIPES, REFERENCE, blocks, subject};

fn definition(subject: Subject, pql: &str) -> Definition {
    Definition {
        kind: Kind::Segment,
        name: Text::new("example"),
        description: String::new(),
        subject: if subject == Subject::Person {
            SubjectKind::Person
        } else {
            SubjectKind::Account
        },
        status: Status::Published,
        time_zone: "UTC".parse().expect("a time zone"),
        pql: pql.to_owned(),
        destinations: Vec::new(),
    }
}

/// The error of a rule, with its place in the document; `None` where there is none.
fn problem(schema: &Schema, definition: &Definition) -> Option<String> {
    let pql = &definition.pql;
    let shown = |problems: Vec<millrace_segment::Diagnostic>| problems.iter().map(|problem| problem.render(pql)).collect::<String>();
    let ast = match parse(pql) {
        Ok(ast) => ast,
        Err(problems) => return Some(shown(problems)),
    };
    let canonical = format(&ast);
    match parse(&canonical) {
        Ok(again) if format(&again) == canonical => {}
        Ok(again) => return Some(format!("formatted twice it changes:\n{canonical}\n{}", format(&again))),
        Err(problems) => return Some(format!("formatted it is refused:\n{canonical}\n{problems:?}")),
    }
    let compiled = match compile(definition, schema) {
        Ok(compiled) => compiled,
        Err(problems) => return Some(shown(problems)),
    };
    match Plan::build(&[compiled], &Settings::default()) {
        Ok(_) => None,
        Err(problems) => Some(shown(problems)),
    }
}

/// All blocks of both documents in these languages.
fn all(languages: &[&str]) -> Vec<(&'static str, Block<'static>)> {
    let of = |name, document| blocks(document).into_iter().map(move |block| (name, block));
    of("segments.md", REFERENCE)
        .chain(of("recipes.md", RECIPES))
        .filter(|(_, block)| languages.contains(&block.language))
        .collect()
}

#[test]
fn every_rule_compiles() {
    let schema = Schema::built_in().expect("the schemas of the build parse");
    let rules = all(&["pql", "pql-account"]);
    assert!(rules.len() > 35, "{} rules", rules.len());
    let mut wrong = Vec::new();
    for (name, block) in rules {
        wrong.extend(problem(&schema, &definition(subject(block.language), &block.text)).map(|why| format!("{name}:{}\n{why}", block.line)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A block `pql-error` holds a rule, a line `--`, and the error.
#[test]
fn what_is_shown_as_refused_is_refused_so() {
    let schema = Schema::built_in().expect("the schemas of the build parse");
    let refused = all(&["pql-error"]);
    assert!(refused.len() > 10, "{} refusals", refused.len());
    let mut wrong = Vec::new();
    for (name, block) in refused {
        let (pql, reason) = block
            .text
            .split_once("\n--\n")
            .unwrap_or_else(|| panic!("{name}:{} does not say why", block.line));
        let found = match problem(&schema, &definition(Subject::Person, pql)) {
            Some(found) if !reason.trim().is_empty() && found.contains(reason.trim_end()) => continue,
            Some(found) => found,
            None => "it is accepted\n".to_owned(),
        };
        wrong.push(format!("{name}:{} promises\n{reason}and there is\n{found}", block.line));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_definition_can_be_published() {
    let schema = Schema::built_in().expect("the schemas of the build parse");
    let files = all(&["yaml", "json"]);
    assert!(files.len() > 2, "{} definitions", files.len());
    for (name, block) in files {
        let definitions = parse_definitions(&block.text).unwrap_or_else(|problems| panic!("{name}:{} {problems:?}", block.line));
        for definition in definitions {
            if let Some(why) = problem(&schema, &definition) {
                panic!("{name}:{} {why}", block.line);
            }
        }
    }
}

/// A block in an unknown language would never be tested.
#[test]
fn every_block_is_of_a_known_language() {
    let known = ["pql", "pql-account", "pql-error", "yaml", "json", "jsonl", "text"];
    for (name, document) in [("segments.md", REFERENCE), ("recipes.md", RECIPES)] {
        for block in blocks(document) {
            assert!(known.contains(&block.language), "{name}:{} is in `{}`", block.line, block.language);
        }
    }
}
