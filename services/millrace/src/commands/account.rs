//! `account find|show|explain`: queries the running instance.

use millrace_api::dto::{AccountView, ExplainView};
use millrace_model::{Identity, SubjectKind};
use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::commands::find;
use crate::settings::Settings;
use crate::shown;

pub fn find(settings: &Settings, text: &str, limit: usize) -> anyhow::Result<()> {
    find::run(settings, SubjectKind::Account, text, limit)
}

pub fn show(settings: &Settings, key: &str) -> anyhow::Result<()> {
    let view: AccountView = ask(settings, key, &[], &[])?;
    shown::show(settings.output, &view, shown::account)
}

pub fn explain(settings: &Settings, key: &str, segment: &str, at: Option<&str>) -> anyhow::Result<()> {
    let query: Vec<(&str, &str)> = [("segment", segment)].into_iter().chain(at.map(|at| ("at", at))).collect();
    let view: ExplainView = ask(settings, key, &["explain"], &query)?;
    shown::show(settings.output, &view, shown::explanation)
}

/// Queries an account by one of its source keys.
fn ask<T: DeserializeOwned>(settings: &Settings, key: &str, rest: &[&str], query: &[(&str, &str)]) -> anyhow::Result<T> {
    find::require_id(key)?;
    let client = Client::of(settings)?;
    // What else is missing, such as the segment, the instance names itself.
    if Identity::parse(key).is_err() && client.look_up::<AccountView>(&["v1", "accounts", key], &[])?.is_none() {
        anyhow::bail!("nothing is known of `{key}` as a source key; `millrace account find {key}` looks for a part of a name");
    }
    client.get(&[&["v1", "accounts", key], rest].concat(), query)
}
