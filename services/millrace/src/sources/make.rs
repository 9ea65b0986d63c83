//! From a configured source to a running one: secrets read, settings checked by its connector.

use std::sync::Arc;

use anyhow::Context;
use millrace_config::{Config as Deployment, Source as Configured};
use millrace_connect::source::{Make, Source, Status, system_clock};
use millrace_marketo::Client;
use millrace_source_marketo::{Config, MarketoSource, Raw};
use millrace_source_salesforce::SalesforceSource;
use serde_json::Value;

use crate::budgets::Budgets;
use crate::refusal::Refusal;
use crate::settings::{revealed, typed};
use crate::sources::{foreign, programs};

/// # Errors
/// A refusal that names every wrong key; where a secret cannot be read.
pub fn make(deployment: &Deployment, name: &str, source: &Configured, budgets: &Budgets) -> anyhow::Result<(Arc<Status>, Make)> {
    match source.kind.as_str() {
        "airbyte" => programs::airbyte(name, source),
        "cloudevents" => foreign::cloudevents(deployment, name, source),
        "debezium" => foreign::debezium(deployment, name, source),
        "marketo" => marketo(name, source, budgets),
        "salesforce" => salesforce(name, source, budgets),
        "singer" => programs::singer(name, source),
        other => Err(Refusal(format!(
            "sources.{name}.type: `{other}` is no type of source; known are `airbyte`, `cloudevents`, `debezium`, `marketo`, `salesforce` and `singer`"
        ))
        .into()),
    }
}

/// A Marketo source, checked; `settings` may hold secrets or the names of their files.
///
/// # Errors
/// A refusal that names every wrong key.
pub fn marketo_config(name: &str, settings: Value) -> anyhow::Result<Config> {
    let key = format!("sources.{name}");
    let raw: Raw = typed(&key, settings)?;
    Config::new(raw).map_err(|error| Refusal::keys(&key, &error.0).into())
}

fn marketo(name: &str, source: &Configured, budgets: &Budgets) -> anyhow::Result<(Arc<Status>, Make)> {
    let settings = revealed(&format!("sources.{name}"), &source.settings)?;
    let config = marketo_config(name, settings)?;
    let status = Arc::new(Status::new(name, "marketo"));
    let budget = budgets.of(config.instance.budget_key(), &config.instance.limits);
    let client = Client::new(&config.instance, budget, Arc::clone(&status)).context("cannot set an HTTP client up")?;
    let client = Arc::new(client);
    let make: Make = Arc::new(move || Box::new(MarketoSource::new(Arc::clone(&client), config.clone(), system_clock())) as Box<dyn Source>);
    Ok((status, make))
}

fn salesforce(name: &str, source: &Configured, budgets: &Budgets) -> anyhow::Result<(Arc<Status>, Make)> {
    let key = format!("sources.{name}");
    let raw: millrace_source_salesforce::Raw = typed(&key, revealed(&key, &source.settings)?)?;
    let config = millrace_source_salesforce::Config::new(raw).map_err(|error| Refusal::keys(&key, &error.0))?;
    let status = Arc::new(Status::new(name, "salesforce"));
    let budget = budgets.of(config.budget_key(), &config.limits);
    let client = millrace_source_salesforce::Client::new(&config, budget, Arc::clone(&status), system_clock());
    let client = Arc::new(client.context("cannot set an HTTP client up")?);
    let make: Make = Arc::new(move || Box::new(SalesforceSource::new(Arc::clone(&client), config.clone(), system_clock())) as Box<dyn Source>);
    Ok((status, make))
}
