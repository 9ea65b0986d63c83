//! The OAuth service: codes, refresh tokens, access tokens, and what is left of their lives.

use std::collections::{BTreeMap, BTreeSet};

use millrace_log::random::Random;
use millrace_model::{DAY_MS, Timestamp};
use serde_json::{Value, json};

use super::gate::Stop;
use super::world::Settings;

const ACCESS_MS: i64 = 60 * DAY_MS;
const REFRESH_MS: i64 = 365 * DAY_MS;
const SCOPE: &str = "rw_dmp_segments,rw_ads";

/// Tokens granted so far.
#[derive(Default)]
pub struct Tokens {
    codes: BTreeSet<String>,
    /// Ends of access tokens.
    access: BTreeMap<String, Timestamp>,
    revoked: BTreeSet<String>,
    /// Ends of refresh tokens.
    refresh: BTreeMap<String, Timestamp>,
    /// Grants so far.
    pub granted: u64,
}

impl Tokens {
    /// What a member who consents in a browser sends back to the app.
    pub fn code(&mut self, random: &mut Random) -> String {
        let code = text("AQT", random);
        self.codes.insert(code.clone());
        code
    }

    /// Access as it begins with a consent: an access token and a refresh token.
    pub fn consent(&mut self, random: &mut Random, now: Timestamp) -> (String, String) {
        let (access, refresh) = (text("AQX", random), text("AQW", random));
        self.access.insert(access.clone(), now.plus_ms(ACCESS_MS));
        self.refresh.insert(refresh.clone(), now.plus_ms(REFRESH_MS));
        (access, refresh)
    }

    /// Ends all access tokens.
    pub fn end(&mut self, now: Timestamp) {
        for ends in self.access.values_mut() {
            *ends = now.min(*ends);
        }
    }

    /// The member withdraws the consent: no token of it works any more.
    pub fn withdraw(&mut self) {
        self.revoked.extend(std::mem::take(&mut self.access).into_keys());
        self.refresh.clear();
    }

    /// Whether an access token is in force.
    pub fn check(&self, bearer: Option<&str>, now: Timestamp) -> Result<(), Stop> {
        let bearer = bearer.unwrap_or_default();
        match self.access.get(bearer) {
            Some(ends) if *ends > now => Ok(()),
            Some(_) => Err(Stop::new(401, "EXPIRED_ACCESS_TOKEN", "The token used in the request has expired")),
            None if self.revoked.contains(bearer) => Err(Stop::new(
                401,
                "REVOKED_ACCESS_TOKEN",
                "The token used in the request has been revoked by the user",
            )),
            None => Err(Stop::new(401, "INVALID_ACCESS_TOKEN", "Invalid access token")),
        }
    }

    /// Answers `accessToken`: status and body.
    pub fn grant(&mut self, form: &[(String, String)], settings: &Settings, random: &mut Random, now: Timestamp) -> (u16, Value) {
        let field = |name: &str| form.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str());
        if field("client_id") != settings.client_id || field("client_secret") != settings.client_secret {
            return (401, json!({"error": "invalid_client", "error_description": "Client authentication failed"}));
        }
        let refused = |text: &str| (400, json!({"error": "invalid_grant", "error_description": text}));
        let refresh = match field("grant_type") {
            "authorization_code" if self.codes.remove(field("code")) => {
                let refresh = text("AQW", random);
                self.refresh.insert(refresh.clone(), now.plus_ms(REFRESH_MS));
                refresh
            }
            "refresh_token" => field("refresh_token").to_owned(),
            _ => return refused("The authorization code is not valid"),
        };
        // A refresh does not prolong the refresh token.
        let Some(ends) = self.refresh.get(&refresh).filter(|ends| **ends > now) else {
            return refused("The provided authorization grant or refresh token is invalid, expired or revoked.");
        };
        let access = text("AQX", random);
        let body = json!({
            "access_token": access, "expires_in": ACCESS_MS / 1_000 - 1, "refresh_token": refresh,
            "refresh_token_expires_in": (ends.0 - now.0) / 1_000, "scope": SCOPE,
        });
        self.access.insert(access, now.plus_ms(ACCESS_MS));
        self.granted += 1;
        (200, body)
    }

    /// Answers `introspectToken`: status and body.
    pub fn introspect(&self, form: &[(String, String)], settings: &Settings, now: Timestamp) -> (u16, Value) {
        let field = |name: &str| form.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str());
        if field("client_id") != settings.client_id || field("client_secret") != settings.client_secret {
            return (401, json!({"error": "invalid_client", "error_description": "Client authentication failed"}));
        }
        let Some(ends) = self.access.get(field("token")) else {
            return (200, json!({"active": false, "status": "revoked"}));
        };
        let active = *ends > now;
        let body = json!({
            "active": active, "status": if active { "active" } else { "expired" }, "client_id": settings.client_id,
            "expires_at": ends.0 / 1_000, "scope": SCOPE, "auth_type": "3L",
        });
        (200, body)
    }
}

fn text(prefix: &str, random: &mut Random) -> String {
    format!("{prefix}{:016x}{:016x}", random.next_u64(), random.next_u64())
}
