//! Settings of a deployment for all rules.

use std::collections::BTreeMap;

use millrace_model::{DAY_MS, Decimal, Text};

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
