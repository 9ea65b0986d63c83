//! The evaluator: core expressions over a `View` or a `World`, with validity.
//!
//! Every evaluation returns a value and the earliest later instant at which time alone could change
//! it. The instant is a lower bound: waking too early costs an evaluation, waking too late would be
//! wrong. It is as late as is cheap to compute: a true disjunction holds as long as its most
//! durable branch, a false one until its first branch may change, a threshold until enough of its
//! items may have changed.
//!
//! An unknown fact (a feature in transit) is an error of evaluation unless the rest decides without
//! it.

mod chain;
mod evidence;
mod functions;
mod kept;
mod time;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono_tz::Tz;
use millrace_model::{Decimal, Relation, SubjectKind, Text, Timestamp, Value};

pub use evidence::Evidence;

use crate::core::{Bind, Core, Kept, Op, SUBJECT, Var};
use crate::view::{EventRow, Features, Item, QueryId, Target, Unknown, View};
use crate::world::{Link, World, WorldEvent};

/// Items that one rule may iterate over for one subject, counted each time they are met: five
/// hundred events compared with each other, which takes some milliseconds of every step with an
/// event of that subject. A rule that needs more is not decided for that
/// subject, so it cannot block a shard.
pub(crate) const ITEMS_MAX: usize = 250_000;

/// Never: no passage of time changes the value.
pub(crate) const NEVER: Timestamp = Timestamp::MAX;

/// The environment of evaluation, apart from expression and data.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Context {
    pub zone: Tz,
    pub money: Arc<Money>,
    /// The columns of each query, in the order of its rows'.
    pub layouts: Arc<BTreeMap<QueryId, Vec<u64>>>,
}

/// Currencies and their rates.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Money {
    pub default_currency: Text,
    pub rates: BTreeMap<Text, Decimal>,
}

/// The origin of attributes, relations and events.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    View(&'a dyn View),
    World(&'a dyn World),
    /// Bound variables only.
    None,
}

