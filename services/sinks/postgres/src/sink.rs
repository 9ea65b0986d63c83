//! Keeps tables equal to audiences.
//!
//! ```text
//! claim     positions: this owner's epoch, if no later one is there
//! delivery  BEGIN ─▶ positions: rows of these partitions locked, their epochs compared ─▶ delete ─▶ upsert ─▶ positions: where this owner stands ─▶ COMMIT
//! ```
//!
//! * **One transaction.** A batch and the position that it leads to are there together or not at all.
//! * **Fence.** A transaction of an owner whose epoch is not the one in its partition's row changes
//!   nothing. A claim waits for a transaction that holds the row, and whatever comes after it finds
//!   another epoch (`decisions/0042`).
//! * **Order.** The lock on the row also orders the transactions of one owner: a commit whose answer
//!   was lost ends before the next transaction of the partition goes on.
//! * **Repeats.** A row that is as desired is not written again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_connect::sink::{Actual, Answer, BatchLimits, Change, Claim, Delivery, Destination, DestinationError, Refusal, Tenure, Upkeep};
use millrace_model::Cause;
use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;

use crate::client::{Connection, Fault};
use crate::config::Config;
use crate::layout::{self, Layout};
use crate::mapping::{Rows, Statements, qualified, quoted};

/// The longest that a server may be silent; more than any of its own limits (`client.rs`).
const ANSWER_WITHIN: Duration = Duration::from_secs(90);

/// How long an audience rests whose table a person must look at.
const REST: Duration = Duration::from_secs(60);

/// How often tables are compared with the settings where nothing is wrong, and where something is.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Tables of one database.
pub struct PostgresSink {
    pub(crate) tables: Tables,
    pub(crate) runtime: Runtime,
}

/// The sink's state, without the thread that it runs on.
pub(crate) struct Tables {
    config: Config,
    name: String,
    connection: Option<Connection>,
    /// The tables that were compared with the settings on this connection.
    layouts: BTreeMap<String, Layout>,
    /// What names each table, as of the last time that it was seen.
    places: BTreeMap<String, String>,
    /// What a person must look at, by the table.
    faults: BTreeMap<String, String>,
}

/// What a batch does to its table.
struct Work<'a> {
    audience: &'a str,
    present: Rows,
    absent: Vec<String>,
}

impl PostgresSink {
    /// `name`: of the destination; its positions bear it.
    ///
    /// # Errors
    /// Where the system has no event queue available.
    pub fn new(config: Config, name: &str) -> std::io::Result<PostgresSink> {
        Ok(PostgresSink {
            tables: Tables {
                config,
                name: name.to_owned(),
                connection: None,
                layouts: BTreeMap::new(),
                places: BTreeMap::new(),
                faults: BTreeMap::new(),
            },
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        })
    }
}

impl Destination for PostgresSink {
    fn limits(&self) -> BatchLimits {
        BatchLimits {
            records_max: self.tables.config.rows_per_transaction,
            wait: self.tables.config.wait,
        }
    }

    /// Nothing is written in nobody's name.
    fn deliver(&mut self, batch: &[Change]) -> Delivery {
        Delivery::all(&Answer::Later("no owner of a partition delivers this".to_owned()), batch.len(), 0)
    }

    fn fences(&self) -> bool {
        true
    }

    fn claim(&mut self, partition: u32, epoch: u64) -> Result<Claim, DestinationError> {
        self.runtime.block_on(self.tables.claim(partition, epoch)).map_err(unavailable)
    }

    fn deliver_as(&mut self, batch: &[Change], tenures: &[Tenure]) -> Delivery {
        self.runtime.block_on(self.tables.deliver(batch, tenures))
    }

    fn place(&self, audience: &str) -> Option<String> {
        self.tables.places.get(self.tables.config.table_of(audience)).cloned()
    }

    fn upkeep(&mut self, audiences: &[String]) -> Upkeep {
        let well = self.runtime.block_on(self.tables.look(audiences));
        Upkeep {
            again: Some(if well { LOOK_EVERY } else { LOOK_AGAIN }),
            touch: Vec::new(),
        }
    }

    fn warnings(&self) -> Vec<String> {
        self.tables.faults.values().cloned().collect()
    }

