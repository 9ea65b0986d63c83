//! `Raw` to `Config`: every value typed and within its bounds. No IO.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use millrace_model::{Identity, Path};

use crate::raw::{LogKind, Raw, Scalar};
use crate::{Config, Currency, Destination, Events, Http, IdentityRules, Kafka, Log, Logging, Loop, Problem, Registry, Secret, State, Topics, raw, units};

/// The most partitions a topic may have: past it brokers and the subscription bitmaps of entities suffer, and no deployment of one writer needs more.
const PARTITIONS_MAX: u32 = 1_024;

/// Librdkafka's name for what `kafka.bootstrap` says.
const BOOTSTRAP: &str = "bootstrap.servers";

/// Types and checks everything; adds what is wrong to `problems` and gives no configuration where that is so.
pub fn validate(mut raw: Raw, problems: &mut Vec<Problem>) -> Option<Config> {
    let before = problems.len();
    let mut check = Check { problems };
    complete(&mut raw);
    let config = Config {
        topics: topics(&raw.topics, &mut check),
        log: log(&raw, &mut check),
        kafka: kafka(&raw.kafka),
        registry: registry(&raw.registry, &mut check),
        output: raw.output.encoding,
        state: State {
            path: check.path("state.path", &raw.state.path),
            cache_bytes: check.bytes("state.cache", &raw.state.cache),
            write_buffers_bytes: check.bytes("state.write_buffers", &raw.state.write_buffers),
        },
        identity: identity(&raw.identity, &mut check),
        events: Events {
            retention: check.duration("events.retention", &raw.events.retention),
            future_limit: check.duration("events.future_limit", &raw.events.future_limit),
        },
        currency: currency(&raw.currency, &mut check),
        destinations: raw
            .destinations
            .iter()
            .map(|(name, one)| (name.clone(), destination(name, one, &mut check)))
            .collect(),
        http: http(&raw.http, &mut check),
        budget: budget(&raw.budget, &mut check),
        logging: Logging {
            filter: check.filled("log_level", &raw.log_level),
            format: raw.log_format,
        },
        effective: effective(&raw),
    };
    if config.http.api_address == config.http.metrics_address && config.http.api_address.port() != 0 {
        check.wrong("http.metrics_address", "the API listens there already");
    }
    (problems.len() == before).then_some(config)
}

/// Fills in what is inferred where it is left out, so that the effective configuration shows it.
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

fn kafka(raw: &raw::Kafka) -> Kafka {
    Kafka {
        bootstrap: raw
            .bootstrap
            .split(',')
            .map(str::trim)
            .filter(|server| !server.is_empty())
            .map(str::to_owned)
            .collect(),
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
        let url = if address.contains("://") { address.trim_end_matches('/').to_owned() } else { format!("http://{address}") };
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
    }
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

fn currency(raw: &raw::Currency, check: &mut Check<'_>) -> Currency {
    let default = check.currency("currency.default", &raw.default);
    let mut rates = BTreeMap::new();
    for (name, rate) in &raw.rates {
        let key = format!("currency.rates.{name}");
        let code = check.currency(&key, name);
        if !(rate.is_finite() && *rate > 0.0) {
            check.wrong(&key, "expected a number greater than zero");
        }
        if code == default && *rate != 1.0 {
            check.wrong(&key, "one unit of the default currency is worth 1");
        }
        rates.insert(code, *rate);
    }
    rates.insert(default.clone(), 1.0);
    Currency { default, rates }
}

fn destination(name: &str, raw: &raw::Destination, check: &mut Check<'_>) -> Destination {
    let key = format!("destinations.{name}");
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        check.wrong(&key, "a destination's name is made of a-z, 0-9 and hyphens");
    }
    Destination {
        namespace: check.filled(&format!("{key}.namespace"), &raw.namespace).to_ascii_lowercase(),
        attributes: raw
            .attributes
            .iter()
            .filter_map(|(field, path)| Some((field.clone(), check.field(&format!("{key}.attributes.{field}"), path)?)))
            .collect(),
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
        background_busy: check.within("loop.background_busy", raw.background_busy, 1, 1_000_000) as usize,
        background_idle: check.within("loop.background_idle", raw.background_idle, 1, 1_000_000) as usize,
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
    ];
    for (name, value) in hidden {
        *value = value.take().map(|text| Secret::new(name, &text).to_string());
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

/// Reads values and notes what is wrong with them; a wrong one is answered with something harmless that is never used.
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
        if path.is_none() {
            self.wrong(
                key,
                &format!("`{dotted}` is no path; write field names with dots between, such as `workEmail.address`"),
            );
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
