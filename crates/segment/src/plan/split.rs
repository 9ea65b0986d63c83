//! The split of an expression: the parts computed elsewhere, and the residual.
//!
//! Read top down, the first sub-expression that depends on one thing alone becomes a feature of
//! that thing, the first that depends on one event alone (and not on time) a column of its query.
//! If things of things are needed one by one (to count each once, to relate them to something
//! else), the feature is a list of rows, each with the thing's id and the values read from it; the
//! values are gathered while the rest is split, so the feature is named last. The residual reads
//! only what a `View` offers.

mod chains;

use std::collections::{BTreeMap, BTreeSet};

use chrono_tz::Tz;
use millrace_model::{Relation, SubjectKind, Text, Value};
use xxhash_rust::xxh3::xxh3_64;

use crate::core::{Bind, Core, Fresh, Kept, Op, QueryRef, ROW_ID, SUBJECT, Var, newest_first};
use crate::kin;
use crate::plan::build::{Planner, Upkeep};
use crate::plan::{Keep, Reads};
use crate::tally::TallyShape;
use crate::view::QueryId;

/// The most rows kept in one, which every event writes. Beyond it a tally is kept, which costs the
/// same for any number.
const NEWEST_MAX: u32 = 50;

/// The class of an expression's value, or of the items of its list, for the residual.
#[derive(Clone, Debug, PartialEq)]
enum Class {
    Plain,
    Subject,
    /// A thing whose features are available.
    Thing(SubjectKind),
    /// A row of the subject, with its fields.
    Row(Relation),
    /// An event of the subject, kept by these queries.
    Event(BTreeSet<usize>),
    /// A thing of another thing, available as a row of these far lists.
    Remote(BTreeSet<usize>),
    /// A thing, row or event of another thing, not available.
    Far(Far),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Far {
    Thing,
    Row(Relation),
    Event,
}

/// A class, and whether it is that of a list's items.
type Sort = (Class, bool);

/// An event query under construction.
struct Query {
    predicate: Vec<Core>,
    columns: BTreeMap<u64, Core>,
    keep: Keep,
    upkeep: Option<Upkeep>,
}

/// A far list under construction.
struct FarList {
    /// Of `Var::Host`.
    list: Core,
    var: Var,
    columns: BTreeMap<Text, Core>,
    host: Host,
}

enum Host {
    /// An available thing: the list is a feature of it.
    Thing(SubjectKind),
    /// A row of far lists: the list is a column of theirs.
    Rows(BTreeSet<usize>),
}

/// The residual of an expression, and what it reads.
pub(crate) struct Split {
    pub core: Core,
    pub reads: Reads,
    pub layouts: BTreeMap<QueryId, Vec<u64>>,
}

pub(crate) struct Splitter<'p, 's> {
    planner: &'p mut Planner<'s>,
    zone: Tz,
    sorts: BTreeMap<Var, Sort>,
    next: Fresh,
    queries: Vec<Query>,
    far: Vec<FarList>,
    refused: Option<String>,
}

impl<'p, 's> Splitter<'p, 's> {
    /// Splits an expression about a subject. `next` makes variables that it does not use.
    ///
    /// # Errors
    /// Why it cannot be kept incrementally.
    pub fn split(planner: &'p mut Planner<'s>, core: Core, zone: Tz, next: Fresh) -> Result<Split, String> {
        let mut splitter = Splitter {
            planner,
            zone,
            sorts: BTreeMap::new(),
            next,
            queries: Vec::new(),
            far: Vec::new(),
            refused: None,
        };
        splitter.sorts.insert(SUBJECT, (Class::Subject, false));
        let (core, (class, _)) = splitter.expr(core);
        if class != Class::Plain && splitter.refused.is_none() {
            splitter.refused = Some("its result is no value".into());
        }
        splitter.finish(core)
    }

    fn fresh(&mut self) -> Var {
        self.next.var()
    }

    fn refuse(&mut self, reason: &str) {
        self.refused.get_or_insert_with(|| reason.to_owned());
    }

