//! Write keys: who sends, and whose ids are sent.

use std::sync::{Arc, PoisonError, RwLock};

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millrace_events::Sender;
use subtle::ConstantTimeEq;

/// A write key. Neither printed nor compared in a time that depends on it.
pub struct WriteKey {
    pub secret: String,
    /// It stands in web pages: it takes the calls of the Segment specification alone.
    pub public: bool,
    pub source: Sender,
}

/// The write keys of today.
#[derive(Clone)]
pub struct Keys(Arc<RwLock<Vec<Arc<WriteKey>>>>);

impl Keys {
    pub fn new(keys: Vec<WriteKey>) -> Keys {
        let held = Keys(Arc::default());
        held.replace(keys);
        held
    }

    /// Others from now on.
    pub fn replace(&self, keys: Vec<WriteKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys.into_iter().map(Arc::new).collect();
    }

    /// Compares with all of them, so that the time says nothing.
    pub fn find(&self, secret: &str) -> Option<Arc<WriteKey>> {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        keys.iter().fold(None, |found, key| {
            let equal: bool = key.secret.as_bytes().ct_eq(secret.as_bytes()).into();
            if equal { Some(Arc::clone(key)) } else { found }
        })
    }
}

/// The write key of a request's head: the user of Basic authentication, with or without the colon
/// after it, or a bearer's token.
pub fn in_head(headers: &HeaderMap) -> Option<String> {
    let said = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = said.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    Some(decoded.split(':').next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_found_in_every_form_of_the_header() {
        for (said, expected) in [
            ("Basic d3JpdGUta2V5Og==", Some("write-key")),
            ("basic d3JpdGUta2V5", Some("write-key")),
            ("Bearer write-key", Some("write-key")),
            ("Digest write-key", None),
            ("Basic %%", None),
            ("write-key", None),
        ] {
            let headers = [(header::AUTHORIZATION, said.parse().unwrap())].into_iter().collect();
            assert_eq!(in_head(&headers).as_deref(), expected, "{said}");
        }
    }
}
