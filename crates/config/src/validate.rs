//! `Raw` to `Config`: every value typed and within its bounds. No IO.

mod collector;
mod destination;
mod field;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use millrace_model::{Decimal, Identity, Path};

use self::collector::collector;
use self::destination::destination;
use self::field::unknown_field;
use crate::raw::{LogKind, Raw, Scalar};
use crate::suggest::suggestion;
use crate::{Config, Currency, Events, Http, IdentityRules, Kafka, Log, Logging, Loop, Problem, Registry, Secret, State, Topics, raw, units};

/// The most partitions a topic may have: beyond it brokers and the subscription bitmaps of entities
/// suffer, and no deployment with one writer needs more.
const PARTITIONS_MAX: u32 = 1_024;

/// Librdkafka's name for what `kafka.bootstrap` says.
const BOOTSTRAP: &str = "bootstrap.servers";

/// Types and checks everything; adds the problems to `problems` and returns no configuration if
/// there are any.
pub fn validate(mut raw: Raw, problems: &mut Vec<Problem>) -> Option<Config> {
    let before = problems.len();
    let mut check = Check { problems };
    complete(&mut raw);
    let config = Config {
        topics: topics(&raw.topics, &mut check),
        log: log(&raw, &mut check),
        kafka: kafka(&raw.kafka, &mut check),
        registry: registry(&raw.registry, &mut check),
        output: raw.output.encoding,
        state: State {
            path: check.path("state.path", &raw.state.path),
            cache_bytes: check.bytes("state.cache", &raw.state.cache),
            write_buffers_bytes: check.bytes("state.write_buffers", &raw.state.write_buffers),
            disk_free_min_bytes: check.bytes("state.disk_free_min", &raw.state.disk_free_min),
        },
        identity: identity(&raw.identity, &mut check),
        events: Events {
            retention: retention(&raw.events.retention, &mut check),
            future_limit: check.duration("events.future_limit", &raw.events.future_limit),
        },
        currency: currency(&raw.currency, &mut check),
        destinations: raw
            .destinations
            .iter()
            .map(|(name, one)| (name.clone(), destination(name, one, &mut check)))
            .collect(),
        sources: raw.sources.iter().map(|(name, one)| (name.clone(), source(name, one, &mut check))).collect(),
        http: http(&raw.http, &mut check),
        tokens: tokens(&raw, &mut check),
        collector: collector(&raw.collector, &mut check),
        client_token: raw.auth.client_token.as_deref().map(|text| Secret::new("token", text)),
        budget: budget(&raw.budget, &mut check),
        logging: Logging {
            filter: log_filter(&raw.log_level, &mut check),
            format: raw.log_format,
        },
        warnings: warnings(&raw),
        effective: effective(&raw),
    };
    if config.http.api_address == config.http.metrics_address && config.http.api_address.port() != 0 {
        check.wrong("http.metrics_address", "the API listens there already");
    }
    collector::port_of_its_own(&config, &mut check);
    (problems.len() == before).then_some(config)
}

/// Fills in inferred values that were left out, so that the effective configuration shows them.
fn complete(raw: &mut Raw) {
    if let Some(servers) = raw.kafka.properties.remove(BOOTSTRAP)
        && raw.kafka.bootstrap.is_empty()
    {
        raw.kafka.bootstrap = servers.text();
    }
    let inferred = if raw.kafka.bootstrap.is_empty() { LogKind::Embedded } else { LogKind::Kafka };
    raw.log.kind.get_or_insert(inferred);
    raw.log.path.get_or_insert_with(|| ".millrace/log".to_owned());
}

fn topics(raw: &raw::Topics, check: &mut Check<'_>) -> Topics {
    if !raw.prefix.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) || raw.prefix.len() > 100 {
        check.wrong("topics.prefix", "expected at most 100 letters, digits, dots, hyphens and underscores");
    }
    Topics {
        prefix: raw.prefix.clone(),
        shards: check.within("topics.shards", raw.shards, 1, PARTITIONS_MAX),
        source_partitions: check.within("topics.source_partitions", raw.source_partitions, 1, PARTITIONS_MAX),
    }
}

fn log(raw: &Raw, check: &mut Check<'_>) -> Log {
    let kind = raw.log.kind.unwrap_or(LogKind::Embedded);
    if kind == LogKind::Kafka {
        check.filled("kafka.bootstrap", &raw.kafka.bootstrap);
        check.filled("kafka.application_id", &raw.kafka.application_id);
    }
    Log {
        kind,
        path: check.path("log.path", raw.log.path.as_deref().unwrap_or_default()),
    }
}

