//! Settings of a deployment for all rules.

use std::collections::BTreeMap;

use millrace_model::{DAY_MS, Decimal, Text, Value};

/// Settings of a deployment for all rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The currency of amounts that name none, and the one in which amounts are compared and added
    /// up.
    pub default_currency: Text,
    /// The value of one unit of a currency in the default currency. Amounts in a currency without
    /// rate are null.
    pub rates: BTreeMap<Text, Decimal>,
    /// How long events are kept. Windows that look further back cause a warning.
    pub retention_ms: i64,
    /// The most features, queries and segments of a plan, each. Every subject is evaluated for each
    /// it has.
    pub parts_max: usize,
}

impl Settings {
    /// The currency of an amount that has no rate, so that every rule sees null.
    pub fn currency_without_rate<'m>(&self, money: &'m Value) -> Option<&'m str> {
        money.field("amount").as_decimal()?;
        currency(money).filter(|code| rate(code, &self.default_currency, &self.rates).is_none())
    }
}

/// The currency that a money record names; `None` if it names none.
pub(crate) fn currency(money: &Value) -> Option<&str> {
    money.field("currencyCode").as_str().map(str::trim).filter(|code| !code.is_empty())
}

/// The value of one unit of a currency in the default currency. Letter case does not matter.
pub(crate) fn rate(code: &str, default: &Text, rates: &BTreeMap<Text, Decimal>) -> Option<Decimal> {
    let is_code = |known: &Text| known.eq_ignore_ascii_case(code);
    if is_code(default) {
        return Some(Decimal::ONE);
    }
    rates.iter().find(|(known, _)| is_code(known)).map(|(_, rate)| *rate)
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            default_currency: Text::const_new("USD"),
            rates: BTreeMap::new(),
            retention_ms: 400 * DAY_MS,
            parts_max: 20_000,
        }
    }
}
