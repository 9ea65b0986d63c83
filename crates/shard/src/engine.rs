//! The stages of one shard, composed: the machine that the runtime drives.
//!
//! A step decodes its inputs, fetches what their events will read (`ahead`), and takes them in
//! order. Each becomes messages; messages for this shard are handled at
//! once, in order of arrival, until none is left. They write rows and mark subjects *dirty*. Then
//! dirty subjects are evaluated, things before persons, once each however often they were marked:
//! that sends features and memberships on and may mark further subjects. Due timers and background
//! work (fan-out, backfill) only mark subjects, within the budget of the step.
//!
//! Each stage is one file: `ingest`, `resolve`, `identity` (the writer's adapter), `owner`
//! (fragments, rows, events, moves), `ledger`, `history`, `tally`, `sequence`, `kin`, `related`
//! (follow, subscribe, replicas), `evaluate`, `horizon`, `computed`, `activation`, `background`,
//! `definitions`, `configuration`.

use std::sync::Arc;

use millrace_model::{ShardId, SubjectId, Timestamp};

use crate::deployment::Deployment;
use crate::key::{self, table};
use crate::lifecycle::Intake;
use crate::machine::{Budget, Effects, Input, Machine};
use crate::message::Message;
use crate::program::{self, Program};
use crate::row::Arrival;
use crate::state::{RowChange, StateError, StateView};
use activation::Activation;
use agenda::{Agenda, Dirty};
use ahead::Opened;
use identity::Writer;
use outbox::Outbox;
use resolve::Resolve;
use transaction::Transaction;

mod activation;
mod agenda;
mod ahead;
mod background;
mod computed;
mod configuration;
mod definitions;
mod derive;
mod evaluate;
mod features;
mod history;
mod horizon;
mod identity;
mod ingest;
mod kin;
mod ledger;
mod memberships;
mod outbox;
mod owner;
mod profile;
mod related;
mod resolve;
mod sequence;
mod subjects;
mod tally;
mod transaction;
mod view;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use evaluate::is_alive;
pub use horizon::ends;
pub use identity::CommittedGraph;
pub use profile::{asides, carried_identities, remove_asides};
pub use view::{RowView, SubjectView};

/// One shard: its program, and where its timers and jobs begin. Everything else is in its rows.
pub struct Shard {
    id: ShardId,
    deployment: Arc<Deployment>,
    program: Arc<Program>,
    /// Definitions that wait for the rest of their batch.
    intake: Intake,
    /// No timer is registered before this instant: keeps scans of the timer table off its deleted
    /// front.
    timers_from: Timestamp,
    /// The gauge of late timers is above zero.
    lagging: bool,
    /// No fan-out job is stored before this key.
    fanouts_from: Vec<u8>,
    /// No chore, review or backfill is stored.
    idle: bool,
    started: bool,
    /// A first step compares the configuration and reports the sizes of audiences.
    stepped: bool,
}

impl Shard {
    /// A shard of a deployment; `start` loads its definitions.
    pub fn new(id: ShardId, deployment: Arc<Deployment>) -> Shard {
        Shard {
            id,
            program: Arc::new(Program::empty(&deployment)),
            deployment,
            intake: Intake::default(),
            timers_from: Timestamp::MIN,
            lagging: false,
            fanouts_from: Vec::new(),
            idle: false,
            started: false,
            stepped: false,
        }
    }
}

impl Machine for Shard {
    fn derive(&mut self, view: &dyn StateView, rows: &[RowChange]) -> Result<Vec<RowChange>, StateError> {
        derive::derive(view, rows)
    }

    fn start(&mut self, view: &dyn StateView) -> Result<(), StateError> {
        self.program = Arc::new(Program::load(view, &self.deployment, None)?);
        self.intake = program::waiting(view, &self.deployment)?;
        self.timers_from = Timestamp::MIN;
        self.fanouts_from = vec![table::FANOUT];
        self.idle = false;
        self.started = true;
        Ok(())
    }

    fn step(&mut self, view: &dyn StateView, inputs: &[Input], now: Timestamp, budget: Budget<'_>) -> Result<Effects, StateError> {
        debug_assert!(self.started, "the runtime starts a machine before it steps it");
        let fanouts = background::Fanouts::new(self.fanouts_from.clone());
        let mut step = Step {
            id: self.id,
            deployment: Arc::clone(&self.deployment),
            program: Arc::clone(&self.program),
            tx: Transaction::new(view, now, self.program.revision),
            out: Outbox::new(self.id, self.deployment.shards),
            agenda: Agenda::new(fanouts, self.idle),
            intake: std::mem::take(&mut self.intake),
        };
        let first = !std::mem::replace(&mut self.stepped, true);
        if first {
            step.adopt_configuration()?;
        }
        let opened = inputs.iter().map(|input| step.open(input)).collect::<Result<Vec<_>, _>>()?;
        step.fetch_ahead(&opened)?;
        for (input, opened) in inputs.iter().zip(opened) {
            step.take(input, opened)?;
        }
        step.plan()?;
        let mut timers_from = self.timers_from;
        let timers_left = step.mark_due(&mut timers_from, &mut self.lagging, budget.timers_max)?;
        if first {
            step.report_audiences()?;
        }
        let background_left = step.settle(budget.background)?;
        self.timers_from = timers_from;
        self.program = Arc::clone(&step.program);
        self.intake = std::mem::take(&mut step.intake);
        self.fanouts_from = step.write_fanouts()?;
        self.idle = step.agenda.idle;
        step.finish(timers_left || background_left)
    }

