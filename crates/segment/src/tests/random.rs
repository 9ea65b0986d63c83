//! Random rules over random worlds: as written, in normal form and through the plan they give the
//! same.

use std::fmt::Write;

use chrono_tz::Tz;
use millrace_model::{SubjectKind, Timestamp};
use proptest::prelude::*;
use serde_json::json;

use crate::testing::{Tree, TreeView, at, definition, schema_once, settings, value};
use crate::{Plan, explain};

/// Numbers from a seed; small and the same everywhere.
pub(super) struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }

    pub fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Person,
    Account,
    Deal,
    AccountRow,
    DealRow,
    Role,
    Event,
    Item,
}

impl Kind {
    fn numbers(self) -> &'static [&'static str] {
        match self {
            Kind::Person => &["b2b.personScore", "extra.n"],
            Kind::Account => &["accountOrganization.annualRevenue.amount", "accountOrganization.numberOfEmployees"],
            Kind::Deal => &["opportunityAmount.amount"],
            Kind::Item => &["quantity"],
            Kind::Event => &["extra.n"],
            _ => &[],
        }
    }

    fn texts(self) -> &'static [&'static str] {
        match self {
            Kind::Person => &["extendedWorkDetails.jobTitle"],
            Kind::Account => &["accountName"],
            Kind::Deal => &["opportunityStage"],
            Kind::AccountRow | Kind::DealRow | Kind::Role => &["personRole"],
            Kind::Event => &["eventType"],
            Kind::Item => &["SKU"],
        }
    }

    fn one(self) -> &'static [(&'static str, Kind)] {
        match self {
            Kind::Account => &[("parent", Kind::Account)],
            Kind::Deal => &[("account", Kind::Account)],
            Kind::AccountRow => &[("account", Kind::Account)],
            Kind::DealRow => &[("opportunity", Kind::Deal)],
            _ => &[],
        }
    }

    fn many(self) -> &'static [(&'static str, Kind)] {
        match self {
            Kind::Person => &[
                ("accounts", Kind::Account),
                ("accountRelations", Kind::AccountRow),
                ("opportunityRoles", Kind::DealRow),
                ("accounts.opportunities", Kind::Deal),
                ("accounts.related", Kind::Account),
                ("accounts.related.opportunities", Kind::Deal),
                ("opportunityRoles.opportunity", Kind::Deal),
                ("opportunityRoles.opportunity.account", Kind::Account),
                ("accounts.parent", Kind::Account),
                ("xEvent", Kind::Event),
                ("xEvent", Kind::Event),
            ],
            Kind::Account => &[("opportunities", Kind::Deal), ("related", Kind::Account)],
            Kind::Deal => &[("roles", Kind::Role)],
            Kind::Event => &[("productListItems", Kind::Item)],
            _ => &[],
        }
    }
}

struct Writer {
    dice: Dice,
    names: usize,
    /// Variables in scope.
    scope: Vec<(String, Kind)>,
    /// Rules about accounts may go through their persons.
    account: bool,
}

impl Writer {
    fn condition(&mut self, prefix: &str, kind: Kind, depth: usize, hops: usize) -> String {
        let top = depth == 0;
        match self.dice.below(if top { 4 } else { 11 }) {
            0 if kind.one().is_empty() || hops == 0 => self.leaf(prefix, kind),
            0 => {
                let (path, target) = kind.one()[self.dice.below(kind.one().len())];
                match self.dice.below(4) {
                    0 => format!("{prefix}{path}.isNull()"),
                    _ => self.condition(&format!("{prefix}{path}."), target, depth.saturating_sub(1), hops - 1),
                }
            }
            1 | 2 => self.leaf(prefix, kind),
            3 => self.related(prefix, kind),
            4 | 5 => {
                let operator = self.dice.pick(&["and", "or"]);
                format!(
                    "({} {operator} {})",
                    self.condition(prefix, kind, depth - 1, hops),
                    self.condition(prefix, kind, depth - 1, hops)
                )
            }
            6 => format!("not({})", self.condition(prefix, kind, depth - 1, hops)),
            _ => self.over(prefix, kind, depth - 1, hops),
        }
    }