    fn readable(&self) -> bool {
        true
    }

    fn actual(&mut self, audiences: &[String]) -> Result<Vec<Actual>, DestinationError> {
        self.runtime.block_on(self.tables.actual(audiences)).map_err(unavailable)
    }

    fn compares_attributes(&self) -> bool {
        !self.tables.config.columns.is_empty()
    }

    fn different(&mut self, members: &[Change]) -> Result<Vec<usize>, DestinationError> {
        self.runtime.block_on(self.tables.different(members)).map_err(unavailable)
    }

    fn request(&self, batch: &[Change]) -> Option<String> {
        let audience = &batch.first()?.audience;
        let config = &self.tables.config;
        let present = batch.iter().filter(|change| change.present).count();
        let columns: Vec<String> = config
            .columns
            .iter()
            .map(|column| format!(", {} {}", quoted(&column.name), column.kind.name()))
            .collect();
        Some(format!(
            "{present} rows into {} ({}{}), {} rows out of it",
            qualified(config, config.table_of(audience)),
            quoted(&config.id_column),
            columns.concat(),
            batch.len() - present
        ))
    }
}

fn unavailable(fault: Fault) -> DestinationError {
    let (Fault::Later(reason) | Fault::Destination(reason) | Fault::Rows { reason, .. }) = fault;
    DestinationError(Cause::from(reason))
}

impl Tables {
    pub(crate) async fn deliver(&mut self, batch: &[Change], tenures: &[Tenure]) -> Delivery {
        let Some(first) = batch.first() else {
            return Delivery::all(&Answer::Accepted, 0, 0);
        };
        let (work, answers) = self.sorted(&first.audience, batch);
        if work.present.ids.is_empty() && work.absent.is_empty() {
            return delivery(answers, batch, &Answer::Accepted, None, 0);
        }
        let result = self.within(async |tables| tables.write(&work, tenures).await).await;
        let (rest, wait) = match result {
            Ok(()) => (Answer::Accepted, None),
            Err(Fault::Later(reason)) => (Answer::Later(reason), None),
            Err(Fault::Destination(reason)) => {
                self.faults.insert(self.config.table_of(&first.audience).to_owned(), reason.clone());
                (Answer::Later(reason), Some(REST))
            }
            Err(Fault::Rows { reason, detail }) => {
                let request = match batch {
                    [one] => request_of(one),
                    several => format!("a transaction of {} changes", several.len()),
                };
                let answer = if detail.is_empty() { reason.clone() } else { format!("{reason}: {detail}") };
                (Answer::Together(Refusal { reason, request, answer }), None)
            }
        };
        delivery(answers, batch, &rest, wait, 1)
    }

