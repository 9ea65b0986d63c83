//! Access tokens: client credentials on the org's own domain, and JWT bearer.

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use millrace_log::random::Random;
use millrace_model::Timestamp;
use serde_json::{Value, json};

use super::gate::Gate;
use super::world::World;

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// An assertion may end at most this long from now.
const ASSERTION_MS: i64 = 3 * 60_000;

/// `parameters` are those of the form; `basic`, the header with client id and secret.
pub fn token(world: &World, gate: &mut Gate, random: &mut Random, url: &str, parameters: &[(String, String)], basic: Option<&str>) -> (StatusCode, Value) {
    let parameter = |name: &str| parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let checked = match parameter("grant_type") {
        Some("client_credentials") => client_credentials(world, parameter("client_id"), parameter("client_secret"), basic),
        Some(JWT_BEARER) => assertion(world, url, parameter("assertion").unwrap_or_default()),
        _ => Err(("unsupported_grant_type", "grant type not supported")),
    };
    if let Err((error, description)) = checked {
        *gate.errors.entry(error.to_owned()).or_default() += 1;
        return (StatusCode::BAD_REQUEST, json!({"error": error, "error_description": description}));
    }
    let token = gate.session(&world.settings.org, random, world.now);
    let id = format!("https://login.salesforce.com/id/{}/0055g00000AbCdEAAV", world.settings.org);
    let answer = json!({
        "access_token": token, "signature": "c2lnbmF0dXJl", "token_format": "opaque", "instance_url": url, "id": id, "token_type": "Bearer",
        "issued_at": world.now.0.to_string(), "scope": "api",
    });
    (StatusCode::OK, answer)
}

type Checked = Result<(), (&'static str, &'static str)>;

fn client_credentials(world: &World, id: Option<&str>, secret: Option<&str>, basic: Option<&str>) -> Checked {
    if !world.settings.my_domain {
        return Err(("invalid_grant", "request not supported on this domain"));
    }
    let basic = basic
        .and_then(|text| STANDARD.decode(text).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = basic.as_deref().and_then(|text| text.split_once(':'));
    let (id, secret) = pair.unwrap_or((id.unwrap_or_default(), secret.unwrap_or_default()));
    if id != world.settings.client_id {
        return Err(("invalid_client_id", "client identifier invalid"));
    }
    if secret != world.settings.client_secret {
        return Err(("invalid_client", "invalid client credentials"));
    }
    Ok(())
}

fn assertion(world: &World, url: &str, assertion: &str) -> Checked {
    const INVALID: (&str, &str) = ("invalid_grant", "invalid assertion");
    let key = world
        .settings
        .public_key
        .as_deref()
        .and_then(|pem| DecodingKey::from_rsa_pem(pem.as_bytes()).ok());
    let key = key.ok_or(("invalid_grant", "no certificate is uploaded"))?;
    // Instants are those of the org's own clock, so they are checked here.
    let mut validation = Validation::new(Algorithm::RS256);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let claims = decode::<Value>(assertion, &key, &validation).map_err(|_| INVALID)?.claims;
    if claims["iss"].as_str() != Some(&world.settings.client_id) {
        return Err(("invalid_client_id", "client identifier invalid"));
    }
    let audience = claims["aud"].as_str().unwrap_or_default();
    if !["https://login.salesforce.com", "https://test.salesforce.com", url].contains(&audience) {
        return Err(("invalid_grant", "audience is invalid"));
    }
    if claims["sub"].as_str() != Some(&world.settings.user) {
        return Err(("invalid_grant", "user hasn't approved this consumer"));
    }
    let ends = claims["exp"].as_i64().or_else(|| claims["exp"].as_str()?.parse().ok()).unwrap_or_default();
    let ends = Timestamp(ends.saturating_mul(1_000));
    // A whole second more: clients round.
    if ends <= world.now || ends > world.now.plus_ms(ASSERTION_MS + 1_000) {
        return Err(INVALID);
    }
    Ok(())
}
