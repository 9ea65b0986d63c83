//! The configuration of a program as it changed it, sealed.
//!
//! A program may change its own configuration: a system that rotates refresh tokens hands a new one
//! over, and the old one is worth nothing from then on. The new configuration must outlast the
//! process, so it is a row of the source, on a topic that others may read. It is encrypted under a
//! key that is derived from the configuration that the operator wrote: whoever has that could be the
//! program anyway. And where the operator writes another configuration the row cannot be opened any
//! more, so what the operator wrote last holds.
//!
//! ```text
//! {"sealed": base64(nonce 12 | ciphertext | tag 16)}   ChaCha20-Poly1305; the source's name is authenticated with it
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Map, Value, json};

/// Separates this use of the key from any other.
const PURPOSE: &[u8] = b"millrace changed configuration 1";

/// Seals and opens, for one source with one configuration.
pub struct Seal {
    key: LessSafeKey,
    source: String,
}

impl Seal {
    /// `written` is the configuration as the operator wrote it, secrets revealed. `None` where the
    /// cryptography fails, which it does not.
    pub fn new(source: &str, written: &Map<String, Value>) -> Option<Seal> {
        let text = Value::Object(written.clone()).to_string();
        let derived = Salt::new(HKDF_SHA256, PURPOSE).extract(text.as_bytes());
        let info = [source.as_bytes()];
        let key = derived.expand(&info, &CHACHA20_POLY1305).ok()?;
        Some(Seal {
            key: LessSafeKey::new(UnboundKey::from(key)),
            source: source.to_owned(),
        })
    }

    /// The row.
    pub fn close(&self, config: &Map<String, Value>) -> Option<Value> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut text = Value::Object(config.clone()).to_string().into_bytes();
        let own = Aad::from(self.source.as_bytes());
        self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), own, &mut text).ok()?;
        Some(json!({"sealed": BASE64.encode([&nonce[..], &text].concat())}))
    }

    /// The configuration of a row; `None` where the operator's own is another one by now.
    pub fn open(&self, row: &Value) -> Option<Map<String, Value>> {
        let sealed = BASE64.decode(row["sealed"].as_str()?).ok()?;
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut text = text.to_vec();
        let own = Aad::from(self.source.as_bytes());
        let text = self.key.open_in_place(Nonce::assume_unique_for_key(*nonce), own, &mut text).ok()?;
        serde_json::from_slice(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(token: &str) -> Map<String, Value> {
        Map::from_iter([("refresh_token".to_owned(), json!(token))])
    }

    #[test]
    fn a_changed_configuration_is_kept_until_the_operator_writes_another() {
        let seal = Seal::new("crm", &config("first")).expect("a key");
        let row = seal.close(&config("second")).expect("sealed");
        assert!(!row.to_string().contains("second"));
        assert_ne!(seal.close(&config("second")), Some(row.clone()), "no two are alike");
        assert_eq!(seal.open(&row), Some(config("second")));
        for other in [Seal::new("crm", &config("third")), Seal::new("erp", &config("first"))] {
            assert_eq!(other.expect("a key").open(&row), None);
        }
        assert_eq!(seal.open(&json!({"sealed": "AAAA"})), None);
    }
}