    /// The class of an expression not yet split.
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other operator has a plain value")]
    fn sort(&mut self, core: &Core) -> Sort {
        match core {
            Core::Var(var) => self.sorts.get(var).cloned().unwrap_or((Class::Plain, false)),
            Core::Rows(query) => (Class::Event(opened(*query).into_iter().collect()), true),
            Core::Apply(op, operands) => match op {
                Op::Relation(relation) => {
                    let (class, many) = self.sort(&operands[0]);
                    let near = match relation.target() {
                        Some(kind) => Class::Thing(kind),
                        None => Class::Row(*relation),
                    };
                    let class = match class {
                        Class::Subject => near,
                        Class::Row(_) => near,
                        Class::Plain => Class::Plain,
                        Class::Thing(_) | Class::Event(_) | Class::Remote(_) | Class::Far(_) => {
                            Class::Far(if relation.row().is_some() { Far::Row(*relation) } else { Far::Thing })
                        }
                    };
                    (class, many || !relation.to_one())
                }
                Op::Events => match self.sort(&operands[0]).0 {
                    Class::Subject => (Class::Event(BTreeSet::new()), true),
                    Class::Plain => (Class::Plain, true),
                    Class::Thing(_) | Class::Row(_) | Class::Event(_) | Class::Remote(_) | Class::Far(_) => (Class::Far(Far::Event), true),
                },
                Op::DistinctThings | Op::Distinct => (self.sort(&operands[0]).0, true),
                Op::Head => (self.sort(&operands[0]).0, false),
                Op::Values | Op::Get => (self.sort(&operands[0]).0, true),
                Op::If => match operands.as_slice() {
                    [_, then, otherwise] => {
                        let then = self.sort(then);
                        if then.0 == Class::Plain { self.sort(otherwise) } else { then }
                    }
                    _ => (Class::Plain, false),
                },
                Op::List => operands.first().map_or((Class::Plain, true), |first| (self.sort(first).0, true)),
                Op::Feature(_) | Op::Column(_) => (Class::Plain, false),
                Op::Far(list) => (Class::Remote([*list].into()), true),
                _ => (Class::Plain, false),
            },
            Core::Bind { bind, source, var, body } => {
                let (class, _) = self.sort(source);
                self.sorts.entry(*var).or_insert((class.clone(), false));
                match bind {
                    Bind::Filter | Bind::Top { .. } | Bind::GroupBy => (class, true),
                    Bind::Map | Bind::FlatMap => (self.sort(body).0, true),
                    Bind::AtLeast(_) => (Class::Plain, false),
                }
            }
            Core::Groups { source, group, body, .. } => {
                let class = self.sort(source).0;
                self.sorts.entry(*group).or_insert((class, true));
                (self.sort(body).0, true)
            }
            Core::Literal(_) | Core::Moment(_) | Core::Chain(_) | Core::Kept { .. } => (Class::Plain, false),
        }
    }

    /// The one thing, far row or event that an expression depends on, if it depends on nothing
    /// else. An available one is preferred to one that must be fetched.
    fn anchor(&mut self, core: &Core) -> Option<(Core, Class)> {
        self.anchor_among(core, false).or_else(|| self.anchor_among(core, true))
    }

    fn anchor_among(&mut self, core: &Core, far: bool) -> Option<(Core, Class)> {
        let (anchor, class) = self.first_object(core, far)?;
        if anchor == *core {
            return None;
        }
        let free = core.clone().replace(&anchor, &Core::Var(Var::Anchor)).free();
        (free.len() == 1 && free.contains(&Var::Anchor)).then_some((anchor, class))
    }

    /// The first thing, far row or event within an expression.
    fn first_object(&mut self, core: &Core, far: bool) -> Option<(Core, Class)> {
        let (class, many) = self.sort(core);
        if !many && (matches!(class, Class::Thing(_) | Class::Remote(_) | Class::Event(_)) || far && matches!(class, Class::Far(_))) {
            return Some((core.clone(), class));
        }
        let mut children = Vec::new();
        core.each(&mut |child| children.push(child));
        children.into_iter().find_map(|child| self.first_object(child, far))
    }