fn kafka(raw: &raw::Kafka, check: &mut Check<'_>) -> Kafka {
    let bootstrap: Vec<String> = raw
        .bootstrap
        .split(',')
        .map(|server| server.trim().to_owned())
        .filter(|server| !server.is_empty())
        .collect();
    for server in &bootstrap {
        // The client takes a protocol before the host.
        let place = server.split_once("://").map_or(server.as_str(), |(_, place)| place);
        let whole = place
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
        if !whole {
            check.wrong("kafka.bootstrap", &format!("`{server}` is no `host:port`, such as `kafka-1:9092`"));
        }
    }
    Kafka {
        bootstrap,
        application_id: raw.application_id.clone(),
        instance: raw.instance.clone().filter(|name| !name.trim().is_empty()),
        properties: raw
            .properties
            .iter()
            .map(|(name, value)| (name.clone(), Secret::new(name, &value.text())))
            .collect(),
    }
}

fn registry(raw: &raw::Registry, check: &mut Check<'_>) -> Registry {
    for (at, url) in raw.urls.iter().enumerate() {
        if !(url.starts_with("http://") || url.starts_with("https://")) {
            check.wrong(&format!("registry.urls[{at}]"), "expected a URL that begins with http:// or https://");
        }
    }
    if raw.user.is_some() != raw.password.is_some() {
        check.wrong("registry.password", "user and password belong together");
    }
    let password = raw.password.as_deref().map(|text| Secret::new("password", text));
    Registry {
        urls: raw.urls.iter().map(|url| url.trim_end_matches('/').to_owned()).collect(),
        ca_file: raw.ca_file.as_ref().map(PathBuf::from),
        basic: raw.user.clone().zip(password),
        token: raw.token.as_deref().map(|text| Secret::new("token", text)),
    }
}

fn http(raw: &raw::Http, check: &mut Check<'_>) -> Http {
    let advertised = raw.advertised_address.as_ref().map(|address| {
        let url = if address.contains("://") {
            address.trim_end_matches('/').to_owned()
        } else {
            format!("http://{address}")
        };
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).unwrap_or_default();
        if rest.is_empty() || rest.contains(char::is_whitespace) {
            check.wrong("http.advertised_address", "expected `host:port`, or a URL that begins with http:// or https://");
        }
        url
    });
    Http {
        api_address: check.address("http.api_address", &raw.api_address),
        metrics_address: check.address("http.metrics_address", &raw.metrics_address),
        advertised_address: advertised,
        internal_token: raw.internal_token.as_deref().map(|text| Secret::new("token", text)),
        hosts: raw.hosts.iter().map(|host| host.trim().to_ascii_lowercase()).collect(),
        origins: raw
            .origins
            .iter()
            .map(|origin| origin.trim().trim_end_matches('/').to_ascii_lowercase())
            .collect(),
        tls: match (&raw.tls_certificate, &raw.tls_key) {
            (Some(certificate), Some(key)) => Some((PathBuf::from(certificate), PathBuf::from(key))),
            (None, None) => None,
            _ => {
                check.wrong("http.tls_key", "certificate and key belong together");
                None
            }
        },
    }
}

/// Settings that are accepted, but probably not meant.
fn warnings(raw: &Raw) -> Vec<String> {
    let alone = raw.log.kind == Some(LogKind::Embedded) || raw.http.internal_token.is_some() || raw.auth.tokens.is_empty();
    let unread = "tokens are configured and `http.internal_token` is not: instances of this deployment do not answer each other";
    if alone { Vec::new() } else { vec![unread.to_owned()] }
}

/// A shorter token can be guessed.
pub const TOKEN_BYTES_MIN: usize = 16;

fn tokens(raw: &Raw, check: &mut Check<'_>) -> BTreeMap<String, (Secret, raw::Role)> {
    let mut tokens = BTreeMap::new();
    let address: Option<SocketAddr> = raw.http.api_address.trim().parse().ok();
    if let Some(address) = address.filter(|address| raw.auth.tokens.is_empty() && !address.ip().to_canonical().is_loopback()) {
        check.wrong(
            "http.api_address",
            &format!("other machines reach {address}, and nobody asks who they are: configure a token under `auth.tokens`, or listen on 127.0.0.1"),
        );
    }
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, one) in &raw.auth.tokens {
        if let Some(other) = owners.insert(&one.token, name) {
            let problem = format!("`auth.tokens.{other}` has the same token: the two cannot be distinguished; give each its own");
            check.wrong(&format!("auth.tokens.{name}.token"), &problem);
        }
        if !one.token.starts_with("file:") && one.token.len() < TOKEN_BYTES_MIN {
            check.wrong(&format!("auth.tokens.{name}.token"), &format!("a token has at least {TOKEN_BYTES_MIN} bytes"));
        }
        tokens.insert(name.clone(), (Secret::new("token", &one.token), one.role));
    }
    tokens
}

