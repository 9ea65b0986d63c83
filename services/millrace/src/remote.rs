//! Committed state of shards that other instances have open, read from them over HTTP; and the
//! other end of it.
//!
//! A question runs where it was asked. For a shard that is open elsewhere, it reads rows there
//! (`millrace_api::internal`); only the time it takes differs. An instance that does not have the
//! shard open says so; the caller looks up the owner once more.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use millrace_api::internal::{ROWS_MAX, RowsError, RowsPage, ScanRequest, ShardRows};
use millrace_model::{ShardId, chain};
use millrace_runtime::host::HostHandle;
use millrace_shard::query::{Reader, Shards};
use millrace_shard::state::{StateError, StateView};
use reqwest::StatusCode;
use reqwest::blocking::{Client, RequestBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::hosts::Hosts;

/// An owner that does not accept a connection in this time is unavailable.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Longer than any page of rows takes on a busy disk.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The owner of a shard is unavailable now.
#[derive(Debug, thiserror::Error)]
#[error("shard {shard} cannot be read now: {reason}")]
pub struct Away {
    shard: ShardId,
    reason: String,
}

/// The client of other instances.
#[derive(Clone)]
pub struct Peers {
    hosts: Arc<Hosts>,
    http: Client,
    /// Sent with every request.
    token: Option<String>,
}

impl Peers {
    /// # Errors
    /// Where no HTTP client can be set up.
    pub fn new(hosts: Arc<Hosts>, token: Option<String>) -> anyhow::Result<Peers> {
        let http = Client::builder()
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            .build()
            .context("cannot set an HTTP client up")?;
        Ok(Peers { hosts, http, token })
    }

    /// A shard that another instance claims.
    pub fn reader(&self, shard: ShardId) -> Option<Reader> {
        (!self.hosts.claimants(shard).is_empty()).then(|| Arc::new(Remote { shard, peers: self.clone() }) as Reader)
    }

    /// The instances that run a destination's sink, but for the partitions that are here.
    pub fn sinks(&self, name: &str, own: &BTreeSet<u32>) -> BTreeSet<String> {
        self.hosts.sinks(name, own)
    }

    /// The destinations with a sink somewhere.
    pub fn destinations(&self) -> BTreeSet<String> {
        self.hosts.destinations()
    }

    /// Another instance's answer about its own sinks; `order`: a command to one.
    ///
    /// # Errors
    /// Why there is none.
    pub fn ask_sink(&self, address: &str, name: &str, order: Option<&Value>) -> Result<Value, String> {
        let path = format!("{address}/internal/v1/destinations/{name}");
        let request = match order {
            None => self.http.get(path),
            Some(order) => self.http.post(format!("{path}/orders")).json(order),
        };
        let response = self.proven(request).send();
        let response = response.map_err(|error| format!("{address} does not answer ({})", chain(&error)))?;
        match response.status() {
            status if status.is_success() => response.json().map_err(|error| format!("{address} broke off ({})", chain(&error))),
            StatusCode::UNAUTHORIZED => Err(format!("{address} expects another `http.internal_token`")),
            status => Err(format!("{address} answers {status}")),
        }
    }

    fn proven(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    fn ask<T: DeserializeOwned>(&self, address: &str, shard: ShardId, what: &str, body: Vec<u8>) -> Result<T, String> {
        let request = self.http.post(format!("{address}/internal/v1/shards/{shard}/{what}")).body(body);
        let response = self
            .proven(request)
            .send()
            .map_err(|error| format!("{address} does not answer ({})", chain(&error)))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::MISDIRECTED_REQUEST => return Err(format!("{address} has it no longer")),
            StatusCode::UNAUTHORIZED => return Err(format!("{address} expects another `http.internal_token`")),
            status => return Err(format!("{address} answers {status}")),
        }
        let bytes = response.bytes().map_err(|error| format!("{address} broke off ({})", chain(&error)))?;
        postcard::from_bytes(&bytes).map_err(|_| format!("{address} answers in a form this version cannot read"))
    }
}

/// One shard at its owner.
struct Remote {
    shard: ShardId,
    peers: Peers,
}

impl Remote {
    /// Calls the latest claimant; if that fails, looks the shard up once more and calls another.
    fn ask<T: DeserializeOwned>(&self, what: &str, body: &[u8]) -> Result<T, StateError> {
        let mut asked: Option<(String, String)> = None;
        for _ in 0..2 {
            let claimants = self.peers.hosts.claimants(self.shard);
            let Some(address) = claimants.into_iter().find(|address| asked.as_ref().is_none_or(|(before, _)| before != address)) else {
                break;
            };
            match self.peers.ask(&address, self.shard, what, body.to_vec()) {
                Ok(answer) => return Ok(answer),
                Err(reason) => asked = Some((address, reason)),
            }
        }
        let reason = asked.map_or_else(|| "no instance has it open".to_owned(), |(_, reason)| reason);
        Err(StateError::Away(Box::new(Away { shard: self.shard, reason })))
    }
}

fn body<T: Serialize>(request: &T) -> Result<Vec<u8>, StateError> {
    postcard::to_stdvec(request).map_err(StateError::store)
}

impl StateView for Remote {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.ask("get", key)
    }

    fn scan(&self, lower: &[u8], upper: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StateError> {
        let mut rows: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut lower = lower.to_vec();
        while rows.len() < limit {
            let wanted = (limit - rows.len()).min(ROWS_MAX);
            let request = ScanRequest {
                lower: lower.clone(),
                upper: upper.to_vec(),
                limit: wanted as u64,
            };
            let page: RowsPage = self.ask("scan", &body(&request)?)?;
            let whole = page.rows.len() < wanted;
            rows.extend(page.rows);
            let Some((last, _)) = rows.last().filter(|_| !whole) else { break };
            // The least key after the last one.
            lower = [last.as_slice(), &[0]].concat();
        }
        Ok(rows)
    }
}

/// Every shard of the deployment: those of this process, and those that other instances claim.
pub struct ShardsEverywhere {
    pub here: HostHandle,
    pub peers: Option<Peers>,
}

impl Shards for ShardsEverywhere {
    fn here(&self, shard: ShardId) -> Option<Reader> {
        self.here.reader(shard)
    }

    fn reader(&self, shard: ShardId) -> Option<Reader> {
        self.here(shard).or_else(|| self.peers.as_ref()?.reader(shard))
    }
}

/// Finds shards of this process for others.
pub struct OwnRows<F>(pub F);

impl<F: Fn(u32) -> Option<Reader> + Send + Sync> OwnRows<F> {
    fn reader(&self, shard: u32) -> Result<Reader, RowsError> {
        (self.0)(shard).ok_or(RowsError::NotHere(shard))
    }
}

impl<F: Fn(u32) -> Option<Reader> + Send + Sync> ShardRows for OwnRows<F> {
    fn get(&self, shard: u32, key: &[u8]) -> Result<Option<Vec<u8>>, RowsError> {
        self.reader(shard)?.get(key).map_err(|error| RowsError::Failure(error.into()))
    }

    fn scan(&self, shard: u32, request: &ScanRequest) -> Result<RowsPage, RowsError> {
        let limit = usize::try_from(request.limit).unwrap_or(ROWS_MAX).min(ROWS_MAX);
        let rows = self
            .reader(shard)?
            .scan(&request.lower, &request.upper, limit)
            .map_err(|error| RowsError::Failure(error.into()))?;
        Ok(RowsPage { rows })
    }
}

#[cfg(test)]
mod tests;
