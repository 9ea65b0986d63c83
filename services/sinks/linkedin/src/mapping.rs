//! Elements of calls, and the results of single elements in answers.

use millrace_connect::sink::{Answer, Change, Refusal};
use millrace_model::text::domain;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// What the destination's ids are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ids {
    /// Addresses of people, sent as SHA-256.
    #[default]
    Email,
    /// Addresses of people, hashed with SHA-256 before.
    Sha256,
    /// Addresses of people, hashed with SHA-512 before.
    Sha512,
    /// Advertising ids of Google.
    GoogleAid,
    /// Internet domains of companies.
    Domain,
    /// Names of companies.
    Name,
    /// Addresses of companies' pages at LinkedIn.
    Page,
    /// URNs of companies at LinkedIn.
    Organization,
}

/// Fields that may go with people, and the most characters of each; 0: any number.
const OF_PEOPLE: [(&str, usize); 5] = [("firstName", 35), ("lastName", 35), ("title", 50), ("company", 50), ("country", 0)];

/// Fields that may go with companies. Those that identify a company may not: LinkedIn takes a
/// company off by the values that it was put on by, and when it leaves the audience only its id is
/// known.
const OF_COMPANIES: [(&str, usize); 5] = [("industries", 0), ("city", 0), ("state", 0), ("country", 0), ("postalCode", 0)];

/// The most characters of a page's address.
const PAGE_CHARS_MAX: usize = 100;

impl Ids {
    /// Whether segments hold companies.
    pub fn of_companies(self) -> bool {
        match self {
            Ids::Email | Ids::Sha256 | Ids::Sha512 | Ids::GoogleAid => false,
            Ids::Domain | Ids::Name | Ids::Page | Ids::Organization => true,
        }
    }

