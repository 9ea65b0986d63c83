//! The registry's HTTP API: `GET /schemas/ids/{id}`, `GET /subjects/{subject}/versions/{version}`
//! for references, `POST /subjects/{subject}/versions`.
//!
//! Calls block and belong on threads of their own, never inside an asynchronous runtime.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::blocking::{Client, ClientBuilder, RequestBuilder, Response};
use reqwest::{Certificate, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{RegisteredSchema, SchemaSource, SchemaSourceError};
use millrace_model::Cause;

const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// Most schemas one schema may refer to, directly or not: a bound on requests per record.
const REFERENCES_MAX: usize = 100;

/// How to reach a registry.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Base addresses in order of preference: where one fails, the next is asked.
    pub urls: Vec<Url>,
    /// User and password for HTTP Basic.
    pub basic: Option<(String, String)>,
    /// Bearer token.
    pub bearer: Option<String>,
    /// Certificates (PEM) of authorities that are trusted in addition to the system's.
    pub authorities: Option<Vec<u8>>,
    /// Longest wait for one answer.
    pub timeout: Duration,
}

/// A schema registry over HTTP.
pub struct HttpSchemaSource {
    client: Client,
    settings: HttpSettings,
}

#[derive(Deserialize)]
struct SchemaAnswer {
    schema: String,
    /// Left out for Avro.
    #[serde(rename = "schemaType")]
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    subject: String,
    version: i64,
}

#[derive(Deserialize)]
struct RegisterAnswer {
    id: i32,
}

#[derive(Default, Deserialize)]
struct ErrorAnswer {
    #[serde(default)]
    error_code: i64,
    #[serde(default)]
    message: String,
}

impl HttpSchemaSource {
    /// # Errors
    /// Where no address is given, the authorities' certificates cannot be read, or the HTTP client
    /// cannot be built.
    pub fn new(settings: HttpSettings) -> Result<HttpSchemaSource, SchemaSourceError> {
        if settings.urls.is_empty() {
            return Err(SchemaSourceError::Refused("no registry address is configured".into()));
        }
        let mut client = Client::builder().timeout(settings.timeout);
        if let Some(pem) = &settings.authorities {
            let authorities = Certificate::from_pem_bundle(pem).unwrap_or_default();
            if authorities.is_empty() {
                return Err(SchemaSourceError::Refused("the authorities' file holds no certificate in PEM form".into()));
            }
            client = authorities.into_iter().fold(client, ClientBuilder::add_root_certificate);
        }
        let client = client
            .build()
            .map_err(|error| SchemaSourceError::Refused(Cause::of("there is no HTTP client", error)))?;
        Ok(HttpSchemaSource { client, settings })
    }

    /// Asks each address in turn until one gives a final answer.
    fn ask<T: DeserializeOwned>(&self, path: &[&str], request: impl Fn(&Client, Url) -> RequestBuilder) -> Result<T, SchemaSourceError> {
        let mut last = SchemaSourceError::Unavailable("no address".into());
        for base in &self.settings.urls {
            let mut url = base.clone();
            url.path_segments_mut()
                .map_err(|()| SchemaSourceError::Refused(format!("`{base}` cannot be a base address").into()))?
                .pop_if_empty()
                .extend(path);
            let mut request = request(&self.client, url).header("Accept", MEDIA_TYPE);
            if let Some((user, password)) = &self.settings.basic {
                request = request.basic_auth(user, Some(password));
            }
            if let Some(token) = &self.settings.bearer {
                request = request.bearer_auth(token);
            }
            match request
                .send()
                .map_err(|error| SchemaSourceError::Unavailable(Cause::of("the call failed", error)))
                .and_then(read)
            {
                Err(error @ SchemaSourceError::Unavailable(_)) => last = error,
                final_answer => return final_answer,
            }
        }
        Err(last)
    }

    fn get(&self, path: &[&str]) -> Result<SchemaAnswer, SchemaSourceError> {
        self.ask(path, |client, url| client.get(url))
    }
}

impl SchemaSource for HttpSchemaSource {
    fn schema(&self, id: i32) -> Result<RegisteredSchema, SchemaSourceError> {
        let answer = self.get(&["schemas", "ids", &id.to_string()])?;
        let mut references = Vec::new();
        let mut seen = BTreeSet::new();
        let mut open = answer.references;
        while let Some(reference) = open.pop() {
            let version = reference.version.to_string();
            if !seen.insert((reference.subject.clone(), reference.version)) {
                continue;
            }
            if seen.len() > REFERENCES_MAX {
                return Err(SchemaSourceError::Unusable(
                    format!("schema {id} refers to more than {REFERENCES_MAX} schemas").into(),
                ));
            }
            let referenced = self.get(&["subjects", &reference.subject, "versions", &version])?;
            references.push(referenced.schema);
            open.extend(referenced.references);
        }
        Ok(RegisteredSchema {
            schema_type: answer.schema_type.unwrap_or_else(|| "AVRO".to_owned()),
            text: answer.schema,
            references,
        })
    }

    fn register(&self, subject: &str, schema: &str) -> Result<i32, SchemaSourceError> {
        let body = serde_json::json!({ "schema": schema, "schemaType": "AVRO" }).to_string();
        let answer: RegisterAnswer = self.ask(&["subjects", subject, "versions"], |client, url| {
            client.post(url).header("Content-Type", MEDIA_TYPE).body(body.clone())
        })?;
        Ok(answer.id)
    }
}

fn read<T: DeserializeOwned>(response: Response) -> Result<T, SchemaSourceError> {
    let status = response.status();
    let body = response
        .bytes()
        .map_err(|error| SchemaSourceError::Unavailable(Cause::of("the answer broke off", error)))?;
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|error| SchemaSourceError::Unavailable(Cause::of("the answer is not a registry's", error)));
    }
    let error: ErrorAnswer = serde_json::from_slice(&body).unwrap_or_default();
    let said = format!("status {status}, code {}: {}", error.error_code, error.message);
    match (status, error.error_code) {
        // A bare 404 without the registry's own code may be a proxy or a wrong address: it is not
        // an answer about the schema.
        (StatusCode::NOT_FOUND, 40401..=40404 | 40406) => Err(SchemaSourceError::Unknown),
        (StatusCode::NOT_FOUND | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS, _) => Err(SchemaSourceError::Unavailable(said.into())),
        _ if status.is_server_error() => Err(SchemaSourceError::Unavailable(said.into())),
        _ => Err(SchemaSourceError::Refused(said.into())),
    }
}