    /// The anchor of an expression that can be computed at its anchor.
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other expression moves as a whole")]
    fn movable(&mut self, core: &Core) -> Option<(Core, Class)> {
        let (anchor, class) = self.anchor(core)?;
        let direct = |of: &Core| *of == anchor;
        match core {
            // Ids are available, and so is whether there is a thing at all.
            Core::Apply(Op::Id | Op::IsNull | Op::IsNotNull, of) if direct(&of[0]) => None,
            Core::Apply(Op::Field(name), of) if matches!(class, Class::Event(_)) && direct(&of[0]) && matches!(&**name, "timestamp" | "_id") => None,
            // A conjunction may contain a test for the thing itself, which the thing cannot answer.
            _ if matches!(class, Class::Thing(_)) && core.any(&|node| matches!(node, Core::Apply(Op::IsNull | Op::IsNotNull, of) if direct(&of[0]))) => None,
            _ if matches!(class, Class::Event(_)) && core.clone().replace(&anchor, &Core::Var(Var::Anchor)).temporal() => None,
            _ => Some((anchor, class)),
        }
    }

    fn expr(&mut self, core: Core) -> (Core, Sort) {
        let (class, many) = self.sort(&core);
        match class {
            Class::Plain => {
                if let Some((anchor, _)) = self.movable(&core) {
                    return (self.moved(core, anchor), (Class::Plain, false));
                }
            }
            Class::Far(_) => {
                if let Some((anchor, _)) = self.anchor(&core) {
                    return self.far_list(core, anchor, many);
                }
            }
            Class::Subject | Class::Thing(_) | Class::Row(_) | Class::Event(_) | Class::Remote(_) => {}
        }
        match core {
            Core::Apply(op @ (Op::And | Op::Or), operands) => (self.junction(op, operands), (Class::Plain, false)),
            Core::Apply(Op::Events, of) if of[0] == Core::Var(SUBJECT) => {
                let index = self.query(Vec::new(), Keep::All);
                (Core::Rows(QueryRef::Open(index)), (Class::Event([index].into()), true))
            }
            Core::Apply(op, operands) => {
                let mut class = Class::Plain;
                let operands: Vec<Core> = operands
                    .into_iter()
                    .map(|operand| {
                        let (core, (operand_class, _)) = self.expr(operand);
                        class = self.union(std::mem::replace(&mut class, Class::Plain), operand_class);
                        core
                    })
                    .collect();
                let passes = matches!(op, Op::DistinctThings | Op::Distinct | Op::Head | Op::If | Op::List | Op::Values | Op::Get);
                let core = self.tallied(Core::Apply(op, operands));
                let (own, many) = self.sort(&core);
                if passes {
                    return (core, (class, many));
                }
                if matches!(own, Class::Far(_)) {
                    self.refuse("it goes through things of several things at once");
                }
                (core, (own, many))
            }
            Core::Bind { bind, source, var, body } => self.bind(bind, *source, var, *body),
            Core::Groups { source, key, group, body } => {
                let (source, (class, _)) = self.expr(*source);
                self.sorts.insert(group, (class, true));
                let (body, (class, _)) = self.expr(*body);
                (
                    Core::Groups {
                        source: Box::new(source),
                        key,
                        group,
                        body: Box::new(body),
                    },
                    (class, true),
                )
            }
            Core::Chain(steps) => (self.chain(steps), (Class::Plain, false)),
            other @ (Core::Literal(_) | Core::Var(_) | Core::Moment(_) | Core::Rows(_) | Core::Kept { .. }) => (other, (class, many)),
        }
    }

    /// An aggregate over all events of a query, each judged alone, is kept as a tally.
    fn tallied(&mut self, core: Core) -> Core {
        let Some((shape, reads)) = TallyShape::of(&core) else { return core };
        let Some(query) = opened(reads).map(|index| &mut self.queries[index]) else {
            return core;
        };
        // A few rows are cheaper than a tally.
        if query.keep != Keep::All {
            return core;
        }
        query.keep = Keep::Tally;
        let asked = shape.asked;
        query.upkeep = Some(Upkeep::Tally(shape));
        Core::Kept {
            kept: Kept::Tally { query: reads, asked },
            whole: Box::new(core),
        }
    }

    /// The class of items that may be of either class.
    fn union(&mut self, a: Class, b: Class) -> Class {
        match (a, b) {
            (Class::Event(a), Class::Event(b)) => Class::Event(&a | &b),
            (Class::Remote(a), Class::Remote(b)) => Class::Remote(&a | &b),
            (Class::Plain, other) => other,
            (a, Class::Plain) => a,
            (a, b) => {
                if a != b {
                    self.refuse("it mixes things from near and far in one list");
                }
                a
            }
        }
    }

