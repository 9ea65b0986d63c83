//! Conformance by form: valid texts with their canonical text, and invalid ones with their errors.

use expect_test::{Expect, expect};

use super::*;
use crate::diagnostic::render_all;
use crate::{format, json};

/// Parses, and holds formatter and JSON form to their promises.
fn parsed(text: &str) -> Expr {
    let expr = parse(text).unwrap_or_else(|diagnostics| panic!("{text}\n{}", render_all(&diagnostics, text)));
    let written = format(&expr);
    let again = parse(&written).unwrap_or_else(|diagnostics| panic!("{written}\n{}", render_all(&diagnostics, &written)));
    assert!(again.same(&expr), "{text}\n{written}\n{expr:?}\n{again:?}");
    assert_eq!(format(&again), written);
    let value = json::to_json(&expr);
    let read = json::from_json(&value).unwrap_or_else(|diagnostics| panic!("{text}\n{value:#}\n{diagnostics:?}"));
    assert!(read.same(&expr), "{text}\n{value:#}\n{expr:?}\n{read:?}");
    expr
}

/// Each text parses to the tree of its canonical form, given as the second element; `None` if it is
/// canonical itself.
fn check_all(cases: &[(&str, Option<&str>)]) {
    for (text, canonical) in cases {
        assert_eq!(format(&parsed(text)), canonical.unwrap_or(text), "{text}");
    }
}

fn check_errors(text: &str, expected: Expect) {
    let diagnostics = parse(text).expect_err(text);
    expected.assert_eq(&render_all(&diagnostics, text));
}

