//! The client: no redirects, no forbidden addresses, own certificates.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use millrace_connect::http;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Identity, Url};

use crate::config::{Config, ConfigError};

pub fn build(config: &Config) -> Result<Client, ConfigError> {
    let url = config.url()?;
    if !config.private_addresses {
        check_literal(&url)?;
    }
    let mut builder = Client::builder()
        .user_agent(concat!("millrace/", env!("CARGO_PKG_VERSION")))
        .timeout(config.timeout())
        .redirect(Policy::none());
    if !config.private_addresses {
        builder = builder.dns_resolver(Arc::new(PublicOnly));
    }
    if let Some(path) = &config.ca_file {
        let pem = read(path)?;
        for certificate in Certificate::from_pem_bundle(&pem).map_err(ConfigError::Client)? {
            builder = builder.add_root_certificate(certificate);
        }
    }
    if let Some(path) = &config.identity_file {
        builder = builder.identity(Identity::from_pem(&read(path)?).map_err(ConfigError::Client)?);
    }
    builder.build().map_err(ConfigError::Client)
}

/// The text of a client error, without the query of its address.
pub fn said(error: reqwest::Error) -> String {
    millrace_model::chain(&http::HttpError::no_answer(error))
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|source| ConfigError::File {
        path: path.display().to_string(),
        source,
    })
}

fn check_literal(url: &Url) -> Result<(), ConfigError> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    match host.parse::<IpAddr>() {
        Ok(address) if !public(address) => Err(ConfigError::Value(format!(
            "`{host}` is a private address; set `privateAddresses: true` where that is meant"
        ))),
        _ => Ok(()),
    }
}

/// Resolves names to public addresses only, at each connection: a name cannot change into a private
/// one later.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| public(address.ip())).collect();
            if public.is_empty() {
                return Err("the name has no public address; set `privateAddresses: true` where that is meant".into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is one of the public network.
pub fn public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let reserved = a == 0 || a >= 240 || (a == 198 && (18..20).contains(&b));
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_broadcast()
                || v4.is_documentation()
                || v4.is_multicast()
                || shared
                || reserved)
        }
        IpAddr::V6(v6) => {
            if let Some(v4) = v6.to_ipv4_mapped() {
                return public(IpAddr::V4(v4));
            }
            let first = v6.segments()[0];
            let local = (first & 0xfe00) == 0xfc00 || (first & 0xffc0) == 0xfe80;
            !(v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || local)
        }
    }
}