    fn leaf(&mut self, prefix: &str, kind: Kind) -> String {
        let word = self.dice.pick(&["x", "y", "z"]);
        match self.dice.below(6) {
            0 | 1 if !kind.numbers().is_empty() => {
                format!(
                    "{prefix}{} {} {}",
                    self.dice.pick(kind.numbers()),
                    self.dice.pick(&["=", "!=", ">", "<=", "<"]),
                    self.dice.below(4)
                )
            }
            2 if kind == Kind::Event => format!("{prefix}timestamp occurs {}", self.window()),
            3 if kind == Kind::Deal => format!("{prefix}expectedCloseDate occurs {}", self.window()),
            4 => format!(
                "{prefix}{} {} [\"x\", \"{word}\"]",
                self.dice.pick(kind.texts()),
                self.dice.pick(&["in", "notIn"])
            ),
            5 => format!(
                "{prefix}{}.{}(\"{word}\")",
                self.dice.pick(kind.texts()),
                self.dice.pick(&["startsWith", "doesNotContain", "notEqualTo"])
            ),
            _ => format!("{prefix}{} {} \"{word}\"", self.dice.pick(kind.texts()), self.dice.pick(&["=", "!="])),
        }
    }

    fn window(&mut self) -> String {
        match self.dice.below(6) {
            0..3 => {
                let amount = self.dice.pick(&["3 days", "1 week", "1 month", "36 hours"]);
                format!(
                    "{} {amount} {} {}",
                    self.dice.pick(&["<=", "<", ">"]),
                    self.dice.pick(&["before", "after"]),
                    self.dice.pick(&["now", "now", "today", "this month"])
                )
            }
            3 => self.dice.pick(&["today", "this week", "last month", "yesterday"]).to_owned(),
            4 => format!("{} {}", self.dice.pick(&["before", "after"]), self.dice.pick(&["today", "last week", "now"])),
            _ => "between last week and today".to_owned(),
        }
    }

    /// Compares with something of an enclosing variable, or of the subject.
    fn related(&mut self, prefix: &str, kind: Kind) -> String {
        let mut outer = self.scope.clone();
        if !self.account {
            outer.push((String::new(), Kind::Person));
        }
        let (name, other) = outer[self.dice.below(outer.len())].clone();
        let other_prefix = if name.is_empty() { String::new() } else { format!("{name}.") };
        if kind.numbers().is_empty() || other.numbers().is_empty() || self.dice.below(2) == 0 {
            return format!(
                "{prefix}{} {} {other_prefix}{}",
                self.dice.pick(kind.texts()),
                self.dice.pick(&["=", "!="]),
                self.dice.pick(other.texts())
            );
        }
        format!(
            "{prefix}{} {} {other_prefix}{}",
            self.dice.pick(kind.numbers()),
            self.dice.pick(&["<", ">=", "="]),
            self.dice.pick(other.numbers())
        )
    }

    /// A condition over a list.
    fn over(&mut self, prefix: &str, kind: Kind, depth: usize, hops: usize) -> String {
        let account_rule = [
            ("opportunities", Kind::Deal),
            ("persons", Kind::Person),
            ("persons", Kind::Person),
            ("related", Kind::Account),
        ];
        // Persons are reached in rules about accounts only; from there their events.
        let lists: Vec<(&str, Kind)> = match kind {
            Kind::Account if self.account && prefix.is_empty() => account_rule.to_vec(),
            Kind::Person if self.account => vec![("xEvent", Kind::Event)],
            _ => kind.many().to_vec(),
        };
        if lists.is_empty() || hops == 0 {
            return self.leaf(prefix, kind);
        }
        let (path, item) = lists[self.dice.below(lists.len())];
        let path = format!("{prefix}{path}");
        if path == "xEvent" && self.dice.below(4) == 0 {
            return self.chain();
        }
        self.names += 1;
        let name = format!("v{}", self.names);
        self.scope.push((name.clone(), item));
        let condition = self.condition(&format!("{name}."), item, depth, hops - 1);
        self.scope.pop();
        let (count, comparison) = (self.dice.below(3), self.dice.pick(&[">", ">=", "=", "<", "!="]));
        match self.dice.below(9) {
            0..3 => format!(
                "({} {name} from {path} where {condition})",
                self.dice.pick(&["exists", "forall", "none", "one"])
            ),
            3 => format!("count(select {name} from {path} where {condition}) {comparison} {count}"),
            4 => format!("{path}.filter(({name}) => {condition}).count() {comparison} {count}"),
            5 if !item.numbers().is_empty() => {
                let aggregate = self.dice.pick(&["sum", "min", "max", "average"]);
                format!(
                    "({aggregate} {name}.{} over {name} from {path} where {condition}) {comparison} {count}",
                    self.dice.pick(item.numbers())
                )
            }
            6 if !item.numbers().is_empty() => {
                format!(
                    "{path}.topN({}, 2).filter(({name}) => {condition}).count() {comparison} {count}",
                    self.dice.pick(item.numbers())
                )
            }
            7 => format!(
                "\"{}\" in (select {name}.{} from {path} where {condition})",
                self.dice.pick(&["x", "y"]),
                self.dice.pick(item.texts())
            ),
            _ => {
                let mut out = format!("({path}.filter(({name}) => {condition})");
                let _ = write!(out, ".{}.distinct().count() {comparison} {count})", self.dice.pick(item.texts()));
                out
            }
        }
    }