#[test]
fn literals() {
    check_all(&[
        ("true", None),
        ("FALSE", Some("false")),
        ("null", None),
        ("0", None),
        ("-201", None),
        ("9223372036854775807", None),
        ("-9223372036854775808", None),
        ("- 5", Some("-5")),
        ("-(5)", None),
        ("--5", None),
        ("-x", None),
        ("-5.isNull()", None),
        ("(-5).isNull()", None),
        ("3.25", None),
        ("-51.50", Some("-51.5")),
        ("1e3", Some("1000.0")),
        ("25E-4", Some("0.0025")),
        ("\"pizza\"", None),
        ("'pizza'", Some("\"pizza\"")),
        (r#"'say "hi", it\'s'"#, Some(r#""say \"hi\", it's""#)),
        (r#""a \"b\" \\ \n \t""#, None),
        (r#""\u0041\/\'\u00e9\ud83d\ude00""#, Some("\"A/'é😀\"")),
        (r#""@(\w+)\.""#, Some(r#""@(\\w+)\\.""#)),
        ("\"\u{1}\"", Some(r#""\u0001""#)),
        ("date(2020, 3, 14)", None),
        ("DATE(2020,3,14)", Some("date(2020, 3, 14)")),
        ("[1, 4, 7]", None),
        ("[\"US\",\"CA\",]", Some("[\"US\", \"CA\"]")),
        ("[]", None),
        ("[[1], [x, 2.5]]", None),
        ("{\"k\": 1, \"a b\": G.count()}", None),
        ("{}", None),
    ]);
}

#[test]
fn calling() {
    check_all(&[
        ("homeAddress.stateProvince = workAddress.stateProvince", None),
        ("$1.homeAddress.stateProvince = $1.workAddress.stateProvince", None),
        ("$2.count() > 1", None),
        ("(P) => P.homeAddress.city = P.workAddress.city", None),
        ("P => P.x", Some("(P) => P.x")),
        ("xs.groupBy(product).map((K, G) => mapEntry(K, G.count()))", None),
        ("xs.map((K, G) => mapEntry(K, {\"count\": G.count(), \"sum\": G.sum(order.total)}))", None),
        ("((P) => P.x).y", None),
    ]);
}

#[test]
fn paths_and_filters() {
    check_all(&[
        ("_experience.analytics.endUser.firstWeb.webPageDetails.isHomePage", None),
        ("a . b\n. c", Some("a.b.c")),
        ("xEvent[productListItems[SKU=\"PS\"]]", Some("xEvent[productListItems[SKU = \"PS\"]]")),
        ("xEvent[productListItems[SKU = \"PS\" or ^^.person.gender = \"f\"]]", None),
        ("a[b[c = ^name]]", Some("a[b[c = ^.name]]")),
        ("a[b[c = ^]]", None),
        (
            "xEvent[(timestamp occurs < 7 days before now) and product=\"PS\"].sum(commerce.order.priceTotal)",
            Some("xEvent[timestamp occurs < 7 days before now and product = \"PS\"].sum(commerce.order.priceTotal)"),
        ),
        ("extra.`my field`.`9`", None),
        ("`my field` = 1", None),
        ("[1, 2][x > 1].count()", None),
    ]);
}

/// Keywords name fields after a dot, and without one where nothing else can be meant.
#[test]
fn names_that_are_keywords() {
    check_all(&[
        ("v.from.count.now.last.days.on.where.and.not", None),
        ("v.in.over.select", None),
        ("count > 3", Some("`count` > 3")),
        ("one = 1 and all = 2 and some in [3]", Some("`one` = 1 and `all` = 2 and `some` in [3]")),
        ("last = this", Some("`last` = `this`")),
        ("days = 3 and on = 4", Some("`days` = 3 and `on` = 4")),
        (
            "v.timestamp occurs <= days days before before",
            Some("v.timestamp occurs <= `days` days before `before`"),
        ),
        ("exists day from xEvent where day.x", Some("exists `day` from xEvent where `day`.x")),
        ("t occurs <= count days from now", Some("t occurs <= `count` days from now")),
        ("t occurs <= al days from now and t occurs = ones hours from u", None),
        (
            "exists last from xEvent where last.count > 1",
            Some("exists `last` from xEvent where `last`.count > 1"),
        ),
        ("chain.length = if", Some("`chain`.length = `if`")),
        ("And = 3 and Or.x = 4", None),
    ]);
}

#[test]
fn booleans() {
    check_all(&[
        ("a AND b OR c", Some("a and b or c")),
        ("a and (b or c)", None),
        ("(a and b) or (c)", Some("a and b or c")),
        ("a and b and c", None),
        ("a and (b and c)", None),
        ("(a or b) or c", Some("a or b or c")),
        ("not (homeAddress.countryISO = \"CA\")", Some("not homeAddress.countryISO = \"CA\"")),
        ("not(a and b)", Some("not (a and b)")),
        ("!(a = 1) and NOT b", Some("not a = 1 and not b")),
        ("!a = b", Some("(not a) = b")),
        ("not not a", Some("not (not a)")),
        ("not a in [1]", None),
        ("if (homeAddress.countryISO = \"CA\", 1, 2)", Some("if(homeAddress.countryISO = \"CA\", 1, 2)")),
        ("IF(a, b, c)", Some("if(a, b, c)")),
        ("inSegment(\"e3be6d7f\") and not inSegment(\"x\")", None),
    ]);
}

#[test]
fn comparisons_and_arithmetic() {
    check_all(&[
        (
            "a!=1 and b<=2 and c>=3 and d<4 and e>5",
            Some("a != 1 and b <= 2 and c >= 3 and d < 4 and e > 5"),
        ),
        ("person.birthMonth in [3, 6, 9]", None),
        ("person.birthMonth notIn [3, 6, 9]", None),
        ("a IN b or a NOTIN b", Some("a in b or a notIn b")),
        ("x.in([1])", Some("x in [1]")),
        ("x.notIn([1]) and in(x, [2]) and notIn(x, y)", Some("x notIn [1] and x in [2] and x notIn y")),
        ("(x in [1]) = true", None),
        ("1 + 2 * 3 - 4 / 5 % 6", None),
        ("(1 + 2) * (3 - 4)", None),
        ("a - (b - c) - d", None),
        ("a / (b * c)", None),
        ("a + b > c * 2", None),
        ("-a * -b", None),
        ("-(a + b)", None),
        ("person.age % 5 = 0", None),
    ]);
}

#[test]
fn methods() {
    check_all(&[
        ("city like \"%es%\"", None),
        ("city.like(\"%es%\")", Some("city like \"%es%\"")),
        ("(city like \"a\").isNull()", None),
        ("person.name.startsWith(\"Joe\", false)", None),
        ("person.name.matches(\"(?i)^John\")", None),
        ("emailAddress.regexGroup(\"@(\\w+)\", 1)", Some("emailAddress.regexGroup(\"@(\\\\w+)\", 1)")),
        ("orders.topN(price, 5).head()", None),
        ("m.values().exists(status = \"active\")", None),
        ("identityMap.get(\"x\").keys()", None),
        ("a.intersects([\"red\"]) and a.intersection(b) = [\"red\"]", None),
        ("orders.sum(order.price) > orders.average()", None),
        ("count(orders) > 1 and SUM(x) > 2", Some("count(orders) > 1 and sum(x) > 2")),
        ("person.birthdate.getMonth() = currentMonth()", None),
    ]);
}

#[test]
fn ranging() {
    check_all(&[
        ("exists E from xEvent where E.a = 1 and E.b = 2", None),
        ("EXISTS E FROM xEvent : E.a = 1", Some("exists E from xEvent where E.a = 1")),
        ("some E from xEvent", Some("exists E from xEvent")),
        ("all E from xEvent where E.x", Some("forall E from xEvent where E.x")),
        ("none E from xEvent where E.x", None),
        ("one E from xEvent where E.x", None),
        (
            "exists E from xEvent where (E.price > 50), I from E.items where I.SKU = \"PS\"",
            Some("exists E from xEvent, I from E.items where E.price > 50 and I.SKU = \"PS\""),
        ),
        (
            "exists E from xEvent where E.a or E.b, I from E.items : I.c",
            Some("exists E from xEvent, I from E.items where (E.a or E.b) and I.c"),
        ),
        (
            "forall E from xEvent where (E.price > 50), I from E.items where I.SKU = \"PS\"",
            Some("forall E from xEvent where E.price > 50 and forall I from E.items where I.SKU = \"PS\""),
        ),
        ("forall E from xEvent, I from E.items where I.x", None),
        ("(exists v from a where v.x) and b", None),
        ("b and exists v from a where v.x and v.y", None),
        ("not exists v from a where v.x", None),
        ("f(exists v from a where v.x, 1)", None),
        ("f(exists v from a, w from v.b where w.x, y)", None),
        ("exists v from a[x > 1].b where v.y", None),
        ("exists v from (if(a, b, c)) where v", Some("exists v from if(a, b, c) where v")),
    ]);
}

#[test]
fn select_and_aggregates() {
    check_all(&[
        ("select var1 from xEvent where var1.isHomePage = false", None),
        ("select o.x from accounts where o.y", None),
        ("select o.x from accounts o where o.y", Some("select o.x from accounts where o.y")),
        ("select v.x + 1 from accounts w where w.y", None),
        ("select x from accounts w", None),
        ("select x from accounts x", None),
        ("select x from accounts", None),
        ("select 1 from accounts", None),
        ("select (now) from accounts", None),
        ("(select v from a) = b", None),
        ("select (exists w from v.items where w.x) from a", None),
        ("sum(select o.amount from accounts.opportunities where o.isWon) > 1000000", None),
        ("sum X.total over X from xEvent where X.code = \"USD\"", None),
        ("SUM X.total OVER X FROM xEvent", Some("sum X.total over X from xEvent")),
        ("(sum X.total over X from xEvent) > 5", None),
        ("sum (X.a + X.b) * 2 over X from xEvent", None),
        ("sum (X.a) over X from xEvent", Some("sum X.a over X from xEvent")),
        ("sum (sum(X.a)) over X from xEvent", None),
        ("count -1 over X from xEvent", None),
        ("count - 1", Some("`count` - 1")),
        ("max (min Y over Y from X.ys) over X from xs", None),
        ("average v.a over v from a, w from v.b where w.x", None),
        (
            "let S = (sum X.t over X from xEvent where X.c = 1) in (S > 100 and S < 1000)",
            Some("let S = (sum X.t over X from xEvent where X.c = 1) in S > 100 and S < 1000"),
        ),
        (
            "let S = sum X.t over X from xEvent where X.c = 1 in S > 1",
            Some("let S = (sum X.t over X from xEvent where X.c = 1) in S > 1"),
        ),
        ("let ok = (a in [1]) in ok", None),
        ("let ok = a notIn [1] in ok", None),
        ("let a = [x in y] in a.includes(true)", None),
        ("let a = 1 in let b = 2 in a < b", None),
    ]);
}

#[test]
fn time() {
    check_all(&[
        ("t occurs <= 3 days before now", None),
        ("t occurs = 1 hours after x.y", Some("t occurs = 1 hour after x.y")),
        ("t OCCURS != 2 CENTURIES FROM TODAY", Some("t occurs != 2 centuries from today")),
        ("t occurs > 5 millennium before yesterday", Some("t occurs > 5 millennia before yesterday")),
        ("t occurs < 8 days before this week", None),
        ("t occurs >= n + 1 weeks after date(2020, 1, 2)", None),
        ("t occurs before today", None),
        ("t occurs after L0.timestamp", None),
        ("t occurs from tomorrow", None),
        ("t occurs last week", None),
        ("t occurs on this month", Some("t occurs this month")),
        ("t occurs next decades", Some("t occurs next decade")),
        ("t occurs on date(2019, 12, 31)", None),
        ("t occurs date(2019,12,31)", Some("t occurs on date(2019, 12, 31)")),
        ("t occurs between date(2015, 1, 8) and date(2017, 7, 1)", None),
        ("t occurs between yesterday and today and b", None),
        ("t occurs today or t occurs tomorrow", None),
        ("now() = today", Some("now = today")),
        ("today.getMonth() = 3", None),
        ("(t occurs today) = true", None),
        ("a + 1 occurs today", None),
    ]);
}

#[test]
fn chains() {
    check_all(&[
        ("chain(xEvent, timestamp, [A: WHAT(eventType = \"addToCart\")])", None),
        (
            "CHAIN(xEvent, timestamp, [C0: WHAT(eventType.equals(\"commerce.checkouts\", false))\nWHEN(<= 24 hours before now)])",
            Some("chain(xEvent, timestamp, [\n    C0: WHAT(eventType.equals(\"commerce.checkouts\", false)) WHEN(<= 24 hours before now)\n])"),
        ),
        (
            "chain(xEvent, timestamp, [A: What(x) when(today) COUNT(5) ] )",
            Some("chain(xEvent, timestamp, [A: WHAT(x) WHEN(today) COUNT(5)])"),
        ),
        (
            "chain(xEvent, timestamp, [A: WHAT(x), B: NOT WHAT(y), C: COUNT(2) WHERE(A.z = z) WHAT(z)])",
            Some("chain(xEvent, timestamp, [A: WHAT(x), B: not WHAT(y), C: WHAT(z) WHERE(A.z = z) COUNT(2)])"),
        ),
        ("chain(xEvent, timestamp, [A: WHAT()])", None),
        (
            "not(chain(xEvent, timestamp, [A: WHAT(x)])) and b",
            Some("not chain(xEvent, timestamp, [A: WHAT(x)]) and b"),
        ),
        ("chain(xEvent, timestamp, [A: WHEN(between date(2020, 1, 1) and now)])", None),
    ]);
}

/// The questions that marketing asks of accounts, opportunities and people.
#[test]
fn business_rules() {
    for text in [
        "exists r from opportunityRoles where r.personRole = \"Decision Maker\"",
        "opportunityRoles.opportunity.opportunityAmount.amount.max() > 1000000",
        "exists r from opportunityRoles where r.opportunity.account.accountBillingAddress.country = \"Canada\"",
        "exists r from opportunityRoles where r.personRole = \"Decision Maker\" and r.opportunity.account.accountOrganization.industry = \"Finance\"",
        "xEvent[web.webPageDetails.name = \"Pricing\" and timestamp occurs <= 3 days before now]",
        "extendedWorkDetails.departments.includes(\"HR\") and accounts.opportunities[not isClosed and opportunityAmount.amount >= 1000000].count() > 0",
        "extendedWorkDetails.jobTitle.contains(\"Vice President\", false) and (count v over v from xEvent where v.timestamp occurs last month) >= 3",
        "exists a from accounts : exists o from a.related.opportunities where not o.isClosed",
        "b2b.personScore > 80",
        "parent.accountOrganization.annualRevenue.amount > 100000000",
        "exists r from accountRelations where \"Manager\" in r.personRoles and r.account.accountName = \"Acme\" and r.isActive",
        "exists m from campaignMemberships where m.campaign.actualCost.amount > m.campaign.budgetedCost.amount",
        "listMemberships.list.marketingListName.includes(\"Anniversary users\")",
        "none p from persons where p.extendedWorkDetails.jobTitle in [\"COO\", \"CMO\"]",
        "persons[xEvent[web.webPageDetails.name = \"Pricing\" and timestamp occurs this week]].distinct().count() >= 3",
        "chain(xEvent, timestamp, [A: WHAT(eventType = \"a\"), B: not WHAT(eventType = \"b\") WHEN(<= 24 hours before now)]) and not inSegment(\"x\")",
        "topN(xEvent, timestamp, 5).head().web.webPageDetails.URL.matches(\"(?i)/pricing\")",
    ] {
        parsed(text);
    }
}

#[test]
fn comments_and_blanks() {
    check_all(&[
        ("// who\na /* and not b */ and // c\n\tb", Some("a and b")),
        ("\u{feff}a\r\nand\u{a0}b", Some("a and b")),
        ("größe = 1", None),
    ]);
}

/// What the text binds together, beyond what the canonical text shows.
#[test]
fn reach() {
    let Node::Binary { operator, left, right } = parsed("a and exists v from b where c and d or e").node else {
        panic!("an operator")
    };
    assert_eq!(operator, Binary::And);
    assert!(matches!(left.node, Node::Name(_)));
    let Node::Quantifier {
        condition: Some(condition), ..
    } = right.node
    else {
        panic!("a quantifier")
    };
    assert!(condition.same(&parsed("c and d or e")));
    let Node::Select { bindings, item, .. } = parsed("select o.x from a where o.y").node else {
        panic!("a select")
    };
    assert_eq!((bindings[0].variable.as_deref(), item.is_some()), (Some("o"), true));
}

#[test]
fn long_rules_break_before_operators() {
    let text = "sum(select o.opportunityAmount.amount from accounts.opportunities where o.isClosed and o.isWon) > 1000000 and exists v from xEvent where v.eventType = \"web.webpagedetails.pageViews\" and v.web.webPageDetails.name = \"New product\" and v.timestamp occurs <= 1 month before now";
    expect![[r#"
        sum(
            select o.opportunityAmount.amount from accounts.opportunities where o.isClosed and o.isWon
        ) > 1000000
        and exists v from xEvent where v.eventType = "web.webpagedetails.pageViews"
            and v.web.webPageDetails.name = "New product"
            and v.timestamp occurs <= 1 month before now"#]]
    .assert_eq(&format(&parsed(text)));
    let text = "(accounts.accountOrganization.industry = \"Finance\" or accounts.accountOrganization.industry = \"Banking\") and not (person.name.firstName like \"A%\" or person.name.lastName.isNull()) or homeAddress.country in [\"Canada\", \"United States of America\", \"Mexico\", \"Guatemala\", \"Panama\", \"Brazil\"]";
    expect![[r#"
        (
            accounts.accountOrganization.industry = "Finance"
            or accounts.accountOrganization.industry = "Banking"
        )
            and not (person.name.firstName like "A%" or person.name.lastName.isNull())
        or homeAddress.country in [
            "Canada",
            "United States of America",
            "Mexico",
            "Guatemala",
            "Panama",
            "Brazil"
        ]"#]]
    .assert_eq(&format(&parsed(text)));
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn mistyped_words() {
    check_errors(
        "exists v frm xEvent wher v.a = 1 adn v.b occurs <= 3 dyas befor now",
        expect![[r#"
        error[unexpected-token]: found `frm`
         --> line 1, column 10
          |
        1 | exists v frm xEvent wher v.a = 1 adn v.b occurs <= 3 dyas befor now
          |          ^^^
          = expected `from`
          = did you mean `from`?

        error[unexpected-token]: found `wher`
         --> line 1, column 21
          |
        1 | exists v frm xEvent wher v.a = 1 adn v.b occurs <= 3 dyas befor now
          |                     ^^^^
          = expected `where`
          = did you mean `where`?

        error[unexpected-token]: found `adn`
         --> line 1, column 34
          |
        1 | exists v frm xEvent wher v.a = 1 adn v.b occurs <= 3 dyas befor now
          |                                  ^^^
          = expected an operator
          = did you mean `and`?

        error[unexpected-token]: found `dyas`
         --> line 1, column 54
          |
        1 | exists v frm xEvent wher v.a = 1 adn v.b occurs <= 3 dyas befor now
          |                                                      ^^^^
          = expected a unit of time, as `days`
          = did you mean `days`?

        error[unexpected-token]: found `befor`
         --> line 1, column 59
          |
        1 | exists v frm xEvent wher v.a = 1 adn v.b occurs <= 3 dyas befor now
          |                                                           ^^^^^
          = expected `before`, `after` or `from`
          = did you mean `before`?
    "#]],
    );
    check_errors(
        "a contains \"x\" and b startsWith \"y\"",
        expect![[r#"
        error[method-as-operator]: `contains` is a method
         --> line 1, column 3
          |
        1 | a contains "x" and b startsWith "y"
          |   ^^^^^^^^
          = did you mean `.contains(…)`?

        error[method-as-operator]: `startsWith` is a method
         --> line 1, column 22
          |
        1 | a contains "x" and b startsWith "y"
          |                      ^^^^^^^^^^
          = did you mean `.startsWith(…)`?
    "#]],
    );
    check_errors(
        "t occurs lst wek or t occurs last wek",
        expect![[r#"
        error[unexpected-token]: found `wek`
         --> line 1, column 14
          |
        1 | t occurs lst wek or t occurs last wek
          |              ^^^
          = expected `and`, `or`, another operator or the end of the rule

        error[unexpected-token]: found `wek`
         --> line 1, column 35
          |
        1 | t occurs lst wek or t occurs last wek
          |                                   ^^^
          = expected a unit of time, as `days`
          = did you mean `week`?
    "#]],
    );
    check_errors(
        "exsits v from a where v.x not in [1] or selct v from b or a And b",
        expect![[r#"
        error[unexpected-token]: found `exsits`
         --> line 1, column 1
          |
        1 | exsits v from a where v.x not in [1] or selct v from b or a And b
          | ^^^^^^
          = expected a quantifier or `select`
          = did you mean `exists`?

        error[unexpected-token]: found `not in`
         --> line 1, column 27
          |
        1 | exsits v from a where v.x not in [1] or selct v from b or a And b
          |                           ^^^
          = expected an operator
          = did you mean `notIn`?

        error[unexpected-token]: found `selct`
         --> line 1, column 41
          |
        1 | exsits v from a where v.x not in [1] or selct v from b or a And b
          |                                         ^^^^^
          = expected a quantifier or `select`
          = did you mean `select`?

        error[unexpected-token]: found `And`
         --> line 1, column 61
          |
        1 | exsits v from a where v.x not in [1] or selct v from b or a And b
          |                                                             ^^^
          = expected an operator
          = did you mean `and`?
    "#]],
    );
    check_errors(
        "select v.x from a wher v.y",
        expect![[r#"
        error[unexpected-token]: found `wher`
         --> line 1, column 19
          |
        1 | select v.x from a wher v.y
          |                   ^^^^
          = expected `where`
          = did you mean `where`?
    "#]],
    );
    check_errors(
        "sum v.x ovr v from a",
        expect![[r#"
        error[unexpected-token]: found `ovr`
         --> line 1, column 9
          |
        1 | sum v.x ovr v from a
          |         ^^^
          = expected `over`
          = did you mean `over`?
    "#]],
    );
    check_errors(
        "chain(xEvent, timestamp, [A: WAHT(x) WHAT(y) WHEN(today), B WHAT(z)])",
        expect![[r#"
        error[bad-clause]: found `WAHT`
         --> line 1, column 30
          |
        1 | chain(xEvent, timestamp, [A: WAHT(x) WHAT(y) WHEN(today), B WHAT(z)])
          |                              ^^^^
          = did you mean `WHAT`?

        error[unexpected-token]: found `WHAT`
         --> line 1, column 61
          |
        1 | chain(xEvent, timestamp, [A: WAHT(x) WHAT(y) WHEN(today), B WHAT(z)])
          |                                                             ^^^^
          = expected `:`
    "#]],
    );
}

#[test]
fn several_errors() {
    check_errors(
        "(a = ) and b in [1, , 2] or = 3 and f(c,, d)",
        expect![[r#"
        error[unexpected-token]: found `)`
         --> line 1, column 6
          |
        1 | (a = ) and b in [1, , 2] or = 3 and f(c,, d)
          |      ^
          = expected an expression

        error[unexpected-token]: found `,`
         --> line 1, column 21
          |
        1 | (a = ) and b in [1, , 2] or = 3 and f(c,, d)
          |                     ^
          = expected an expression

        error[unexpected-token]: found `=`
         --> line 1, column 29
          |
        1 | (a = ) and b in [1, , 2] or = 3 and f(c,, d)
          |                             ^
          = expected an expression

        error[unexpected-token]: found `,`
         --> line 1, column 41
          |
        1 | (a = ) and b in [1, , 2] or = 3 and f(c,, d)
          |                                         ^
          = expected an expression
    "#]],
    );
    check_errors(
        "a && b == 1 || c <> 'x' and #d",
        expect![[r#"
        error[foreign-sign]: `&&` is no sign of this language
         --> line 1, column 3
          |
        1 | a && b == 1 || c <> 'x' and #d
          |   ^^
          = did you mean `and`?

        error[foreign-sign]: `==` is no sign of this language
         --> line 1, column 8
          |
        1 | a && b == 1 || c <> 'x' and #d
          |        ^^
          = did you mean `=`?

        error[foreign-sign]: `||` is no sign of this language
         --> line 1, column 13
          |
        1 | a && b == 1 || c <> 'x' and #d
          |             ^^
          = did you mean `or`?

        error[foreign-sign]: `<>` is no sign of this language
         --> line 1, column 18
          |
        1 | a && b == 1 || c <> 'x' and #d
          |                  ^^
          = did you mean `!=`?

        error[unknown-character]: `#` means nothing here
         --> line 1, column 29
          |
        1 | a && b == 1 || c <> 'x' and #d
          |                             ^
    "#]],
    );
    check_errors(
        "a = 1 = 2 and let x 3 in x and {k: 1}",
        expect![[r#"
        error[chained-comparison]: comparisons do not chain
         --> line 1, column 7
          |
        1 | a = 1 = 2 and let x 3 in x and {k: 1}
          |       ^
          = expected `and`, `or`, or parentheses around the first comparison

        error[unexpected-token]: found the number 3
         --> line 1, column 21
          |
        1 | a = 1 = 2 and let x 3 in x and {k: 1}
          |                     ^
          = expected `=`

        error[bare-key]: keys stand between quotes
         --> line 1, column 33
          |
        1 | a = 1 = 2 and let x 3 in x and {k: 1}
          |                                 ^
          = did you mean `"k"`?
    "#]],
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn incomplete_rules() {
    check_errors(
        "",
        expect![[r#"
        error[empty-rule]: the rule is empty
         --> line 1, column 1
          |
        1 | 
          | ^
          = expected a condition
    "#]],
    );
    check_errors(
        "a and",
        expect![[r#"
        error[unexpected-token]: found the end of the rule
         --> line 1, column 6
          |
        1 | a and
          |      ^
          = expected an expression
    "#]],
    );
    check_errors(
        "a)",
        expect![[r#"
        error[unexpected-token]: found `)`
         --> line 1, column 2
          |
        1 | a)
          |  ^
          = expected `and`, `or`, another operator or the end of the rule
    "#]],
    );
    check_errors(
        "f(a, (b",
        expect![[r#"
        error[unclosed-bracket]: the bracket is not closed
         --> line 1, column 6
          |
        1 | f(a, (b
          |      ^
          = expected `)` before the end of the rule
    "#]],
    );
    check_errors(
        "a = \"x\nand b",
        expect![[r#"
        error[unclosed-text]: the text is not closed on its line
         --> line 1, column 5
          |
        1 | a = "x
          |     ^
          = expected `"`
    "#]],
    );
    check_errors(
        "a /* b",
        expect![[r#"
        error[unclosed-comment]: the comment is not closed
         --> line 1, column 3
          |
        1 | a /* b
          |   ^^
          = expected `*/`
    "#]],
    );
    check_errors(
        "exists where a",
        expect![[r#"
        error[unexpected-token]: found `where`
         --> line 1, column 8
          |
        1 | exists where a
          |        ^^^^^
          = expected `and`, `or`, another operator or the end of the rule
    "#]],
    );
    check_errors(
        "t occurs <= 3",
        expect![[r#"
        error[unexpected-token]: found the end of the rule
         --> line 1, column 14
          |
        1 | t occurs <= 3
          |              ^
          = expected a unit of time, as `days`
    "#]],
    );
    check_errors(
        "x.",
        expect![[r#"
        error[unexpected-token]: found the end of the rule
         --> line 1, column 3
          |
        1 | x.
          |   ^
          = expected the name of a field or method
    "#]],
    );
    check_errors(
        "999999999999999999999999999999 > 9223372036854775808 or 3days",
        expect![[r#"
            error[number-out-of-range]: the number 999999999999999999999999999999 is too large
             --> line 1, column 1
              |
            1 | 999999999999999999999999999999 > 9223372036854775808 or 3days
              | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

            error[bad-number]: a number runs into a name: `3days`
             --> line 1, column 57
              |
            1 | 999999999999999999999999999999 > 9223372036854775808 or 3days
              |                                                         ^^^^^
              = did you mean `3 days`?
        "#]],
    );
    check_errors(
        "$0 = $x",
        expect![[r#"
        error[bad-parameter]: parameters are counted from one, as `$1`
         --> line 1, column 1
          |
        1 | $0 = $x
          | ^^

        error[bad-parameter]: parameters are counted from one, as `$1`
         --> line 1, column 6
          |
        1 | $0 = $x
          |      ^^
    "#]],
    );
}
