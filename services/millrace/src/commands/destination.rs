//! `destination`: the status of sinks, and commands to them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::assembly;
use crate::budgets::Budgets;
use crate::cli::DestinationCommand;
use crate::client::Client;
use crate::settings::Settings;
use crate::shown;
use crate::sinks::Previews;

pub fn run(settings: &Settings, command: &DestinationCommand) -> anyhow::Result<()> {
    if let DestinationCommand::Preview { name, sample } = command {
        return preview(settings, name, *sample);
    }
    let client = Client::of(settings)?;
    let order = |name: &str, order: &str, audience: &Option<String>| {
        let mut body = json!({ "order": order });
        if let Some(audience) = audience {
            body["audience"] = json!(audience);
        }
        let taken: Value = client.post(&["v1", "destinations", name, "orders"], &[], Some(body.to_string()))?;
        shown::show(settings.output, &taken, |_| format!("the sink of {name} has the order\n"))
    };
    match command {
        DestinationCommand::List => {
            let all: Vec<Value> = client.get(&["v1", "destinations"], &[])?;
            shown::show(settings.output, &all, |all| match all.as_slice() {
                [] => "no sink runs; `destinations.<name>.sink` gives a destination one\n".to_owned(),
                all => all.iter().map(line).collect(),
            })
        }
        DestinationCommand::Status { name } => {
            let one: Value = client.get(&["v1", "destinations", name], &[])?;
            shown::show(settings.output, &one, text)
        }
        DestinationCommand::Preview { .. } => Ok(()),
        DestinationCommand::Confirm { name, audience } => order(name, "confirm", audience),
        DestinationCommand::Retry { name, audience } => order(name, "retry", audience),
        DestinationCommand::Reconcile { name, audience } => order(name, "reconcile", audience),
    }
}

fn line(status: &Value) -> String {
    let name = status["destination"].as_str().unwrap_or_default();
    format!(
        "{name}: {} desired, {} delivered, {} pending, {} refused\n",
        status["desired"], status["delivered"], status["pending"], status["refused"]
    )
}

fn text(status: &Value) -> String {
    let mut text = line(status);
    if let Some(error) = status["error"].as_str() {
        text += &format!("  held up: {error}\n");
    }
    for warning in status["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        text += &format!("  warning: {warning}\n");
    }
    for unheard in status["unheard"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        text += &format!("  without the numbers of a process: {unheard}\n");
    }
    if let Some(age) = status["oldestPendingMs"].as_u64() {
        text += &format!("  oldest pending: {} s\n", age / 1_000);
    }
    if let Some(left) = status["finishedInMs"].as_u64() {
        text += &format!("  done in about {} s at this pace\n", left / 1_000);
    }
    for (audience, of) in status["audiences"].as_object().into_iter().flatten() {
        text += &format!(
            "  {audience}: {} desired, {} delivered, {} pending, {} refused\n",
            of["desired"], of["delivered"], of["pending"], of["refused"]
        );
        if of["held"] == true {
            let name = status["destination"].as_str().unwrap_or_default();
            text += &format!("    held by the brake; `millrace destination confirm {name} --audience {audience}` lets it pass\n");
        }
        if let Some(remark) = of["remark"].as_str() {
            text += &format!("    {remark}\n");
        }
    }
    text
}

/// Reads a shared log itself; where one process holds the log, that one is asked.
fn preview(settings: &Settings, name: &str, sample: u16) -> anyhow::Result<()> {
    let answer: Value = if settings.log_is_shared() {
        let previews = Previews {
            config: settings.config.clone(),
            log: Arc::new(assembly::kafka_log(&settings.config)?),
            budgets: Arc::new(Budgets::configured(&settings.config)),
        };
        serde_json::to_value(previews.make(name, sample.into())?)?
    } else {
        let sample = sample.to_string();
        Client::of(settings)?.get(&["v1", "destinations", name, "preview"], &[("sample", &sample)])?
    };
    shown::show(settings.output, &answer, preview_text)
}

fn preview_text(preview: &Value) -> String {
    let name = preview["destination"].as_str().unwrap_or_default();
    let mut text = format!("{name}: {} changes in at most {} calls", preview["changes"], preview["calls"]);
    if let Some(takes) = preview["takesMs"].as_u64() {
        text += &format!(", {} at least", humantime::format_duration(Duration::from_secs(takes.div_ceil(1_000))));
    }
    if let Some(left) = preview["quotaLeft"].as_u64() {
        text += &format!("; {left} calls are left today");
    }
    text += "\n";
    for (audience, of) in preview["audiences"].as_object().into_iter().flatten() {
        let held = if of["held"] == true { ", which the brake would hold" } else { "" };
        text += &format!(
            "  {audience}: {} delivered; {} to add, {} to remove, {} others, {} refused before; {} calls{held}\n",
            of["delivered"], of["adds"], of["removes"], of["others"], of["refused"], of["calls"]
        );
        for change in of["sample"].as_array().into_iter().flatten() {
            let sign = if change["present"] == true { '+' } else { '-' };
            let attributes = change.get("attributes").map(|attributes| format!("  {attributes}")).unwrap_or_default();
            text += &format!("    {sign} {}{attributes}\n", change["identity"].as_str().unwrap_or_default());
        }
        if let Some(request) = of["request"].as_str() {
            text += &format!("    the first call: {request}\n");
        }
    }
    text
}
