//! Promises that hold for every tree and every text: written text parses to the same tree, and
//! nothing makes the parser panic, overflow or hang.

use millrace_model::Decimal;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::ast::{Aggregate, Binary, Binding, Comparison, Direction, EventStep, Expr, Moment, Node, Quantifier, Span, Unit, When};
use crate::functions::Method;
use crate::parser::forms::first_name;
use crate::promises::{round_trip, survive};
use crate::words;
use crate::{DEPTH_MAX, NESTING_MAX, NODES_MAX, json, parser};

fn expr(node: Node) -> Expr {
    Expr { span: Span::default(), node }
}

fn boxed(expr: Expr) -> Box<Expr> {
    Box::new(expr)
}

fn name() -> impl Strategy<Value = String> {
    let plain = select(vec!["a", "v", "x1", "_custom", "größe", "personRole", "xEvent", "timestamp", "And"]);
    let taken = select(vec![
        "from", "count", "sum", "now", "last", "days", "on", "where", "in", "IN", "notIn", "not", "exists", "chain", "select", "let", "over", "if", "date",
        "like", "occurs", "true", "null", "before", "between", "week", "SUM", "NOW",
    ]);
    // One slip of the hand away from a keyword.
    let keywords = [
        words::RESERVED.as_slice(),
        &words::CONTEXTUAL,
        &Method::ALL.iter().map(|method| method.name()).collect::<Vec<_>>(),
        &words::UNITS.map(|(one, ..)| one),
    ]
    .concat();
    let near = (select(keywords), any::<prop::sample::Index>(), any::<bool>()).prop_map(|(word, at, left_out)| {
        let mut letters: Vec<char> = word.chars().collect();
        let at = at.index(letters.len() - 1);
        if left_out {
            letters.remove(at);
        } else {
            letters.swap(at, at + 1);
        }
        letters.into_iter().collect::<String>()
    });
    let strange = select(vec!["my field", "9", "a`b", "\\", "a.b", "\n", "\"", "-"]);
    prop_oneof![
        4 => plain.prop_map(str::to_owned),
        2 => taken.prop_map(str::to_owned),
        2 => near,
        1 => strange.prop_map(str::to_owned),
    ]
}

fn unit() -> impl Strategy<Value = Unit> {
    select(vec![
        Unit::Millisecond,
        Unit::Second,
        Unit::Hour,
        Unit::Day,
        Unit::Week,
        Unit::Month,
        Unit::Century,
        Unit::Millennium,
    ])
}

fn leaf() -> impl Strategy<Value = Expr> {
    let moment = prop_oneof![
        select(vec![Moment::Now, Moment::Today, Moment::Yesterday, Moment::Tomorrow]),
        unit().prop_map(Moment::This),
        unit().prop_map(Moment::Last),
        unit().prop_map(Moment::Next),
    ];
    prop_oneof![
        Just(Node::Null),
        any::<bool>().prop_map(Node::Bool),
        prop_oneof![any::<i64>(), -3_i64..3, Just(i64::MIN)].prop_map(Node::Int),
        (any::<i64>(), 0_u32..29).prop_map(|(digits, places)| Node::Decimal(Decimal::new(digits, places).normalize())),
        prop_oneof![any::<String>(), name(), "[a-z\\\\\"\n/un0-9]{0,8}"].prop_map(Node::Text),
        name().prop_map(Node::Name),
        name().prop_map(Node::Name),
        name().prop_map(Node::Name),
        (1_u32..4).prop_map(Node::Parameter),
        (1_u32..4).prop_map(Node::Climb),
        moment.prop_map(Node::Moment),
    ]
    .prop_map(expr)
}

fn when(inner: BoxedStrategy<Expr>) -> impl Strategy<Value = When> {
    let direction = select(vec![Direction::Before, Direction::After, Direction::From]);
    let comparison = select(vec![
        Comparison::Equal,
        Comparison::NotEqual,
        Comparison::Less,
        Comparison::LessOrEqual,
        Comparison::Greater,
        Comparison::GreaterOrEqual,
    ]);
    prop_oneof![
        (comparison, inner.clone(), unit(), direction.clone(), inner.clone()).prop_map(|(comparison, amount, unit, direction, anchor)| When::Offset {
            comparison,
            amount: boxed(amount),
            unit,
            direction,
            anchor: boxed(anchor)
        }),
        (direction, inner.clone()).prop_map(|(direction, anchor)| When::Relative {
            direction,
            anchor: boxed(anchor)
        }),
        inner.clone().prop_map(|anchor| When::On(boxed(anchor))),
        (inner.clone(), inner).prop_map(|(from, to)| When::Between {
            from: boxed(from),
            to: boxed(to)
        }),
    ]
}

