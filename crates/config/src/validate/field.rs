//! Paths of profiles that a configuration names.

use std::sync::Arc;

use millrace_model::{Path, RecordType, Schema, SourceKind, Text, Type};

use crate::suggest::nearest;

/// The error in a path that exists in neither the profile of a person nor that of an account.
pub(super) fn unknown_field(path: &Path) -> Option<String> {
    // Another check reports a defect of the schemas.
    let schema = Schema::built_in().ok()?;
    let records = [SourceKind::Person, SourceKind::Account].map(|kind| schema.record(kind));
    if records.iter().any(|record| record.type_at(path.steps()).is_some()) {
        return None;
    }
    let dotted = |steps: &[Text]| steps.iter().map(|step| step.as_str()).collect::<Vec<_>>().join(".");
    // The part of the path that exists.
    let known = (0..path.steps().len())
        .rev()
        .find(|count| *count == 0 || records.iter().any(|record| record.type_at(&path.steps()[..*count]).is_some()))?;
    let (before, step) = (&path.steps()[..known], path.steps()[known].as_str());
    let names = |record: &'_ Arc<RecordType>| match (known, record.type_at(before)) {
        (0, _) => record.fields.keys().cloned().collect(),
        (_, Some(Type::Record(inner))) => inner.fields.keys().cloned().collect(),
        _ => Vec::new(),
    };
    let names: Vec<Text> = records.iter().flat_map(|record| names(record)).collect();
    let near = nearest(step, names.iter().map(|name| name.as_str()));
    let near = near.map(|name| {
        format!(
            "; did you mean `{}`?",
            dotted(&[before, &[Text::from(name)], &path.steps()[known + 1..]].concat())
        )
    });
    let profile = "is no field of a person or an account; fields of one's own are under `extra`";
    Some(format!("`{}` {profile}{}", dotted(path.steps()), near.unwrap_or_default()))
}