    fn chain(&mut self) -> String {
        let mut steps = Vec::new();
        for label in ["A", "B", "C"].iter().take(1 + self.dice.below(3)) {
            let not = if self.dice.below(4) == 0 { "not " } else { "" };
            let what = self.leaf("", Kind::Event);
            let when = if self.dice.below(3) == 0 {
                format!(" WHEN({})", self.window())
            } else {
                String::new()
            };
            let earlier = if *label == "B" && !steps.is_empty() && steps.iter().all(|step: &String| !step.contains(": not")) && self.dice.below(2) == 0 {
                " WHERE(extra.n != A.extra.n)"
            } else {
                ""
            };
            let count = if self.dice.below(5) == 0 { " COUNT(2)" } else { "" };
            steps.push(format!("{label}: {not}WHAT({what}){when}{earlier}{count}"));
        }
        format!("chain(xEvent, timestamp, [{}])", steps.join(", "))
    }
}

fn world(seed: u64) -> Tree {
    let mut dice = Dice(seed);
    let from = at("2026-06-15T12:00:00Z").0;
    let mut things = |kind: &str, count: usize, f: &mut dyn FnMut(&mut Dice) -> serde_json::Value| {
        let map: serde_json::Map<_, _> = (0..count).map(|index| (format!("{kind}{index}"), f(&mut dice))).collect();
        map
    };
    let word = |dice: &mut Dice| {
        if dice.below(4) == 0 {
            json!(null)
        } else {
            json!(dice.pick(&["x", "y", "z"]))
        }
    };
    let number = |dice: &mut Dice| if dice.below(4) == 0 { json!(null) } else { json!(dice.below(4)) };
    let key = |dice: &mut Dice, kind: &str, count: usize| {
        if dice.below(4) == 0 {
            json!(null)
        } else {
            json!({"sourceKey": format!("{kind}{}", dice.below(count))})
        }
    };
    let money = |dice: &mut Dice| {
        let amount = number(dice);
        let code = dice.pick(&["USD", "EUR", "XXX", ""]);
        json!({"amount": amount, "currencyCode": code})
    };
    let day = |dice: &mut Dice| json!(Timestamp(from + (dice.below(160) as i64 - 80) * 43_200_000).to_string());
    let persons = things(
        "p",
        2,
        &mut |d| json!({"b2b": {"personScore": number(d), "accountKey": key(d, "a", 5)}, "extra": {"n": number(d)}, "extendedWorkDetails": {"jobTitle": word(d)}}),
    );
    let accounts = things("a", 4, &mut |d| {
        json!({"accountName": word(d), "accountOrganization": {"annualRevenue": money(d), "numberOfEmployees": number(d)},
               "accountParentKey": key(d, "a", 5), "relatedAccountKeys": [key(d, "a", 4), key(d, "a", 4)]})
    });
    let deals = things(
        "o",
        5,
        &mut |d| json!({"accountKey": key(d, "a", 5), "opportunityAmount": money(d), "opportunityStage": word(d), "expectedCloseDate": day(d)}),
    );
    let mut dice = Dice(seed ^ 0x5555);
    let mut rows = |count: usize, target: &str, of: usize| -> Vec<serde_json::Value> {
        (0..count)
            .map(|index| {
                let (person, to) = (format!("p{}", dice.below(2)), format!("{target}{}", dice.below(of)));
                json!({"id": format!("{target}-row{index}"), "person": person, "to": to, "row": {"personRole": word(&mut dice)}})
            })
            .collect()
    };
    let (relations, roles) = (rows(5, "a", 5), rows(4, "o", 6));
    let mut dice = Dice(seed ^ 0xaaaa);
    let mut events = |person: usize| -> Vec<serde_json::Value> {
        (0..dice.below(6))
            .map(|index| {
                let items: Vec<_> = (0..dice.below(3)).map(|_| json!({"SKU": word(&mut dice), "quantity": number(&mut dice)})).collect();
                json!({"_id": format!("e{person}-{index}"), "timestamp": day(&mut dice), "eventType": word(&mut dice), "extra": {"n": number(&mut dice)}, "productListItems": items})
            })
            .collect()
    };
    let (first, second) = (events(0), events(1));
    Tree::read(&json!({
        "person": persons, "account": accounts, "opportunity": deals, "accountRelations": relations, "opportunityRoles": roles, "events": {"p0": first, "p1": second},
    }))
}