/// A thing, row or event.
#[derive(Clone, Debug)]
pub(crate) enum Object<'a> {
    /// The subject of a view.
    Subject,
    /// An item of the subject's relation: a thing, or a row.
    Item(&'a Item, Relation),
    /// The thing a row leads to.
    Target(&'a Text, &'a Features),
    Event(&'a EventRow, &'a [u64]),
    WorldThing(SubjectKind, &'a str),
    WorldRow(&'a Link, Relation),
    WorldEvent(&'a WorldEvent),
}

/// A value under evaluation.
#[derive(Clone, Debug)]
pub(crate) enum Val<'a> {
    Own(Value),
    Ref(&'a Value),
    Object(Object<'a>),
    List(Vec<Val<'a>>),
    Map(Vec<(Text, Val<'a>)>),
}

/// A value and how long it holds.
pub(crate) type Evaluated<'a> = (Val<'a>, Timestamp);

/// An item of a list that may not exist yet.
pub(crate) struct Slot<'a> {
    pub val: Val<'a>,
    pub presence: Presence,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Presence {
    Here,
    /// An event ahead of now.
    From(Timestamp),
    /// Whether the thing has a live record is not known.
    Unknown,
}

pub(crate) struct Evaluator<'a> {
    pub source: Source<'a>,
    pub now: Timestamp,
    pub context: &'a Context,
    /// When values from other owners were read, if it matters how long they hold.
    pub read_at: Option<Timestamp>,
    /// Bound variables, innermost last.
    pub bound: Vec<(Var, Val<'a>)>,
    /// What decided, if evidence is wanted.
    pub trace: Option<Vec<Evidence>>,
    /// Items gone through so far.
    pub items: usize,
}

/// The value of an expression without variables that depends on no setting and no time, as a
/// literal.
pub(crate) fn constant(core: &Core) -> Option<Core> {
    let context = Context {
        zone: Tz::UTC,
        money: Arc::default(),
        layouts: Arc::default(),
    };
    Evaluator::over(Vec::new(), &context, Timestamp(0))
        .eval(core)
        .ok()
        .map(|(val, _)| Core::Literal(val.into_value()))
}

impl<'a> Evaluator<'a> {
    /// Over bound variables only.
    pub fn over(bound: Vec<(Var, Val<'a>)>, context: &'a Context, now: Timestamp) -> Evaluator<'a> {
        Evaluator {
            source: Source::None,
            now,
            context,
            read_at: None,
            bound,
            trace: None,
            items: 0,
        }
    }

    pub fn over_view(view: &'a dyn View, context: &'a Context, now: Timestamp) -> Evaluator<'a> {
        Evaluator {
            source: Source::View(view),
            ..Evaluator::over(vec![(SUBJECT, Val::Object(Object::Subject))], context, now)
        }
    }

    pub fn over_world(world: &'a dyn World, kind: SubjectKind, id: &'a str, context: &'a Context, now: Timestamp) -> Evaluator<'a> {
        Evaluator {
            source: Source::World(world),
            ..Evaluator::over(vec![(SUBJECT, Val::Object(Object::WorldThing(kind, id)))], context, now)
        }
    }

    /// An expression of one event alone.
    pub fn over_event(event: &'a Value, context: &'a Context) -> Evaluator<'a> {
        // Nothing about a single event depends on time.
        Evaluator::over(vec![(SUBJECT, Val::Ref(event))], context, Timestamp(0))
    }

    /// How long a value from another owner counts as valid. An instant that had passed when it was
    /// read carries no information: the owner will send the new value.
    ///
    /// # Errors
    /// If the value may have changed by now.
    fn held(&self, until: Timestamp) -> Result<Timestamp, Unknown> {
        match self.read_at {
            Some(read_at) if until > read_at => {
                if until > self.now {
                    Ok(until)
                } else {
                    Err(Unknown)
                }
            }
            _ => Ok(NEVER),
        }
    }

    /// Counts items that are gone through next.
    ///
    /// # Errors
    /// Where they are too many: what they would decide stays unknown.
    pub(crate) fn go_through(&mut self, items: usize) -> Result<(), Unknown> {
        self.items = self.items.saturating_add(items);
        if self.is_exhausted() { Err(Unknown) } else { Ok(()) }
    }

    /// Whether the rule needs more items than it may go through.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.items > ITEMS_MAX
    }

    pub(crate) fn with<T>(&mut self, var: Var, val: Val<'a>, f: impl FnOnce(&mut Self) -> T) -> T {
        self.bound.push((var, val));
        let result = f(self);
        self.bound.pop();
        result
    }

    /// The value of an expression.
    pub fn eval(&mut self, core: &'a Core) -> Result<Evaluated<'a>, Unknown> {
        match core {
            Core::Literal(value) => Ok((Val::Ref(value), NEVER)),
            Core::Var(var) => {
                let val = self.bound.iter().rev().find(|(known, _)| known == var).map(|(_, val)| val.clone());
                Ok((val.unwrap_or(Val::Own(Value::Null)), NEVER))
            }
            Core::Moment(moment) => {
                let stairs = crate::calendar::staircase(*moment);
                let at = crate::calendar::stand(self.context.zone, self.now, stairs);
                Ok((Val::Own(Value::Time(at)), crate::calendar::next_step(self.context.zone, self.now, stairs)))
            }
            Core::Rows(_) => self.present(core),
            Core::Kept { kept, whole } => self.kept(kept, whole),
            Core::Apply(op, operands) => self.apply(core, op, operands),
            Core::Bind { bind: Bind::AtLeast(_), .. } | Core::Chain(_) => {
                let (flag, until) = self.test(core)?;
                Ok((Val::Own(Value::Bool(flag)), until))
            }
            Core::Bind { bind, source, var, body } => self.bind(*bind, source, *var, body),
            Core::Groups { source, key, group, body } => {
                let (groups, mut until) = self.eval(source)?;
                let mut out = Vec::new();
                for (name, items) in groups.entries() {
                    let (val, val_until) = self.with(*key, Val::Own(Value::Text(name)), |machine| {
                        machine.with(*group, items, |machine| machine.eval(body))
                    })?;
                    until = until.min(val_until);
                    if !val.is_null() {
                        out.push(val);
                    }
                }
                Ok((Val::List(out), until))
            }
        }
    }

    /// The truth of a whole rule: one that needs too many items is false.
    pub fn verdict(&mut self, core: &'a Core) -> Result<(bool, Timestamp), Unknown> {
        match self.test(core) {
            Err(Unknown) if self.is_exhausted() => Ok((false, NEVER)),
            decided => decided,
        }
    }

    /// The truth of a condition: null and values that are not boolean are false.
    pub fn test(&mut self, core: &'a Core) -> Result<(bool, Timestamp), Unknown> {
        match core {
            Core::Apply(Op::And, operands) => self.all(operands, false),
            Core::Apply(Op::Or, operands) => self.all(operands, true),
            Core::Apply(Op::Not, of) => self.test_not(&of[0]),
            Core::Bind {
                bind: Bind::AtLeast(count),
                source,
                var,
                body,
            } => self.at_least(*count as usize, source, *var, body, false),
            Core::Chain(steps) => self.chain(steps),
            Core::Kept {
                kept: Kept::Truth(part),
                whole,
            } => self.truth(*part, whole),
            Core::Literal(_)
            | Core::Var(_)
            | Core::Moment(_)
            | Core::Rows(_)
            | Core::Kept { .. }
            | Core::Apply(..)
            | Core::Bind { .. }
            | Core::Groups { .. } => {
                let (val, until) = self.eval(core)?;
                Ok((val.truth(), until))
            }
        }
    }

    /// The truth of a condition's opposite.
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other expression has one way to be tested")]
    fn test_not(&mut self, of: &'a Core) -> Result<(bool, Timestamp), Unknown> {
        let (flag, until) = match of {
            Core::Bind {
                bind: Bind::AtLeast(1),
                source,
                var,
                body,
            } if matches!(**body, Core::Apply(Op::Not, _)) => self.at_least(1, source, *var, body, true)?,
            // Evidence shows the items that fail a `forall`.
            Core::Kept { kept: Kept::Kin { .. }, whole } if self.trace.is_some() => return self.test_not(whole),
            of => self.test(of)?,
        };
        Ok((!flag, until))
    }

    /// `and` (`deciding` false) and `or` (`deciding` true): one operand equal to `deciding` settles
    /// the whole.
    fn all(&mut self, operands: &'a [Core], deciding: bool) -> Result<(bool, Timestamp), Unknown> {
        let mut settled: Option<Timestamp> = None;
        let mut open = NEVER;
        let mut unknown = false;
        for operand in operands {
            match self.test(operand) {
                Ok((flag, until)) if flag == deciding => {
                    if until == NEVER {
                        return Ok((deciding, NEVER));
                    }
                    settled = Some(settled.map_or(until, |known| known.max(until)));
                }
                Ok((_, until)) => open = open.min(until),
                Err(Unknown) => unknown = true,
            }
        }
        match settled {
            Some(until) => Ok((deciding, until)),
            None if unknown => Err(Unknown),
            None => Ok((!deciding, open)),
        }
    }

    /// `against`: for a `forall`, which holds if the search for its opposite fails. Its evidence is
    /// then all its items, otherwise those that fail it.
    fn at_least(&mut self, count: usize, source: &'a Core, var: Var, body: &'a Core, against: bool) -> Result<(bool, Timestamp), Unknown> {
        let (slots, bound) = self.slots(source)?;
        if slots.len() < count {
            return Ok((false, bound));
        }
        let mut holding: Vec<Timestamp> = Vec::new();
        let mut failing: Vec<Timestamp> = Vec::new();
        let mut unknown = 0;
        let mut lasting = 0;
        let mut in_vain: Vec<Evidence> = Vec::new();
        for slot in slots {
            match slot.presence {
                Presence::From(at) => {
                    failing.push(at);
                    continue;
                }
                Presence::Unknown => {
                    unknown += 1;
                    continue;
                }
                Presence::Here => {}
            }
            let shown = self.trace.as_ref().map(|trace| (trace.len(), slot.val.clone()));
            match self.with(var, slot.val, |machine| machine.test(body)) {
                Ok((true, until)) => {
                    if let (Some(trace), Some((_, val))) = (&mut self.trace, shown) {
                        trace.extend(Evidence::of(&val, source, Value::Bool(!against)));
                    }
                    lasting += usize::from(until == NEVER);
                    holding.push(until);
                    if lasting >= count {
                        return Ok((true, bound));
                    }
                }
                Ok((false, until)) => {
                    if let Some((mark, val)) = shown {
                        self.forget(mark);
                        in_vain.extend(Evidence::of(&val, source, Value::Bool(true)).filter(|_| against));
                    }
                    failing.push(until);
                }
                Err(Unknown) => unknown += 1,
            }
        }
        if holding.len() >= count {
            // It holds until so few are left that `count` is no longer reached.
            holding.sort_unstable_by(|a, b| b.cmp(a));
            return Ok((true, bound.min(holding[count - 1])));
        }
        if holding.len() + unknown >= count {
            return Err(Unknown);
        }
        if let Some(trace) = &mut self.trace {
            trace.extend(in_vain);
        }
        let missing = count - holding.len() - unknown;
        failing.sort_unstable();
        Ok((false, failing.get(missing - 1).copied().unwrap_or(NEVER).min(bound)))
    }

    /// Drops the evidence of an item that is left out, from a mark of the trace on.
    fn forget(&mut self, mark: usize) {
        if let Some(trace) = &mut self.trace {
            let seen = trace.split_off(mark.min(trace.len()));
            trace.extend(seen.into_iter().filter(|piece| !piece.item()));
        }
    }

    /// The items of a list, including those ahead of now and unknown ones; and how long the list
    /// stays the same apart from these.
    pub(crate) fn slots(&mut self, source: &'a Core) -> Result<(Vec<Slot<'a>>, Timestamp), Unknown> {
        let (slots, until) = self.listed(source)?;
        self.go_through(slots.len())?;
        Ok((slots, until))
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "every other expression has a list for its value")]
    fn listed(&mut self, source: &'a Core) -> Result<(Vec<Slot<'a>>, Timestamp), Unknown> {
        match source {
            Core::Rows(query) => {
                let (Source::View(view), Some(query)) = (self.source, query.id()) else {
                    return Ok((Vec::new(), NEVER));
                };
                let layout = self.context.layouts.get(&query).map_or(&[][..], Vec::as_slice);
                let now = self.now;
                let slot = |row: &'a EventRow| Slot {
                    val: Val::Object(Object::Event(row, layout)),
                    presence: Presence::of(row.at, now),
                };
                Ok((view.events(query).iter().map(slot).collect(), NEVER))
            }
            Core::Apply(Op::Events, of) => {
                let (person, until) = self.eval(&of[0])?;
                let (Source::World(world), Val::Object(Object::WorldThing(SubjectKind::Person, id))) = (self.source, person) else {
                    return Ok((Vec::new(), until));
                };
                let now = self.now;
                let slot = |event: &'a WorldEvent| Slot {
                    val: Val::Object(Object::WorldEvent(event)),
                    presence: Presence::of(event.at, now),
                };
                Ok((world.events(id).iter().map(slot).collect(), until))
            }
            Core::Apply(Op::Relation(relation), of) if !relation.to_one() => {
                let (thing, until) = self.eval(&of[0])?;
                Ok((self.related(&thing, *relation)?, until))
            }
            other => {
                let (val, until) = self.eval(other)?;
                Ok((val.items().into_iter().map(|val| Slot { val, presence: Presence::Here }).collect(), until))
            }
        }
    }

    /// A list of items that may be ahead of now, as it is now.
    fn present(&mut self, source: &'a Core) -> Result<Evaluated<'a>, Unknown> {
        let (slots, mut until) = self.slots(source)?;
        let mut items = Vec::with_capacity(slots.len());
        for slot in slots {
            match slot.presence {
                Presence::Here => items.push(slot.val),
                Presence::From(at) => until = until.min(at),
                Presence::Unknown => return Err(Unknown),
            }
        }
        Ok((Val::List(items), until))
    }

    fn related(&mut self, thing: &Val<'a>, relation: Relation) -> Result<Vec<Slot<'a>>, Unknown> {
        match (thing, self.source) {
            (Val::Object(Object::Subject), Source::View(view)) => {
                let rows = relation.row().is_some();
                let slots = view.related(relation)?.iter().filter_map(|item| {
                    let presence = match &item.target {
                        // A row exists whatever it leads to.
                        _ if rows => Presence::Here,
                        Target::Known { .. } => Presence::Here,
                        Target::Unknown => Presence::Unknown,
                        Target::Missing => return None,
                    };
                    Some(Slot {
                        val: Val::Object(Object::Item(item, relation)),
                        presence,
                    })
                });
                Ok(slots.collect())
            }
            (Val::Object(Object::WorldThing(kind, id)), Source::World(world)) => {
                let object = |link: &'a Link| match (relation.target(), &link.target) {
                    (Some(kind), Some(id)) => Object::WorldThing(kind, id),
                    _ => Object::WorldRow(link, relation),
                };
                let links = world
                    .related(*kind, id, relation)
                    .iter()
                    .filter(|link| relation.row().is_some() || link.target.is_some());
                Ok(links
                    .map(|link| Slot {
                        val: Val::Object(object(link)),
                        presence: Presence::Here,
                    })
                    .collect())
            }
            _ => Ok(Vec::new()),
        }
    }

    /// The one thing a relation leads to.
    fn one(&mut self, from: &Val<'a>, relation: Relation) -> Result<Val<'a>, Unknown> {
        match from {
            Val::Object(Object::Item(item, _)) => match &item.target {
                Target::Known { id, features } => Ok(Val::Object(Object::Target(id, features))),
                Target::Missing => Ok(Val::Own(Value::Null)),
                Target::Unknown => Err(Unknown),
            },
            Val::Object(Object::WorldRow(link, row)) => Ok(match (&link.target, row.leads_to()) {
                (Some(id), Some(kind)) => Val::Object(Object::WorldThing(kind, id)),
                _ => Val::Own(Value::Null),
            }),
            Val::Object(Object::Subject | Object::WorldThing(..)) => match self.related(from, relation)?.into_iter().next() {
                Some(Slot {
                    presence: Presence::Unknown, ..
                }) => Err(Unknown),
                Some(slot) => Ok(slot.val),
                None => Ok(Val::Own(Value::Null)),
            },
            Val::Own(_) | Val::Ref(_) | Val::Object(_) | Val::List(_) | Val::Map(_) => Ok(Val::Own(Value::Null)),
        }
    }

    fn bind(&mut self, bind: Bind, source: &'a Core, var: Var, body: &'a Core) -> Result<Evaluated<'a>, Unknown> {
        let (list, mut until) = if bind == Bind::Filter {
            (Vec::new(), NEVER)
        } else {
            let (val, until) = self.eval(source)?;
            let items = val.items();
            self.go_through(items.len())?;
            (items, until)
        };
        match bind {
            Bind::Filter => {
                let (slots, bound) = self.slots(source)?;
                until = bound;
                let mut kept = Vec::new();
                for slot in slots {
                    match slot.presence {
                        Presence::From(at) => {
                            until = until.min(at);
                            continue;
                        }
                        Presence::Unknown => return Err(Unknown),
                        Presence::Here => {}
                    }
                    let mark = self.trace.as_ref().map_or(0, Vec::len);
                    let (flag, flag_until) = self.with(var, slot.val.clone(), |machine| machine.test(body))?;
                    until = until.min(flag_until);
                    if flag {
                        kept.push(slot.val);
                    } else {
                        self.forget(mark);
                    }
                }
                Ok((Val::List(kept), until))
            }
            Bind::Map | Bind::FlatMap => {
                let mut out = Vec::with_capacity(list.len());
                for item in list {
                    let shown = self.trace.is_some().then(|| item.clone());
                    let (val, val_until) = self.with(var, item, |machine| machine.eval(body))?;
                    until = until.min(val_until);
                    if let (Bind::Map, Some(trace), Some(item)) = (bind, &mut self.trace, shown) {
                        trace.extend(Evidence::contributed(&item, &val, source));
                    }
                    if bind == Bind::FlatMap {
                        out.extend(val.items().into_iter().filter(|val| !val.is_null()));
                    } else if !val.is_null() {
                        out.push(val);
                    }
                }
                Ok((Val::List(out), until))
            }
            Bind::Top { count, lowest } => {
                let mut keyed: Vec<(Value, Val<'a>)> = Vec::with_capacity(list.len());
                for item in list {
                    let (key, key_until) = self.with(var, item.clone(), |machine| machine.eval(body))?;
                    until = until.min(key_until);
                    if !key.is_null() {
                        keyed.push((key.into_value(), item));
                    }
                }
                // Stable: ties stay in the order of the list, which for events is that of time.
                keyed.sort_by(|(a, _), (b, _)| if lowest { a.cmp(b) } else { b.cmp(a) });
                keyed.truncate(count as usize);
                Ok((Val::List(keyed.into_iter().map(|(_, item)| item).collect()), until))
            }
            Bind::GroupBy => {
                let mut groups: BTreeMap<Text, Vec<Val<'a>>> = BTreeMap::new();
                for item in list {
                    let (key, key_until) = self.with(var, item.clone(), |machine| machine.eval(body))?;
                    until = until.min(key_until);
                    if let Some(key) = values::key(&key.into_value()) {
                        groups.entry(key).or_default().push(item);
                    }
                }
                Ok((Val::Map(groups.into_iter().map(|(key, items)| (key, Val::List(items))).collect()), until))
            }
            Bind::AtLeast(count) => {
                let (flag, until) = self.at_least(count as usize, source, var, body, false)?;
                Ok((Val::Own(Value::Bool(flag)), until))
            }
        }
    }
}

impl Presence {
    fn of(at: Timestamp, now: Timestamp) -> Presence {
        if at > now { Presence::From(at) } else { Presence::Here }
    }
}
