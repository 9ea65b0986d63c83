//! Keeps static lists equal to audiences.
//!
//! ```text
//! batch ─▶ list of the audience ─▶ look up ─▶ create missing persons ─▶ remove ─▶ add ─▶ an answer per change
//!                                     ▲                                    │
//!                                     └── once more, of who is gone: 1004 ─┘
//! ```
//!
//! * **Ids.** Lists accept lead ids only. They are looked up for every batch: a lead that changed
//!   its address is another person by now.
//! * **Removals before additions.** Two addresses may have become one lead's; a desired member is
//!   on the list in the end.
//! * **Repeats.** Every call may be made twice. A person is created by `createOnly`, so that a lost
//!   answer creates nobody a second time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use millrace_connect::budget::WallClock;
use millrace_connect::sink::{Actual, Answer, BatchLimits, Change, Delivery, Destination, DestinationError};
use millrace_connect::source::SourceError;
use millrace_marketo::{CallError, Client, result};
use millrace_model::{Cause, Identity, Timestamp, chain};
use tokio::runtime::Runtime;

use crate::config::{Config, ListRef};
use crate::mapping::{self, Lead, Outcome, refusal};
use crate::pages::Pages;

/// Records of one write, values of one look-up, rows of one page.
const RECORDS_MAX: usize = 300;

/// The namespace whose ids are source keys of persons.
const PERSON_KEYS: &str = "b2b_person";

/// How often to read the instance's count of calls spent by others.
const USAGE_EVERY_MS: i64 = 3_600_000;

/// How long a list rests that needs a person's attention, and when to try again on a day whose
/// calls are spent.
const REST: Duration = Duration::from_secs(300);

/// Static lists of one instance.
pub struct MarketoSink {
    pub(crate) lists: Lists,
    pub(crate) runtime: Runtime,
}

/// The sink's state and client, without the thread that it runs on.
pub(crate) struct Lists {
    config: Config,
    client: Arc<Client>,
    now: WallClock,
    /// For the namespace `b2b_person`: the part after the id of a person of this instance.
    own_keys: Option<String>,
    ids: BTreeMap<String, u64>,
    /// Audiences whose list was deleted while this process ran.
    lost: BTreeSet<String>,
    usage_at: Option<Timestamp>,
}

/// Why a batch stops; changes that have an answer keep it.
pub(crate) enum Stop {
    Later(Cause, Option<Duration>),
    Together(Cause),
}

/// A change of the batch by its place, and a lead that it is about.
type Target = (usize, u64);

/// The state of a batch.
struct BatchProgress<'a> {
    batch: &'a [Change],
    answers: Vec<Option<Answer>>,
    /// Changes whose lead is gone: to look up once more.
    again: BTreeSet<usize>,
}

impl MarketoSink {
    /// `namespace`: of the destination's identities.
    ///
    /// # Errors
    /// Where the system has no event queue available.
    pub fn new(config: Config, namespace: &str, client: Arc<Client>, now: WallClock) -> std::io::Result<MarketoSink> {
        let own_keys = (namespace == PERSON_KEYS).then(|| format!("@{}.Marketo", config.instance.munchkin));
        Ok(MarketoSink {
            lists: Lists {
                config,
                client,
                now,
                own_keys,
                ids: BTreeMap::new(),
                lost: BTreeSet::new(),
                usage_at: None,
            },
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        })
    }
}

impl Destination for MarketoSink {
    fn limits(&self) -> BatchLimits {
        BatchLimits {
            records_max: RECORDS_MAX,
            wait: self.lists.config.wait,
        }
    }

    fn concerns(&self, identity: &Identity) -> bool {
        self.lists.own_keys.is_none() || self.lists.own_lead(identity.id()).is_some()
    }

    fn deliver(&mut self, batch: &[Change]) -> Delivery {
        self.runtime.block_on(self.lists.deliver(batch))
    }

    fn readable(&self) -> bool {
        true
    }

    fn actual(&mut self, audiences: &[String]) -> Result<Vec<Actual>, DestinationError> {
        self.runtime.block_on(self.lists.actual(audiences)).map_err(|stop| match stop {
            Stop::Later(cause, _) | Stop::Together(cause) => DestinationError(cause),
        })
    }

