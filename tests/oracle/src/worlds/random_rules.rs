//! Random well-typed rules over the fields that random streams fill.
//!
//! A rule is grown from the shape of its thing: a comparison of one of its fields, a step to one
//! related thing, a quantifier, filter or aggregate over many, a window or sequence of events, or
//! two of these joined. It leaves out rules without a settled meaning.

use super::random::Random;
use crate::{Rule, Subject};

/// The kind of thing that a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Person,
    /// A person reached from an account: it leads to events only.
    Staff,
    Account,
    Deal,
    Campaign,
    List,
    Event,
    Item,
    AccountRow,
    DealRow,
    /// A row reached from its deal: it leads nowhere.
    Role,
    CampaignRow,
    ListRow,
}

/// A field with values to compare it to.
enum Field {
    Text(&'static str, &'static [&'static str]),
    Number(&'static str, &'static [&'static str]),
    /// Custom: no schema gives its type.
    Untyped(&'static str),
    Bool(&'static str),
    /// An instant.
    Time(&'static str),
    /// A calendar date.
    Date(&'static str),
}

const MONEY: &[&str] = &["1", "200000.03", "500000.00", "582094.43", "999999.99", "1000000"];
const REVENUE: &[&str] = &["99999999.99", "100000000"];
const TITLES: &[&str] = &["Vice President", "COO", "CMO", "Engineer"];

impl Shape {
    fn fields(self) -> &'static [Field] {
        use Field::{Bool, Date, Number, Text, Time, Untyped};
        match self {
            Shape::Person | Shape::Staff => &[
                Text("extendedWorkDetails.jobTitle", TITLES),
                Text("workEmail.address", &["bob@acme.com", "ann@townsend.com", "cid"]),
                Text("person.name.firstName", &["Ann", "Bob", "Cid"]),
                Number("b2b.personScore", &["79", "80", "81"]),
                Untyped("extra.score"),
                Untyped("extra.score"),
                Text("consents.marketing.email.val", &["y", "n"]),
                Date("person.birthDate"),
            ],
            Shape::Account => &[
                Text("accountName", &["Acme", "Townsend"]),
                Text("accountOrganization.industry", &["Finance", "Steel"]),
                Text("accountBillingAddress.country", &["Canada", "France"]),
                Number("accountOrganization.annualRevenue.amount", REVENUE),
            ],
            Shape::Deal => &[
                Number("opportunityAmount.amount", MONEY),
                Bool("isClosed"),
                Bool("isWon"),
                Date("expectedCloseDate"),
            ],
            Shape::Campaign => &[Number("actualCost.amount", &["99.5", "100"]), Number("budgetedCost.amount", &["99.5", "100"])],
            Shape::List => &[Text("marketingListName", &["Anniversary users", "Others"])],
            Shape::Event => &[
                Text("web.webPageDetails.name", &["New product", "Pricing", "Support"]),
                Text("eventType", &["web.webpagedetails.pageViews", "web.formFilledOut"]),
                Time("timestamp"),
                Time("timestamp"),
            ],
            Shape::Item => &[Text("SKU", &["PS", "LR"]), Number("quantity", &["0", "1"])],
            Shape::AccountRow => &[Text("personRole", &["Manager", "Buyer"]), Bool("isActive")],
            Shape::DealRow | Shape::Role => &[Text("personRole", &["Decision Maker", "Champion"])],
            Shape::CampaignRow => &[Bool("hasResponded")],
            Shape::ListRow => &[Bool("isDeleted")],
        }
    }

    /// Paths to at most one thing.
    fn to_one(self) -> &'static [(&'static str, Shape)] {
        match self {
            Shape::Account => &[("parent", Shape::Account)],
            Shape::Deal => &[("account", Shape::Account), ("campaign", Shape::Campaign)],
            Shape::AccountRow => &[("account", Shape::Account)],
            Shape::DealRow => &[("opportunity", Shape::Deal)],
            Shape::CampaignRow => &[("campaign", Shape::Campaign)],
            Shape::ListRow => &[("list", Shape::List)],
            _ => &[],
        }
    }

    /// Paths to many.
    fn to_many(self) -> &'static [(&'static str, Shape)] {
        match self {
            Shape::Person => &[
                ("accounts", Shape::Account),
                ("accounts.opportunities", Shape::Deal),
                ("accountRelations", Shape::AccountRow),
                ("opportunityRoles", Shape::DealRow),
                ("opportunityRoles.opportunity", Shape::Deal),
                ("campaignMemberships", Shape::CampaignRow),
                ("listMemberships", Shape::ListRow),
                ("xEvent", Shape::Event),
                ("xEvent", Shape::Event),
                ("xEvent", Shape::Event),
            ],
            Shape::Staff => &[("xEvent", Shape::Event)],
            Shape::Account => &[("opportunities", Shape::Deal), ("related", Shape::Account)],
            Shape::Deal => &[("roles", Shape::Role)],
            Shape::Event => &[("productListItems", Shape::Item)],
            _ => &[],
        }
    }

    /// Paths from an item to numbers.
    fn amounts(self) -> &'static [&'static str] {
        match self {
            Shape::Person | Shape::Staff => &["b2b.personScore"],
            Shape::Account => &["accountOrganization.annualRevenue.amount"],
            Shape::Deal => &["opportunityAmount.amount"],
            Shape::Item => &["quantity"],
            _ => &[],
        }
    }
}

/// A rule about persons or accounts, called `name`.
pub fn rule(seed: u64, name: &str) -> Rule {
    let mut random = Random::new(seed);
    let subject = if random.chance(75) { Subject::Person } else { Subject::Account };
    let time_zone = random.pick(&["UTC", "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]).to_owned();
    let shape = if subject == Subject::Person { Shape::Person } else { Shape::Account };
    let mut writer = Writer {
        random,
        variables: 0,
        top: subject,
    };
    let pql = writer.condition(shape, "", 3, 3);
    Rule {
        name: name.to_owned(),
        subject,
        time_zone,
        pql,
    }
}

struct Writer {
    random: Random,
    variables: usize,
    top: Subject,
}

impl Writer {
    /// A condition on the thing whose fields are written `prefix` + path; at most `depth` levels
    /// and `hops` relations deep.
    fn condition(&mut self, shape: Shape, prefix: &str, depth: usize, hops: usize) -> String {
        let mut many: Vec<(&str, Shape)> = shape.to_many().to_vec();
        if shape == Shape::Account && self.top == Subject::Account && prefix.is_empty() && hops == 3 {
            many.extend([("persons", Shape::Staff), ("persons", Shape::Staff)]);
        }
        let (one, many) = if hops == 0 { (&[][..], Vec::new()) } else { (shape.to_one(), many) };
        match self.random.below(10) {
            0 | 1 if depth > 0 => {
                let operator = self.random.pick(&["and", "or"]);
                let (left, right) = (self.condition(shape, prefix, depth - 1, hops), self.condition(shape, prefix, depth - 1, hops));
                format!("({left} {operator} {right})")
            }
            2 if depth > 0 => format!("not({})", self.condition(shape, prefix, depth - 1, hops)),
            3 | 4 if !one.is_empty() => {
                let (path, target) = one[self.random.below(one.len())];
                self.condition(target, &format!("{prefix}{path}."), depth, hops - 1)
            }
            5..9 if !many.is_empty() => {
                let (path, target) = many[self.random.below(many.len())];
                self.over(target, &format!("{prefix}{path}"), depth.saturating_sub(1), hops - 1)
            }
            _ => self.comparison(shape, prefix),
        }
    }

    /// A condition on the items at `path`.
    fn over(&mut self, shape: Shape, path: &str, depth: usize, hops: usize) -> String {
        if shape == Shape::Event && path == "xEvent" && self.random.chance(25) {
            return self.chain();
        }
        let count = self.random.below(3);
        let comparison = self.random.pick(&[">=", ">", "=", "<"]);
        let amount = shape.amounts();
        let further = shape.to_one().iter().find(|(_, target)| hops > 0 && !target.amounts().is_empty());
        if let Some((one, target)) = further
            && self.random.chance(30)
        {
            let value = format!("{one}.{}", target.amounts()[0]);
            let limit = self.limit(target.amounts()[0]);
            return self.through(shape, path, &value, depth, hops, &format!("{comparison} {limit}"));
        }
        match self.random.below(7) {
            0 | 1 => {
                let (variable, condition) = self.named(shape, depth, hops);
                format!(
                    "({} {variable} from {path} where {condition})",
                    self.random.pick(&["exists", "exists", "forall", "none", "one"])
                )
            }
            2 => format!("{path}[{}].count() {comparison} {count}", self.condition(shape, "", depth, hops)),
            3 => {
                let (variable, condition) = self.named(shape, depth, hops);
                format!("count(select {variable} from {path} where {condition}) {comparison} {count}")
            }
            4 if !amount.is_empty() => {
                let (variable, condition) = self.named(shape, depth, hops);
                let aggregate = self.random.pick(&["sum", "max", "min", "average"]);
                let limit = self.limit(amount[0]);
                if self.random.chance(50) {
                    format!(
                        "{aggregate}(select {variable}.{} from {path} where {condition}) {comparison} {limit}",
                        amount[0]
                    )
                } else {
                    format!(
                        "({aggregate} {variable}.{} over {variable} from {path} where {condition}) {comparison} {limit}",
                        amount[0]
                    )
                }
            }
            5 if !amount.is_empty() => {
                let limit = self.limit(amount[0]);
                format!("{path}.{}.{}() {comparison} {limit}", amount[0], self.random.pick(&["sum", "max", "min"]))
            }
            _ => {
                let quantifier = self.random.pick(&["exists", "exists", "some", "all", "forall", "none", "one"]);
                format!("{path}.{quantifier}({})", self.condition(shape, "", depth, hops))
            }
        }
    }

    /// A condition on a value of the things that the items at `path` lead to, each once however
    /// many items lead to it.
    fn through(&mut self, shape: Shape, path: &str, value: &str, depth: usize, hops: usize, wanted: &str) -> String {
        let aggregate = self.random.pick(&["sum", "sum", "max", "average"]);
        if self.random.chance(30) {
            return format!("{path}.{aggregate}({value}) {wanted}");
        }
        let (variable, condition) = self.named(shape, depth, hops);
        if self.random.chance(50) {
            format!("{aggregate}(select {variable}.{value} from {path} {variable} where {condition}) {wanted}")
        } else {
            format!("({aggregate} {variable}.{value} over {variable} from {path} where {condition}) {wanted}")
        }
    }

    fn named(&mut self, shape: Shape, depth: usize, hops: usize) -> (String, String) {
        self.variables += 1;
        let variable = format!("v{}", self.variables);
        let condition = self.condition(shape, &format!("{variable}."), depth, hops);
        (variable, condition)
    }

    fn limit(&mut self, path: &str) -> &'static str {
        let limits: &[&str] = match path {
            "b2b.personScore" => &["80", "160"],
            "quantity" => &["0", "1", "2"],
            "opportunityAmount.amount" => MONEY,
            _ => REVENUE,
        };
        limits[self.random.below(limits.len())]
    }

    fn chain(&mut self) -> String {
        let mut steps = Vec::new();
        let length = 1 + self.random.below(3);
        let mut taken = 0;
        for place in 0..length {
            // A sequence of negations alone is written as a negation of a sequence.
            let negated = if place > 0 && self.random.chance(30) { "not " } else { "" };
            let what = self.comparison_of(&Shape::Event.fields()[..2], "");
            let when = if self.random.chance(40) {
                format!(" WHEN({})", self.window())
            } else {
                String::new()
            };
            let count = if negated.is_empty() && self.random.chance(25) { " COUNT(2)" } else { "" };
            let link = if place > 0 && negated.is_empty() && self.random.chance(20) {
                // Mostly the taken step just before.
                let before = if self.random.chance(80) { taken } else { 0 };
                let comparison = self.random.pick(&["<=", "<=", "<", ">="]);
                format!(" WHERE(timestamp occurs {comparison} {} days after S{before})", 1 + self.random.below(3))
            } else if place > 0 && self.random.chance(20) {
                let comparison = self.random.pick(&["=", "!="]);
                format!(" WHERE(web.webPageDetails.name {comparison} S0.web.webPageDetails.name)")
            } else {
                String::new()
            };
            taken = if negated.is_empty() { place } else { taken };
            steps.push(format!("S{place}: {negated}WHAT({what}){when}{link}{count}"));
        }
        format!("chain(xEvent, timestamp, [{}])", steps.join(", "))
    }

    fn comparison(&mut self, shape: Shape, prefix: &str) -> String {
        self.comparison_of(shape.fields(), prefix)
    }

    fn comparison_of(&mut self, fields: &[Field], prefix: &str) -> String {
        match &fields[self.random.below(fields.len())] {
            Field::Text(path, values) => {
                let value = self.random.pick(values);
                let path = format!("{prefix}{path}");
                match self.random.below(9) {
                    0..3 => format!(r#"{path} = "{value}""#),
                    3 => format!(r#"{path} != "{value}""#),
                    4 => format!(r#"{path} in ["{value}", "{}"]"#, values[0]),
                    5 => format!(r#"{path} notIn ["{value}"]"#),
                    6 => format!(
                        r#"{path}.{}("{}", {})"#,
                        self.random.pick(&["startsWith", "doesNotStartWith", "contains", "equals"]),
                        value.to_uppercase(),
                        self.random.chance(30)
                    ),
                    7 => format!(r#"{path} like "%{}_%""#, &value[..1]),
                    _ => format!("{path}.{}()", self.random.pick(&["isNull", "isNotNull"])),
                }
            }
            Field::Number(path, values) => {
                let comparison = self.random.pick(&["=", "!=", "<", "<=", ">", ">="]);
                format!("{prefix}{path} {comparison} {}", values[self.random.below(values.len())])
            }
            Field::Bool(path) => format!("{prefix}{path}{}", self.random.pick(&["", " = true", " = false", " != true"])),
            Field::Time(path) => format!("{prefix}{path} occurs {}", self.window()),
            Field::Date(path) => {
                let path = format!("{prefix}{path}");
                let date = self
                    .random
                    .pick(&["date(2026, 3, 1)", "date(2026, 3, 15)", "date(1990, 2, 28)", "\"2026-03-15\""]);
                let comparison = self.random.pick(&["=", "!=", "<", ">="]);
                match self.random.below(6) {
                    0 | 1 => format!("{path} occurs {}", self.window()),
                    2 => format!("{path} {comparison} {date}"),
                    3 => format!("{path} occurs on {date}"),
                    4 => format!("{path}.getDayOfMonth() {comparison} 15"),
                    _ => format!("{path} {comparison} today"),
                }
            }
            Field::Untyped(path) => {
                let path = format!("{prefix}{path}");
                let comparison = self.random.pick(&["=", "!=", "<", "<=", ">", ">="]);
                let value = self.random.pick(&["30", "79.5", "100", "\"30\"", "\"gold\"", "\"79.5\""]);
                match self.random.below(7) {
                    0 | 1 => format!("{path} {comparison} {value}"),
                    2 | 3 => format!("{value} {comparison} {path}"),
                    4 => format!("{path} in [30, 79.5]"),
                    5 => format!("{path} = true"),
                    _ => format!("{path} + 1 {comparison} 31"),
                }
            }
        }
    }

    /// A window, as after `occurs` and in `WHEN`.
    fn window(&mut self) -> String {
        match self.random.below(8) {
            0..4 => {
                let comparison = self.random.pick(&["<=", "<=", "<", ">", ">="]);
                let amount = self.random.pick(&["1 month", "3 days", "7 days", "24 hours", "1 week", "2 weeks"]);
                format!(
                    "{comparison} {amount} {}",
                    self.random.pick(&["before now", "before now", "before today", "before yesterday"])
                )
            }
            4 => format!(
                "<= {} days after {}",
                1 + self.random.below(30),
                self.random.pick(&["now", "today", "last month"])
            ),
            5 => self
                .random
                .pick(&["today", "yesterday", "this week", "last week", "this month", "last month", "this year"])
                .to_owned(),
            6 => format!(
                "{} {}",
                self.random.pick(&["before", "after"]),
                self.random.pick(&["now", "today", "yesterday", "last week"])
            ),
            _ => self
                .random
                .pick(&["between yesterday and now", "between yesterday and today", "between date(2026, 3, 10) and now"])
                .to_owned(),
        }
    }
}
