//! The sinks of all processes of the deployment, as one.

use std::collections::BTreeSet;
use std::sync::Arc;

use millrace_api::backend::BackendError;
use millrace_api::destinations::Sinks;
use millrace_config::Config;
use millrace_connect::sink::{Order, SinkStatus};
use millrace_log::Log;
use serde_json::Value;

use super::{Previews, SinkThreads};
use crate::budgets::Budgets;
use crate::remote::Peers;

/// The sinks of this process, and of others where there are any. An instance without sinks answers
/// as well.
pub struct Everywhere {
    here: Arc<SinkThreads>,
    peers: Option<Peers>,
    previews: Previews,
}

impl Everywhere {
    /// `peers`: `None` where no other process shares the log.
    pub fn new(config: &Config, log: &Arc<dyn Log>, here: &Arc<SinkThreads>, peers: Option<Peers>, budgets: &Arc<Budgets>) -> Everywhere {
        let previews = Previews {
            config: config.clone(),
            log: Arc::clone(log),
            budgets: Arc::clone(budgets),
        };
        Everywhere {
            here: Arc::clone(here),
            peers,
            previews,
        }
    }

    /// Addresses of the other processes with partitions of a destination.
    fn others(&self, name: &str) -> BTreeSet<String> {
        let own: BTreeSet<u32> = self.here.status(name).map(|status| status.partitions.into_iter().collect()).unwrap_or_default();
        self.peers.as_ref().map(|peers| peers.sinks(name, &own)).unwrap_or_default()
    }

    fn ask(&self, address: &str, name: &str, order: Option<&Value>) -> Result<Value, String> {
        match &self.peers {
            Some(peers) => peers.ask_sink(address, name, order),
            None => Err("there is no other process".to_owned()),
        }
    }

    fn status(&self, name: &str) -> Option<SinkStatus> {
        let mut status = self.here.status(name);
        for address in self.others(name) {
            let heard = self
                .ask(&address, name, None)
                .and_then(|value| serde_json::from_value(value).map_err(|error| format!("{address} answers in a form this version cannot read: {error}")));
            let other = heard.unwrap_or_else(|reason| SinkStatus {
                destination: name.to_owned(),
                unheard: vec![reason],
                ..SinkStatus::default()
            });
            status = Some(match status {
                Some(status) => status.merged(other),
                None => other,
            });
        }
        status
    }
}

impl Sinks for Everywhere {
    fn all(&self) -> Vec<Value> {
        let mut names = self.here.names();
        names.extend(self.peers.iter().flat_map(Peers::destinations));
        names.iter().filter_map(|name| self.one(name)).collect()
    }

    fn one(&self, name: &str) -> Option<Value> {
        serde_json::to_value(self.status(name)?).ok()
    }

    fn preview(&self, name: &str, sample: usize) -> Result<Value, BackendError> {
        self.previews.answer(name, sample)
    }

    /// Every process does its part.
    fn order(&self, name: &str, order: Value) -> Result<(), BackendError> {
        let status = self
            .status(name)
            .ok_or_else(|| BackendError::NotFound(format!("no sink serves a destination `{name}`")))?;
        // Only those who answered can say that there is nothing to do.
        if status.unheard.is_empty() {
            let order: Order = serde_json::from_value(order.clone()).map_err(|error| BackendError::Refused(format!("this is no order: {error}")))?;
            order.require_effect(&status).map_err(|reason| BackendError::Refused(reason.to_string()))?;
        }
        let others = self.others(name);
        if others.is_empty() || self.here.names().contains(name) {
            self.here.order(name, order.clone())?;
        }
        let failed: Vec<String> = others.iter().filter_map(|address| self.ask(address, name, Some(&order)).err()).collect();
        if failed.is_empty() {
            return Ok(());
        }
        Err(BackendError::Unavailable(format!(
            "not every process with partitions of `{name}` has the order: {}",
            failed.join("; ")
        )))
    }
}
