//! `person find`, `account find`: by part of a name, an e-mail address or a source key.

use millrace_api::dto::{FoundView, Page};
use millrace_model::SubjectKind;

use crate::cli::Output;
use crate::client::Client;
use crate::progress::Progress;
use crate::refusal::Refusal;
use crate::settings::Settings;
use crate::shown;

/// # Errors
/// A refusal where the id is empty: in a URL it would name the list.
pub fn require_id(id: &str) -> Result<(), Refusal> {
    if id.trim().is_empty() {
        return Err(Refusal("the id is empty".to_owned()));
    }
    Ok(())
}

/// Requests one part after the other until enough are found, or there are no more.
pub fn run(settings: &Settings, kind: SubjectKind, text: &str, limit: usize) -> anyhow::Result<()> {
    let client = Client::of(settings)?;
    let progress = Progress::begin(|| "looking through everybody".to_owned());
    let plural = format!("{}s", kind.name());
    let (mut found, mut after) = (Vec::<FoundView>::new(), None::<String>);
    while found.len() < limit {
        let wanted = (limit - found.len()).to_string();
        let mut query = vec![("q", text), ("limit", wanted.as_str())];
        query.extend(after.as_deref().map(|after| ("after", after)));
        let page: Page<FoundView> = client.get(&["v1", &plural], &query)?;
        found.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    progress.end();
    if settings.output == Output::Text && found.is_empty() {
        shown::note(&format!("no {} has `{text}` in a name or an identity", kind.name()));
    }
    shown::show(settings.output, found.as_slice(), shown::found)?;
    if settings.output == Output::Text && after.is_some() {
        shown::note("there may be more; `--limit` takes a greater number");
    }
    Ok(())
}
