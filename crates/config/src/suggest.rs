//! What was probably meant by a name that is not known.

pub fn suggestion(name: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(candidate) => format!("; did you mean `{candidate}`?"),
        None => format!("; known here: {}", known.join(", ")),
    }
}

/// The candidate that was probably meant.
pub fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let closest = known.map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate)).min();
    closest
        .filter(|(distance, _)| *distance <= 2.max(name.len() / 3))
        .map(|(_, candidate)| candidate)
}
