//! `destinations`.

use std::collections::BTreeSet;

use millrace_model::Identity;

use super::Check;
use crate::{Destination, raw};

pub(super) fn destination(name: &str, raw: &raw::Destination, check: &mut Check<'_>) -> Destination {
    let key = format!("destinations.{name}");
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        check.wrong(&key, "a destination's name is made of a-z, 0-9 and hyphens");
    }
    Destination {
        namespace: check.filled(&format!("{key}.namespace"), &raw.namespace).to_ascii_lowercase(),
        known_by: raw.known_by.as_ref().and_then(|path| check.field(&format!("{key}.known_by"), path)),
        attributes: raw
            .attributes
            .iter()
            .filter_map(|(field, path)| Some((field.clone(), check.field(&format!("{key}.attributes.{field}"), path)?)))
            .collect(),
        sink: raw.sink.clone(),
        settings: raw.settings.clone(),
        brake_share: raw.brake_share,
        brake_least: raw.brake_least,
        suppressed: suppressed(&key, raw, check),
    }
}

/// Ids as identities spell them: however somebody writes one, nobody may slip through.
fn suppressed(key: &str, raw: &raw::Destination, check: &mut Check<'_>) -> BTreeSet<String> {
    let namespace = raw.namespace.trim().to_ascii_lowercase();
    let mut ids = BTreeSet::new();
    for text in &raw.suppressed {
        let bare = match text.split_once(':') {
            Some((before, id)) if before.trim().eq_ignore_ascii_case(&namespace) => id,
            _ => text,
        };
        match Identity::new(&namespace, bare) {
            Some(identity) => drop(ids.insert(identity.id().to_owned())),
            None => check.wrong(&format!("{key}.suppressed"), &format!("`{text}` is no id")),
        }
    }
    ids
}