/// An answer on a part of the facts holds on all of them.
fn partly(plan: &Plan, tree: &Tree, id: &str, now: Timestamp, whole: bool, dice: &mut Dice, pql: &str) {
    let segment = &plan.segments[0];
    for share in [2, 4, 8] {
        let mut view = TreeView::new(tree, plan, segment.subject, id, &segment.reads, now);
        view.forget(&mut || dice.below(share) == 0);
        if let Ok(said) = segment.residual.evaluate(&view, now) {
            assert_eq!(said.value.as_bool(), Some(whole), "{pql}\nof {id} at {now}, not all known");
        }
        let explanation = explain(segment, &view, now);
        assert_eq!(
            explanation.value,
            segment.residual.evaluate(&view, now).ok().and_then(|said| said.value.as_bool()),
            "explanation of {pql}"
        );
    }
}

fn agree(seed: u64, subject: SubjectKind, zone: Tz) {
    let mut writer = Writer {
        dice: Dice(seed),
        names: 0,
        scope: Vec::new(),
        account: subject == SubjectKind::Account,
    };
    let kind = if subject == SubjectKind::Account { Kind::Account } else { Kind::Person };
    let pql = if writer.account {
        // The subject of rules about accounts has no variable; comparisons with it are left to
        // persons.
        writer.scope.push(("$1".to_owned(), Kind::Account));
        writer.over("", kind, 3, 3)
    } else {
        writer.condition("", kind, 4, 3)
    };
    let rule = match crate::compile(&definition(subject, zone, &pql), schema_once()) {
        Ok(rule) => rule,
        // The writer does not count relations.
        Err(problems) if problems.iter().all(|problem| problem.code == "too-far") => return,
        Err(problems) => panic!("{}", millrace_pql::render_all(&problems, &pql)),
    };
    let plan = match Plan::build(std::slice::from_ref(&rule), &settings()) {
        Ok(plan) => plan,
        Err(problems) => panic!("{pql}\n{problems:?}"),
    };
    let from = at("2026-06-15T12:00:00Z");
    for world_seed in 0..3 {
        let tree = world(seed ^ (world_seed << 40) ^ 77);
        for id in tree.ids(subject) {
            let mut now = from;
            let mut known = value(&rule, &plan, &tree, &id, now);
            partly(&plan, &tree, &id, now, known.value, &mut Dice(seed), &pql);
            // Where nothing is due nothing changes.
            for step in [1, 3_600_000, 86_400_000, 86_400_001, 259_200_000, 604_800_000, 2_000_000_000, 3_000_000_000_i64] {
                now = now.plus_ms(step);
                let next = value(&rule, &plan, &tree, &id, now);
                assert!(
                    next.value == known.value || known.valid_until <= now,
                    "{pql}\nof {id} at {now}, promised until {}",
                    known.valid_until
                );
                if known.valid_until <= now || next.value != known.value {
                    known = next;
                }
            }
        }
    }
}

proptest! {

    #[test]
    fn rules_about_persons(seed in any::<u64>(), zone in prop::sample::select(vec![Tz::UTC, Tz::Europe__Berlin])) {
        agree(seed, SubjectKind::Person, zone);
    }

    #[test]
    fn rules_about_accounts(seed in any::<u64>()) {
        agree(seed, SubjectKind::Account, Tz::UTC);
    }
}
