//! The registry client against a stand-in that speaks the API over HTTP on a loopback socket: ids
//! shared by subjects, references, the documented error codes, credentials, outages. It is a
//! stand-in and no proof: tests/e2e meets a real registry.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use millrace_model::{Schema, SourceKind, Timestamp, chain};
use reqwest::Url;
use serde_json::{Value as Json, json};

use super::*;
use crate::{Decoder, OutputCodec};

#[derive(Default)]
struct Registry {
    /// Id is the position, beginning with 1.
    schemas: Vec<Json>,
    /// Ids of a subject's versions.
    subjects: BTreeMap<String, Vec<usize>>,
    /// Answer everything with this status instead.
    outage: Option<u16>,
    authorization: Option<String>,
}

impl Registry {
    fn answer(&mut self, method: &str, path: &str, authorization: Option<&str>, body: &[u8]) -> (u16, Json) {
        if let Some(status) = self.outage {
            return (status, json!({"error_code": status, "message": "later"}));
        }
        if self.authorization.as_deref().is_some_and(|wanted| Some(wanted) != authorization) {
            return (401, json!({"error_code": 401, "message": "Unauthorized"}));
        }
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (method, parts.as_slice()) {
            ("GET", ["schemas", "ids", id]) => match id.parse::<usize>().ok().and_then(|id| self.schemas.get(id.checked_sub(1)?)) {
                Some(schema) => (200, schema.clone()),
                None => (404, json!({"error_code": 40403, "message": "Schema not found"})),
            },
            ("GET", ["subjects", subject, "versions", version]) => {
                let Some(ids) = self.subjects.get(*subject) else {
                    return (404, json!({"error_code": 40401, "message": "Subject not found."}));
                };
                match version.parse::<usize>().ok().and_then(|version| ids.get(version.checked_sub(1)?)) {
                    Some(id) => {
                        let mut answer = self.schemas[id - 1].clone();
                        answer["subject"] = json!(subject);
                        answer["id"] = json!(id);
                        (200, answer)
                    }
                    None => (404, json!({"error_code": 40402, "message": "Version not found."})),
                }
            }
            ("POST", ["subjects", subject, "versions"]) => {
                let mut schema: Json = serde_json::from_slice(body).unwrap();
                if schema["schemaType"] == "AVRO" {
                    schema.as_object_mut().unwrap().remove("schemaType");
                }
                (200, json!({"id": self.register(subject, schema)}))
            }
            _ => (404, json!({"error_code": 404, "message": "HTTP 404 Not Found"})),
        }
    }

    fn register(&mut self, subject: &str, schema: Json) -> usize {
        let id = match self.schemas.iter().position(|known| *known == schema) {
            Some(at) => at + 1,
            None => {
                self.schemas.push(schema);
                self.schemas.len()
            }
        };
        let ids = self.subjects.entry(subject.to_owned()).or_default();
        if !ids.contains(&id) {
            ids.push(id);
        }
        id
    }
}

struct Server {
    url: Url,
    registry: Arc<Mutex<Registry>>,
    requests: Arc<AtomicU32>,
}

impl Server {
    /// Serves until the test's process ends.
    fn start() -> Server {
        Server::listen("http", None)
    }

    fn listen(scheme: &str, tls: Option<Arc<rustls::ServerConfig>>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("{scheme}://{}/base/", listener.local_addr().unwrap())).unwrap();
        let server = Server {
            url,
            registry: Arc::default(),
            requests: Arc::default(),
        };
        let (registry, requests) = (server.registry.clone(), server.requests.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map(Result::unwrap) {
                match &tls {
                    Some(tls) => {
                        let connection = rustls::ServerConnection::new(tls.clone()).unwrap();
                        serve(rustls::StreamOwned::new(connection, stream), &registry, &requests);
                    }
                    None => serve(stream, &registry, &requests),
                }
            }
        });
        server
    }

    fn settings(&self) -> HttpSettings {
        HttpSettings {
            urls: vec![self.url.clone()],
            basic: None,
            bearer: None,
            authorities: None,
            timeout: Duration::from_secs(20),
        }
    }

    fn client(&self) -> RegistryClient {
        RegistryClient::new(Box::new(HttpSchemaSource::new(self.settings()).unwrap()))
    }

    fn register(&self, schema: Json) -> i32 {
        i32::try_from(lock(&self.registry).register("test-value", schema)).unwrap()
    }

    fn requests(&self) -> u32 {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Answers one request; a client may disconnect before the end.
fn serve(stream: impl Read + Write, registry: &Mutex<Registry>, requests: &AtomicU32) {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(0..=2) => break,
            Ok(_) => head.push(line.trim_end().to_owned()),
            Err(_) => return,
        }
    }
    let Some(request) = head.first() else { return };
    let header = |name: &str| {
        head.iter()
            .find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
    };
    let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    let [method, path, _] = request.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{request}")
    };
    requests.fetch_add(1, Ordering::SeqCst);
    let (status, answer) = lock(registry).answer(method, path.strip_prefix("/base").unwrap(), header("authorization"), &body);
    let answer = answer.to_string();
    let text = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
        answer.len()
    );
    reader.get_mut().write_all(text.as_bytes()).unwrap();
    reader.get_mut().flush().unwrap();
}

