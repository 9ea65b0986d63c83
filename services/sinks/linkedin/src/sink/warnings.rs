//! What a person should do before LinkedIn stops answering.

use millrace_model::{DAY_MS, Timestamp};

use crate::client::Ends;
use crate::config::Config;

/// A consent takes a person with the right role, who may be away.
const CONSENT_AHEAD_MS: i64 = 14 * DAY_MS;
/// A newer version may take a newer Millrace.
const VERSION_AHEAD_MS: i64 = 60 * DAY_MS;

/// One sentence each.
pub fn of(config: &Config, ends: Ends, now: Timestamp) -> Vec<String> {
    let soon = |end: Timestamp, ahead_ms: i64| now.0 >= end.0 - ahead_ms;
    let mut warnings = Vec::new();
    if ends.version_dead {
        warnings.push(format!("LinkedIn has ended version {}: set a newer `version`", config.version));
    } else if soon(config.version_ends, VERSION_AHEAD_MS) {
        warnings.push(format!(
            "LinkedIn ends version {} about {}: set a newer `version`",
            config.version,
            day(config.version_ends)
        ));
    }
    if let Some(end) = ends.consent.filter(|end| soon(*end, CONSENT_AHEAD_MS)) {
        warnings.push(format!(
            "LinkedIn's consent ends on {}, and a refresh does not prolong it: a member must consent again for a new `refresh_token`",
            day(end)
        ));
    }
    if let Some(end) = ends.access.filter(|end| soon(*end, CONSENT_AHEAD_MS)) {
        warnings.push(format!(
            "the access token ends on {}: a member must consent again for a new `access_token`",
            day(end)
        ));
    }
    warnings
}

fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}