fn identity(raw: &raw::Identity, check: &mut Check<'_>) -> IdentityRules {
    let namespace = |name: &str| name.trim().to_ascii_lowercase();
    let namespace_priority: Vec<String> = raw.namespace_priority.iter().map(|name| namespace(name)).collect();
    if namespace_priority.iter().collect::<BTreeSet<_>>().len() != namespace_priority.len() {
        check.wrong("identity.namespace_priority", "a namespace stands there twice");
    }
    let mut blocked = BTreeSet::new();
    for (at, text) in raw.blocked.iter().enumerate() {
        match Identity::parse(text) {
            Ok(identity) => {
                blocked.insert(identity);
            }
            Err(error) => check.wrong(&format!("identity.blocked[{at}]"), &error.to_string()),
        }
    }
    let max_claims_per_identity = raw.max_claims_per_identity.iter();
    IdentityRules {
        namespace_priority,
        max_identities_person: check.within("identity.max_identities_person", raw.max_identities_person, 2, 10_000),
        max_identities_account: check.within("identity.max_identities_account", raw.max_identities_account, 2, 100_000),
        unique_per_cluster: raw.unique_per_cluster.iter().map(|name| namespace(name)).collect(),
        max_claims_per_identity: max_claims_per_identity
            .map(|(name, limit)| {
                (
                    namespace(name),
                    check.within(&format!("identity.max_claims_per_identity.{name}"), *limit, 1, u32::MAX),
                )
            })
            .collect(),
        settle: check.duration("identity.settle", &raw.settle),
        blocked,
    }
}

/// With none, every event would be forgotten on arrival.
fn retention(text: &str, check: &mut Check<'_>) -> Duration {
    let problems = check.problems.len();
    let retention = check.duration("events.retention", text);
    if retention.is_zero() && check.problems.len() == problems {
        check.wrong("events.retention", "must be longer than zero");
    }
    retention
}

const LOG_LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// The filter's parser takes a word that is not a level for the name of a module, and a slip would
/// silence everything else.
fn log_filter(text: &str, check: &mut Check<'_>) -> String {
    for part in text.split(',').map(str::trim) {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        if !LOG_LEVELS.contains(&level.to_ascii_lowercase().as_str()) && !text.trim().is_empty() {
            check.wrong("log_level", &format!("`{level}` is no level{}", suggestion(level, &LOG_LEVELS)));
        }
    }
    check.filled("log_level", text)
}

fn currency(raw: &raw::Currency, check: &mut Check<'_>) -> Currency {
    let default = check.currency("currency.default", &raw.default);
    let mut rates = BTreeMap::new();
    for (name, rate) in &raw.rates {
        let key = format!("currency.rates.{name}");
        let code = check.currency(&key, name);
        let rate = rate.decimal().unwrap_or_else(|misfit| {
            check.wrong(&key, &format!("the rate {misfit}"));
            Decimal::ONE
        });
        if rate <= Decimal::ZERO {
            check.wrong(&key, "expected a number greater than zero");
        } else if !(Decimal::new(1, 20)..=Decimal::from(10_u128.pow(20))).contains(&rate) {
            check.wrong(&key, "expected a number between 1e-20 and 1e20");
        }
        if code == default && rate != Decimal::ONE {
            check.wrong(&key, "one unit of the default currency is worth 1");
        }
        rates.insert(code, rate);
    }
    rates.insert(default.clone(), Decimal::ONE);
    Currency { default, rates }
}

fn source(name: &str, raw: &raw::Source, check: &mut Check<'_>) -> crate::Source {
    let key = format!("sources.{name}");
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        check.wrong(&key, "a source's name is made of a-z, 0-9 and hyphens");
    }
    crate::Source {
        kind: check.filled(&format!("{key}.type"), &raw.kind),
        settings: raw.settings.clone(),
    }
}

/// Texts whose keys sound secret, hidden.
fn hide(settings: &mut serde_json::Map<String, serde_json::Value>) {
    for (name, value) in settings {
        match value {
            serde_json::Value::String(text) => *text = Secret::new(name, text).to_string(),
            serde_json::Value::Object(inner) => hide(inner),
            _ => {}
        }
    }
}

/// The settings of a sink: the path of an address may be the only secret that a system asks for,
/// and so may any header.
fn hide_sink(settings: &mut serde_json::Value) {
    let Some(settings) = settings.as_object_mut() else { return };
    hide(settings);
    if let Some(serde_json::Value::String(url)) = settings.get_mut("url")
        && let Some((scheme, rest)) = url.split_once("://")
    {
        *url = format!(
            "{scheme}://{}/(hidden)",
            rest.split('/').next().and_then(|host| host.rsplit('@').next()).unwrap_or_default()
        );
    }
    let headers = settings.get_mut("headers").and_then(serde_json::Value::as_object_mut);
    for value in headers.into_iter().flat_map(|headers| headers.values_mut()) {
        *value = "(hidden)".into();
    }
}

