//! One Marketo instance: its name, its address, the credentials and the limits of calls.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_connect::budget::Limits;
use millrace_connect::secret::Confidential;
use url::Url;

/// Half of what Marketo allows in any 20 seconds: it asks integrations to leave the other half to
/// others.
const WINDOW_CALLS: u32 = 50;

/// Half of the calls in progress that Marketo allows.
const CONCURRENT: u32 = 5;

const DAY_CALLS: u64 = 50_000;

/// An instance as an operator writes it, in the settings of a source or of a destination.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    /// The Munchkin account id, `AAA-BBB-CCC`.
    pub munchkin: String,
    /// The id of the API role that is asked as.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// `None`: `https://<munchkin>.mktorest.com`.
    pub url: Option<String>,
    /// `None`: 50,000.
    pub day_calls: Option<u64>,
    /// `None`: half of the day's calls.
    pub reserve_calls: Option<u64>,
    /// Calls a day of one source or destination alone, by its name.
    pub shares: BTreeMap<String, u64>,
}

/// A checked instance.
#[derive(Clone, Debug)]
pub struct Instance {
    /// In capitals.
    pub munchkin: String,
    /// The id of the API role that is asked as.
    pub client_id: Confidential,
    /// Its secret.
    pub client_secret: Confidential,
    /// The base address, without a path.
    pub url: Url,
    /// How often it may be called.
    pub limits: Limits,
}

impl Instance {
    /// Checks everything. No IO.
    ///
    /// # Errors
    /// All errors, one sentence each, beginning with the key.
    pub fn new(raw: Raw) -> Result<Instance, Vec<String>> {
        let mut wrong = Vec::new();
        let munchkin = raw.munchkin.trim().to_ascii_uppercase();
        let parts: Vec<&str> = munchkin.split('-').collect();
        let part = |part: &&str| part.len() == 3 && part.bytes().all(|sign| sign.is_ascii_alphanumeric());
        if parts.len() != 3 || !parts.iter().all(part) {
            wrong.push(format!("munchkin: `{munchkin}` is not of the form AAA-BBB-CCC"));
        }
        let address = raw.url.unwrap_or_else(|| format!("https://{}.mktorest.com", munchkin.to_ascii_lowercase()));
        let url = Url::parse(&address)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
        if url.is_none() {
            wrong.push(format!("url: `{address}` is no address that begins with http:// or https://"));
        }
        let day_calls = raw.day_calls.unwrap_or(DAY_CALLS);
        let limits = Limits {
            window_calls: WINDOW_CALLS,
            window: Duration::from_secs(20),
            concurrent: CONCURRENT,
            day_calls: Some(day_calls),
            day_zone: chrono_tz::America::Chicago,
            reserve: raw.reserve_calls.unwrap_or(day_calls / 2),
            shares: raw.shares,
        };
        match url {
            Some(url) if wrong.is_empty() => Ok(Instance {
                munchkin,
                client_id: Confidential::new(raw.client_id),
                client_secret: Confidential::new(raw.client_secret),
                url,
                limits,
            }),
            _ => Err(wrong),
        }
    }

    /// The key under which all connectors of a process find the one budget of this instance.
    pub fn budget_key(&self) -> String {
        format!("marketo {}", self.munchkin)
    }
}
