//! What is refused at definition time, and how.

use std::fmt::Write;

use chrono_tz::Tz;
use expect_test::{Expect, expect};
use millrace_model::SubjectKind;

use crate::testing::{compiled, definition, schema_once, settings};
use crate::{Compiled, Plan};

fn check(subject: SubjectKind, table: &[&str], expected: Expect) {
    let mut out = String::new();
    for pql in table {
        let shown = match crate::compile(&definition(subject, Tz::UTC, pql), schema_once()) {
            Err(problems) => problems,
            Ok(compiled) => compiled.warnings().to_vec(),
        };
        let _ = writeln!(out, "{pql}");
        for problem in shown {
            let _ = write!(out, "  {}[{}] {}", problem.severity.as_str(), problem.code, problem.message);
            if let Some(expected) = problem.expected {
                let _ = write!(out, "; {expected}");
            }
            if let Some(help) = problem.help {
                let _ = write!(out, "; {help}");
            }
            if let Some(suggestion) = problem.suggestion {
                let _ = write!(out, "; did you mean {suggestion}");
            }
            out.push('\n');
        }
    }
    expected.assert_eq(&out);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn refused_rules() {
    check(
        SubjectKind::Person,
        &[
            "homeAddress.contry = \"CA\"",
            "acounts.count() > 1",
            "homeAddress",
            "b2b.personScore",
            "b2b.personScore > \"high\"",
            "b2b.personScore > true",
            "xEvent.exists(timestamp occurs <= -3 days before now)",
            "b2b.isConverted > true",
            "person.birthDate > 5",
            "person.birthDate > \"soon\"",
            "accounts.accountName = \"Acme\"",
            "accounts = 3",
            "extendedWorkDetails.departments = \"HR\"",
            "[\"HR\"] in extendedWorkDetails.departments",
            "accounts[extendedWorkDetails.jobTitle = \"x\"].count() > 0",
            "homeAddress.city.matches(\"(?=x)\")",
            "homeAddress.city.matches(\"(a)\\\\1\")",
            "homeAddress.city.matches(\"(?<!x)y\") or homeAddress.city.regexGroup(\"(?<n>a)\\\\k<n>\", 1) = \"a\"",
            "homeAddress.city.matches(\"(\")",
            "homeAddress.city.equals(\"a\", 5, \"b\", true) and b2b.personScore.equals(1, \"x\")",
            "accounts.persons.count() > 1",
            "accounts.parent.parent.parent.parent.accountName.count() > 1",
            "accounts.accountName.sum() > 1",
            "accounts.sum() > 1",
            "xEvent.timestamp occurs today",
            "homeAddress.city.frobnicate()",
            "frobnicate(1)",
            "homeAddress.city.startsWit(\"x\")",
            "date(2026, 2, 30) = today",
            "now - 3 > today",
            "homeAddress.city = null",
            "xEvent.topN(timestamp, 0).count() > 1",
            "chain(xEvent, eventType, [A: WHAT(true)])",
            "chain(accounts, timestamp, [A: WHAT(true)])",
            "if(b2b.isConverted, 1, \"x\") = 1",
            "inSegment(b2b.personScore)",
            "^.homeAddress.city = \"x\"",
            "1 = 1 or b2b.isConverted",
            "exists o from accounts.opportunities, r from o.roles where r.opportunity.isWon",
        ],
        expect![[r#"
            homeAddress.contry = "CA"
              error[unknown-field] `contry` is no field of a record Address; did you mean country
            acounts.count() > 1
              error[unknown-field] `acounts` is no field of a person; did you mean accounts
            homeAddress
              error[not-boolean] a condition is needed here, this is a record Address; write `.isNotNull()` after it
            b2b.personScore
              error[not-boolean] a condition is needed here, this is a number; compare it with something
            b2b.personScore > "high"
              error[type] `"high"` is not a number
            b2b.personScore > true
              error[type] a number cannot be compared with a boolean; compare fields of one type
            xEvent.exists(timestamp occurs <= -3 days before now)
              error[type] a window of a negative number of units; `after` looks the other way
            b2b.isConverted > true
              error[type] a boolean cannot be compared with a boolean; compare fields of one type
            person.birthDate > 5
              error[type] a date cannot be compared with a whole number; compare fields of one type
            person.birthDate > "soon"
              error[type] `"soon"` is not a date
            accounts.accountName = "Acme"
              error[type] a list of texts cannot be compared with a text; `in` and `exists x from … where …` ask of a list's items
            accounts = 3
              error[type] a list of accounts cannot be compared with a whole number; `exists x from … where …` asks of its items
            extendedWorkDetails.departments = "HR"
              error[type] a list of texts cannot be compared with a text; `in` and `exists x from … where …` ask of a list's items
            ["HR"] in extendedWorkDetails.departments
              error[type] a list is never an item of a list of values; `intersects` asks whether two lists have an item in common
            accounts[extendedWorkDetails.jobTitle = "x"].count() > 0
              error[unknown-field] `extendedWorkDetails` is no field of an account, but of what is around the filter; did you mean ^.extendedWorkDetails
            homeAddress.city.matches("(?=x)")
              error[regex] look-around is not supported: regular expressions run in linear time; two conditions joined by `and`
            homeAddress.city.matches("(a)\\1")
              error[regex] back-references are not supported: regular expressions run in linear time
            homeAddress.city.matches("(?<!x)y") or homeAddress.city.regexGroup("(?<n>a)\\k<n>", 1) = "a"
              error[regex] look-around is not supported: regular expressions run in linear time; two conditions joined by `and`
              error[regex] back-references are not supported: regular expressions run in linear time
            homeAddress.city.matches("(")
              error[regex] no regular expression: unclosed group
            homeAddress.city.equals("a", 5, "b", true) and b2b.personScore.equals(1, "x")
              error[type] `"x"` is not a number
            accounts.persons.count() > 1
              error[persons] `persons` can be followed in rules about accounts only
            accounts.parent.parent.parent.parent.accountName.count() > 1
              error[too-far] `parent` is more than 4 relations away from the person
            accounts.accountName.sum() > 1
              error[type] `sum` of a list of texts; name a field of the items that can be added up or ordered
            accounts.sum() > 1
              error[type] `sum` of a list of accounts; name a field of the items that can be added up or ordered
            xEvent.timestamp occurs today
              error[type] an instant is needed here, this is a list of instants; `exists x from … where x.timestamp occurs …` asks of a list's items
            homeAddress.city.frobnicate()
              error[unknown-function] there is no method `frobnicate`
            frobnicate(1)
              error[unknown-function] there is no function `frobnicate`
            homeAddress.city.startsWit("x")
              error[unknown-function] there is no method `startsWit`; did you mean startsWith
            date(2026, 2, 30) = today
              error[date] there is no day 2026-02-30
            now - 3 > today
              error[type] arithmetic wants numbers, these are an instant and a whole number; `occurs … before …` compares instants
            homeAddress.city = null
              warning[null-comparison] a comparison with null is never true; `isNull` and `isNotNull` ask whether there is a value
            xEvent.topN(timestamp, 0).count() > 1
              error[count] `topN` wants a whole number from 1 to 100000, written out
            chain(xEvent, eventType, [A: WHAT(true)])
              error[chain] the steps of a chain are ordered by `timestamp`
            chain(accounts, timestamp, [A: WHAT(true)])
              error[type] a chain goes through events, this is a list of accounts; `xEvent`, or a filter of it
            if(b2b.isConverted, 1, "x") = 1
              error[type] the branches of `if` are a whole number and a text; two values of one type
            inSegment(b2b.personScore)
              error[arguments] `inSegment` takes the name of one segment; `inSegment("name")`
            ^.homeAddress.city = "x"
              error[climb] `^` climbs out of the rule
            1 = 1 or b2b.isConverted
              warning[constant] this condition is always true
            exists o from accounts.opportunities, r from o.roles where r.opportunity.isWon
              error[unknown-field] a role reached from an opportunity leads back to it: speak of the opportunity itself; did you mean opportunityKey
        "#]],
    );
}

#[test]
fn a_number_of_units_is_judged_by_its_value() {
    check(
        SubjectKind::Person,
        &[
            "xEvent.exists(timestamp occurs <= (0 - 3) days before now)",
            "xEvent.exists(timestamp occurs > 2 * -1 hours after now)",
            "xEvent.exists(timestamp occurs <= (1 / 2) months before now)",
        ],
        expect![[r#"
            xEvent.exists(timestamp occurs <= (0 - 3) days before now)
              error[type] a window of a negative number of units; `after` looks the other way
            xEvent.exists(timestamp occurs > 2 * -1 hours after now)
              error[type] a window of a negative number of units; `before` looks the other way
            xEvent.exists(timestamp occurs <= (1 / 2) months before now)
              error[type] months and years are whole; a whole number, or days
        "#]],
    );
}

#[test]
fn refused_for_accounts() {
    check(
        SubjectKind::Account,
        &[
            "xEvent.count() > 0",
            "accounts.count() > 1",
            "persons.xEvent.count() > 1",
            "opportunities.roles.opportunity.count() > 1",
            "b2b.personScore > 1",
        ],
        expect![[r#"
            xEvent.count() > 0
              error[unknown-field] `xEvent` is no field of an account
            accounts.count() > 1
              error[unknown-field] `accounts` is no field of an account; did you mean accountFax
            persons.xEvent.count() > 1
            opportunities.roles.opportunity.count() > 1
              error[unknown-field] a role reached from an opportunity leads back to it: speak of the opportunity itself; did you mean opportunityKey
            b2b.personScore > 1
              error[unknown-field] `b2b` is no field of an account
        "#]],
    );
}

#[test]
fn deep_and_long_rules_end() {
    let nested = format!("{}b2b.isConverted{}", "not(".repeat(300), ")".repeat(300));
    let doubled = (0..40).map(|level| format!("let x{} = x{level} + x{level} in ", level + 1)).collect::<String>();
    let doubled = format!("let x0 = b2b.personScore in {doubled}x40 > 1");
    for pql in [nested, doubled] {
        let problems = crate::compile(&definition(SubjectKind::Person, Tz::UTC, &pql), schema_once()).expect_err("too large");
        assert!(!problems.is_empty());
    }
}

#[test]
fn long_rows_of_conditions_are_no_depth() {
    let row = (0..400).map(|n| format!("v.extra.n = {n}")).collect::<Vec<_>>().join(" or ");
    let row = format!("(exists v from xEvent where {row}) and {}", vec!["b2b.isConverted"; 400].join(" and "));
    let plan = Plan::build(&[compiled(SubjectKind::Person, Tz::UTC, &row)], &settings()).expect("a plan");
    assert_eq!(plan.queries.len(), 1);
}

fn named(name: &str, subject: SubjectKind, pql: &str) -> Compiled {
    let mut definition = definition(subject, Tz::UTC, pql);
    definition.name = name.into();
    crate::compile(&definition, schema_once()).expect("compiles")
}

#[test]
fn sets_of_rules() {
    let person = |name: &str, pql: &str| named(name, SubjectKind::Person, pql);
    let plan = Plan::build(
        &[
            person("a", r#"inSegment("b")"#),
            person("b", r#"inSegment("c") or inSegment("zz")"#),
            person("c", "b2b.isConverted"),
        ],
        &settings(),
    );
    let plan = plan.expect("a plan");
    assert_eq!(plan.segments.iter().map(|segment| segment.name.as_str()).collect::<Vec<_>>(), ["c", "b", "a"]);
    let messages = |rules: &[Compiled]| -> Vec<String> {
        Plan::build(rules, &settings())
            .expect_err("refused")
            .into_iter()
            .map(|problem| format!("{}: {}", problem.code, problem.message))
            .collect()
    };
    expect![[r#"
        [
            [
                "cycle: segments refer to each other in a circle: b → c → b",
            ],
            [
                "cycle: segments refer to each other in a circle: a → a",
            ],
            [
                "subject: `a` is about the person, the segment `b` about the account",
            ],
            [
                "duplicate: the segment `a` is defined twice",
            ],
        ]
    "#]]
    .assert_debug_eq(&[
        messages(&[
            person("a", r#"inSegment("b")"#),
            person("b", r#"inSegment("c")"#),
            person("c", r#"not(inSegment("b"))"#),
        ]),
        messages(&[person("a", r#"inSegment("a")"#)]),
        messages(&[person("a", r#"inSegment("b")"#), named("b", SubjectKind::Account, "parent.isNull()")]),
        messages(&[person("a", "true"), person("a", "false")]),
    ]);
}
