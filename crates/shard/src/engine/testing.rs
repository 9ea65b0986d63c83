//! One-line scripts for single stages: what goes in, the messages that come out, and the rows that
//! change.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use expect_test::Expect;
use millrace_identity::{Evidence, Policy};
use millrace_model::{CanonicalId, Change, Identity, Schema, ShardId, SourceChange, SourceKind, SubjectId, Text, Timestamp, Value};
use millrace_segment::Settings;
use millrace_wire::{Decoder, OutputCodec};

use super::Step;
use super::agenda::Agenda;
use super::background::Fanouts;
use super::outbox::Outbox;
use super::transaction::Transaction;
use crate::deployment::{Deployment, Destination, HISTORY_ROWS};
use crate::key::table;
use crate::lifecycle::Intake;
use crate::message::{Address, Data, Message};
use crate::program::Program;
use crate::state::{Row, StateError, StateView};

/// Committed rows in memory.
#[derive(Default)]
struct Memory(BTreeMap<Vec<u8>, Vec<u8>>);

impl StateView for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, lower: &[u8], upper: &[u8], limit: usize) -> Result<Vec<Row>, StateError> {
        let rows = self.0.range(lower.to_vec()..upper.to_vec()).take(limit);
        Ok(rows.map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

/// A deployment of one shard, stage by stage: nothing is passed on to the next stage.
pub(super) struct Bench {
    rows: Memory,
    deployment: Arc<Deployment>,
    now: Timestamp,
}

impl Bench {
    pub fn new() -> Bench {
        let schema = Arc::new(Schema::built_in().expect("the schemas of the build parse"));
        let decoder = Decoder::builder(Arc::clone(&schema)).expect("the schemas of the build are Avro").build();
        let destination = Destination {
            namespace: "email".into(),
            known_by: None,
            attributes: BTreeMap::new(),
        };
        Bench {
            rows: Memory::default(),
            deployment: Arc::new(Deployment {
                shards: 1,
                topic_prefix: "millrace.".to_owned(),
                schema,
                decoder: Arc::new(decoder),
                output: Arc::new(OutputCodec::Json),
                policy: Policy::default(),
                settings: Settings::default(),
                destinations: [("crm".into(), destination)].into(),
                settle_ms: 0,
                history_rows: HISTORY_ROWS,
            }),
            now: Timestamp(1_000),
        }
    }

    /// The instant of the steps that follow.
    pub fn at(&mut self, now: i64) -> &mut Bench {
        self.now = Timestamp(now);
        self
    }

    /// Runs a stage, commits its rows, and compares what it sent, posted and wrote.
    pub fn check(&mut self, run: impl FnOnce(&mut Step<'_>) -> Result<(), StateError>, expected: Expect) {
        let program = Arc::new(Program::empty(&self.deployment));
        let mut step = Step {
            id: ShardId::FIRST,
            deployment: Arc::clone(&self.deployment),
            tx: Transaction::new(&self.rows, self.now, program.revision),
            program,
            out: Outbox::new(ShardId::FIRST, 1),
            agenda: Agenda::new(Fanouts::default(), true),
            intake: Intake::default(),
        };
        run(&mut step).expect("rows in memory do not fail");
        let mut shown = String::new();
        while let Some(message) = step.out.next() {
            writeln!(shown, "-> {}: {}", receiver(&message), content(&message)).expect("a text in memory");
        }
        while let Some((subject, dirty)) = step.agenda.next() {
            writeln!(shown, "evaluate {subject:?}{}", if dirty.profile { ", profile" } else { "" }).expect("a text in memory");
        }
        let effects = step.finish(false).expect("rows in memory do not fail");
        for output in &effects.outputs {
            let key = output.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            writeln!(shown, "post {} {key}", output.topic).expect("a text in memory");
        }
        let mut changes: Vec<(String, usize)> = Vec::new();
        for (key, value) in effects.rows {
            let table = crate::key::table_of(&key).map_or("?", name_of);
            if self.rows.0.get(&key) != value.as_ref() {
                let change = format!("{} {table}", if value.is_some() { "put" } else { "delete" });
                match changes.last_mut() {
                    Some((last, count)) if *last == change => *count += 1,
                    _ => changes.push((change, 1)),
                }
            }
            match value {
                Some(value) => self.rows.0.insert(key, value),
                None => self.rows.0.remove(&key),
            };
        }
        for (change, count) in changes {
            let rows = if count > 1 { format!(", {count} rows") } else { String::new() };
            writeln!(shown, "{change}{rows}").expect("a text in memory");
        }
        expected.assert_eq(&shown);
    }

    /// A record of a source, decoded.
    pub fn record(&self, kind: SourceKind, key: &str, value: serde_json::Value) -> Change {
        let value = value.to_string();
        let decoded = self
            .deployment
            .decoder
            .decode(kind, Some(key.as_bytes()), Some(value.as_bytes()), self.now, self.now);
        match decoded.map(|decoded| decoded.change) {
            Ok(SourceChange::Record(change)) => change,
            _ => panic!("{value} is no record of a thing"),
        }
    }
}

pub(super) fn node(text: &str) -> Identity {
    Identity::parse(text).expect("an identity")
}

pub(super) fn canonical(text: &str) -> CanonicalId {
    CanonicalId(node(text))
}

pub(super) fn subject(text: &str) -> SubjectId {
    SubjectId::of_node(&node(text))
}

fn receiver(message: &Message) -> String {
    match message.to() {
        Address::Record(change) => format!("record {}", change.key),
        Address::Node(node) => format!("node {node}"),
        Address::Writer => "writer".to_owned(),
        Address::Owner(subject) => format!("owner of {subject:?}"),
        Address::Follower(shard) => format!("shard {shard}"),
        Address::Activation(key) => format!("activation of {} for {}", key.identity, key.destination),
    }
}

fn content(message: &Message) -> String {
    let sign = |present: &bool| if *present { "+" } else { "-" };
    match message {
        Message::Change(change) => format!("change of {}", change.key),
        Message::Event { event, .. } => format!("event {}", event.id),
        Message::Claim { home, present, .. } => format!("{}claim of {home}", sign(present)),
        Message::Carry { node, epoch, present, .. } => format!("{}carries {node} under {epoch}", sign(present)),
        Message::Matter { on, .. } => format!("{}matters", sign(on)),
        Message::Aside { node, reason, .. } => format!("{}aside {node}", sign(&reason.is_some())),
        Message::Anchor { .. } => "anchor".to_owned(),
        Message::Attach { row, sequence, value, .. } => format!("{}row {} as {sequence}", sign(&value.is_some()), row.key),
        Message::Follow { on, .. } => format!("{}follow", sign(on)),
        Message::Evidence(Evidence::Assert { edge, .. }) => format!("+edge {} {}", edge.home(), edge.node()),
        Message::Evidence(Evidence::Withdraw { edge, .. }) => format!("-edge {} {}", edge.home(), edge.node()),
        Message::Canonical { from, to, epoch, .. } => format!("from {} to {} under {epoch}", from.0, to.0),
        Message::Data { node, epoch, data, .. } => format!("{} of {node} under {epoch}", described(data)),
        Message::Move { node, to, epoch, .. } => format!("{node} moves to {} under {epoch}", to.0),
        Message::Arrive { node, epoch, part, of, .. } => {
            let end = of.map_or_else(String::new, |of| format!(", of {of} parts"));
            format!(
                "{node} arrives under {epoch} with {} fragment, {} rows, {} events, {} unfinished{end}",
                u8::from(part.fragment.is_some()),
                part.rows.len(),
                part.events.len(),
                part.unfinished.len()
            )
        }
        Message::Arrived { node, epoch, .. } => format!("{node} has arrived under {epoch}"),
        Message::Child { child, features, .. } => format!("{}child {child:?}", sign(&features.is_some())),
        Message::Alias { node, canonical, epoch, .. } => format!("{node} is {} since {epoch}", canonical.0),
        Message::Subscribe { detail, .. } => format!("{}subscribe {detail:?}", sign(&detail.is_some())),
        Message::Features { subject, standing, .. } => format!("{subject:?} {standing:?}"),
        Message::Activate { subject, present, .. } => format!("{}{subject:?}", sign(present)),
    }
}

fn described(data: &Data) -> String {
    match data {
        Data::Fragment { sequence, fragment } => format!("{} {sequence}", if fragment.is_some() { "fragment" } else { "no fragment" }),
        Data::Row { row, sequence, value } => format!("{} {} as {sequence}", if value.is_some() { "row" } else { "no row" }, row.key),
        Data::Event(event) => format!("event {}", event.id),
        Data::Aside { node, reason, .. } => format!("{} {node}", if reason.is_some() { "aside" } else { "no longer aside" }),
    }
}

fn name_of(of: u8) -> &'static str {
    match of {
        table::RECORD => "RECORD",
        table::GRAPH => "GRAPH",
        table::SUBJECT => "SUBJECT",
        table::PROFILE => "PROFILE",
        table::NODE => "NODE",
        table::ALIAS => "ALIAS",
        table::REPLICA => "REPLICA",
        table::FRAGMENT => "FRAGMENT",
        table::ROW => "ROW",
        table::CLAIM => "CLAIM",
        table::MOVED => "MOVED",
        table::CARRIED => "CARRIED",
        table::ACTIVATION => "ACTIVATION",
        table::POPULATION => "POPULATION",
        table::TIMER => "TIMER",
        table::DEPENDENT => "DEPENDENT",
        table::ALIAS_OF => "ALIAS_OF",
        _ => "another table",
    }
}

/// Attributes of one field.
pub(super) fn attributes(name: &str, value: &str) -> Value {
    let mut fields = millrace_model::Map::new();
    fields.insert(name, Value::Text(Text::new(value)));
    Value::Map(fields)
}