fn ranging(inner: BoxedStrategy<Expr>) -> impl Strategy<Value = Node> {
    let bindings = vec(
        (name(), inner.clone()).prop_map(|(name, source)| Binding { variable: Some(name), source }),
        1..3,
    )
    .boxed();
    let condition = option::of(inner.clone().prop_map(boxed)).boxed();
    let quantifier = select(vec![Quantifier::Exists, Quantifier::Forall, Quantifier::None, Quantifier::One]);
    let aggregate = select(vec![Aggregate::Count, Aggregate::Sum, Aggregate::Average, Aggregate::Min, Aggregate::Max]);
    prop_oneof![
        (quantifier, bindings.clone(), condition.clone()).prop_map(|(quantifier, bindings, condition)| Node::Quantifier {
            quantifier,
            bindings,
            condition
        }),
        (aggregate, inner.clone(), bindings.clone(), condition.clone()).prop_map(|(aggregate, item, bindings, condition)| Node::Aggregate {
            aggregate,
            item: boxed(item),
            bindings,
            condition
        }),
        (option::of(inner), bindings, condition).prop_map(|(item, mut bindings, condition)| {
            if item.as_ref().is_some_and(|item| first_name(item).is_none()) && bindings.len() == 1 {
                bindings[0].variable = None;
            }
            Node::Select {
                item: item.map(boxed),
                bindings,
                condition,
            }
        }),
    ]
}

fn tree() -> impl Strategy<Value = Expr> {
    leaf().prop_recursive(6, 48, 4, |inner| {
        let operator = select(vec![
            Binary::And,
            Binary::Or,
            Binary::And,
            Binary::Or,
            Binary::Equal,
            Binary::NotEqual,
            Binary::Less,
            Binary::GreaterOrEqual,
            Binary::In,
            Binary::NotIn,
            Binary::Add,
            Binary::Subtract,
            Binary::Multiply,
            Binary::Divide,
            Binary::Remainder,
        ]);
        let list = vec(inner.clone(), 0..4);
        let step = (
            name(),
            any::<bool>(),
            option::of(inner.clone()),
            option::of(when(inner.clone())),
            option::of(inner.clone()),
            option::of(inner.clone()),
        )
            .prop_map(|(label, negated, what, when, condition, count)| EventStep {
                label,
                negated,
                what,
                when,
                condition,
                count,
            });
        prop_oneof![
            list.clone().prop_map(Node::Array),
            vec((name(), inner.clone()), 0..3).prop_map(Node::Object),
            (inner.clone(), name()).prop_map(|(of, name)| Node::Field { of: boxed(of), name }),
            (inner.clone(), name()).prop_map(|(of, name)| Node::Field { of: boxed(of), name }),
            (inner.clone(), inner.clone()).prop_map(|(of, condition)| Node::Filter {
                of: boxed(of),
                condition: boxed(condition)
            }),
            (vec(name(), 1..3), inner.clone()).prop_map(|(parameters, body)| Node::Lambda { parameters, body: boxed(body) }),
            (name(), list.clone()).prop_map(|(function, arguments)| Node::Call { function, arguments }),
            (inner.clone(), name(), list).prop_map(|(of, name, arguments)| parser::method(of, name, arguments)),
            inner.clone().prop_map(|inner| Node::Not(boxed(inner))),
            inner.clone().prop_map(|inner| Node::Negate(boxed(inner))),
            (operator.clone(), inner.clone(), inner.clone()).prop_map(|(operator, left, right)| Node::Binary {
                operator,
                left: boxed(left),
                right: boxed(right)
            }),
            (operator, inner.clone(), inner.clone()).prop_map(|(operator, left, right)| Node::Binary {
                operator,
                left: boxed(left),
                right: boxed(right)
            }),
            ranging(inner.clone()),
            (name(), inner.clone(), inner.clone()).prop_map(|(name, value, body)| Node::Let {
                name,
                value: boxed(value),
                body: boxed(body)
            }),
            (inner.clone(), when(inner.clone())).prop_map(|(subject, when)| Node::Occurs { subject: boxed(subject), when }),
            (inner.clone(), inner, vec(step, 1..3)).prop_map(|(events, timestamp, steps)| Node::Chain {
                events: boxed(events),
                timestamp: boxed(timestamp),
                steps
            }),
        ]
        .prop_map(expr)
    })
}

