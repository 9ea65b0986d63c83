//! `person show|explain`: asks the running instance.

use millrace_api::dto::{ExplainView, PersonView};

use crate::client::Client;
use crate::settings::Settings;
use crate::shown;

pub fn show(settings: &Settings, id: &str) -> anyhow::Result<()> {
    let view: PersonView = Client::new(&settings.server_url())?.get(&["v1", "persons", id], &[])?;
    shown::show(settings.output, &view, shown::person)
}

pub fn explain(settings: &Settings, id: &str, segment: &str, at: Option<&str>) -> anyhow::Result<()> {
    let query: Vec<(&str, &str)> = [("segment", segment)].into_iter().chain(at.map(|at| ("at", at))).collect();
    let view: ExplainView = Client::new(&settings.server_url())?.get(&["v1", "persons", id, "explain"], &query)?;
    shown::show(settings.output, &view, shown::explanation)
}