fn budget(raw: &raw::Loop, check: &mut Check<'_>) -> Loop {
    let poll_bytes = check.bytes("loop.poll_bytes", &raw.poll_bytes);
    if !(1 << 10..=1 << 30).contains(&poll_bytes) {
        check.wrong("loop.poll_bytes", "expected 1KiB to 1GiB");
    }
    Loop {
        poll_records: check.within("loop.poll_records", raw.poll_records, 1, 100_000) as usize,
        poll_bytes: poll_bytes as usize,
        poll_wait: check.duration("loop.poll_wait", &raw.poll_wait),
        timers: check.within("loop.timers", raw.timers, 1, 1_000_000) as usize,
        background: check.within("loop.background", raw.background, 1, 1_000_000) as usize,
        background_time: check.duration("loop.background_time", &raw.background_time),
        step_time_max: check.duration("loop.step_time_max", &raw.step_time_max),
        flush_interval: check.duration("loop.flush_interval", &raw.flush_interval),
    }
}

/// The merged configuration as operators would write it, confidential values hidden.
fn effective(raw: &Raw) -> serde_json::Value {
    let mut shown = raw.clone();
    for (name, value) in &mut shown.kafka.properties {
        *value = Scalar::Text(Secret::new(name, &value.text()).to_string());
    }
    let hidden = [
        ("password", &mut shown.registry.password),
        ("token", &mut shown.registry.token),
        ("token", &mut shown.http.internal_token),
        ("token", &mut shown.auth.client_token),
    ];
    for (name, value) in hidden {
        *value = value.take().map(|text| Secret::new(name, &text).to_string());
    }
    for source in shown.sources.values_mut() {
        hide(&mut source.settings);
    }
    for destination in shown.destinations.values_mut() {
        hide_sink(&mut destination.settings);
    }
    for one in shown.auth.tokens.values_mut() {
        one.token = Secret::new("token", &one.token).to_string();
    }
    for one in shown.collector.keys.values_mut() {
        one.key = Secret::new("token", &one.key).to_string();
    }
    for url in &mut shown.registry.urls {
        if let Some((scheme, rest)) = url.split_once("://")
            && let Some((_, host)) = rest.rsplit_once('@')
        {
            *url = format!("{scheme}://(hidden)@{host}");
        }
    }
    serde_json::to_value(shown).expect("a tree of texts and numbers is JSON")
}

/// Reads values and notes their errors; for a wrong one it returns a harmless placeholder that is
/// never used.
struct Check<'a> {
    problems: &'a mut Vec<Problem>,
}

impl Check<'_> {
    fn wrong(&mut self, key: &str, detail: &str) {
        self.problems.push(Problem {
            key: key.to_owned(),
            detail: detail.to_owned(),
            origin: None,
        });
    }

    fn within(&mut self, key: &str, number: u32, least: u32, most: u32) -> u32 {
        if !(least..=most).contains(&number) {
            self.wrong(key, &format!("{number} is not within {least} and {most}"));
        }
        number
    }

    fn filled(&mut self, key: &str, text: &str) -> String {
        let text = text.trim();
        if text.is_empty() {
            self.wrong(key, "must not be empty");
        }
        text.to_owned()
    }

    fn path(&mut self, key: &str, text: &str) -> PathBuf {
        PathBuf::from(self.filled(key, text))
    }

    fn duration(&mut self, key: &str, text: &str) -> Duration {
        units::duration(text).unwrap_or_else(|detail| {
            self.wrong(key, &detail);
            Duration::ZERO
        })
    }

    fn bytes(&mut self, key: &str, text: &str) -> u64 {
        units::bytes(text).unwrap_or_else(|detail| {
            self.wrong(key, &detail);
            1 << 10
        })
    }

    fn field(&mut self, key: &str, dotted: &str) -> Option<Path> {
        let path = Path::parse(dotted);
        match &path {
            None => self.wrong(
                key,
                &format!("`{dotted}` is no path; write field names with dots between, such as `workEmail.address`"),
            ),
            Some(path) => {
                if let Some(detail) = unknown_field(path) {
                    self.wrong(key, &detail);
                }
            }
        }
        path
    }

    fn address(&mut self, key: &str, text: &str) -> SocketAddr {
        text.trim().parse().unwrap_or_else(|_| {
            self.wrong(
                key,
                &format!("`{text}` is no address; write an IP address and a port, such as `127.0.0.1:8080`"),
            );
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    fn currency(&mut self, key: &str, text: &str) -> String {
        let code = text.trim().to_ascii_uppercase();
        if code.len() != 3 || !code.bytes().all(|b| b.is_ascii_uppercase()) {
            self.wrong(key, "expected a currency code of three letters, such as `EUR`");
        }
        code
    }
}
