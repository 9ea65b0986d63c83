//! Decides when the program runs, with which configuration, and what its end means.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_connect::backoff::Backoff;
use millrace_connect::budget::WallClock;
use millrace_connect::source::{Batch, Rows, Sample, Source, SourceError, Status, Step};
use millrace_model::Timestamp;
use serde_json::{Map, Value, json};

use crate::mask::Masks;
use crate::process::{Folder, Line, Program};
use crate::protocol::{Message, Protocol};
use crate::run::{Filled, Judge, Run, Sync, mapped, shown};
use crate::seal::Seal;
use crate::settings::Config;

/// Records of each stream in a preview, and how long it may take.
const PREVIEWED: usize = 5;
const PREVIEW_WITHIN: Duration = Duration::from_secs(120);

/// A program of others as a source.
pub struct ChildSource<P> {
    config: Config,
    protocol: P,
    program: Program,
    seal: Option<Seal>,
    status: Arc<Status>,
    now: WallClock,
    /// Of runs that failed one after the other; a commit in between does not count as success.
    backoff: Backoff,
    prepared: bool,
    run: Option<Run>,
    /// How the last run failed, while its last batch is committed.
    failed: Option<SourceError>,
}

impl<P: Protocol> ChildSource<P> {
    /// `backoff`: the waits after runs that failed.
    pub fn new(config: Config, protocol: P, status: Arc<Status>, now: WallClock, backoff: Backoff) -> ChildSource<P> {
        let program = Program {
            source: status.name().to_owned(),
            command: config.command.clone(),
            env: config.env.clone(),
            masks: Arc::new(Masks::new(config.secrets.iter().cloned())),
        };
        ChildSource {
            seal: Seal::new(status.name(), &config.config),
            config,
            protocol,
            program,
            status,
            now,
            backoff,
            prepared: false,
            run: None,
            failed: None,
        }
    }

    async fn step(&mut self, rows: &Rows) -> Result<Batch, SourceError> {
        if let Some(error) = self.failed.take() {
            return Err(self.failure(error));
        }
        if self.run.is_none() {
            if let Some(pause) = self.not_yet(rows) {
                return Ok(Batch { pause, ..Batch::default() });
            }
            match self.start(rows).await {
                Ok(run) => self.run = Some(run),
                Err(error) => return Err(self.failure(error)),
            }
        }
        self.read(rows).await
    }

    async fn read(&mut self, rows: &Rows) -> Result<Batch, SourceError> {
        let Some(run) = self.run.as_mut() else { return Ok(Batch::default()) };
        let judge = Judge {
            config: &self.config,
            protocol: &self.protocol,
            status: &self.status,
            masks: &self.program.masks,
            now: (self.now)(),
        };
        let filled = run.fill(&judge).await;
        let changed = run.changed.take().or_else(|| match &filled {
            Filled::Batch => None,
            Filled::Ended(_) => written(&run.folder, &run.given),
        });
        let mut batch = run.batch();
        match filled {
            Filled::Batch => {}
            Filled::Ended(Ok(())) => {
                let began = run.sync.run;
                batch.sweeps = run.completed(&judge);
                let over = |name: &str| name == "sync" || self.protocol.forgets(name);
                batch.rows.retain(|(name, _)| !over(name));
                batch
                    .rows
                    .extend(rows.under("").filter(|(name, _)| over(name)).map(|(name, _)| (name.to_owned(), None)));
                batch.rows.push(("last".to_owned(), Some(json!({"began": began}))));
                batch.read_to = Some(Timestamp(began));
                batch.pause = until(began, self.config.interval, judge.now);
                self.status.request("run");
                self.backoff.succeeded();
                self.run = None;
            }
            Filled::Ended(Err(error)) => {
                self.run = None;
                if changed.is_none() {
                    return Err(self.failure(error));
                }
                self.failed = Some(error);
            }
        }
        if let Some(config) = changed {
            batch.rows.extend(self.kept(&config).map(|row| ("config".to_owned(), Some(row))));
        }
        Ok(batch)
    }

    /// A failed run: the program is asked anew what it has, and waits longer each time.
    fn failure(&mut self, error: SourceError) -> SourceError {
        self.prepared = false;
        self.status.request("run_failed");
        match error {
            SourceError::Retry { reason, after } => SourceError::Retry {
                reason,
                after: Some(self.backoff.after_failure(after)),
            },
            other => other,
        }
    }

    /// How long until the next run; `None`: now.
    fn not_yet(&self, rows: &Rows) -> Option<Duration> {
        if rows.get("sync").is_some() {
            return None;
        }
        let began = rows.get("last")?["began"].as_i64()?;
        Some(until(began, self.config.interval, (self.now)())).filter(|wait| !wait.is_zero())
    }