const RULES: [&str; 8] = [
    "homeAddress.country = \"Canada\" and not (person.name like \"A%\") or age % 5 = -0.5",
    "exists v from xEvent where v.eventType = \"view\", i from v.items : i.sku in [\"a\", 1, null]",
    "sum(select o.amount from accounts.opportunities where o.isWon) > 1000000",
    "let n = (sum v.x + 1 over v from xEvent where v.y) in n > 2 and n notIn [3]",
    "chain(xEvent, timestamp, [A: WHAT(x.equals(\"y\", false)) WHEN(<= 24 hours before now) COUNT(2), B: not WHAT(z)])",
    "xs[a[b = ^^.c]].groupBy(p).map((K, G) => mapEntry(K, {\"n\": G.count()}))",
    "t occurs between date(2020, 1, 2) and last month or u occurs on $1.day",
    "(P) => if(P.x, \"\\u00e9 \\\" \\w\", -3) = `odd name`",
];

const PIECES: [&str; 36] = [
    "(", ")", "[", "]", "{", "}", ",", ".", ":", "=", "=>", "!=", "<", "-", "^", "!", "\"", "`", "\\", "'", "/*", "*/", "//", "\n", " and ", " or ", " not ",
    " in ", " where ", " from ", " over ", " select ", " exists ", " sum ", " occurs ", " let ",
];

/// A rule with some places cut out, doubled, or replaced by pieces of rules.
fn damaged() -> impl Strategy<Value = String> {
    let damage = (any::<prop::sample::Index>(), 0_usize..12, 0_usize..3, select(PIECES.to_vec()));
    (select(RULES.to_vec()), vec(damage, 1..6)).prop_map(|(rule, damages)| {
        let mut letters: Vec<char> = rule.chars().collect();
        for (index, length, kind, piece) in damages {
            let from = index.index(letters.len() + 1);
            let to = (from + length).min(letters.len());
            let with: Vec<char> = match kind {
                0 => Vec::new(),
                1 => letters[from..to].iter().chain(&letters[from..to]).copied().collect(),
                _ => piece.chars().collect(),
            };
            letters.splice(from..to, with);
        }
        letters.into_iter().collect()
    })
}

/// As many cases as `PROPTEST_CASES` asks for, at least 512.
fn config() -> ProptestConfig {
    let given = ProptestConfig::default();
    ProptestConfig {
        cases: given.cases.max(512),
        failure_persistence: None,
        ..given
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn trees(tree in tree()) {
        round_trip(&tree);
    }

    #[test]
    fn damaged_rules(text in damaged()) {
        let _ = survive(&text);
    }

    #[test]
    fn pieces(pieces in vec(prop_oneof![select(PIECES.to_vec()), select(vec!["a", "v", "1", "now", "days", "last", "1.5", "$1", "null", "chain(", "WHAT("])], 0..24)) {
        let _ = survive(&pieces.concat());
    }

    #[test]
    fn any_text(text in any::<String>()) {
        let _ = survive(&text);
    }

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..64)) {
        let _ = survive(&String::from_utf8_lossy(&bytes));
    }

    /// Members moved from one node into another, or left out.
    #[test]
    fn damaged_json(tree in tree(), damages in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<bool>()), 1..4)) {
        let mut value = json::to_json(&tree);
        for (from, to, remove) in damages {
            let mut pointers = Vec::new();
            pointers_of(&value, String::new(), &mut pointers);
            let part = value.pointer(&pointers[from.index(pointers.len())]).cloned().unwrap_or_default();
            let target = value.pointer_mut(&pointers[to.index(pointers.len())]).expect("a path of this value");
            *target = if remove { serde_json::Value::Null } else { part };
        }
        match json::from_json(&value) {
            Ok(read) => round_trip(&read),
            Err(found) => prop_assert!((1..=20).contains(&found.len())),
        }
    }
}

