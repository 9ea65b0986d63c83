//! Rows follow the configuration: currency rates, retention, destinations and identity rules may
//! change from one start to the next, and so may the program itself.

use millrace_model::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::Step;
use crate::deployment::Deployment;
use crate::format;
use crate::key;
use crate::key::table;
use crate::origin::{CauseKind, Origin};
use crate::placement::IDENTITY_SHARD;
use crate::program::Program;
use crate::row::{ConfigurationRow, RevisionRow};
use crate::state::StateError;

impl Deployment {
    fn fingerprints(&self) -> ConfigurationRow {
        let settings = &self.settings;
        // The program's version stands for its interpretation of the same rules.
        let rules = (
            env!("CARGO_PKG_VERSION"),
            &settings.default_currency,
            settings.rates.iter().map(|(code, rate)| (code, Value::number(*rate))).collect::<Vec<_>>(),
            settings.retention_ms,
            &self.destinations,
        );
        ConfigurationRow {
            rules: xxh3_64(&format::encode(&rules)),
            identity: xxh3_64(&format::encode(&self.policy)),
        }
    }
}

impl Step<'_> {
    /// If the configuration differs from the one the rows were written under: every subject is
    /// upgraded in the background, as under a new definition, and every verdict on identities is
    /// computed again.
    pub(super) fn adopt_configuration(&mut self) -> Result<(), StateError> {
        let row_key = key::single(table::CONFIGURATION);
        let known: Option<ConfigurationRow> = self.tx.get(&row_key)?;
        let present = self.deployment.fingerprints();
        if known.as_ref() == Some(&present) {
            return Ok(());
        }
        self.tx.put(row_key, &present);
        let Some(known) = known else { return Ok(()) };
        let origin = Origin {
            cause: CauseKind::Definition,
            ..Origin::timer()
        };
        self.out.cause = origin.clone();
        if known.identity != present.identity {
            if self.id == IDENTITY_SHARD {
                tracing::info!("identity rules have changed: every verdict is given anew");
                self.writer().weigh_all()?;
            }
            // Homes that broke no guard by themselves may break one now, and the writer has not
            // heard of them.
            self.start_review(origin.clone());
        }
        if known.rules != present.rules {
            // Columns of event queries depend on rates too: all of them are filled again, as if
            // every query were new.
            let next = self.program.revision.next();
            let revision = RevisionRow {
                revision: next,
                all_anew: next,
                ..RevisionRow::default()
            };
            let definitions = self.program.definitions.clone();
            match definitions.under(&self.deployment.settings, &self.deployment.schema) {
                Ok(definitions) => self.put_in_force(Program::new(definitions, revision)),
                // They were valid together when they were accepted; what is evaluated stays as it
                // is.
                Err(problems) => {
                    tracing::error!(?problems, "stored definitions do not fit together");
                    return Ok(());
                }
            }
            tracing::info!(
                shard = self.id.0,
                revision = self.program.revision.0,
                "the configuration has changed: subjects are brought up to date"
            );
            self.tx.put(key::single(table::REVISION), &self.program.revision_row());
            self.start_backfill(origin);
        }
        Ok(())
    }
}