    fn place(&self, audience: &str) -> Option<String> {
        self.lists.ids.get(audience).map(ToString::to_string)
    }

    fn calls(&self, batch: &[Change]) -> u64 {
        self.lists.calls(batch)
    }

    fn takes(&mut self, calls: u64) -> Option<Duration> {
        // What others spent is worth a call; without the answer, as far as is known here.
        drop(self.runtime.block_on(self.lists.take_usage()));
        Some(self.lists.client.budget().takes(calls, self.lists.client.user()))
    }

    fn quota_left(&self) -> Option<u64> {
        self.lists.client.budget().left(self.lists.client.user()).calls
    }
}

impl Lists {
    pub(crate) async fn deliver(&mut self, batch: &[Change]) -> Delivery {
        let calls = self.client.calls();
        let mut progress = BatchProgress {
            batch,
            answers: vec![None; batch.len()],
            again: BTreeSet::new(),
        };
        let (rest, wait) = match self.work(&mut progress).await {
            // No change is left without an answer then.
            Ok(()) => (Stop::Later("no answer".into(), None), None),
            Err(stop) => {
                let wait = if let Stop::Later(_, wait) = &stop { *wait } else { None };
                (stop, wait)
            }
        };
        let list = batch.first().map_or("", |change| change.audience.as_str());
        let unanswered = |change: &Change| match &rest {
            Stop::Later(cause, _) => Answer::Later(chain(cause)),
            Stop::Together(cause) => Answer::Together(refusal(change, list, &chain(cause))),
        };
        let answers = progress.answers.into_iter().zip(batch);
        Delivery {
            answers: answers.map(|(answer, change)| answer.unwrap_or_else(|| unanswered(change))).collect(),
            wait,
            calls: self.client.calls() - calls,
        }
    }

    async fn work(&mut self, progress: &mut BatchProgress<'_>) -> Result<(), Stop> {
        let Some(first) = progress.batch.first() else { return Ok(()) };
        let audience = first.audience.clone();
        self.take_usage().await?;
        let list = self.list(&audience).await?;
        let mut open: Vec<usize> = (0..progress.batch.len()).collect();
        for _ in 0..2 {
            let done = self.round(list, progress, &open).await;
            done.map_err(|error| self.stopped(&audience, error))?;
            open = std::mem::take(&mut progress.again).into_iter().collect();
        }
        for index in open {
            // A person that should be absent and cannot be found is absent.
            let absent = !progress.batch[index].present;
            progress.settle(index, if absent { &Outcome::Done(None) } else { &Outcome::Gone });
        }
        Ok(())
    }