    /// Starts a run, or the next attempt of one that is not complete.
    async fn start(&mut self, rows: &Rows) -> Result<Run, SourceError> {
        let config = current(rows, self.seal.as_ref(), &self.config);
        self.mask(&config);
        let folder = Folder::new()?;
        self.prepare(&folder, &config).await?;
        let arguments = self.protocol.arguments(&folder, &config, rows)?;
        let process = self.program.start(&arguments, &folder)?;
        let mut sync = Sync::of(rows).unwrap_or_else(|| Sync {
            run: (self.now)().0,
            ..Sync::default()
        });
        // An attempt says anew which streams it reads to their ends.
        sync.streams.values_mut().for_each(|seen| seen.complete = None);
        tracing::info!(source = self.status.name(), run = sync.run, "a run begins");
        Ok(Run::new(process, folder, sync, config))
    }

    async fn prepare(&mut self, folder: &Folder, config: &Map<String, Value>) -> Result<(), SourceError> {
        if !self.prepared {
            self.protocol.prepare(&self.program, folder, &self.config, config).await?;
            self.prepared = true;
        }
        Ok(())
    }

    /// The row of a changed configuration; its new texts are masked from now on.
    fn kept(&self, config: &Map<String, Value>) -> Option<Value> {
        self.mask(config);
        tracing::info!(source = self.status.name(), "the program changed its configuration; the next run takes it");
        self.seal.as_ref()?.close(config)
    }

    /// Masks what the program added to its configuration.
    fn mask(&self, config: &Map<String, Value>) {
        let before = Value::Object(self.config.config.clone());
        new_texts(&Value::Object(config.clone()), &before, &self.program.masks);
    }

    async fn samples(&mut self) -> Result<Vec<Sample>, SourceError> {
        let (rows, folder) = (Rows::default(), Folder::new()?);
        let config = self.config.config.clone();
        self.prepare(&folder, &config).await?;
        let arguments = self.protocol.arguments(&folder, &config, &rows)?;
        let mut process = self.program.start(&arguments, &folder)?;
        let mut samples = Vec::new();
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        let read = async {
            while let Some(chunk) = process.lines.recv().await {
                for line in chunk {
                    self.sample(line, &mut count, &mut samples)?;
                }
                if self
                    .config
                    .streams
                    .keys()
                    .all(|stream| count.get(stream).is_some_and(|count| *count >= PREVIEWED))
                {
                    return Ok(true);
                }
            }
            Ok::<_, SourceError>(false)
        };
        let enough = tokio::time::timeout(PREVIEW_WITHIN, read).await.unwrap_or(Ok(true))?;
        if !enough && samples.is_empty() {
            process.end().await.map_err(|reason| SourceError::Refused(reason.into()))?;
        }
        Ok(samples)
    }

    fn sample(&self, line: Line, count: &mut BTreeMap<String, usize>, samples: &mut Vec<Sample>) -> Result<(), SourceError> {
        let Line::Text(text) = line else { return Ok(()) };
        let message = serde_json::from_slice(&text).ok().and_then(|line| self.protocol.message(line));
        match message {
            Some(Message::Record(row)) => {
                let Some(stream) = self.config.streams.get(&row.stream) else { return Ok(()) };
                let count = count.entry(row.stream.clone()).or_default();
                *count += 1;
                if *count <= PREVIEWED {
                    let records = mapped(&row, stream, None, (self.now)()).records;
                    samples.extend(records.into_iter().map(|emitted| Sample::of(shown(&row), emitted)));
                }
                Ok(())
            }
            Some(Message::Failed { text, .. }) => Err(SourceError::Denied(self.program.masks.apply(&text).into())),
            _ => Ok(()),
        }
    }
}

impl<P: Protocol> Source for ChildSource<P> {
    fn next<'a>(&'a mut self, rows: &'a Rows) -> Step<'a, Batch> {
        Box::pin(self.step(rows))
    }

    fn preview(&mut self) -> Step<'_, Vec<Sample>> {
        Box::pin(self.samples())
    }
}

/// How long from `now` until `interval` after `began`.
fn until(began: i64, interval: Duration, now: Timestamp) -> Duration {
    let passed = Duration::from_millis(u64::try_from(now.0.saturating_sub(began)).unwrap_or_default());
    interval.saturating_sub(passed)
}

/// The configuration as the program changed it, or else as the operator wrote it.
fn current(rows: &Rows, seal: Option<&Seal>, config: &Config) -> Map<String, Value> {
    let changed = rows.get("config").and_then(|row| seal?.open(row));
    changed.unwrap_or_else(|| config.config.clone())
}

/// The configuration that the program wrote to its file, if that is another one.
fn written(folder: &Folder, before: &Map<String, Value>) -> Option<Map<String, Value>> {
    match folder.config()? {
        Value::Object(config) if config != *before => Some(config),
        _ => None,
    }
}

/// Masks the texts of `value` that `before` does not have at the same place.
fn new_texts(value: &Value, before: &Value, masks: &Masks) {
    match value {
        Value::String(text) if before.as_str() != Some(text) => masks.add(text),
        Value::Array(items) => items.iter().enumerate().for_each(|(at, item)| new_texts(item, &before[at], masks)),
        Value::Object(object) => object.iter().for_each(|(name, item)| new_texts(item, &before[name.as_str()], masks)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