    fn next_timer(&self, view: &dyn StateView) -> Result<Timestamp, StateError> {
        let lower = key::timers_from(self.timers_from);
        let first = view.scan(&lower, &[table::TIMER + 1], 1)?;
        let timer = first.first().and_then(|(key, _)| key::Parts::of(key).instant());
        Ok(timer.into_iter().chain(self.intake.deadline()).min().unwrap_or(Timestamp::MAX))
    }

    fn committed(&mut self) {}
}

/// One step in progress: its rows, what it sends, and what it still has to do. A stage that needs
/// all three is an `impl` of it; the others take the parts they need.
struct Step<'a> {
    id: ShardId,
    deployment: Arc<Deployment>,
    program: Arc<Program>,
    tx: Transaction<'a>,
    out: Outbox,
    agenda: Agenda,
    intake: Intake,
}

impl<'a> Step<'a> {
    /// Handles one input record and every message for this shard that follows from it.
    fn take(&mut self, input: &Input, opened: Opened) -> Result<(), StateError> {
        if matches!(opened, Opened::Definition) {
            return self.define(input);
        }
        // Inputs after a definition meet it in force.
        self.plan()?;
        match opened {
            Opened::Record(kind, decoded) => ingest::ingest(&self.deployment, &mut self.out, kind, input, decoded),
            Opened::Message(envelope) => self.out.receive(envelope),
            Opened::Definition | Opened::Nothing => {}
        }
        self.drain()
    }

    fn drain(&mut self) -> Result<(), StateError> {
        while let Some(message) = self.out.next() {
            self.handle(message)?;
        }
        Ok(())
    }

    fn handle(&mut self, message: Message) -> Result<(), StateError> {
        match message {
            Message::Change(change) => self.resolve().change(change),
            Message::Event { home, event } => self.resolve().route_event(home, event),
            Message::Claim { node, home, present } => self.resolve().claim(&node, &home, present),
            Message::Carry { home, node, epoch, present } => self.resolve().carry(&home, &node, epoch, present),
            Message::Matter { home, on } => self.resolve().matter(&home, on),
            Message::Aside { home, node, reason } => self.resolve().set_aside(home, node, reason),
            Message::Anchor { node } => self.resolve().anchor(&node),
            Message::Attach { node, row, sequence, value } => self.resolve().attach(node, row, sequence, value),
            Message::Follow { node, shard, on } => self.resolve().follow(&node, shard, on),
            Message::Canonical { node, from, to, epoch } => self.resolve().canonical(node, from, to, epoch),
            Message::Evidence(evidence) => {
                self.agenda.evidence.push((evidence, self.out.cause.clone()));
                Ok(())
            }
            Message::Data { subject, node, epoch, data } => self.data(subject, node, epoch, data),
            Message::Move { subject, node, to, epoch } => self.depart(subject, node, to, epoch),
            Message::Arrive {
                subject,
                from,
                node,
                epoch,
                part,
                of,
            } => self.arrive(subject, Arrival { from, node, epoch }, part, of),
            Message::Arrived { subject, .. } => self.arrived(&subject),
            Message::Child { parent, child, features } => self.child(&parent, &child, features),
            Message::Alias { node, canonical, epoch, .. } => self.alias(&node, canonical, epoch),
            Message::Subscribe { subject, shard, detail } => self.subscribe(&subject, shard, detail),
            Message::Features {
                subject, standing, features, ..
            } => self.replica(&subject, standing, features),
            Message::Activate {
                key,
                subject,
                present,
                attributes,
            } => self.activation().activate(&key, subject, present, attributes),
        }
    }

    fn resolve(&mut self) -> Resolve<'_, 'a> {
        Resolve {
            deployment: &self.deployment,
            tx: &mut self.tx,
            out: &mut self.out,
        }
    }

    fn writer(&mut self) -> Writer<'_, 'a> {
        Writer {
            policy: &self.deployment.policy,
            tx: &mut self.tx,
            out: &mut self.out,
        }
    }

    fn activation(&mut self) -> Activation<'_, 'a> {
        Activation {
            deployment: &self.deployment,
            program: &self.program,
            tx: &mut self.tx,
            out: &mut self.out,
        }
    }

    /// Evaluates dirty subjects, then runs background work in portions, until nothing is left or no
    /// portion is given. Returns whether work is left.
    fn settle(&mut self, background: &mut dyn FnMut() -> usize) -> Result<bool, StateError> {
        loop {
            self.drain()?;
            if !self.agenda.evidence.is_empty() {
                let evidence = std::mem::take(&mut self.agenda.evidence);
                self.writer().weigh(evidence)?;
                continue;
            }
            if let Some((subject, dirty)) = self.agenda.next() {
                self.evaluate(&subject, dirty)?;
                continue;
            }
            let Some(job) = self.next_job()? else { return Ok(false) };
            match background() {
                0 => return Ok(true),
                portion => self.go_on(job, portion)?,
            }
        }
    }

    fn finish(mut self, more: bool) -> Result<Effects, StateError> {
        self.write_audiences()?;
        let (outputs, measurements) = self.out.finish();
        Ok(Effects {
            rows: self.tx.finish()?,
            outputs,
            measurements,
            more,
        })
    }

    /// The subject must be evaluated, because of the fact that is being handled.
    fn mark(&mut self, subject: &SubjectId) -> &mut Dirty {
        self.agenda.mark(subject, &self.out.cause)
    }

    /// A new plan is in force from now on.
    fn put_in_force(&mut self, program: Program) {
        self.tx.revision = program.revision;
        self.program = Arc::new(program);
    }
}
