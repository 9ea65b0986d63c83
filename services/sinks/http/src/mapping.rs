//! From changes to the body of a call, and its signatures. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use millrace_connect::sink::Change;
use minijinja::{Environment, context};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::values;

/// The form that a destination without a template gets.
const WEBHOOK: &str = r#"{"type":"audience.changed","data":{"audience":{{ audience|tojson }},"changes":{{ changes|tojson }}}}"#;

/// Makes bodies.
pub struct Template(Environment<'static>);

impl Template {
    /// # Errors
    /// Where the template does not parse.
    pub fn new(body: Option<&str>) -> Result<Template, minijinja::Error> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
        environment.add_filter("tojson", values::tojson);
        environment.add_template_owned("body", body.unwrap_or(WEBHOOK).to_owned())?;
        Ok(Template(environment))
    }

    /// The body for changes of one audience, as JSON without needless space.
    ///
    /// # Errors
    /// Where the template fails on these changes, or makes invalid JSON.
    pub fn body(&self, changes: &[Change]) -> Result<String, String> {
        let audience = changes.first().map_or("", |change| change.audience.as_str());
        let listed: Vec<minijinja::Value> = changes.iter().map(|change| values::from_json(&shown(change))).collect();
        let template = self.0.get_template("body").map_err(|error| error.to_string())?;
        let text = template
            .render(context! { audience, changes => listed })
            .map_err(|error| format!("template: {error:#}"))?;
        let value: Value = serde_json::from_str(&text).map_err(|error| format!("the template makes no JSON: {error}"))?;
        Ok(value.to_string())
    }
}

fn shown(change: &Change) -> Value {
    json!({
        "audience": change.audience,
        "namespace": change.identity.namespace(),
        "id": change.identity.id(),
        "status": if change.present { "realized" } else { "exited" },
        "present": change.present,
        "attributes": change.attributes,
        "changedAt": change.changed_at.to_string(),
        "changeId": format!("{:016x}", change.id),
    })
}

/// The same for each attempt at the same changes: receivers recognise repeats by it.
pub fn message_id(changes: &[Change]) -> String {
    let mut mixed = changes.len() as u64;
    for change in changes {
        mixed = mixed.rotate_left(5) ^ change.id;
    }
    format!("msg_{mixed:016x}")
}

/// The key of a Standard Webhooks secret.
///
/// # Errors
/// Where it is not of the form `whsec_<base64>`.
pub fn webhook_key(secret: &str) -> Result<Vec<u8>, String> {
    let encoded = secret.strip_prefix("whsec_").unwrap_or(secret);
    STANDARD.decode(encoded).map_err(|_| "a webhook's secret is `whsec_` and base64".to_owned())
}

/// `v1,<base64 of HMAC-SHA-256 of "<id>.<timestamp>.<body>">`.
pub fn webhook_signature(key: &[u8], id: &str, timestamp: i64, body: &str) -> String {
    format!("v1,{}", STANDARD.encode(hmac(key, format!("{id}.{timestamp}.{body}").as_bytes())))
}

/// HMAC-SHA-256 in hexadecimal.
pub fn hex_signature(key: &[u8], body: &str) -> String {
    hmac(key, body.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}
