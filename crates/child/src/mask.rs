//! Secrets that must not appear in a log, a reason or a dead letter.

use std::sync::{PoisonError, RwLock};

use millrace_connect::secret::Confidential;

/// What stands in place of a secret.
const MASK: &str = "***";

/// Shorter texts are not masked: they stand in every second word.
const SECRET_BYTES_MIN: usize = 4;

/// The secrets of one program. More are added when it changes its configuration.
#[derive(Debug, Default)]
pub struct Masks(RwLock<Vec<Confidential>>);

impl Masks {
    /// Masks these.
    pub fn new(secrets: impl IntoIterator<Item = Confidential>) -> Masks {
        let masks = Masks::default();
        secrets.into_iter().for_each(|secret| masks.add(secret.reveal()));
        masks
    }

    /// Masks one more.
    pub fn add(&self, secret: &str) {
        let mut secrets = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut forms = vec![secret.to_owned()];
        // A secret of several lines, a private key for one, is logged line by line, or as JSON writes it.
        forms.extend(secret.lines().map(|line| line.trim().to_owned()));
        forms.push(serde_json::Value::from(secret).to_string().trim_matches('"').to_owned());
        for form in forms {
            if form.len() >= SECRET_BYTES_MIN && !secrets.iter().any(|known| known.reveal() == form) {
                secrets.push(Confidential::new(form));
            }
        }
        // The longest first: a secret may contain another one.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.reveal().len()));
    }

    /// The text without the secrets.
    pub fn apply(&self, text: &str) -> String {
        let secrets = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let masked = secrets.iter().filter(|secret| text.contains(secret.reveal())).collect::<Vec<_>>();
        masked.iter().fold(text.to_owned(), |text, secret| text.replace(secret.reveal(), MASK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_a_secret_is_left() {
        let masks = Masks::new(["hush", "hush-hush", "-----BEGIN\nabcdef\n-----END", "quo\"ted", "ab"].map(Confidential::new));
        for (text, masked) in [
            ("password hush, and hush-hush", "password ***, and ***"),
            ("a line: abcdef", "a line: ***"),
            (r#"{"p": "quo\"ted"}"#, r#"{"p": "***"}"#),
            ("ab is too short", "ab is too short"),
        ] {
            assert_eq!(masks.apply(text), masked);
        }
    }
}
