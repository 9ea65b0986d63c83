//! The functions and methods of the language, each declared once: its spelling, its arguments and
//! its purpose.
//!
//! Parser, formatter, JSON form and suggestions look names up here; the checker of
//! `millrace-segment` and the oracle define the meaning of each, and `docs/functions.md` is
//! generated from it (`UPDATE_EXPECT=1 cargo test -p millrace-pql functions`).

use std::ops::RangeInclusive;

use crate::words::is_keyword;

/// How a name may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// As it is.
    Exact,
    /// A keyword before its arguments, in small or in capital letters.
    Keyword,
    /// As is. It reads like an operator, and is taken for one: a rule that has it between its
    /// operands gets an error that names the dot.
    OperatorLike,
}

/// The arguments of a call, apart from the receiver of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// The names of those that a call must have, in order.
    pub required: &'static [&'static str],
    /// The names of those that may follow, in order.
    pub optional: &'static [&'static str],
    /// Any number of further ones.
    pub more: Option<&'static str>,
}

impl Parameters {
    /// How many arguments there may be.
    pub fn count(&self) -> RangeInclusive<usize> {
        let most = if self.more.is_some() {
            usize::MAX
        } else {
            self.required.len() + self.optional.len()
        };
        self.required.len()..=most
    }

    /// Their names, as documents show them: `pattern, [case]`.
    pub fn show(&self) -> String {
        let optional = self.optional.iter().map(|name| format!("[{name}]"));
        let more = self.more.iter().map(|name| format!("[{name}…]"));
        let names = self.required.iter().map(|name| (*name).to_owned());
        names.chain(more).chain(optional).collect::<Vec<_>>().join(", ")
    }
}

/// An enum of names with everything declared about each.
macro_rules! declare {
    ($(#[$about:meta])* $kind:ident {
        $($variant:ident $name:literal ($($required:ident),* $(; $($optional:ident),+)? $(.. $more:ident)?) $spelling:ident $doc:literal)*
    }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $kind {
            $(#[doc = $doc] $variant,)*
        }

        impl $kind {
            /// Each of them, in the order of documents.
            pub const ALL: &'static [$kind] = &[$($kind::$variant),*];

            /// The one with this name, spelled exactly.
            pub fn named(name: &str) -> Option<$kind> {
                match name {
                    $($name => Some($kind::$variant),)*
                    _ => None,
                }
            }

            /// The spelling in a rule; no other function or method has it.
            pub fn name(self) -> &'static str {
                match self {
                    $($kind::$variant => $name,)*
                }
            }

            /// The arguments that a call takes; a method's receiver is not among them.
            pub fn parameters(self) -> Parameters {
                match self {
                    $($kind::$variant => Parameters {
                        required: &[$(stringify!($required)),*],
                        optional: &[$($(stringify!($optional)),+)?],
                        more: [$(stringify!($more))?].first().copied(),
                    },)*
                }
            }

            /// How the parser accepts the name.
            pub fn spelling(self) -> Spelling {
                match self {
                    $($kind::$variant => Spelling::$spelling,)*
                }
            }

            /// Its result, in a sentence.
            pub fn doc(self) -> &'static str {
                match self {
                    $($kind::$variant => $doc,)*
                }
            }
        }
    };
}

declare! {
    /// A name that stands alone before its arguments.
    Function {
        Date "date" (year, month, day) Keyword "The calendar date; null where there is none."
        If "if" (condition, then, otherwise) Keyword "The second argument if the condition holds, otherwise the third."
        InSegment "inSegment" (name) Exact "Whether the subject is in another segment."
        CurrentMonth "currentMonth" (.. ignored) Exact "The month of today, 1 to 12."
        CurrentYear "currentYear" (.. ignored) Exact "The year of today."
        CurrentDayOfMonth "currentDayOfMonth" (.. ignored) Exact "The day of today within its month, 1 to 31."
        MapEntry "mapEntry" (key, value) Exact "A map of one entry; `map` over groups puts such maps together."
        Not "not" (condition) Exact "Whether the condition does not hold."
        Now "now" (.. ignored) Exact "The instant of evaluation."
    }
}