    /// Looks up, creates, removes and adds, for the changes at these places.
    async fn round(&mut self, list: u64, progress: &mut BatchProgress<'_>, open: &[usize]) -> Result<(), CallError> {
        if open.is_empty() {
            return Ok(());
        }
        let batch = progress.batch;
        let found = self.look_up(open.iter().map(|index| batch[*index].identity.id())).await?;
        let (mut on, mut off, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        for index in open {
            let change = &batch[*index];
            let ids = match self.own_lead(change.identity.id()) {
                Some(id) => vec![id],
                None => {
                    let leads = found.get(&mapping::match_key(&self.config.match_field, change.identity.id()));
                    mapping::chosen(leads.map_or(&[], Vec::as_slice), change.present, self.config.duplicates)
                }
            };
            match (ids.is_empty(), change.present) {
                (true, true) => missing.push(*index),
                (true, false) => progress.settle(*index, &Outcome::Done(None)),
                (false, true) => on.extend(ids.into_iter().map(|id| (*index, id))),
                (false, false) => off.extend(ids.into_iter().map(|id| (*index, id))),
            }
        }
        if self.config.update_persons {
            on = self.update(progress, on).await?;
        }
        on.extend(self.create(progress, missing).await?);
        self.write(list, progress, &off, false).await?;
        self.write(list, progress, &on, true).await
    }

    /// The calls of a batch, if none has to be made twice: a look-up, the creation of persons whom
    /// nobody knows, the update of the others, a removal, an addition.
    fn calls(&self, batch: &[Change]) -> u64 {
        let adds = batch.iter().any(|change| change.present);
        let removes = batch.iter().any(|change| !change.present);
        let updates = batch.iter().any(|change| change.present && !change.attributes.is_empty());
        let steps = [
            self.own_keys.is_none(),
            adds && self.config.create_persons,
            updates && self.config.update_persons,
            removes,
            adds,
        ];
        steps.into_iter().filter(|step| *step).count() as u64
    }

    /// The lead of a source key of this instance.
    fn own_lead(&self, id: &str) -> Option<u64> {
        id.strip_suffix(self.own_keys.as_deref()?)?.parse().ok()
    }

    async fn look_up(&self, ids: impl Iterator<Item = &str>) -> Result<BTreeMap<String, Vec<Lead>>, CallError> {
        let mut found = BTreeMap::new();
        if self.own_keys.is_some() {
            return Ok(found);
        }
        let ids: Vec<&str> = ids.filter(|id| searchable(id)).collect();
        let mut groups: Vec<&[&str]> = ids.chunks(RECORDS_MAX).collect();
        while let Some(group) = groups.pop() {
            match self.look_up_group(group, &mut found).await {
                Ok(()) => {}
                // Too many persons have these ids; fewer ids have fewer.
                Err(CallError::Code { code, .. }) if code == "1003" && group.len() > 1 => {
                    let (one, other) = group.split_at(group.len() / 2);
                    groups.extend([one, other]);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    async fn look_up_group(&self, group: &[&str], found: &mut BTreeMap<String, Vec<Lead>>) -> Result<(), CallError> {
        let field = &self.config.match_field;
        let parameters = vec![
            ("filterType", field.clone()),
            ("filterValues", group.join(",")),
            ("fields", format!("id,{field},updatedAt")),
            ("batchSize", RECORDS_MAX.to_string()),
        ];
        let mut rows = Pages::new("rest/v1/leads.json".to_owned(), parameters);
        while let Some(page) = rows.next(&self.client).await? {
            mapping::leads(&page, field, found);
        }
        Ok(())
    }

    /// Creates persons if the configuration allows it; otherwise refuses them.
    async fn create(&self, progress: &mut BatchProgress<'_>, missing: Vec<usize>) -> Result<Vec<Target>, CallError> {
        let batch = progress.batch;
        let (wanted, refused): (Vec<usize>, Vec<usize>) = missing
            .into_iter()
            .partition(|index| self.config.create_persons && searchable(batch[*index].identity.id()));
        for index in refused {
            let reason = if searchable(batch[index].identity.id()) {
                "Marketo has no such person"
            } else {
                "Marketo cannot look up an id with a comma"
            };
            progress.settle(index, &Outcome::Refused(reason.to_owned()));
        }
        let mut created = Vec::new();
        if wanted.is_empty() {
            return Ok(created);
        }
        let changes: Vec<&Change> = wanted.iter().map(|index| &batch[*index]).collect();
        let body = mapping::new_persons(&changes, &self.config.match_field);
        let envelope = self.client.post("rest/v1/leads.json", body).await?;
        for (index, outcome) in wanted.iter().zip(outcomes(&envelope, wanted.len())?) {
            match outcome {
                Outcome::Done(Some(id)) => created.push((*index, id)),
                // Another program created it meanwhile, or this sink did and missed the answer.
                Outcome::Exists | Outcome::Gone | Outcome::Done(None) => drop(progress.again.insert(*index)),
                refused @ Outcome::Refused(_) => progress.settle(*index, &refused),
            }
        }
        Ok(created)
    }

    /// Writes attributes to existing persons; those whose attributes are refused do not continue.
    async fn update(&self, progress: &mut BatchProgress<'_>, targets: Vec<Target>) -> Result<Vec<Target>, CallError> {
        let batch = progress.batch;
        let (with, mut kept): (Vec<Target>, Vec<Target>) = targets.into_iter().partition(|(index, _)| !batch[*index].attributes.is_empty());
        for chunk in with.chunks(RECORDS_MAX) {
            let changes: Vec<(u64, &Change)> = chunk.iter().map(|(index, id)| (*id, &batch[*index])).collect();
            let envelope = self.client.post("rest/v1/leads.json", mapping::updates(&changes)).await?;
            for (target, outcome) in chunk.iter().zip(outcomes(&envelope, chunk.len())?) {
                match outcome {
                    Outcome::Done(_) => kept.push(*target),
                    Outcome::Gone => drop(progress.again.insert(target.0)),
                    other => progress.settle(target.0, &other),
                }
            }
        }
        Ok(kept)
    }

    /// Adds leads to a list or removes them from it.
    async fn write(&self, list: u64, progress: &mut BatchProgress<'_>, targets: &[Target], on: bool) -> Result<(), CallError> {
        let path = format!("rest/v1/lists/{list}/leads.json");
        let mut worst: BTreeMap<usize, Outcome> = BTreeMap::new();
        for chunk in targets.chunks(RECORDS_MAX) {
            let ids: Vec<u64> = chunk.iter().map(|(_, id)| *id).collect();
            let body = mapping::members(&ids);
            let envelope = if on {
                self.client.post(&path, body).await?
            } else {
                self.client.delete(&path, body).await?
            };
            for ((index, _), outcome) in chunk.iter().zip(outcomes(&envelope, chunk.len())?) {
                // Of several leads of one identity, the one that failed decides.
                let kept = worst.entry(*index).or_insert(Outcome::Done(None));
                if matches!(kept, Outcome::Done(_)) {
                    *kept = outcome;
                }
            }
        }
        for (index, outcome) in worst {
            match outcome {
                Outcome::Gone => drop(progress.again.insert(index)),
                other => progress.settle(index, &other),
            }
        }
        Ok(())
    }

    /// The id of an audience's list; a missing list is created if the configuration says where.
    async fn list(&mut self, audience: &str) -> Result<u64, Stop> {
        if let Some(id) = self.ids.get(audience) {
            return Ok(*id);
        }
        let name = match self.config.lists.get(audience) {
            Some(ListRef::Id(id)) => return Ok(*id),
            Some(ListRef::Name(name)) => name.clone(),
            None => audience.to_owned(),
        };
        let found = match self.client.get("rest/asset/v1/staticList/byName.json", &vec![("name", name.clone())]).await {
            Ok(envelope) => result(&envelope).iter().filter_map(|row| row["id"].as_u64()).collect(),
            // No data found.
            Err(CallError::Code { code, .. }) if code == "702" => Vec::new(),
            Err(error) => return Err(self.stopped(audience, error)),
        };
        let id = match (found.as_slice(), self.config.create_lists_in) {
            ([id], _) => *id,
            ([], Some(place)) if !self.lost.contains(audience) => {
                let made = self.client.post_form("rest/asset/v1/staticLists.json", mapping::new_list(&name, place)).await;
                let made = made.map_err(|error| self.stopped(audience, error))?;
                let id = result(&made).first().and_then(|row| row["id"].as_u64());
                let id = id.ok_or_else(|| Stop::Later(format!("Marketo names no id of the new list `{name}`").into(), None))?;
                tracing::info!(audience, list = id, name, "list created");
                id
            }
            ([], _) => return Err(Stop::Later(format!("Marketo has no list `{name}`").into(), Some(REST))),
            _ => {
                return Err(Stop::Later(
                    format!("several lists bear the name `{name}`; name one by its id").into(),
                    Some(REST),
                ));
            }
        };
        self.lost.remove(audience);
        self.ids.insert(audience.to_owned(), id);
        Ok(id)
    }

    /// The members of the lists, by the destination's ids. Members without one are counted in the
    /// log: no change can name them.
    async fn actual(&mut self, audiences: &[String]) -> Result<Vec<Actual>, Stop> {
        let mut actual = Vec::new();
        for audience in audiences {
            let list = self.list(audience).await?;
            let read = self.members(list).await;
            let (ids, nameless) = read.map_err(|error| self.stopped(audience, error))?;
            if nameless > 0 {
                tracing::warn!(
                    audience,
                    list,
                    nameless,
                    field = self.config.match_field,
                    "members without a value of the field stay as they are"
                );
            }
            actual.extend(ids.into_iter().map(|id| Actual {
                audience: audience.clone(),
                id,
            }));
        }
        Ok(actual)
    }

    async fn members(&self, list: u64) -> Result<(BTreeSet<String>, u64), CallError> {
        let field = &self.config.match_field;
        let parameters = vec![("fields", format!("id,{field},updatedAt")), ("batchSize", RECORDS_MAX.to_string())];
        let mut pages = Pages::new(format!("rest/v1/lists/{list}/leads.json"), parameters);
        let (mut ids, mut nameless) = (BTreeSet::new(), 0);
        while let Some(page) = pages.next(&self.client).await? {
            let mut found = BTreeMap::new();
            match &self.own_keys {
                Some(suffix) => ids.extend(page.iter().filter_map(|row| row["id"].as_u64()).map(|id| format!("{id}{suffix}"))),
                None => {
                    mapping::leads(&page, field, &mut found);
                    let named: usize = found.values().map(Vec::len).sum();
                    nameless += (page.len() - named.min(page.len())) as u64;
                    ids.extend(found.into_keys());
                }
            }
        }
        Ok((ids, nameless))
    }

    /// Reads the count of calls that others spent today, now and then.
    async fn take_usage(&mut self) -> Result<(), Stop> {
        let now = (self.now)();
        if self.usage_at.is_some_and(|at| now.0 - at.0 < USAGE_EVERY_MS) {
            return Ok(());
        }
        match self.client.take_usage().await {
            // A user of the interface may lack the right to see it.
            Ok(()) | Err(CallError::Code { .. } | CallError::Source(SourceError::Denied(_))) => {
                self.usage_at = Some(now);
                Ok(())
            }
            Err(error) => Err(self.stopped("", error)),
        }
    }

    /// The result of an error for the changes without an answer.
    fn stopped(&mut self, audience: &str, error: CallError) -> Stop {
        match error {
            CallError::Source(SourceError::Retry { reason, after }) => Stop::Later(reason, after),
            CallError::Source(SourceError::Spent(spent)) => {
                let left = u64::try_from(spent.resets_at.0 - (self.now)().0).unwrap_or_default();
                Stop::Later(Cause::of(spent.to_string(), spent), Some(REST.min(Duration::from_millis(left))))
            }
            CallError::Source(SourceError::Denied(reason)) => Stop::Later(reason, Some(REST)),
            CallError::Source(SourceError::Refused(reason)) => Stop::Together(reason),
            CallError::Code { code, message } if code == "1013" => {
                self.ids.remove(audience);
                self.lost.insert(audience.to_owned());
                Stop::Later(format!("the list is gone, Marketo answers {code}: {message}").into(), Some(REST))
            }
            // Another program is creating the same list.
            CallError::Code { code, message } if code == "709" => Stop::Later(format!("Marketo answers {code}: {message}").into(), None),
            error => Stop::Together(Cause::of(error.to_string(), error)),
        }
    }
}

impl BatchProgress<'_> {
    /// Gives a change its answer; an earlier refusal stays.
    fn settle(&mut self, index: usize, outcome: &Outcome) {
        let change = &self.batch[index];
        let refused = |reason: &str| Answer::Refused(refusal(change, &change.audience, reason));
        let answer = match outcome {
            Outcome::Done(_) => Answer::Accepted,
            Outcome::Exists => refused("several persons match"),
            Outcome::Gone => refused("1004: the person is gone, and was again when looked up anew"),
            Outcome::Refused(reason) => refused(reason),
        };
        let slot = &mut self.answers[index];
        if !matches!(slot, Some(Answer::Refused(_))) {
            *slot = Some(answer);
        }
    }
}

/// Whether an id can be part of a filter, whose values are separated by commas.
fn searchable(id: &str) -> bool {
    !id.contains(',')
}

/// The result of each record in a successful answer, in the order of the call.
fn outcomes(envelope: &serde_json::Value, count: usize) -> Result<Vec<Outcome>, CallError> {
    let rows = result(envelope);
    if rows.len() != count {
        let reason = format!("Marketo answers {} results to {count} records", rows.len()).into();
        return Err(SourceError::Retry { reason, after: None }.into());
    }
    Ok(rows.iter().map(mapping::outcome).collect())
}
