//! `person find|show|explain`: queries the running instance.

use millrace_api::dto::{ExplainView, PersonView};
use millrace_model::{Identity, SubjectKind, namespace};
use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::commands::find;
use crate::refusal::Refusal;
use crate::settings::Settings;
use crate::shown;

pub fn find(settings: &Settings, text: &str, limit: usize) -> anyhow::Result<()> {
    find::run(settings, SubjectKind::Person, text, limit)
}

pub fn show(settings: &Settings, id: &str) -> anyhow::Result<()> {
    let view: PersonView = ask(settings, id, &[], &[])?;
    shown::show(settings.output, &view, shown::person)
}

pub fn explain(settings: &Settings, id: &str, segment: &str, at: Option<&str>) -> anyhow::Result<()> {
    let query: Vec<(&str, &str)> = [("segment", segment)].into_iter().chain(at.map(|at| ("at", at))).collect();
    let view: ExplainView = ask(settings, id, &["explain"], &query)?;
    shown::show(settings.output, &view, shown::explanation)
}

/// Queries a person. An id without a namespace is tried as an e-mail address and as a source key.
fn ask<T: DeserializeOwned>(settings: &Settings, id: &str, rest: &[&str], query: &[(&str, &str)]) -> anyhow::Result<T> {
    find::require_id(id)?;
    let client = Client::of(settings)?;
    let ask = |id: &str| client.get(&[&["v1", "persons", id], rest].concat(), query);
    if Identity::parse(id).is_ok() {
        return ask(id);
    }
    let id = id.trim();
    let mut known = Vec::new();
    for namespace in [namespace::EMAIL, namespace::PERSON] {
        let whole = format!("{namespace}:{id}");
        if client.look_up::<PersonView>(&["v1", "persons", &whole], &[])?.is_some() {
            known.push(whole);
        }
    }
    match known.as_slice() {
        [only] => ask(only),
        [] => anyhow::bail!("nothing is known of `{id}` as an e-mail address or a source key; `millrace person find {id}` looks for a part of a name"),
        several => Err(Refusal(format!("`{id}` may be {}: name the one that is meant", several.join(" or "))).into()),
    }
}
