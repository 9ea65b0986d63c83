//! `account find|show|explain`: queries the running instance.

use millrace_api::dto::{AccountView, ExplainView};
use millrace_model::SubjectKind;

use crate::client::Client;
use crate::commands::find;
use crate::settings::Settings;
use crate::shown;

pub fn find(settings: &Settings, text: &str, limit: usize) -> anyhow::Result<()> {
    find::run(settings, SubjectKind::Account, text, limit)
}

pub fn show(settings: &Settings, key: &str) -> anyhow::Result<()> {
    let view: AccountView = Client::of(settings)?.get(&["v1", "accounts", key], &[])?;
    shown::show(settings.output, &view, shown::account)
}

pub fn explain(settings: &Settings, key: &str, segment: &str, at: Option<&str>) -> anyhow::Result<()> {
    let query: Vec<(&str, &str)> = [("segment", segment)].into_iter().chain(at.map(|at| ("at", at))).collect();
    let view: ExplainView = Client::of(settings)?.get(&["v1", "accounts", key, "explain"], &query)?;
    shown::show(settings.output, &view, shown::explanation)
}
