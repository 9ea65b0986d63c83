//! From a configured source to one that runs: secrets read, settings checked by its connector.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use millrace_config::{Secret, Source as Configured};
use millrace_connect::budget::Budget;
use millrace_connect::source::{Make, Source, Status, system_clock};
use millrace_source_marketo::{Client, Config, MarketoSource, Raw};
use serde_json::{Map, Value};

use crate::refusal::Refusal;

/// The budgets of foreign instances: two sources of one instance share one.
pub type Budgets = BTreeMap<String, Arc<Budget>>;

/// # Errors
/// A refusal that names every key that is wrong; where a secret cannot be read.
pub fn make(name: &str, source: &Configured, budgets: &mut Budgets) -> anyhow::Result<(Arc<Status>, Make)> {
    match source.kind.as_str() {
        "marketo" => marketo(name, source, budgets),
        other => Err(Refusal(format!("sources.{name}.type: `{other}` is no type of source; known is `marketo`")).into()),
    }
}

/// The settings with `file:` references replaced by what is in the files.
fn revealed(name: &str, settings: &Map<String, Value>) -> anyhow::Result<Value> {
    let mut revealed = settings.clone();
    for (key, value) in &mut revealed {
        if let Value::String(text) = value
            && text.starts_with("file:")
        {
            *text = Secret::new(key, text).reveal().with_context(|| format!("sources.{name}.{key}"))?;
        }
    }
    Ok(Value::Object(revealed))
}

fn marketo(name: &str, source: &Configured, budgets: &mut Budgets) -> anyhow::Result<(Arc<Status>, Make)> {
    let raw: Raw = serde_json::from_value(revealed(name, &source.settings)?).map_err(|error| Refusal(format!("sources.{name}: {error}")))?;
    let config = Config::new(raw).map_err(|error| Refusal(error.0.iter().map(|line| format!("sources.{name}.{line}")).collect::<Vec<_>>().join("\n")))?;
    let status = Arc::new(Status::new(name, "marketo"));
    let budget = budgets.entry(format!("marketo {}", config.munchkin));
    let budget = budget.or_insert_with(|| Arc::new(Budget::new(config.limits.clone(), system_clock())));
    let client = Client::new(&config, Arc::clone(budget), Arc::clone(&status)).context("cannot set an HTTP client up")?;
    let client = Arc::new(client);
    let make: Make = Arc::new(move || Box::new(MarketoSource::new(Arc::clone(&client), config.clone(), system_clock())) as Box<dyn Source>);
    Ok((status, make))
}