    /// The rows of a batch; a change that no row can be made of has its answer.
    fn sorted<'a>(&self, audience: &'a str, batch: &[Change]) -> (Work<'a>, Vec<Option<Answer>>) {
        let mut work = Work {
            audience,
            present: Rows::new(&self.config.columns),
            absent: Vec::new(),
        };
        let mut answers = Vec::new();
        for change in batch {
            answers.push(None);
            if !change.present {
                work.absent.push(change.identity.id().to_owned());
            } else if let Err(reason) = work.present.add(&self.config.columns, change) {
                let refusal = Refusal {
                    request: request_of(change),
                    answer: String::new(),
                    reason,
                };
                answers.pop();
                answers.push(Some(Answer::Refused(refusal)));
            }
        }
        // An id with a zero byte was never let in.
        work.absent.retain(|id| !id.contains('\0'));
        (work, answers)
    }

    async fn write(&mut self, work: &Work<'_>, tenures: &[Tenure]) -> Result<(), Fault> {
        if tenures.is_empty() {
            return Err(Fault::Later("no owner of a partition delivers this".to_owned()));
        }
        let table = self.config.table_of(work.audience).to_owned();
        let statements = self.ready(&table).await?;
        let positions = qualified(&self.config, &self.config.positions);
        let connection = self.connection.as_mut().ok_or_else(gone)?;
        let upsert = connection.statement(&statements.upsert).await?;
        let delete = connection.statement(&statements.delete).await?;
        let locked = connection
            .statement(&format!(
                "SELECT partition, epoch FROM {positions} WHERE destination = $1 AND partition = ANY($2::int[]) ORDER BY partition FOR UPDATE"
            ))
            .await?;
        let moved = connection
            .statement(&format!(
                "UPDATE {positions} SET position = $3, changed_at = now() WHERE destination = $1 AND partition = $2"
            ))
            .await?;
        let transaction = connection.client.transaction().await?;
        let numbers: Vec<i32> = tenures.iter().map(|tenure| number(tenure.partition)).collect();
        let rows = transaction.query(&locked, &[&self.name, &numbers]).await?;
        let stored: BTreeMap<i32, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        for tenure in tenures {
            if stored.get(&number(tenure.partition)) != Some(&epoch(tenure.epoch)) {
                return Err(Fault::Later(format!("another process has claimed partition {}", tenure.partition)));
            }
        }
        let audience: Option<&(dyn ToSql + Sync)> = statements.shared.then_some(&work.audience);
        if !work.absent.is_empty() {
            let parameters: Vec<&(dyn ToSql + Sync)> = audience.into_iter().chain([&work.absent as &(dyn ToSql + Sync)]).collect();
            transaction.execute(&delete, &parameters).await?;
        }
        if !work.present.ids.is_empty() {
            transaction.execute(&upsert, &parameters(audience, &work.present)).await?;
        }
        for tenure in tenures {
            transaction.execute(&moved, &[&self.name, &number(tenure.partition), &tenure.position]).await?;
        }
        transaction.commit().await?;
        self.faults.remove(&table);
        Ok(())
    }

    pub(crate) async fn claim(&mut self, partition: u32, new: u64) -> Result<Claim, Fault> {
        self.within(async |tables| {
            tables.connect().await?;
            let positions = qualified(&tables.config, &tables.config.positions);
            let connection = tables.connection.as_mut().ok_or_else(gone)?;
            layout::positions(&connection.client, &tables.config).await?;
            let claim = format!(
                "INSERT INTO {positions} AS p (destination, partition, epoch, position, changed_at) VALUES ($1, $2, $3, -1, now()) \
                 ON CONFLICT (destination, partition) DO UPDATE SET epoch = EXCLUDED.epoch, changed_at = now() WHERE p.epoch < EXCLUDED.epoch RETURNING p.epoch"
            );
            let claim = connection.statement(&claim).await?;
            let taken = connection.client.query_opt(&claim, &[&tables.name, &number(partition), &epoch(new)]).await?;
            if taken.is_some() {
                return Ok(Claim::Taken);
            }
            let stored = format!("SELECT epoch FROM {positions} WHERE destination = $1 AND partition = $2");
            let row = connection.client.query_one(&stored, &[&tables.name, &number(partition)]).await?;
            Ok(Claim::Behind(u64::try_from(row.get::<_, i64>(0)).unwrap_or_default()))
        })
        .await
    }

    /// Compares the tables of these audiences, and those that the settings name, with the settings.
    /// False: something is wrong.
    async fn look(&mut self, audiences: &[String]) -> bool {
        let named = self.config.table.iter().chain(self.config.tables.values()).cloned();
        let of_audiences = audiences.iter().map(|audience| self.config.table_of(audience).to_owned());
        let tables: BTreeSet<String> = named.chain(of_audiences).collect();
        self.layouts.clear();
        self.faults.clear();
        for table in tables {
            let looked = self.within(async |tables| tables.ready(&table).await.map(drop)).await;
            if let Err(Fault::Later(reason) | Fault::Destination(reason) | Fault::Rows { reason, .. }) = looked {
                self.faults.insert(table, reason);
            }
        }
        self.faults.is_empty()
    }

    async fn actual(&mut self, audiences: &[String]) -> Result<Vec<Actual>, Fault> {
        let mut actual = Vec::new();
        for audience in audiences {
            let ids = self.within(async |tables| tables.ids(audience).await).await?;
            actual.extend(ids.into_iter().map(|id| Actual {
                audience: audience.clone(),
                id,
            }));
        }
        Ok(actual)
    }

    async fn ids(&mut self, audience: &String) -> Result<Vec<String>, Fault> {
        let table = self.config.table_of(audience).to_owned();
        let statements = self.ready(&table).await?;
        let connection = self.connection.as_mut().ok_or_else(gone)?;
        let audience: Option<&(dyn ToSql + Sync)> = statements.shared.then_some(audience);
        let parameters: Vec<&(dyn ToSql + Sync)> = audience.into_iter().collect();
        let rows = connection.client.query(&statements.members, &parameters).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    async fn different(&mut self, members: &[Change]) -> Result<Vec<usize>, Fault> {
        let Some(first) = members.first() else { return Ok(Vec::new()) };
        let (work, _) = self.sorted(&first.audience, members);
        let differing = self.within(async |tables| tables.differing(&work).await).await?;
        let place = |(place, change): (usize, &Change)| differing.contains(change.identity.id()).then_some(place);
        Ok(members.iter().enumerate().filter_map(place).collect())
    }

    async fn differing(&mut self, work: &Work<'_>) -> Result<BTreeSet<String>, Fault> {
        let table = self.config.table_of(work.audience).to_owned();
        let statements = self.ready(&table).await?;
        let connection = self.connection.as_mut().ok_or_else(gone)?;
        let statement = connection.statement(&statements.differing).await?;
        let audience: Option<&(dyn ToSql + Sync)> = statements.shared.then_some(&work.audience);
        let rows = connection.client.query(&statement, &parameters(audience, &work.present)).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Does a piece of work in the time that it may take. After an error that is not a row's, the next
    /// one begins with a new connection.
    async fn within<T>(&mut self, work: impl AsyncFnOnce(&mut Tables) -> Result<T, Fault>) -> Result<T, Fault> {
        let done = tokio::time::timeout(ANSWER_WITHIN, work(self)).await;
        let done = done.unwrap_or_else(|_| Err(Fault::Later(format!("no answer within {} s", ANSWER_WITHIN.as_secs()))));
        if let Err(Fault::Later(_) | Fault::Destination(_)) = &done {
            self.connection = None;
            self.layouts.clear();
        }
        done
    }

    /// A connection that works.
    async fn connect(&mut self) -> Result<(), Fault> {
        if let Some(connection) = &self.connection
            && connection.client.check_connection().await.is_ok()
        {
            return Ok(());
        }
        self.layouts.clear();
        self.connection = None;
        self.connection = Some(Connection::open(&self.config, &format!("millrace {}", self.name)).await?);
        Ok(())
    }

    /// The statements of a table that is as the settings say.
    async fn ready(&mut self, table: &str) -> Result<Statements, Fault> {
        self.connect().await?;
        if let Some(layout) = self.layouts.get(table) {
            return Ok(layout.statements.clone());
        }
        let connection = self.connection.as_ref().ok_or_else(gone)?;
        layout::positions(&connection.client, &self.config).await?;
        let layout = layout::ready(&connection.client, &self.config, table).await?;
        self.places.insert(table.to_owned(), layout.place.clone());
        let statements = layout.statements.clone();
        self.layouts.insert(table.to_owned(), layout);
        Ok(statements)
    }
}

fn gone() -> Fault {
    Fault::Later("there is no connection".to_owned())
}

fn number(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

fn epoch(epoch: u64) -> i64 {
    i64::try_from(epoch).unwrap_or(i64::MAX)
}

fn parameters<'a>(audience: Option<&'a (dyn ToSql + Sync)>, rows: &'a Rows) -> Vec<&'a (dyn ToSql + Sync)> {
    let values = rows.values.iter().map(|values| values as &(dyn ToSql + Sync));
    audience.into_iter().chain([&rows.ids as &(dyn ToSql + Sync)]).chain(values).collect()
}

/// The answers that changes have already, and this one for all others.
fn delivery(answers: Vec<Option<Answer>>, batch: &[Change], rest: &Answer, wait: Option<Duration>, calls: u64) -> Delivery {
    debug_assert_eq!(answers.len(), batch.len());
    Delivery {
        answers: answers.into_iter().map(|answer| answer.unwrap_or_else(|| rest.clone())).collect(),
        wait,
        calls,
    }
}

/// Without the attributes.
fn request_of(change: &Change) -> String {
    let act = if change.present { "upsert" } else { "delete" };
    format!("{act} {} of {}", change.identity, change.audience)
}
