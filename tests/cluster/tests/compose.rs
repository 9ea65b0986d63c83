//! `deploy/compose.yaml`: what can be tested of it without a container engine.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use millrace_test_cluster::{chart, output_of, root};
use serde_norway::Value;

fn folder() -> PathBuf {
    root().join("deploy")
}

fn yaml(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_norway::from_str(&text).unwrap()
}

fn compose() -> Value {
    yaml(&folder().join("compose.yaml"))
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_sequence().into_iter().flatten().map(|item| item.as_str().unwrap()).collect()
}

#[test]
fn every_port_is_on_the_loopback_address_and_every_mounted_file_is_there() {
    let compose = compose();
    for (name, service) in compose["services"].as_mapping().unwrap() {
        for port in texts(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name:?}: {port}");
        }
        for mount in texts(&service["volumes"]) {
            let source = mount.split(':').next().unwrap();
            let there = match source.starts_with('.') {
                true => folder().join(source).exists() && mount.ends_with(":ro"),
                false => compose["volumes"].get(source).is_some(),
            };
            assert!(there, "{name:?}: {mount}");
        }
    }
}

/// As the chart's pods are, and of the version that is built.
#[test]
fn millrace_runs_restricted_and_in_its_own_version() {
    let service = &compose()["services"]["millrace"];
    let version = output_of(&mut Command::new(root().join("scripts/version")), "").unwrap();
    assert_eq!(service["image"], format!("millrace:{}", version.trim()));
    assert_eq!(service["build"]["args"]["VERSION"], version.trim());
    assert_eq!(service["read_only"], true);
    assert_eq!(texts(&service["cap_drop"]), ["ALL"]);
    assert_eq!(texts(&service["security_opt"]), ["no-new-privileges:true"]);
}

#[test]
fn the_configurations_are_accepted_and_name_services_that_are_there() {
    let program = std::env::var_os("MILLRACE_BIN").expect("MILLRACE_BIN names the executable");
    let own = folder().join("laptop/millrace.yaml");
    output_of(
        Command::new(program)
            .args(["processor", "--check-config"])
            .env_clear()
            .env("MILLRACE_CONFIG", &own),
        "",
    )
    .unwrap();

    let prometheus = tempfile::tempdir().unwrap();
    for (file, name) in [
        (folder().join("laptop/prometheus.yaml"), "prometheus.yml"),
        (chart::folder().join("files/alerts.yaml"), "alerts.yaml"),
    ] {
        std::fs::copy(file, prometheus.path().join(name)).unwrap();
    }
    output_of(
        Command::new("promtool")
            .args(["check", "config", "prometheus.yml"])
            .current_dir(prometheus.path()),
        "",
    )
    .unwrap();

    let services = compose()["services"].clone();
    let (own, scraped) = (yaml(&own), yaml(&prometheus.path().join("prometheus.yml")));
    let source = yaml(&folder().join("laptop/grafana-datasource.yaml"));
    let addresses = [
        own["kafka"]["bootstrap"].as_str(),
        own["registry"]["urls"][0].as_str(),
        scraped["scrape_configs"][0]["static_configs"][0]["targets"][0].as_str(),
        source["datasources"][0]["url"].as_str(),
    ];
    for address in addresses.map(Option::unwrap) {
        let host = address.trim_start_matches("http://").split(':').next().unwrap();
        assert!(services.get(host).is_some(), "{address}: no service {host}");
    }
}