    /// The last part of the path that members are sent to.
    pub fn path(self) -> &'static str {
        if self.of_companies() { "companies" } else { "users" }
    }

    /// The type of segments.
    pub fn segment_type(self) -> &'static str {
        if self.of_companies() { "COMPANY" } else { "USER" }
    }

    /// Fields that may go with these ids.
    pub fn attributes(self) -> Vec<&'static str> {
        self.fields().iter().map(|(name, _)| *name).collect()
    }

    fn fields(self) -> &'static [(&'static str, usize)] {
        if self.of_companies() { &OF_COMPANIES } else { &OF_PEOPLE }
    }

    /// The identifying part of an element.
    ///
    /// # Errors
    /// Where LinkedIn could not know the id, or takes another id for the same member.
    fn identified(self, id: &str) -> Result<Map<String, Value>, String> {
        let user = |kind: &str, value: &str| object(json!({"userIds": [{"idType": kind, "idValue": value}]}));
        let normal = |form: String| {
            if form == id {
                Ok(())
            } else {
                // Two spellings of one member: the second one's removal would take the first one off.
                Err("the id is not in its normal form: lower case, no white space, no scheme, no `www.`, no path".to_owned())
            }
        };
        match self {
            Ids::Email => {
                normal(address(id))?;
                if id.contains('@') {
                    Ok(user("SHA256_EMAIL", &email_hash(id)))
                } else {
                    Err("the id is no e-mail address".to_owned())
                }
            }
            Ids::Sha256 => hex(id, 64).map(|()| user("SHA256_EMAIL", id)),
            Ids::Sha512 => hex(id, 128).map(|()| user("SHA512_EMAIL", id)),
            Ids::GoogleAid => Ok(user("GOOGLE_AID", id)),
            Ids::Domain => {
                normal(domain(id))?;
                Ok(object(json!({"companyWebsiteDomain": id, "companyEmailDomain": id})))
            }
            Ids::Name => Ok(object(json!({ "companyName": id }))),
            Ids::Page if id.chars().count() > PAGE_CHARS_MAX => Err(format!("the page's address is longer than {PAGE_CHARS_MAX} characters")),
            Ids::Page => Ok(object(json!({ "companyPageUrl": id }))),
            Ids::Organization if !id.starts_with("urn:li:organization:") => Err("the id is not of the form urn:li:organization:<number>".to_owned()),
            Ids::Organization => Ok(object(json!({ "organizationUrn": id }))),
        }
    }

    /// The element of a call for one change.
    ///
    /// # Errors
    /// Why LinkedIn could not take it.
    pub fn element(self, change: &Change) -> Result<Value, String> {
        let mut element = self.identified(change.identity.id())?;
        let action = if change.present { "ADD" } else { "REMOVE" };
        element.insert("action".to_owned(), json!(action));
        for (name, most) in self.fields() {
            match change.attributes.get(*name) {
                Some(Value::String(text)) if *most > 0 => drop(element.insert((*name).to_owned(), json!(text.chars().take(*most).collect::<String>()))),
                Some(Value::Null) | None => {}
                Some(Value::Array(several)) => drop(element.insert((*name).to_owned(), json!(several.iter().take(3).collect::<Vec<_>>()))),
                // A single industry is a list of one.
                Some(value) if *name == "industries" => drop(element.insert((*name).to_owned(), json!([value]))),
                Some(value) => drop(element.insert((*name).to_owned(), value.clone())),
            }
        }
        Ok(Value::Object(element))
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

fn hex(id: &str, length: usize) -> Result<(), String> {
    let right = id.len() == length && id.bytes().all(|sign| matches!(sign, b'0'..=b'9' | b'a'..=b'f'));
    if right {
        Ok(())
    } else {
        Err(format!("the id is not {length} hexadecimal digits in lower case"))
    }
}

/// An e-mail address in LinkedIn's normal form: without white space, in lower case.
pub fn address(text: &str) -> String {
    text.chars().filter(|sign| !sign.is_whitespace()).collect::<String>().to_lowercase()
}

/// The SHA-256 of an e-mail address in its normal form, in lower-case hexadecimal.
pub fn email_hash(text: &str) -> String {
    Sha256::digest(address(text).as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The answer to each element of an accepted call. `None`: the answer does not fit the call.
pub fn answers(body: &Value, segment: u64, elements: &[Value]) -> Option<Vec<Answer>> {
    let Some(results) = body["elements"].as_array() else {
        // Older versions say nothing about elements: all were taken.
        return Some(vec![Answer::Accepted; elements.len()]);
    };
    if results.len() != elements.len() {
        return None;
    }
    let one = |(result, element): (&Value, &Value)| {
        let status = result["status"].as_u64().unwrap_or_default();
        let message = masked(result["message"].as_str().unwrap_or_default());
        match status {
            200..=299 => Answer::Accepted,
            408 | 425 | 429 | 500..=599 => Answer::Later(format!("LinkedIn answers {status} for one member: {message}")),
            _ => Answer::Refused(refusal(element, segment, &format!("{status}: {message}"))),
        }
    };
    Some(results.iter().zip(elements).map(one).collect())
}

/// The refusal of one element; neither text shows an address or a whole hash.
pub fn refusal(element: &Value, segment: u64, reason: &str) -> Refusal {
    let act = element["action"].as_str().unwrap_or_default();
    let id = &element["userIds"][0];
    let member = match (id["idType"].as_str(), id["idValue"].as_str()) {
        (Some(kind), Some(value)) => format!("{kind} {value}"),
        _ => ["companyWebsiteDomain", "companyName", "companyPageUrl", "organizationUrn"]
            .iter()
            .find_map(|field| element[*field].as_str())
            .unwrap_or("a member")
            .to_owned(),
    };
    Refusal {
        reason: reason.to_owned(),
        request: masked(&format!("{act} {member} at segment {segment}")),
        answer: reason.to_owned(),
    }
}

/// The text without e-mail addresses and without the most of long secrets and hashes.
pub fn masked(text: &str) -> String {
    const LONG: usize = 30;
    const SHOWN: usize = 8;
    let word = |word: &str| {
        if word.contains('@') {
            return "(address)".to_owned();
        }
        if word.len() > LONG && word.bytes().all(|sign| sign.is_ascii_alphanumeric() || matches!(sign, b'-' | b'_')) {
            return format!("{}…", &word[..SHOWN]);
        }
        word.to_owned()
    };
    let separates = |sign: char| sign.is_whitespace() || matches!(sign, '"' | '\'' | ',' | ';' | '<' | '>' | '(' | ')' | '[' | ']' | '{' | '}' | '=');
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(end) = rest.find(separates) {
        shown.push_str(&word(&rest[..end]));
        let sign = rest[end..].chars().next().map_or(1, char::len_utf8);
        shown.push_str(&rest[end..end + sign]);
        rest = &rest[end + sign..];
    }
    shown.push_str(&word(rest));
    shown
}
