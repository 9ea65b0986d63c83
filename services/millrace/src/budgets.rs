//! The calls that foreign instances allow, shared by all callers in this process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use millrace_config::Config;
use millrace_connect::budget::{Budget, Limits};
use millrace_connect::source::system_clock;
use serde_json::Value;

use crate::sources::marketo_config;

/// One budget per instance, whether sources or sinks call it.
#[derive(Default)]
pub struct Budgets(Mutex<BTreeMap<String, Arc<Budget>>>);

impl Budgets {
    /// With a budget for each instance that a source is configured for: its limits and shares apply
    /// to the sinks of the instance as well.
    ///
    /// Reads no secret: this process may run no source, and the process that runs one reports its
    /// errors.
    pub fn configured(config: &Config) -> Budgets {
        let budgets = Budgets::default();
        for (name, source) in config.sources.iter().filter(|(_, source)| source.kind == "marketo") {
            if let Ok(checked) = marketo_config(name, Value::Object(source.settings.clone())) {
                budgets.of(checked.instance.budget_key(), &checked.instance.limits);
            }
        }
        budgets
    }

    /// The budget of an instance; the first caller decides its limits.
    pub fn of(&self, key: String, limits: &Limits) -> Arc<Budget> {
        let mut budgets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let budget = budgets.entry(key).or_insert_with(|| Arc::new(Budget::new(limits.clone(), system_clock())));
        Arc::clone(budget)
    }
}
