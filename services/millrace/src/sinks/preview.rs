//! What the sink of a destination would send now: for an instance that is asked, and for a command
//! that reads Kafka itself.

use std::sync::Arc;

use anyhow::Context;
use millrace_api::backend::BackendError;
use millrace_config::Config;
use millrace_connect::sink::{Preview, PreviewContext, preview};
use millrace_log::Log;
use millrace_runtime::clock::{Clock, SystemClock};
use millrace_shard::machine::OutputTopic;

use super::{brake, destination};
use crate::assembly;
use crate::budgets::Budgets;
use crate::refusal::Refusal;

/// Makes previews of the configured destinations.
pub struct Previews {
    pub config: Config,
    pub log: Arc<dyn Log>,
    pub budgets: Arc<Budgets>,
}

impl Previews {
    /// # Errors
    /// A refusal where the destination has no sink; where the log cannot be read.
    pub fn make(&self, name: &str, sample: usize) -> anyhow::Result<Preview> {
        let made = destination(name, &self.config, &self.budgets)?;
        let configured = self.config.destinations.get(name);
        let (Some(mut destination), Some(configured)) = (made, configured) else {
            return Err(Refusal(format!("no destination `{name}` with a sink is configured")).into());
        };
        let topology = assembly::topology(&self.config);
        let suppressed = configured.suppressed.clone();
        let context = PreviewContext {
            name: name.to_owned(),
            log: Arc::clone(&self.log),
            topic: topology.output(&OutputTopic::Destination(name.into())),
            changelog: topology.sink_changelog(name),
            registry: assembly::registry(&self.config)?,
            brake: brake(configured),
            suppressed: Arc::new(move |identity| suppressed.contains(identity.id())),
            clock: Arc::new(|| SystemClock.now()),
            sample,
        };
        preview(&context, &mut *destination).context("cannot read what is desired and what was sent")
    }

    /// As `make`, for the API.
    ///
    /// # Errors
    /// As `make`.
    pub fn answer(&self, name: &str, sample: usize) -> Result<serde_json::Value, BackendError> {
        let made = self.make(name, sample).and_then(|preview| Ok(serde_json::to_value(preview)?));
        made.map_err(|error| match error.downcast::<Refusal>() {
            Ok(refusal) => BackendError::NotFound(refusal.0),
            Err(error) => BackendError::Failure {
                context: format!("the preview of `{name}`"),
                source: error.into(),
            },
        })
    }
}
