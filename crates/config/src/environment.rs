//! Environment variables that look like ours and are not read. Without this check a misspelt name
//! would be ignored silently.

use crate::manual::keys;

/// Prefix of an environment variable that configures.
pub const ENVIRONMENT_PREFIX: &str = "MILLRACE__";

/// Names the configuration file; the program's only variable that is not a key.
const CONFIG: &str = "MILLRACE_CONFIG";

/// Variables of the build and its tests.
const BUILD: [&str; 5] = ["MILLRACE_CACHE", "MILLRACE_ROCKSDB", "MILLRACE_BIN", "MILLRACE_PYTHON", "MILLRACE_CHART_PYTHON"];

/// With more slips than this, the name belongs to another program.
const SLIPS_MAX: usize = 2;

/// The variable that was probably meant by an unknown name; `None` if the name is right, or no key
/// is close to it.
///
/// The comparison ignores separators and letter case: most slips are a missing underscore. Names
/// that an orchestrator generates, such as `MILLRACE_SERVICE_HOST`, are close to none of ours.
pub fn meant(name: &str) -> Option<String> {
    // Nearly every variable of an environment belongs to another program: comparing each with every
    // key would be wasted work.
    let bare = bare(name);
    if BUILD.contains(&name) || !begins_like_ours(&bare) {
        return None;
    }
    let candidate = |key: &String| match key.strip_suffix('.') {
        None => Some(variable_of(key)),
        // The rest of the name is the operator's own.
        Some(section) => rest_after(name, &self::bare(&variable_of(section))).map(|rest| format!("{}__{rest}", variable_of(section))),
    };
    let candidates = keys().iter().filter_map(candidate).chain([CONFIG.to_owned()]).collect::<Vec<_>>();
    let slips = |variable: &String| strsim::damerau_levenshtein(&bare, &self::bare(variable));
    let nearest = candidates.into_iter().min_by_key(slips).filter(|variable| slips(variable) <= SLIPS_MAX);
    nearest.filter(|variable| variable != name)
}

/// `topics.shards` as `MILLRACE__TOPICS__SHARDS`.
fn variable_of(key: &str) -> String {
    format!("{ENVIRONMENT_PREFIX}{}", key.to_ascii_uppercase().replace('.', "__"))
}

/// Letters and digits alone, in capitals.
fn bare(name: &str) -> String {
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_uppercase())
        .collect()
}

fn begins_like_ours(bare: &str) -> bool {
    let ours = self::bare(ENVIRONMENT_PREFIX);
    let begin: String = bare.chars().take(ours.len()).collect();
    bare.len() > ours.len() && strsim::damerau_levenshtein(&begin, &ours) <= SLIPS_MAX
}

/// The part of `name` after the letters of `section`, without leading separators; `None` if it
/// begins otherwise, or no part follows.
fn rest_after(name: &str, section: &str) -> Option<String> {
    let mut left = section.chars();
    let mut wanted = left.next();
    for (at, letter) in name.char_indices() {
        let Some(next) = wanted else {
            let rest = name[at..].trim_start_matches('_');
            return (!rest.is_empty()).then(|| rest.to_ascii_uppercase());
        };
        if letter.is_ascii_alphanumeric() {
            if letter.to_ascii_uppercase() != next {
                return None;
            }
            wanted = left.next();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_and_what_was_meant() {
        for (name, expected) in [
            ("MILLRACE_TOPICS_SHARDS", Some("MILLRACE__TOPICS__SHARDS")),
            ("MILLRACE__TOPICS_SHARDS", Some("MILLRACE__TOPICS__SHARDS")),
            ("millrace__topics__shards", Some("MILLRACE__TOPICS__SHARDS")),
            ("MILRACE__TOPICS__SHARD", Some("MILLRACE__TOPICS__SHARDS")),
            ("MILLRACE_LOG_LEVEL", Some("MILLRACE__LOG_LEVEL")),
            ("MILLRACE_CONFG", Some("MILLRACE_CONFIG")),
            ("MILLRACE_KAFKA_PROPERTIES_SASL_PASSWORD", Some("MILLRACE__KAFKA__PROPERTIES__SASL_PASSWORD")),
            ("MILLRACE_CURRENCY_RATES_EUR", Some("MILLRACE__CURRENCY__RATES__EUR")),
            ("MILLRACE__TOPICS__SHARDS", None),
            ("MILLRACE_CONFIG", None),
            ("MILLRACE_SERVICE_HOST", None),
            ("MILLRACE_SERVICE_PORT_METRICS", None),
            ("MILLRACE_PORT_8080_TCP_ADDR", None),
            ("MILLSTONE_SPEED", None),
            ("PATH", None),
        ] {
            assert_eq!(meant(name).as_deref(), expected, "{name}");
        }
    }
}