fn pointers_of(value: &serde_json::Value, path: String, pointers: &mut Vec<String>) {
    match value {
        serde_json::Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(at, item)| pointers_of(item, format!("{path}/{at}"), pointers)),
        serde_json::Value::Object(members) => members.iter().for_each(|(key, member)| pointers_of(member, format!("{path}/{key}"), pointers)),
        _ => {}
    }
    pointers.push(path);
}

/// Every file of `corpus` parses or is refused as its name says, and keeps the promises.
#[test]
fn corpus() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("the folder exists") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|ending| ending != "pql") {
            continue;
        }
        let text = String::from_utf8_lossy(&std::fs::read(&path).expect("a file")).into_owned();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let refused = survive(&text).is_err();
        assert_eq!(refused, name.starts_with("refused-"), "{name}");
        seen += 1;
    }
    assert!(seen >= 12);
}

/// As deep and as long as allowed: every walk of the tree fits the stack of a test's thread. One
/// level more is refused.
#[test]
fn bounds() {
    let nested = |open: &str, inner: &str, close: &str, levels: usize| format!("{}{inner}{}", open.repeat(levels), close.repeat(levels));
    let forms = [
        ("(", "a", ")"),
        ("[", "a", "]"),
        ("f(", "a", ")"),
        ("{\"k\": ", "a", "}"),
        ("not (", "a", ")"),
        ("-(", "a", ")"),
        ("-", "a", ""),
        ("a[", "b", "]"),
        ("1 - (", "a", ")"),
        ("a and (b or ", "c", ")"),
        ("", "a", ".b"),
        ("", "a", "[b]"),
        ("", "a", ".f(1)"),
        ("", "a", " + 1"),
        ("", "a", " * 1"),
        ("(x) => ", "a", ""),
        ("let a = 1 in ", "a", ""),
        ("let a = (", "1", ") in b"),
        ("exists v from a where ", "b", ""),
        ("exists v from (", "a", ")"),
        ("select v.x from a where ", "b", ""),
        ("sum (", "a", ") over v from b"),
        ("b occurs on (", "a", ")"),
        ("chain(a, b, [A: WHAT(", "a", ")])"),
        ("if(a, ", "b", ", c)"),
    ];
    for (open, inner, close) in forms {
        let brackets = open.matches(['(', '[', '{']).count();
        let fits = nested(open, inner, close, (NESTING_MAX / brackets.max(1)).min(DEPTH_MAX / 3));
        assert!(survive(&fits).is_ok(), "{fits}");
        for levels in [DEPTH_MAX - 2, DEPTH_MAX, 2 * DEPTH_MAX, 20_000 / open.len().max(1)] {
            let result = survive(&nested(open, inner, close, levels));
            assert!(levels < DEPTH_MAX || result.is_err(), "{open}{inner}{close} {levels} times");
        }
    }
    for operator in ["and", "or"] {
        for operands in [2, 31, 32, 33, 34, 64, 65, 100, 1_000, NODES_MAX / 2] {
            let text = vec!["a"; operands].join(&format!(" {operator} "));
            assert!(survive(&text).is_ok(), "{operands} operands");
        }
        let found = survive(&vec!["a"; NODES_MAX].join(&format!(" {operator} "))).expect_err("too large");
        assert_eq!(found[0].code, "too-large");
    }
    let long = format!("a in [{}]", vec!["1"; NODES_MAX - 10].join(","));
    assert!(survive(&long).is_ok());
    assert_eq!(survive(&" ".repeat(2 << 20)).expect_err("too long")[0].code, "too-long");
    for strange in [
        "# ",
        "\"",
        "(",
        ")",
        "a ",
        "^",
        "!",
        "-",
        "$",
        "0x ",
        "sum ",
        "over ",
        "/*",
        "`",
        "\\",
        "let a = ",
        "a, ",
        "not in ",
        "exsits v from ",
        "a.in(",
        "WHAT(",
    ] {
        assert!(survive(&strange.repeat((1 << 16) / strange.len())).is_err(), "{strange}");
    }
}