    /// Conditions about the same thing or event move together.
    fn junction(&mut self, op: Op, operands: Vec<Core>) -> Core {
        let mut groups: Vec<(Option<Core>, Vec<Core>)> = Vec::new();
        for operand in operands {
            let anchor = self.movable(&operand).map(|(anchor, _)| anchor);
            match groups.iter_mut().find(|(known, _)| known.is_some() && *known == anchor) {
                Some((_, group)) => group.push(operand),
                None => groups.push((anchor, vec![operand])),
            }
        }
        let mut split = Vec::with_capacity(groups.len());
        for (_, mut group) in groups {
            let core = if group.len() == 1 { group.remove(0) } else { Core::Apply(op.clone(), group) };
            split.push(self.expr(core).0);
        }
        if split.len() == 1 { split.remove(0) } else { Core::Apply(op, split) }
    }

    /// An expression computed at its anchor.
    fn moved(&mut self, core: Core, anchor: Core) -> Core {
        let (of, (class, _)) = self.expr(anchor.clone());
        match class {
            Class::Thing(kind) => {
                let feature = core.clone().replace(&anchor, &Core::Var(SUBJECT));
                let otherwise = self.planner.constant(core.replace(&anchor, &Core::null()), self.zone);
                match self.planner.feature(kind, feature, self.zone, self.next) {
                    Ok(id) => Core::apply(Op::Feature(id), vec![of, otherwise]),
                    Err(reason) => {
                        self.refuse(&reason);
                        Core::null()
                    }
                }
            }
            Class::Event(queries) => {
                let column = core.replace(&anchor, &Core::Var(SUBJECT));
                let id = self.planner.name_of("column", &column, self.zone);
                for query in &queries {
                    self.queries[*query].columns.insert(id, column.clone());
                }
                Core::apply(Op::Column(id), vec![of])
            }
            Class::Remote(lists) => {
                let column = core.replace(&anchor, &Core::Var(Var::Host));
                let name = Text::new(format!("c{:016x}", self.planner.name_of("column", &column, self.zone)));
                for list in &lists {
                    let var = self.far[*list].var;
                    self.far[*list]
                        .columns
                        .insert(name.clone(), column.clone().substitute(Var::Host, &Core::Var(var)));
                }
                Core::apply(Op::Field(name), vec![of])
            }
            Class::Plain | Class::Subject | Class::Row(_) | Class::Far(_) => {
                self.refuse("it goes through things of several things at once");
                Core::null()
            }
        }
    }

    /// Things of a thing, one row each.
    fn far_list(&mut self, core: Core, anchor: Core, many: bool) -> (Core, Sort) {
        let list = core.replace(&anchor, &Core::Var(Var::Host));
        let (of, (class, _)) = self.expr(anchor);
        let host = match class {
            Class::Thing(kind) => Host::Thing(kind),
            Class::Remote(lists) => Host::Rows(lists),
            Class::Plain | Class::Subject | Class::Row(_) | Class::Event(_) | Class::Far(_) => {
                self.refuse("it goes through things of several things at once");
                return (Core::null(), (Class::Plain, many));
            }
        };
        let (var, index) = (self.fresh(), self.far.len());
        self.far.push(FarList {
            list,
            var,
            columns: BTreeMap::new(),
            host,
        });
        let rows = Core::apply(Op::Far(index), vec![of]);
        (
            if many { rows } else { Core::apply(Op::Head, vec![rows]) },
            (Class::Remote([index].into()), many),
        )
    }

    fn query(&mut self, predicate: Vec<Core>, keep: Keep) -> usize {
        self.queries.push(Query {
            predicate,
            columns: BTreeMap::new(),
            keep,
            upkeep: None,
        });
        self.queries.len() - 1
    }

