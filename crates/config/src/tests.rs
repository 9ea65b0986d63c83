//! Configurations as texts, and the values that result.

use expect_test::{Expect, expect, expect_file};

use super::*;

fn check(toml: &str, environment: &[(&str, &str)], expected: Expect) {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let shown = match parse(
        Some(Document {
            name: "millrace.toml",
            format: Format::Toml,
            text: toml,
        }),
        environment,
    ) {
        Ok(config) => config.shown(),
        Err(error) => error.to_string(),
    };
    expected.assert_eq(&shown);
}

fn parsed(format: Format, text: &str, environment: &[(&str, &str)]) -> Config {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    parse(Some(Document { name: "file", format, text }), environment).unwrap()
}

#[test]
fn defaults_hold_and_show() {
    check(
        "",
        &[],
        expect![[r#"
            auth:
              client_token: null
              tokens: {}
            collector:
              address: 127.0.0.1:8088
              keys: {}
              origins: []
            currency:
              default: USD
              rates: {}
            destinations: {}
            events:
              future_limit: 5m
              retention: 400d
            http:
              advertised_address: null
              api_address: 127.0.0.1:8080
              hosts: []
              internal_token: null
              metrics_address: 127.0.0.1:9090
              origins: []
              tls_certificate: null
              tls_key: null
            identity:
              blocked: []
              max_claims_per_identity: {}
              max_identities_account: 1000
              max_identities_person: 50
              namespace_priority:
              - email
              - ecid
              settle: 500ms
              unique_per_cluster: []
            kafka:
              application_id: millrace
              bootstrap: ''
              instance: null
              properties: {}
            log:
              kind: embedded
              path: .millrace/log
            log_format: text
            log_level: info
            loop:
              background: 5000
              background_time: 10ms
              flush_interval: 60s
              poll_bytes: 4MiB
              poll_records: 2000
              poll_wait: 50ms
              step_time_max: 100ms
              timers: 1000
            output:
              encoding: avro
            registry:
              ca_file: null
              password: null
              token: null
              urls: []
              user: null
            sources: {}
            state:
              cache: 256MiB
              disk_free_min: 256MiB
              path: .millrace/state
              write_buffers: 128MiB
            topics:
              prefix: millrace.
              shards: 4
              source_partitions: 4
        "#]],
    );
}

#[test]
fn every_problem_is_reported_at_once() {
    check(
        r#"
        log_levl = "info"
        [topics]
        shrads = 8
        shards = "many"
        prefix = "mill race"
        [log]
        kind = "kafak"
        [events]
        retention = "400"
        [identity]
        blocked = ["info"]
        [http]
        api_address = "localhost"
        [currency]
        default = "dollar"
        rates = { EUR = -1.0 }
        [destinations.marketo-1]
        namespace = "email"
        atributes = { a = "b" }
        "#,
        &[("MILLRACE__STATE__CACHE", "big"), ("MILLRACE__STATE__CASH", "1"), ("PATH", "ignored")],
        expect![[r#"
            configuration: 
              currency.default: expected a currency code of three letters, such as `EUR`
              currency.rates.EUR: expected a number greater than zero
              destinations.marketo-1.atributes: unknown key; did you mean `attributes`? (millrace.toml)
              events.retention: `400` is no duration; write a number with a unit, such as `50ms`, `30s`, `5m`, `12h` or `400d`
              http.api_address: `localhost` is no address; write an IP address and a port, such as `127.0.0.1:8080`
              identity.blocked[0]: `info` is no identity of the form namespace:id
              log.kind: `kafak` is none of embedded, kafka; did you mean `kafka`? (millrace.toml)
              log_levl: unknown key; did you mean `log_level`? (millrace.toml)
              state.cache: `big` is no size; write a whole number with a unit, such as `512KiB`, `64MiB` or `2GiB`
              state.cash: unknown key; did you mean `MILLRACE__STATE__CACHE`? (MILLRACE__STATE__CASH)
              topics.prefix: expected at most 100 letters, digits, dots, hyphens and underscores
              topics.shards: expected a whole number (millrace.toml)
              topics.shrads: unknown key; did you mean `shards`? (millrace.toml)"#]],
    );
}

#[test]
fn values_that_mean_nothing_are_refused() {
    check(
        r#"
        log_level = "info,millrace_runtime=debog,lowd"
        [events]
        retention = "0s"
        [kafka]
        bootstrap = "a:9092, b, SSL://c:9093, :1, d:port"
        [destinations.crm]
        namespace = "email"
        attributes = { a = "workEmail.adress", b = "extra.any.thing", c = "accountOrganization.industry", d = "accountOrganisation.industry", e = "xyz" }
        "#,
        &[],
        expect![[r#"
            configuration: 
              destinations.crm.attributes.a: `workEmail.adress` is no field of a person or an account; fields of one's own are under `extra`; did you mean `workEmail.address`?
              destinations.crm.attributes.d: `accountOrganisation.industry` is no field of a person or an account; fields of one's own are under `extra`; did you mean `accountOrganization.industry`?
              destinations.crm.attributes.e: `xyz` is no field of a person or an account; fields of one's own are under `extra`
              events.retention: must be longer than zero
              kafka.bootstrap: `b` is no `host:port`, such as `kafka-1:9092`
              kafka.bootstrap: `:1` is no `host:port`, such as `kafka-1:9092`
              kafka.bootstrap: `d:port` is no `host:port`, such as `kafka-1:9092`
              log_level: `debog` is no level; did you mean `debug`?
              log_level: `lowd` is no level; known here: error, warn, info, debug, trace, off"#]],
    );
}

#[test]
fn a_key_that_stands_twice_in_yaml_is_refused() {
    let text = "topics:\n  shards: 2\n  shards: 3\n";
    let document = Document {
        name: "millrace.yaml",
        format: Format::Yaml,
        text,
    };
    let error = parse(Some(document), std::iter::empty()).unwrap_err().to_string();
    assert!(
        error.contains("duplicate") && error.contains("shards") && error.contains("millrace.yaml"),
        "{error}"
    );
}

#[test]
fn broken_files_are_named_with_the_place() {
    check(
        "[topics\nshards = 1",
        &[],
        expect![[r#"
        configuration: TOML parse error at line 1, column 8
              |
            1 | [topics
              |        ^
            invalid table header
            expected `.`, `]` (millrace.toml)"#]],
    );
}

#[test]
fn kafka_needs_its_brokers() {
    check("[log]\nkind = \"kafka\"", &[], expect!["configuration: kafka.bootstrap: must not be empty"]);
}

/// A variable says nothing of its type.
#[test]
fn digits_in_a_variable_are_a_text_where_one_is_expected() {
    let digits = "0123456789012345";
    let config = parsed(
        Format::Toml,
        "",
        &[
            ("MILLRACE__AUTH__CLIENT_TOKEN", digits),
            ("MILLRACE__AUTH__TOKENS__CI__ROLE", "operator"),
            ("MILLRACE__AUTH__TOKENS__CI__TOKEN", "1234567890123456789"),
            ("MILLRACE__REGISTRY__USER", "true"),
            ("MILLRACE__REGISTRY__PASSWORD", "1e5"),
            ("MILLRACE__TOPICS__SHARDS", "2"),
        ],
    );
    let revealed = |secret: &Secret| secret.reveal().unwrap();
    assert_eq!(config.client_token.as_ref().map(revealed).as_deref(), Some(digits));
    assert_eq!(revealed(&config.tokens["ci"].0), "1234567890123456789");
    assert_eq!(
        config.registry.basic.as_ref().map(|(user, password)| (user.as_str(), revealed(password))),
        Some(("true", "1e5".to_owned()))
    );
    assert_eq!(config.topics.shards, 2);
    check(
        "",
        &[("MILLRACE__TOPICS__SHARDS", "two")],
        expect!["configuration: topics.shards: expected a whole number (MILLRACE__TOPICS__SHARDS)"],
    );
    // A file can say which of the two it means.
    check(
        "[auth]\nclient_token = 1234567890123456",
        &[],
        expect!["configuration: auth.client_token: expected a string (millrace.toml)"],
    );
}

#[test]
fn environment_wins_over_file_and_file_over_defaults() {
    let config = parsed(
        Format::Toml,
        "[topics]\nshards = 8\nsource_partitions = 2",
        &[("MILLRACE__TOPICS__SHARDS", "16"), ("MILLRACE__LOG_LEVEL", "debug")],
    );
    assert_eq!(
        (config.topics.shards, config.topics.source_partitions, config.logging.filter.as_str()),
        (16, 2, "debug")
    );
}

#[test]
fn yaml_and_toml_say_the_same() {
    let yaml = "topics: { shards: 8 }\nkafka:\n  bootstrap: a:1, b:2\n  properties: { enable.idempotence: true, linger.ms: 5 }\n";
    let toml = "[topics]\nshards = 8\n[kafka]\nbootstrap = 'a:1, b:2'\nproperties = { 'enable.idempotence' = true, 'linger.ms' = 5 }\n";
    let (yaml, toml) = (parsed(Format::Yaml, yaml, &[]), parsed(Format::Toml, toml, &[]));
    assert_eq!(yaml.effective, toml.effective);
    assert_eq!(yaml.kafka.bootstrap, ["a:1", "b:2"]);
    assert_eq!(yaml.log.kind, LogKind::Kafka);
}

#[test]
fn what_a_sink_needs_to_call_is_never_shown() {
    let text = r#"
        [destinations.hook]
        namespace = "email"
        sink = "http"
        [destinations.hook.settings]
        url = "https://user:hunter2@hooks.example.com/services/hunter2"
        headers = { x-key = "hunter2" }
        authentication = { bearer = "hunter2" }
        [destinations.hook.settings.deeper]
        client_secret = "hunter2"
    "#;
    let config = parsed(Format::Toml, text, &[]);
    let shown = format!("{config:?}{}", config.effective);
    assert!(!shown.contains("hunter2") && shown.contains("hooks.example.com"), "{shown}");
    assert!(config.destinations["hook"].settings.to_string().contains("hunter2"), "the sink gets it all");
}

#[test]
fn secrets_are_read_when_needed_and_never_shown() {
    let file = std::env::temp_dir().join(format!("millrace-secret-{}", std::process::id()));
    std::fs::write(&file, "s3cret\n").unwrap();
    let reference = format!("file:{}", file.display());
    let environment = [
        ("MILLRACE__KAFKA__PROPERTIES__SASL_PASSWORD", "0123hunter2"),
        ("MILLRACE__KAFKA__PROPERTIES__SSL_KEY_PASSWORD", &reference),
        ("MILLRACE__KAFKA__PROPERTIES__SASL_USERNAME", "millrace"),
        ("MILLRACE__KAFKA__PROPERTIES__BOOTSTRAP_SERVERS", "broker:9092"),
    ];
    let config = parsed(Format::Toml, "", &environment);
    let shown = format!("{config:?}{}", config.effective);
    assert!(!shown.contains("hunter2") && !shown.contains("s3cret"), "{shown}");
    let revealed: Vec<String> = config.kafka.properties.values().map(|secret| secret.reveal().unwrap()).collect();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(revealed, ["0123hunter2", "millrace", "s3cret"]);
    assert_eq!(config.kafka.bootstrap, ["broker:9092"]);
    let missing = config.kafka.properties["ssl.key.password"].reveal().unwrap_err();
    assert!(missing.to_string().contains("millrace-secret"), "{missing}");
    let missing = config.check_secrets().unwrap_err().to_string();
    assert!(
        missing.starts_with("configuration: kafka.properties.ssl.key.password: cannot read the secret"),
        "{missing}"
    );
}

#[test]
fn typed_values_are_normalised() {
    let config = parsed(
        Format::Yaml,
        "identity: { namespace_priority: [' ECID '], blocked: ['Email: INFO@x.com'] }\ncurrency: { default: eur, rates: { usd: 0.9 } }\nregistry: { urls: ['http://r:8081/'] }",
        &[],
    );
    assert_eq!(config.identity.namespace_priority, ["ecid"]);
    assert_eq!(
        config.identity.blocked.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["email:info@x.com"]
    );
    let rate = |text: &str| millrace_model::number::parse(text).unwrap();
    assert_eq!(
        config.currency.rates,
        BTreeMap::from([("EUR".to_owned(), rate("1")), ("USD".to_owned(), rate("0.9"))])
    );
    assert_eq!(config.registry.urls, ["http://r:8081"]);
}

#[test]
fn rates_keep_their_digits() {
    let exact = "1.0812345678901234567";
    let shown = |file: &str, variables: &[(&str, &str)]| parsed(Format::Toml, file, variables).currency.rates["EUR"].to_string();
    assert_eq!(shown(&format!("[currency]\ndefault = \"USD\"\nrates = {{ EUR = \"{exact}\" }}"), &[]), exact);
    assert_eq!(shown("[currency]\ndefault = \"USD\"\nrates = { EUR = 1.08 }", &[]), "1.08");
    assert_eq!(shown("[currency]\ndefault = \"USD\"\nrates = { EUR = 2 }", &[]), "2");
    for written in [exact, "0.3333333333333333333333333333", "1.08"] {
        let variables = [("MILLRACE__CURRENCY__DEFAULT", "USD"), ("MILLRACE__CURRENCY__RATES__EUR", written)];
        assert_eq!(shown("", &variables), written);
    }
}

#[test]
fn the_manual_is_in_step() {
    expect_file!["../../../docs/configuration.md"].assert_eq(&manual());
}

/// A process that listens for other machines must authenticate them.
#[test]
fn an_address_that_others_reach_needs_a_token() {
    check(
        "http = { api_address = '0.0.0.0:8080' }",
        &[],
        expect![
            "configuration: http.api_address: other machines reach 0.0.0.0:8080, and nobody asks who they are: configure a token under `auth.tokens`, or listen on 127.0.0.1"
        ],
    );
    let token = "auth: { tokens: { console: { role: operator, token: 0123456789abcdef } } }\n";
    for address in ["[::]:8080", "10.1.2.3:8080", "[::ffff:10.1.2.3]:8080"] {
        let http = format!("http: {{ api_address: '{address}' }}\n");
        let document = |text: &str| {
            parse(
                Some(Document {
                    name: "file",
                    format: Format::Yaml,
                    text,
                }),
                std::iter::empty(),
            )
        };
        let refused = document(&http).unwrap_err().to_string();
        assert!(refused.contains("http.api_address") && refused.contains("auth.tokens"), "{refused}");
        document(&format!("{http}{token}")).unwrap();
    }
    for address in ["127.0.0.1:8080", "127.8.8.8:8080", "[::1]:8080", "[::ffff:127.0.0.1]:8080"] {
        parsed(Format::Yaml, &format!("http: {{ api_address: '{address}' }}\n"), &[]);
    }
}

#[test]
fn tokens_are_long_enough_bear_a_role_and_are_not_shown() {
    check(
        "[auth.tokens]\na = { role = 'operator', token = 'short' }\nb = { role = 'king', token = 'file:/b' }\n\
         c = { role = 'viewer', token = 'file:/c' }\nd = { role = 'admin', token = 'file:/c' }\n[http]\ntls_key = 'key.pem'",
        &[],
        expect![[r#"
            configuration: 
              auth.tokens.a.token: a token has at least 16 bytes
              auth.tokens.b.role: `king` is none of viewer, operator, admin, service; known here: viewer, operator, admin, service (millrace.toml)
              auth.tokens.d.token: `auth.tokens.c` has the same token: the two cannot be distinguished; give each its own
              http.tls_key: certificate and key belong together"#]],
    );
    let text = "auth: { client_token: 0123456789abcdef, tokens: { a: { role: viewer, token: 0123456789abcdef } } }\n";
    let config = parsed(Format::Yaml, text, &[]);
    let shown = format!("{config:?}{}", config.effective);
    assert!(!shown.contains("0123456789abcdef"), "{shown}");
    assert_eq!(config.tokens["a"].1, Role::Viewer);
    assert_eq!(config.warnings, Vec::<String>::new());
    let on_kafka = parsed(Format::Yaml, &format!("kafka: {{ bootstrap: 'k:9092' }}\n{text}"), &[]);
    assert!(on_kafka.warnings[0].contains("http.internal_token"), "{:?}", on_kafka.warnings);
}

#[test]
fn write_keys_are_long_enough_and_are_not_shown() {
    check(
        "[collector]\naddress = '127.0.0.1:8080'\norigins = ['www.example.com', 'https://*.example.com']\n\
         [collector.keys.site]\nkey = 'short'\nuser_namespace = 'b2b_person'\n[collector.keys.Shop]\nkey = 'file:/k'",
        &[],
        expect![[r#"
            configuration: 
              collector.address: the API or the metrics listen there already
              collector.keys.Shop.source: a source's name is made of a-z, 0-9 and hyphens
              collector.keys.site.key: a write key has at least 16 bytes
              collector.keys.site.user_namespace: expected a namespace of your own, without a colon
              collector.origins[0]: expected an origin, such as `https://www.example.com`
              collector.origins[1]: expected an origin, such as `https://www.example.com`"#]],
    );
    let text = "collector: { origins: ['HTTPS://www.Example.com/'], keys: { site: { key: 0123456789abcdef } } }";
    let config = parsed(Format::Yaml, text, &[]);
    let shown = format!("{config:?}{}", config.effective);
    assert!(!shown.contains("0123456789abcdef"), "{shown}");
    assert_eq!(config.collector.origins, ["https://www.example.com"]);
    let site = &config.collector.keys["site"];
    assert_eq!(
        (site.source.as_str(), site.device_namespace.as_str(), site.public),
        ("site", "anonymous_id", false)
    );
}
