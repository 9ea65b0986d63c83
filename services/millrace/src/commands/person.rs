//! `person show|explain`: asks the running instance.

use millrace_api::dto::{ExplainView, PersonView};

use crate::client::Client;
use crate::settings::Settings;
use crate::shown;

pub fn show(settings: &Settings, id: &str) -> anyhow::Result<()> {
    let view: PersonView = Client::new(&settings.server_url())?.get(&["v1", "persons", id], &[])?;
    shown::show(settings.output, &view, shown::person)
}

pub fn explain(settings: &Settings, id: &str, segment: &str) -> anyhow::Result<()> {
    let view: ExplainView = Client::new(&settings.server_url())?.get(&["v1", "persons", id, "explain"], &[("segment", segment)])?;
    shown::show(settings.output, &view, shown::explanation)
}
