//! `health`: checks whether the instance on this machine works. For Docker, systemd and scripts:
//! the image has neither shell nor curl.

use std::time::Duration;

use anyhow::{Context, bail};
use millrace_api::dto::ReadyView;
use reqwest::Url;
use reqwest::blocking::{Client, Response};

use crate::cli::HealthOptions;
use crate::client;
use crate::settings::{Settings, reachable};
use crate::shown;

/// An instance answers at once or is not well.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Fails where the instance does not answer, or answers that it is not ready.
pub fn run(settings: &Settings, options: &HealthOptions) -> anyhow::Result<()> {
    let address = match &options.address {
        Some(address) => address.clone(),
        None => reachable(settings.config.http.metrics_address).to_string(),
    };
    let address = client::address("--address", &address)?;
    let (path, wanted) = if options.live { ("healthz", "alive") } else { ("readyz", "ready") };
    let response = ask(&address, path)?;
    if response.status().is_success() {
        return shown::show(settings.output, &wanted, |wanted| format!("{wanted}\n"));
    }
    let status = response.status();
    match response.json::<ReadyView>() {
        Ok(view) => bail!("{address} is not {wanted}: {}", view.waiting_for.join("; ")),
        Err(_) => bail!("{address} is not {wanted}: it answers {status}"),
    }
}

/// Straight to the instance: a proxy of the environment is for the outside world.
fn ask(address: &Url, path: &str) -> anyhow::Result<Response> {
    let client = Client::builder()
        .no_proxy()
        .timeout(ANSWER_WITHIN)
        .build()
        .context("cannot set an HTTP client up")?;
    let mut url = address.clone();
    if let Ok(mut steps) = url.path_segments_mut() {
        steps.pop_if_empty().push(path);
    }
    client.get(url).send().with_context(|| format!("no instance answers at {address}"))
}