    fn bind(&mut self, bind: Bind, source: Core, var: Var, body: Core) -> (Core, Sort) {
        if let (
            Bind::Map,
            Core::Bind {
                bind: Bind::Filter,
                source: list,
                var: inner,
                body: condition,
            },
        ) = (bind, &source)
            && let Some(value) = self.chosen(list, *inner, condition, var, &body)
        {
            return self.bind(Bind::Map, (**list).clone(), var, value);
        }
        let condition = matches!(bind, Bind::Filter | Bind::AtLeast(_));
        // The subject as a list of one: its item is the subject.
        let body = if source == Core::Var(SUBJECT) { body.substitute(var, &source) } else { body };
        let (source, body, class) = if condition && source == Core::apply(Op::Events, vec![Core::Var(SUBJECT)]) {
            // The part of the condition on the event alone is evaluated once, when the event
            // arrives.
            self.sorts.insert(var, (Class::Event(BTreeSet::new()), false));
            let (own, rest): (Vec<Core>, Vec<Core>) = body.conjuncts().into_iter().partition(|part| asked_once(part, var));
            let keep = match bind {
                Bind::AtLeast(count) if count <= NEWEST_MAX && rest.iter().all(|part| newest_first(part, var)) => Keep::Newest(count as usize),
                Bind::Filter | Bind::Map | Bind::FlatMap | Bind::AtLeast(_) | Bind::Top { .. } | Bind::GroupBy => Keep::All,
            };
            let own = own.into_iter().map(|part| part.substitute(var, &Core::Var(SUBJECT))).collect();
            let index = self.query(own, keep);
            (Core::Rows(QueryRef::Open(index)), Core::and(rest), Class::Event([index].into()))
        } else {
            let (source, body) = self.push_down(condition, source, var, body);
            let (source, (class, _)) = self.expr(source);
            (source, body, class)
        };
        self.sorts.insert(var, (class.clone(), false));
        let (body, (body_class, _)) = self.expr(body);
        let sort = match bind {
            Bind::Filter | Bind::Top { .. } | Bind::GroupBy => (class, true),
            Bind::Map | Bind::FlatMap => (body_class, true),
            Bind::AtLeast(_) => (Class::Plain, false),
        };
        (self.tallied(Core::bind(bind, source, var, body)), sort)
    }

    /// A condition on things and the value of those that satisfy it, as one expression: a thing
    /// that does not satisfy it sends no value.
    fn chosen(&mut self, list: &Core, inner: Var, condition: &Core, var: Var, value: &Core) -> Option<Core> {
        let (class @ Class::Thing(_), true) = self.sort(list) else { return None };
        self.sorts.insert(var, (class, false));
        let condition = condition.clone().substitute(inner, &Core::Var(var));
        let chosen = Core::apply(Op::If, vec![condition, value.clone(), Core::null()]);
        self.sort(value).0.eq(&Class::Plain).then_some(())?;
        self.movable(&chosen).is_some_and(|(anchor, _)| anchor == Core::Var(var)).then_some(chosen)
    }

    /// Conditions on the items of a far list that refer only to item and host are evaluated where
    /// the list is built.
    fn push_down(&mut self, condition: bool, source: Core, var: Var, body: Core) -> (Core, Core) {
        if !condition || !matches!(self.sort(&source).0, Class::Far(_)) {
            return (source, body);
        }
        let Some((anchor, _)) = self.anchor(&source) else { return (source, body) };
        let local = |part: &Core| {
            let free = part.clone().replace(&anchor, &Core::Var(Var::Anchor)).free();
            free.iter().all(|free| *free == Var::Anchor || *free == var)
        };
        let (own, rest): (Vec<Core>, Vec<Core>) = body.conjuncts().into_iter().partition(local);
        if own.is_empty() {
            return (source, Core::and(rest));
        }
        let inner = self.fresh();
        let own = Core::and(own).substitute(var, &Core::Var(inner));
        (Core::bind(Bind::Filter, source, inner, own), Core::and(rest))
    }

