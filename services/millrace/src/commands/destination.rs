//! `destination`: the status of sinks, and commands to them.

use serde_json::{Value, json};

use crate::cli::DestinationCommand;
use crate::client::Client;
use crate::settings::Settings;
use crate::shown;

pub fn run(settings: &Settings, command: &DestinationCommand) -> anyhow::Result<()> {
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
            shown::show(settings.output, &all, |all| all.iter().map(line).collect())
        }
        DestinationCommand::Status { name } => {
            let one: Value = client.get(&["v1", "destinations", name], &[])?;
            shown::show(settings.output, &one, text)
        }
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
        let held = if of["held"] == true { ", held by the brake" } else { "" };
        text += &format!(
            "  {audience}: {} desired, {} delivered, {} pending, {} refused{held}\n",
            of["desired"], of["delivered"], of["pending"], of["refused"]
        );
    }
    text
}
