//! Commands to a deployment: straight to its log if that is Kafka, otherwise over HTTP to the
//! instance that holds the log.

use std::sync::Arc;

use millrace_api::backend::{BackendError, Commands};

use crate::assembly;
use crate::client::Client;
use crate::orders::LogOrders;
use crate::refusal::Refusal;
use crate::settings::Settings;

/// The way to send commands under these settings.
pub fn commands(settings: &Settings) -> anyhow::Result<Box<dyn Commands>> {
    if settings.log_is_shared() {
        let log = Arc::new(assembly::kafka_log(&settings.config)?);
        return Ok(Box::new(LogOrders::new(log, &settings.config)?));
    }
    Ok(Box::new(Client::of(settings)?))
}

/// A command's failure on the command line: invalid definitions, definitions that others depend on,
/// and wrong requests are refusals.
pub fn failure(error: BackendError) -> anyhow::Error {
    match error {
        BackendError::InvalidDefinition(errors) => Refusal(errors.join("\n")).into(),
        BackendError::Refused(detail) | BackendError::InUse(detail) => Refusal(detail).into(),
        BackendError::Failure { context, source } => anyhow::Error::from_boxed(source).context(context),
        other => other.into(),
    }
}