    /// Names what was gathered.
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other node stays as it is")]
    fn finish(mut self, mut core: Core) -> Result<Split, String> {
        // A far list within another's rows is built after it, so the last is named first.
        while let Some(far) = self.far.pop() {
            let index = self.far.len();
            let mut names = vec![Text::new(ROW_ID)];
            let mut values = vec![Core::apply(Op::Id, vec![Core::Var(far.var)])];
            for (name, column) in far.columns {
                names.push(name);
                values.push(column);
            }
            let rows = Core::bind(Bind::Map, far.list, far.var, Core::apply(Op::Record(names), values));
            match far.host {
                Host::Thing(kind) => {
                    let rows = rows.substitute(Var::Host, &Core::Var(SUBJECT));
                    let id = self.planner.feature(kind, rows, self.zone, self.next)?;
                    core = rewrite(core, &mut |node| match node {
                        Core::Apply(Op::Far(list), of) if list == index => {
                            let mut operands = of;
                            operands.push(Core::Literal(Value::List(Vec::new())));
                            Core::Apply(Op::Feature(id), operands)
                        }
                        other => other,
                    });
                }
                Host::Rows(lists) => {
                    let name = Text::new(format!("c{:016x}", self.planner.name_of("rows", &rows, self.zone)));
                    for list in lists {
                        let var = self.far[list].var;
                        self.far[list].columns.insert(name.clone(), rows.clone().substitute(Var::Host, &Core::Var(var)));
                    }
                    core = rewrite(core, &mut |node| match node {
                        Core::Apply(Op::Far(list), of) if list == index => Core::Apply(Op::Field(name.clone()), of),
                        other => other,
                    });
                }
            }
        }
        let mut ids = Vec::new();
        let mut layouts = BTreeMap::new();
        for query in std::mem::take(&mut self.queries) {
            let layout: Vec<u64> = query.columns.keys().copied().collect();
            let id = self.planner.query(query.predicate, query.columns, query.keep, query.upkeep, self.zone);
            layouts.insert(id, layout);
            ids.push(id);
        }
        let named = |query: QueryRef| opened(query).map_or(query, |index| QueryRef::Named(ids[index]));
        core = rewrite(core, &mut |node| match node {
            Core::Rows(query) => Core::Rows(named(query)),
            Core::Kept { kept, whole } => Core::Kept {
                kept: kept.named(&named),
                whole,
            },
            other => other,
        });
        if let Some(reason) = self.refused {
            return Err(reason);
        }
        let (planner, zone) = (self.planner, self.zone);
        core = rewrite(core, &mut |node| match kin::KinShape::of(&node) {
            Some(shape) => planner.kin(shape, node, zone),
            None => node,
        });
        let reads = reads(&core);
        Ok(Split { core, reads, layouts })
    }
}

/// `f` at every node, innermost first.
fn rewrite(core: Core, f: &mut dyn FnMut(Core) -> Core) -> Core {
    let core = core.map(&mut |child| rewrite(child, f));
    f(core)
}

/// The query of the split that an expression reads.
fn opened(query: QueryRef) -> Option<usize> {
    match query {
        QueryRef::Open(index) => Some(index),
        QueryRef::Named(_) => None,
    }
}

/// Whether a conjunct refers to the event alone and not to time.
fn asked_once(part: &Core, event: Var) -> bool {
    let free = part.free();
    !part.temporal() && free.len() == 1 && free.contains(&event)
}

/// What a residual reads.
pub(crate) fn reads(core: &Core) -> Reads {
    let mut reads = Reads::default();
    gather(core, &mut reads);
    reads.relations.sort_unstable();
    reads.relations.dedup();
    reads.features.sort_unstable();
    reads.features.dedup();
    reads.queries.sort_unstable();
    reads.queries.dedup();
    reads.segments.sort_unstable();
    reads.segments.dedup();
    reads
}

#[expect(clippy::wildcard_enum_match_arm, reason = "no other operator reads a fact")]
fn gather(core: &Core, reads: &mut Reads) {
    match core {
        Core::Rows(query) => reads.queries.extend(query.id()),
        Core::Apply(op, operands) => match op {
            Op::Field(_) if operands[0] == Core::Var(SUBJECT) => reads.attributes = true,
            Op::Relation(relation) if operands[0] == Core::Var(SUBJECT) => reads.relations.push(*relation),
            Op::Feature(id) => reads.features.push(*id),
            Op::InSegment(name) => reads.segments.push(name.clone()),
            _ => {}
        },
        Core::Literal(_) | Core::Var(_) | Core::Moment(_) | Core::Kept { .. } | Core::Bind { .. } | Core::Groups { .. } | Core::Chain(_) => {}
    }
    core.each(&mut |child| gather(child, reads));
}

/// The name of an expression: a hash of its purpose, its text and the settings it depends on.
pub(crate) fn hash(purpose: &str, text: &str, settings: &str) -> u64 {
    xxh3_64(format!("{purpose}\n{text}\n{settings}").as_bytes())
}
