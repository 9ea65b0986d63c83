//! Every limit of the reference: a rule at the limit is accepted, one beyond it is refused by name;
//! large and deep rules end.

use chrono_tz::Tz;
use millrace_model::{SubjectKind, Text, Timestamp};
use millrace_pql::{CLIMB_MAX, NESTING_MAX, NODES_MAX, TEXT_BYTES_MAX};
use serde_json::json;

use crate::check::temporal::{COUNT_MAX, STEPS_MAX};
use crate::check::texts::{GROUP_MAX, PATTERN_CHARS_MAX, PATTERNS_MAX};
use crate::check::{DEPTH_MAX, HOPS_MAX, SIZE_MAX};
use crate::cost::{DEGREE_MAX, LONG_MAX};
use crate::eval::ITEMS_MAX;
use crate::testing::{Tree, at, definition, schema_once, settings, value};
use crate::{BRACKETS_MAX, DEFINITIONS_MAX, Definition, Kind, NAME_BYTES_MAX, Plan, VALUES_MAX, compile, parse_definitions};

const REFERENCE: &str = include_str!("../../../../docs/segments.md");

/// The codes with which a rule about persons is refused.
fn refused(pql: &str) -> Vec<&'static str> {
    let compiled = compile(&definition(SubjectKind::Person, Tz::UTC, pql), schema_once());
    compiled.map_or_else(|problems| problems.iter().map(|problem| problem.code).collect(), |_| Vec::new())
}

fn repeated(count: usize, separator: &str, part: impl Fn(usize) -> String) -> String {
    (0..count).map(part).collect::<Vec<_>>().join(separator)
}