declare! {
    /// A name that stands after a dot, or takes its receiver as first argument.
    Method {
        Like "like" (pattern; case) Exact "Whether a text has the form of a pattern, in which `%` stands for any letters and `_` for one."
        StartsWith "startsWith" (text; case) OperatorLike "Whether a text begins with another."
        DoesNotStartWith "doesNotStartWith" (text; case) OperatorLike "Whether a text does not begin with another."
        EndsWith "endsWith" (text; case) OperatorLike "Whether a text ends with another."
        DoesNotEndWith "doesNotEndWith" (text; case) OperatorLike "Whether a text does not end with another."
        Contains "contains" (text; case) OperatorLike "Whether a text contains another, or a list an item."
        DoesNotContain "doesNotContain" (text; case) OperatorLike "Whether a text does not contain another."
        Equals "equals" (value; case .. values) OperatorLike "Whether a text equals one of the given values."
        NotEqualTo "notEqualTo" (value; case) OperatorLike "Whether a text differs from the given one."
        Matches "matches" (regex) OperatorLike "Whether a regular expression is found in a text."
        RegexGroup "regexGroup" (regex, group) OperatorLike "The group of that number in the first match; null where there is none."
        In "in" (list) Exact "Whether a value is in a list."
        NotIn "notIn" (list) Exact "Whether a value is not in a list."
        Includes "includes" (value) OperatorLike "Whether a list has a value, or all values of another list."
        Intersects "intersects" (list) OperatorLike "Whether two lists have a value in common."
        Intersection "intersection" (list) Exact "The values that two lists have in common."
        SubsetOf "subsetOf" (list) OperatorLike "Whether every value of a list is in another."
        SupersetOf "supersetOf" (list) OperatorLike "Whether every value of another list is in this one."
        Distinct "distinct" () Exact "Each value of a list once."
        Head "head" () Exact "The first item of a list; null where there is none."
        Filter "filter" (condition) Exact "The items for which the condition holds."
        Map "map" (expression) Exact "The value of the expression for each item; nulls are left out."
        GroupBy "groupBy" (key) Exact "Lists of the items that have the same key, by key."
        TopN "topN" (value, count) Exact "The items with the highest values, highest first."
        BottomN "bottomN" (value, count) Exact "The items with the lowest values, lowest first."
        Exists "exists" (; condition) Exact "Whether the condition holds for an item; without one, whether there is any."
        Some "some" (; condition) Exact "As `exists`."
        Forall "forall" (condition) Exact "Whether the condition holds for every item."
        All "all" (condition) Exact "As `forall`."
        None "none" (; condition) Exact "Whether the condition holds for no item."
        One "one" (; condition) Exact "Whether the condition holds for exactly one item."
        Get "get" (key) Exact "The value of a map's entry, or of a record's field; null where there is none."
        Keys "keys" () Exact "The keys of a map."
        Values "values" () Exact "The values of a map."
        IsNull "isNull" () OperatorLike "Whether there is no value."
        IsNotNull "isNotNull" () OperatorLike "Whether there is a value."
        Count "count" (; expression) Keyword "How many items there are that are not null; with a condition, for how many it holds."
        Sum "sum" (; expression) Keyword "The sum of the numbers; 0 where there is none."
        Average "average" (; expression) Keyword "The average of the numbers; null where there is none."
        Min "min" (; expression) Keyword "The least value; null where there is none."
        Max "max" (; expression) Keyword "The greatest value; null where there is none."
        GetMonth "getMonth" () Exact "The month of an instant in the segment's time zone, or of a date, 1 to 12."
        GetYear "getYear" () Exact "The year of an instant in the segment's time zone, or of a date."
        GetDayOfMonth "getDayOfMonth" () Exact "The day of an instant in the segment's time zone, or of a date, within its month, 1 to 31."
    }
}

/// All names, for suggestions and completion: functions first.
pub fn names() -> impl Iterator<Item = &'static str> {
    let functions = Function::ALL.iter().map(|function| function.name());
    functions.chain(Method::ALL.iter().map(|method| method.name()))
}

/// The keyword that a word before its arguments stands for, in small or capital letters; all other
/// names have one spelling.
pub(crate) fn keyword(word: &str) -> Option<&'static str> {
    let functions = Function::ALL.iter().map(|function| (function.spelling(), function.name()));
    let methods = Method::ALL.iter().map(|method| (method.spelling(), method.name()));
    let mut both = functions.chain(methods);
    both.find(|(spelling, name)| *spelling == Spelling::Keyword && is_keyword(word, name))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use super::*;

    #[test]
    fn the_reference_is_written_from_the_table() {
        let mut page = String::from(
            "# Functions and methods\n\n\
             Every function and method of the [segment language](segments.md), which has examples of each. Arguments in brackets may be left out.\n\
             A method can be written before its receiver as well: `count(xEvent)` is `xEvent.count()`.\n\n",
        );
        page += "| Function | Value |\n|---|---|\n";
        for function in Function::ALL {
            // An ignored argument is not offered.
            let parameters = function.parameters();
            let shown = if parameters.more == Some("ignored") {
                String::new()
            } else {
                parameters.show()
            };
            page += &format!("| `{}({shown})` | {} |\n", function.name(), function.doc());
        }
        page += "\n| Method | Value |\n|---|---|\n";
        for method in Method::ALL {
            page += &format!("| `.{}({})` | {} |\n", method.name(), method.parameters().show(), method.doc());
        }
        expect_file!["../../../docs/functions.md"].assert_eq(&page);
    }

    #[test]
    fn names_are_found_and_stand_for_one_thing() {
        let all: Vec<&str> = names().collect();
        for name in &all {
            assert_eq!(all.iter().filter(|other| *other == name).count(), 1, "{name}");
            assert!(Function::named(name).is_some() != Method::named(name).is_some(), "{name}");
        }
        assert_eq!(Method::Like.parameters().count(), 1..=2);
        assert_eq!(Method::Equals.parameters().show(), "value, [values…], [case]");
        assert_eq!(
            ["SUM", "sum", "Sum", "MAPENTRY", "If"].map(keyword),
            [Some("sum"), Some("sum"), None, None, None]
        );
    }
}
