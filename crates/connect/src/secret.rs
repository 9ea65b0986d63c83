//! Values that never print.

use std::fmt;

/// A password, a client secret, an access token. `Debug` and `Display` hide it; only `reveal` shows
/// it, for the one call that needs it.
#[derive(Clone, PartialEq, Eq)]
pub struct Confidential(String);

impl Confidential {
    /// Hides `value` from now on.
    pub fn new(value: impl Into<String>) -> Confidential {
        Confidential(value.into())
    }

    /// The value itself: for the one call that needs it, never for a log or an error.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Confidential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl fmt::Display for Confidential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}