fn nested(open: &str, inner: &str, close: &str, levels: usize) -> String {
    format!("{}{inner}{}", open.repeat(levels), close.repeat(levels))
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn each_limit_is_where_the_reference_says() {
    let regex = |count: usize| repeated(count, " or ", |n| format!("homeAddress.city.matches(\"a{n}\")"));
    let steps = |count: usize| format!("chain(xEvent, timestamp, [{}])", repeated(count, ", ", |n| format!("A{n}: WHAT(true)")));
    let lists = |of: &str, count: usize| format!("exists {} where v0 != v1", repeated(count, ", ", |n| format!("v{n} from {of}")));
    let linked = |count: usize| {
        let earlier = repeated(count, ", ", |n| format!("A{n}: WHAT(true)"));
        format!(
            "chain(xEvent, timestamp, [{earlier}, B: WHERE({})])",
            repeated(count, " and ", |n| format!("B.eventType = A{n}.eventType"))
        )
    };
    let like = |count: usize| format!("homeAddress.city like \"{}\"", "a".repeat(count));
    let found = |count: usize| format!("homeAddress.city.matches(\"{}\")", "a".repeat(count));
    let counted = |count: i64| format!("chain(xEvent, timestamp, [A: COUNT({count})])");
    let top = |count: i64| format!("xEvent.topN(timestamp, {count}).count() > 1");
    let group = |number: i64| format!("homeAddress.city.regexGroup(\"a\", {number}) = \"a\"");
    let parents = |count: usize| format!("accounts.parent{}.accountName.count() > 1", ".parent".repeat(count - 2));
    let text = |bytes: usize| format!("b2b.isConverted{}", " ".repeat(bytes - "b2b.isConverted".len()));
    let items = |count: usize| format!("b2b.personScore in [{}]", repeated(count, ", ", |n| n.to_string()));
    let filled = |uses: usize| {
        format!(
            "let x = {} in {}",
            vec!["b2b.personScore"; 99].join(" + "),
            repeated(uses, " or ", |_| "x > 1".to_owned())
        )
    };
    let climb = |levels: u32| format!("{}.homeAddress.city = \"a\"", "^".repeat(levels as usize));
    let table = [
        (text(TEXT_BYTES_MAX), text(TEXT_BYTES_MAX + 1), "too-long"),
        (items(NODES_MAX - 10), items(NODES_MAX), "too-large"),
        // `x` has 99 values of three nodes each and the signs between them.
        (filled(SIZE_MAX / 400), filled(SIZE_MAX / 390), "too-large"),
        (
            nested("not(", "b2b.isConverted", ")", DEPTH_MAX - 3),
            nested("not(", "b2b.isConverted", ")", 2 * DEPTH_MAX),
            "too-deep",
        ),
        (
            nested("(", "b2b.isConverted", ")", NESTING_MAX),
            nested("(", "b2b.isConverted", ")", NESTING_MAX + 1),
            "too-deep",
        ),
        (parents(usize::from(HOPS_MAX)), parents(usize::from(HOPS_MAX) + 1), "too-far"),
        (counted(COUNT_MAX), counted(COUNT_MAX + 1), "count"),
        (top(COUNT_MAX), top(COUNT_MAX + 1), "count"),
        (steps(STEPS_MAX), steps(STEPS_MAX + 1), "chain"),
        (lists("accounts", DEGREE_MAX), lists("accounts", DEGREE_MAX + 1), "too-costly"),
        (lists("xEvent", LONG_MAX), lists("xEvent", LONG_MAX + 1), "too-costly"),
        (linked(LONG_MAX - 1), linked(LONG_MAX), "too-costly"),
        (regex(PATTERNS_MAX), regex(PATTERNS_MAX + 1), "regex"),
        (like(PATTERN_CHARS_MAX), like(PATTERN_CHARS_MAX + 1), "pattern"),
        (found(PATTERN_CHARS_MAX), found(PATTERN_CHARS_MAX + 1), "pattern"),
        (
            "homeAddress.city.matches(\"a{1000}\")".to_owned(),
            "homeAddress.city.matches(\"(a{1000}){1000}\")".to_owned(),
            "regex",
        ),
        (group(GROUP_MAX), group(GROUP_MAX + 1), "arguments"),
        (format!("not(accounts[{}])", climb(1)), climb(CLIMB_MAX + 1), "too-deep"),
    ];
    for (fits, beyond, code) in table {
        let shown = |pql: &str| pql.chars().take(80).collect::<String>();
        assert_eq!(refused(&fits), Vec::<&str>::new(), "{}", shown(&fits));
        assert!(refused(&beyond).contains(&code), "{:?} of {}", refused(&beyond), shown(&beyond));
    }
    let json = |levels: usize| {
        let pql = millrace_pql::json::to_json(&millrace_pql::parse(&nested("not(", "b2b.isConverted", ")", levels)).expect("a rule"));
        json!({"kind": "Segment", "metadata": {"name": "a"}, "spec": {"pql": pql}}).to_string()
    };
    assert!(parse_definitions(&json(55)).is_ok());
    assert_eq!(parse_definitions(&json(100)).expect_err("too deep")[0].code, "too-deep");
    // Aliases of aliases: a million where they are written out.
    let aliases = repeated(6, "", |n| {
        format!(
            "a{}: &a{} [{}]\n",
            n + 1,
            n + 1,
            vec![if n == 0 { "x".to_owned() } else { format!("*a{n}") }; 10].join(", ")
        )
    });
    assert_eq!(parse_definitions(&aliases).expect_err("a bomb")[0].code, "yaml");
    // One value of many, as often as the reader itself allows.
    let wide = format!("a: &a [{}]\nb: [{}]\n", vec!["1"; 20_000].join(","), vec!["*a"; 90].join(","));
    let refused = parse_definitions(&wide).expect_err("too large");
    assert!(refused[0].message.contains(&format!("more than {VALUES_MAX} values")), "{refused:?}");
    for text in ["[".repeat(100_000), "{a: ".repeat(100_000), format!("pql: {}", "[".repeat(BRACKETS_MAX + 1))] {
        let refused = parse_definitions(&text).expect_err("too deep");
        assert_eq!((refused.len(), refused[0].code), (1, "too-deep"));
        assert!(refused[0].message.contains(&format!("more than {BRACKETS_MAX} brackets")), "{refused:?}");
    }
    let documents = |count: usize| {
        repeated(count, "", |n| {
            format!("---\nkind: Segment\nmetadata: {{ name: a{n} }}\nspec: {{ pql: 'true' }}\n")
        })
    };
    assert_eq!(parse_definitions(&documents(2_000)).map(|found| found.len()), Ok(2_000));
    let refused = parse_definitions(&documents(DEFINITIONS_MAX + 1)).expect_err("too many");
    assert!(refused[0].message.contains(&format!("more than {DEFINITIONS_MAX} at a time")), "{refused:?}");
    // However many unknown keys, anchors or invalid names there are, the report is short.
    let keys = format!("kind: Segment\n{}", repeated(100_000, "", |n| format!("k{n}: &a{n} x\n")));
    let names = format!(
        "kind: Segment\nmetadata: {{ name: a }}\nspec: {{ pql: 'true', destinations: [{}] }}\n",
        vec!["A"; 100_000].join(", ")
    );
    for text in [keys, names] {
        assert!((1..=20).contains(&parse_definitions(&text).expect_err("wrong").len()));
    }
    let named = |length: usize| format!("kind: Segment\nmetadata: {{ name: {} }}\nspec: {{ pql: 'true' }}\n", "a".repeat(length));
    assert!(parse_definitions(&named(NAME_BYTES_MAX)).is_ok());
    assert_eq!(parse_definitions(&named(NAME_BYTES_MAX + 1)).expect_err("too long")[0].code, "name");
}

#[test]
fn limits_of_the_reader_are_named() {
    let levels = format!("a: {}{}", "[".repeat(130), "]".repeat(130));
    let fifty = |name: &str, of: &str| format!("{name}: &{name} [{}]\n", vec![of; 50].join(", "));
    let aliases = ["a: &a [x]\n".to_owned(), fifty("b", "*a"), fifty("c", "*b"), fifty("d", "*c")].concat();
    for (text, code, expected) in [
        (levels, "too-deep", "maps and lists stand in each other more than 128 levels deep"),
        (aliases, "yaml", "aliases stand for more than 100 times what the document holds"),
    ] {
        let refused = parse_definitions(&text).expect_err("beyond a limit");
        assert_eq!((refused[0].code, refused[0].message.as_str()), (code, expected));
    }
}

#[test]
fn the_reference_states_these_numbers() {
    let limits = REFERENCE.split("## Limits").nth(1).expect("a chapter on limits");
    let grouped = |number: usize| {
        let digits = number.to_string();
        let parts: Vec<&str> = digits
            .as_bytes()
            .rchunks(3)
            .rev()
            .map(|part| std::str::from_utf8(part).expect("digits"))
            .collect();
        parts.join(",")
    };
    for (row, number) in [
        ("text of a rule", TEXT_BYTES_MAX),
        ("parts of a rule", NODES_MAX.min(SIZE_MAX)),
        ("nesting of a rule", DEPTH_MAX),
        ("relations from the subject", usize::from(HOPS_MAX)),
        ("`COUNT(n)`", COUNT_MAX as usize),
        ("steps of a chain", STEPS_MAX),
        ("items that one rule goes through", ITEMS_MAX),
        ("lists combined", DEGREE_MAX),
        ("lists of events or persons", LONG_MAX),
        ("earlier steps", LONG_MAX - 1),
        ("regular expressions of a rule", PATTERNS_MAX),
        ("a pattern", PATTERN_CHARS_MAX),
        ("group of a regular expression", GROUP_MAX as usize),
        ("levels of `^`", CLIMB_MAX as usize),
        ("name of a segment", NAME_BYTES_MAX),
        ("brackets open at a time", BRACKETS_MAX),
        ("values of a definition", VALUES_MAX),
        ("definitions applied together", DEFINITIONS_MAX),
        (
            "how far back events are kept",
            (crate::Settings::default().retention_ms / millrace_model::DAY_MS) as usize,
        ),
        ("features, event queries", crate::Settings::default().parts_max),
    ] {
        let line = limits.lines().find(|line| line.contains(row)).unwrap_or_else(|| panic!("no row of {row}"));
        assert!(line.contains(&grouped(number)), "{line}: {}", grouped(number));
    }
}

#[test]
fn the_reference_has_an_example_of_every_function() {
    let examples: String = REFERENCE
        .lines()
        .filter(|line| line.starts_with("| `") || !line.starts_with('|'))
        .collect::<Vec<_>>()
        .join("\n");
    for name in millrace_pql::names() {
        let shown = ["(", " "].iter().any(|after| examples.contains(&format!("{name}{after}")));
        assert!(shown, "no example of `{name}`");
    }
}

/// Ten thousand nodes or a thousand levels in every shape: refused, or compiled, planned and
/// evaluated. Copies within copies would not end.
#[test]
fn large_and_deep_rules_end() {
    let tree = Tree::read(&json!({
        "person": {"p": {"b2b": {"personScore": 3}, "extra": {"n": 1}}},
        "events": {"p": [{"_id": "e", "timestamp": "2026-06-15T10:00:00Z", "eventType": "a"}]},
    }));
    let doubled = |levels: usize| nested("(select v from xEvent where ", "v.eventType.isNull()", ").count() = 1", levels);
    let shapes = [
        vec!["b2b.isConverted"; 5_000].join(" and "),
        repeated(3_000, " or ", |n| format!("b2b.personScore = {n}")),
        format!("exists v from xEvent where {}", repeated(2_500, " or ", |n| format!("v.extra.n = {n}"))),
        repeated(1_000, " or ", |n| format!("xEvent[extra.n = {n}].count() > 1")),
        repeated(1_000, " or ", |n| format!("(exists a from accounts where a.accountName = \"{n}\")")),
        repeated(500, " and ", |n| {
            format!("sum(accounts.related.opportunities[opportunityStage = \"{n}\"].opportunityAmount.amount) > b2b.personScore")
        }),
        format!("{{{}}}.get(\"k1\") = 1", repeated(3_000, ", ", |n| format!("\"k{n}\": {n}"))),
        format!(
            "chain(xEvent[{}], timestamp, [{}])",
            repeated(3_000, " or ", |n| format!("extra.n = {n}")),
            repeated(90, ", ", |n| format!("A{n}: WHAT(true)"))
        ),
        format!("exists {} where v0 != v1", repeated(2_000, ", ", |n| format!("v{n} from xEvent"))),
        format!("xEvent{}.count() > 0", ".topN(timestamp, 3)".repeat(120)),
        format!("xEvent.productListItems.quantity{}.exists($1 > 3)", ".map((x) => x + x)".repeat(100)),
        format!("xEvent.extra{}.exists((y) => y.a.a.a = 3)", ".map((x) => {\"a\": x, \"b\": x})".repeat(100)),
        doubled(2),
        doubled(3),
        doubled(100),
        nested("xEvent[^.", "xEvent[eventType = \"a\"]", "]", 60),
        nested("if(b2b.isConverted, true, ", "b2b.isConverted", ")", 120),
        nested("not(", "b2b.isConverted", ")", 1_000),
        nested("(", "b2b.isConverted", ")", 1_000),
        nested("exists v from xEvent where (", "v.eventType.isNull()", ")", 1_000),
        format!("{}b2b.personScore > 1", "-".repeat(1_000)),
        format!("b2b{} > 1", ".personScore".repeat(1_000)),
        format!("{} > 1", vec!["b2b.personScore"; 1_000].join(" + ")),
    ];
    for pql in shapes {
        let Ok(rule) = compile(&definition(SubjectKind::Person, Tz::UTC, &pql), schema_once()) else {
            continue;
        };
        let Ok(plan) = Plan::build(std::slice::from_ref(&rule), &settings()) else {
            continue;
        };
        value(&rule, &plan, &tree, "p", at("2026-06-17T10:00:00Z"));
    }
}

/// A rule that would compare more items than it may go through is false for that subject, says so, and ends.
#[test]
fn a_rule_that_needs_too_many_items_is_false_and_says_so() {
    let pairs = "exists v from xEvent, w from xEvent where v.extra.a = w.extra.b";
    let opposite = "not (exists v from xEvent, w from xEvent where v.extra.a = w.extra.b)";
    let searched = "chain(xEvent, timestamp, [A: WHAT(true), B: WHERE(B.extra.b = A.extra.a)])";
    for (events, decided) in [(450, true), (800, false)] {
        let events: Vec<_> = (0..events)
            .map(|n| json!({"_id": format!("e{n:05}"), "timestamp": Timestamp(1_781_500_000_000 + n).to_string(), "extra": {"a": n, "b": -1 - n}}))
            .collect();
        let tree = Tree::read(&json!({"person": {"p": {}}, "events": {"p": events}}));
        for (pql, truth) in [(pairs, false), (opposite, true), (searched, false)] {
            let rule = compile(&definition(SubjectKind::Person, Tz::UTC, pql), schema_once()).expect("a rule");
            let plan = Plan::build(std::slice::from_ref(&rule), &settings()).expect("a plan");
            let now = at("2026-06-17T10:00:00Z");
            assert_eq!(value(&rule, &plan, &tree, "p", now).value, truth && decided, "{pql}");
            let shown = format!("{:?}", rule.whole(&settings()).explain(&tree, "p", now));
            assert_eq!(shown.contains("not decided: more than 250000 items"), !decided, "{shown}");
        }
    }
}

/// A search for steps that refer to each other does not try twice what has failed: this one would
/// take 60 to the power of 12.
#[test]
fn chains_of_linked_steps_end() {
    let events: Vec<_> = (0..60)
        .map(|n| json!({"_id": format!("e{n:02}"), "timestamp": format!("2026-06-15T10:{n:02}:00Z"), "extra": {"n": n}}))
        .collect();
    let tree = Tree::read(&json!({"person": {"p": {}}, "events": {"p": events}}));
    let steps = |last: &str| {
        let linked = repeated(11, ", ", |n| format!("A{}: WHERE(A{}.extra.n > A{n}.extra.n)", n + 1, n + 1));
        format!("chain(xEvent, timestamp, [A0: WHAT(true), {linked}, Z: WHERE(extra.n {last} A11.extra.n)])")
    };
    for (last, expected) in [("<", false), (">", true)] {
        let pql = steps(last);
        let rule = compile(&definition(SubjectKind::Person, Tz::UTC, &pql), schema_once()).expect("a rule");
        let plan = Plan::build(std::slice::from_ref(&rule), &settings()).expect("a plan");
        assert_eq!(value(&rule, &plan, &tree, "p", at("2026-06-17T10:00:00Z")).value, expected, "{pql}");
    }
}

/// A limit is reported as itself: brackets left open after the place where reading ended are not
/// errors of their own.
#[test]
fn a_limit_is_the_only_finding() {
    for text in [
        nested("(", "b2b.isConverted", ")", 100_000),
        "(".repeat(100_000),
        "accounts[".repeat(1_000),
        nested("not(", "b2b.isConverted", ")", 200),
        "not ".repeat(1_000) + "b2b.isConverted",
    ] {
        let shown = &text[..40];
        let found = compile(&definition(SubjectKind::Person, Tz::UTC, &text), schema_once()).expect_err(shown);
        assert_eq!(found.iter().map(|problem| problem.code).collect::<Vec<_>>(), ["too-deep"], "{shown}");
        assert!(found[0].message.contains(&format!("{NESTING_MAX} levels")), "{shown}: {}", found[0].message);
    }
}

/// Attributes that each name the one before twice are refused by their size, in time that does not
/// double with each.
#[test]
fn doubling_attributes_end() {
    let attribute = |n: usize| {
        let pql = if n == 0 {
            "b2b.personScore".to_owned()
        } else {
            format!("computed.a{0} + computed.a{0}", n - 1)
        };
        Definition {
            kind: Kind::ComputedAttribute,
            name: Text::new(format!("a{n}")),
            ..definition(SubjectKind::Person, Tz::UTC, &pql)
        }
    };
    let compiled: Vec<_> = (0..40).map(|n| compile(&attribute(n), schema_once()).expect("an attribute")).collect();
    let refused = crate::link(&compiled, schema_once()).expect_err("too large");
    assert!(refused.iter().all(|problem| problem.code == "too-large"), "{refused:?}");
    assert!(refused[0].message.contains(&format!("more than {SIZE_MAX} steps")), "{refused:?}");
    crate::link(&compiled[..8], schema_once()).expect("256 values");
}

/// Patterns that take a backtracking matcher exponential time.
#[test]
fn regular_expressions_are_linear() {
    let text = "a".repeat(20_000);
    let tree = Tree::read(&json!({"person": {"p": {"extra": {"s": text}}}}));
    for pattern in ["(a+)+$b", "(a|a)*b", "(a|aa)+b", "a*a*a*a*a*a*b", "(.*)(.*)(.*)b"] {
        let pql = format!("extra.s.matches(\"{pattern}\")");
        let rule = compile(&definition(SubjectKind::Person, Tz::UTC, &pql), schema_once()).expect("a rule");
        let plan = Plan::build(std::slice::from_ref(&rule), &settings()).expect("a plan");
        assert!(!value(&rule, &plan, &tree, "p", at("2026-06-17T10:00:00Z")).value, "{pql}");
    }
}