/// `avro`, `json`, or why not.
fn kind(payload: Result<Arc<Payload>, DecodeError>) -> String {
    match payload {
        Ok(payload) => match *payload {
            Payload::Avro(_) => "avro".to_owned(),
            Payload::Json => "json".to_owned(),
        },
        Err(DecodeError::Rejected(rejection)) => rejection.reason.to_string(),
        Err(DecodeError::Retry(WireError::SchemaIdUnknown { attempt, .. })) => format!("retry {attempt}"),
        Err(DecodeError::Retry(WireError::RegistryUnavailable(_))) => "retry".to_owned(),
    }
}

#[test]
fn schemas_are_fetched_once() {
    let server = Server::start();
    let client = server.client();
    let avro = server.register(json!({"schema": r#""string""#}));
    let json = server.register(json!({"schema": "{}", "schemaType": "JSON"}));
    let protobuf = server.register(json!({"schema": "message M {}", "schemaType": "PROTOBUF"}));
    let broken = server.register(json!({"schema": "{"}));
    for _ in 0..2 {
        assert_eq!(kind(client.payload(avro)), "avro");
        assert_eq!(kind(client.payload(json)), "json");
        assert_eq!(kind(client.payload(protobuf)), "unusable-schema");
        assert_eq!(kind(client.payload(broken)), "unusable-schema");
    }
    assert_eq!(server.requests(), 4);
}

#[test]
fn https_works_and_trusts_the_configured_authorities() {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key.into())
        .unwrap();
    let server = Server::listen("https", Some(Arc::new(tls)));
    let id = server.register(json!({"schema": r#""string""#}));
    assert_eq!(kind(server.client().payload(id)), "retry", "an authority nobody named");
    assert_eq!(server.requests(), 0);
    let client = |authorities: &str| {
        let settings = HttpSettings {
            authorities: Some(authorities.as_bytes().to_vec()),
            ..server.settings()
        };
        HttpSchemaSource::new(settings).map(|source| RegistryClient::new(Box::new(source)))
    };
    assert_eq!(kind(client(&own.cert.pem()).unwrap().payload(id)), "avro");
    assert!(chain(&client("no certificate").err().unwrap()).contains("holds no certificate"));
}

#[test]
fn references_are_fetched_too() {
    let server = Server::start();
    lock(&server.registry).register("third", json!({"schema": r#"{"type":"enum","name":"a.Third","symbols":["S"]}"#}));
    lock(&server.registry).register(
        "other/with slash",
        json!({"schema": r#"{"type":"record","name":"a.Other","fields":[{"name":"n","type":"a.Third"}]}"#, "references": [{"name": "a.Third", "subject": "third", "version": 1}]}),
    );
    // The stand-in takes paths as they come, so the subject is filed under its encoded name.
    let filed = lock(&server.registry).subjects.remove("other/with slash").unwrap();
    lock(&server.registry).subjects.insert("other%2Fwith%20slash".to_owned(), filed);
    let id = server.register(json!({
        "schema": r#"{"type":"record","name":"a.Main","fields":[{"name":"x","type":"a.Other"},{"name":"y","type":"a.Third"}]}"#,
        "references": [{"name": "a.Other", "subject": "other/with slash", "version": 1}, {"name": "a.Third", "subject": "third", "version": 1}]
    }));
    assert_eq!(kind(server.client().payload(id)), "avro");
}

#[test]
fn an_unknown_id_is_retried_and_may_become_known() {
    let server = Server::start();
    let client = server.client();
    assert_eq!(
        (0..6).map(|_| kind(client.payload(1))).collect::<Vec<_>>(),
        ["retry 1", "retry 2", "retry 3", "retry 4", "unknown-schema-id", "unknown-schema-id"]
    );
    assert_eq!(kind(client.payload(2)), "retry 1");
    assert_eq!(server.register(json!({"schema": r#""int""#})), 1);
    assert_eq!(kind(client.payload(1)), "avro");
    assert_eq!(kind(client.payload(-1)), "retry 1");
}

#[test]
fn an_outage_is_waited_for() {
    let server = Server::start();
    let client = server.client();
    let id = server.register(json!({"schema": r#""int""#}));
    for status in [500, 503, 429, 404] {
        lock(&server.registry).outage = Some(status);
        for _ in 0..=RegistryClient::UNKNOWN_ATTEMPTS {
            assert_eq!(kind(client.payload(id)), "retry", "{status}");
        }
    }
    lock(&server.registry).outage = None;
    assert_eq!(kind(client.payload(id)), "avro");
    lock(&server.registry).outage = Some(503);
    assert_eq!(kind(client.payload(id)), "avro", "what is known stays known");
}

#[test]
fn the_next_address_is_asked() {
    let (down, up) = (Server::start(), Server::start());
    lock(&down.registry).outage = Some(503);
    let id = up.register(json!({"schema": r#""int""#}));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let urls = vec![Url::parse(&format!("http://{nobody}")).unwrap(), down.url.clone(), up.url.clone()];
    let client = RegistryClient::new(Box::new(HttpSchemaSource::new(HttpSettings { urls, ..up.settings() }).unwrap()));
    assert_eq!(kind(client.payload(id)), "avro");
    assert_eq!((down.requests(), up.requests()), (1, 1));
    assert!(
        HttpSchemaSource::new(HttpSettings {
            urls: Vec::new(),
            ..up.settings()
        })
        .is_err()
    );
}

#[test]
fn credentials_are_sent() {
    let server = Server::start();
    let id = server.register(json!({"schema": r#""int""#}));
    let client = |settings: HttpSettings| RegistryClient::new(Box::new(HttpSchemaSource::new(settings).unwrap()));
    lock(&server.registry).authorization = Some("Basic dXNlcjpwYXNz".to_owned());
    assert_eq!(
        kind(
            client(HttpSettings {
                basic: Some(("user".to_owned(), "pass".to_owned())),
                ..server.settings()
            })
            .payload(id)
        ),
        "avro"
    );
    assert_eq!(
        kind(client(server.settings()).payload(id)),
        "retry",
        "wrong credentials are an operator's error, no reason to lose records"
    );
    lock(&server.registry).authorization = Some("Bearer token".to_owned());
    assert_eq!(
        kind(
            client(HttpSettings {
                bearer: Some("token".to_owned()),
                ..server.settings()
            })
            .payload(id)
        ),
        "avro"
    );
}

#[test]
fn records_in_the_confluent_format() {
    let server = Server::start();
    let registry = Arc::new(server.client());
    let decoder = Decoder::builder(Arc::new(Schema::built_in().unwrap())).unwrap().registry(registry).build();
    let decode = |bytes: &[u8]| decoder.decode(SourceKind::Account, Some(b"a"), Some(bytes), Timestamp(0), Timestamp(0));
    let confluent = |id: i32, payload: &[u8]| [&[0][..], &id.to_be_bytes(), payload].concat();

    // A writer with a schema of its own: other record name, fields in another order, narrower
    // numbers, no nulls, a decimal, one field more.
    let id = server.register(json!({"schema": json!({"type": "record", "name": "crm.Value", "fields": [
        {"name": "rating", "type": "string"},
        {"name": "accountScore", "type": "int"},
        {"name": "accountOrganization", "type": {"type": "record", "name": "Org", "fields": [
            {"name": "numberOfEmployees", "type": "int"},
            {"name": "annualRevenue", "type": {"type": "record", "name": "M", "fields": [
                {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}}]}}]}},
        {"name": "modifiedAt", "type": {"type": "long", "logicalType": "timestamp-micros"}}
    ]}).to_string()}));
    let datum = [2, b'A', 14, 20, 4, 0x30, 0x39, 0x90, 0x4E];
    let of_avro = decode(&confluent(id, &datum)).unwrap();
    let of_json =
        decode(br#"{"rating":"A","accountScore":7,"accountOrganization":{"numberOfEmployees":10,"annualRevenue":{"amount":123.45}},"modifiedAt":5}"#).unwrap();
    assert_eq!(of_avro, of_json);
    assert_eq!(of_avro.unknown_fields, ["rating"]);

    let json_id = server.register(json!({"schema": "{}", "schemaType": "JSON"}));
    assert_eq!(
        decode(&confluent(json_id, br#"{"accountName":"T"}"#)).unwrap(),
        decode(br#"{"accountName":"T"}"#).unwrap()
    );

    let reason = |bytes: &[u8]| match decode(bytes) {
        Err(DecodeError::Rejected(rejection)) => rejection.reason.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(&[0, 0, 0]), "bad-avro");
    assert_eq!(reason(&confluent(id, &datum[1..])), "bad-avro");
    assert_eq!(reason(&confluent(id, &[&datum[..], &[0]].concat())), "bad-avro");
    let text = server.register(json!({"schema": r#""string""#}));
    assert_eq!(reason(&confluent(text, &[2, b'a'])), "wrong-type");
}

#[test]
fn outputs_are_registered_once() {
    let server = Server::start();
    let client = server.client();
    let topics = ["m.destination.a".to_owned(), "m.destination.b".to_owned()];
    let codec = OutputCodec::confluent(&client, "m.audience.membership", &topics).unwrap();
    assert_eq!(
        codec,
        OutputCodec::Confluent {
            membership: 1,
            destination_state: 2
        }
    );
    assert_eq!(OutputCodec::confluent(&client, "m.audience.membership", &topics).unwrap(), codec);
    assert_eq!(server.requests(), 3);
    let subjects: Vec<String> = lock(&server.registry).subjects.keys().cloned().collect();
    assert_eq!(subjects, ["m.audience.membership-value", "m.destination.a-value", "m.destination.b-value"]);
}
