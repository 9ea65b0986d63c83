//! Building of plans: segments in order, features and queries each once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono_tz::Tz;
use millrace_model::{SubjectKind, Text, Timestamp};
use millrace_pql::Diagnostic;
use millrace_pql::ast::Span;

use super::demand::{self, demands};
use super::split::{Split, Splitter, hash, reads};
use super::{EventQuery, FeaturePlan, Keep, Plan, Residual, SegmentPlan};
use crate::compile::Compiled;
use crate::core::{Core, Fresh, Op, SUBJECT, Var};
use crate::definition::Kind;
use crate::eval::{Context, Evaluator, Money};
use crate::kin::{self, Kin};
use crate::normal::normalise;
use crate::sequence::{self, Sequence};
use crate::settings::Settings;
use crate::tally::{self, Tally};
use crate::view::{FeatureId, KinId, QueryId};

/// Depth of features that depend on features. Relations are bounded to four, so a rule that passes
/// the type-check stays below.
const DEPTH_MAX: usize = 16;

/// What is kept of a query's events instead of rows.
pub(crate) enum Upkeep {
    Tally(tally::TallyShape),
    Progress(sequence::ChainShape),
}

impl Upkeep {
    fn canonical(&self) -> String {
        match self {
            Upkeep::Tally(shape) => shape.canonical(),
            Upkeep::Progress(shape) => shape.canonical(),
        }
    }

    fn conditions(&self) -> Vec<&Core> {
        match self {
            Upkeep::Tally(shape) => vec![&shape.condition],
            Upkeep::Progress(shape) => shape.conditions().collect(),
        }
    }
}

/// Collects what rules need.
pub(crate) struct Planner<'s> {
    settings: &'s Settings,
    money: Arc<Money>,
    features: Vec<FeaturePlan>,
    known: BTreeSet<FeatureId>,
    queries: BTreeMap<QueryId, EventQuery>,
    kin: BTreeMap<KinId, Kin>,
    depth: usize,
}

/// The plan, or the errors by segment.
pub(crate) fn plan(compiled: &[Compiled], settings: &Settings) -> Result<Plan, Vec<(Text, Diagnostic)>> {
    let order = order(compiled)?;
    let mut planner = Planner::new(settings);
    let mut problems = Vec::new();
    let mut segments: Vec<SegmentPlan> = Vec::new();
    let mut attributes = Vec::new();
    for rule in order {
        match planner.segment(rule) {
            Ok(attribute) if rule.definition().kind == Kind::ComputedAttribute => attributes.push(attribute),
            Ok(segment) => segments.push(segment),
            Err(problem) => problems.push((rule.definition().name.clone(), problem)),
        }
    }
    attributes.sort_by(|a, b| a.name.cmp(&b.name));
    let parts = (segments.len() + attributes.len()).max(planner.features.len()).max(planner.queries.len());
    if parts > settings.parts_max {
        let message = format!(
            "the rules together need {parts} parts, more than the limit of {} (`parts_max`)",
            settings.parts_max
        );
        let last = segments.last().map(|segment| segment.name.clone()).unwrap_or_default();
        problems.push((last, Diagnostic::error("too-many", Span::default(), message)));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut features = planner.features;
    super::bands::find(&segments.iter().chain(&attributes).collect::<Vec<_>>(), &mut features);
    Ok(Plan {
        segments,
        attributes,
        features,
        queries: planner.queries.into_values().collect(),
        kin: planner.kin.into_values().collect(),
    })
}

/// Rules in order of evaluation.
fn order(compiled: &[Compiled]) -> Result<Vec<&Compiled>, Vec<(Text, Diagnostic)>> {
    let mut by_name: BTreeMap<&Text, &Compiled> = BTreeMap::new();
    let mut problems = Vec::new();
    for rule in compiled {
        if by_name.insert(&rule.definition().name, rule).is_some() {
            let name = &rule.definition().name;
            problems.push((
                name.clone(),
                Diagnostic::error("duplicate", Span::default(), format!("the segment `{name}` is defined twice")),
            ));
        }
    }
    for rule in by_name.values() {
        for (name, span) in rule.segments() {
            if by_name.get(name).is_some_and(|other| other.definition().kind == Kind::ComputedAttribute) {
                let message = format!("`{name}` is a computed attribute and has no members; write `computed.{name}`");
                problems.push((rule.definition().name.clone(), Diagnostic::error("subject", *span, message)));
            } else if let Some(other) = by_name.get(name)
                && other.definition().subject != rule.definition().subject
            {
                let (own, others) = (rule.definition().subject.name(), other.definition().subject.name());
                let message = format!("`{}` is about the {own}, the segment `{name}` about the {others}", rule.definition().name);
                problems.push((rule.definition().name.clone(), Diagnostic::error("subject", *span, message)));
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut done: BTreeSet<&Text> = BTreeSet::new();
    let mut order = Vec::with_capacity(compiled.len());
    while done.len() < by_name.len() {
        let ready: Vec<&Text> = by_name
            .iter()
            .filter(|(name, _)| !done.contains(*name))
            .filter(|(_, rule)| rule.segments().iter().all(|(other, _)| !by_name.contains_key(other) || done.contains(other)))
            .map(|(name, _)| *name)
            .collect();
        if ready.is_empty() {
            return Err(vec![circle(&by_name, &done)]);
        }
        for name in ready {
            done.insert(name);
            order.push(by_name[name]);
        }
    }
    Ok(order)
}

/// Names one circle among the remaining rules.
fn circle(by_name: &BTreeMap<&Text, &Compiled>, done: &BTreeSet<&Text>) -> (Text, Diagnostic) {
    let open = |rule: &&Compiled| {
        rule.segments()
            .iter()
            .find(|(name, _)| by_name.contains_key(name) && !done.contains(name))
            .cloned()
    };
    let mut path: Vec<Text> = Vec::new();
    let mut span = Span::default();
    let mut current = by_name.keys().find(|name| !done.contains(*name)).map(|name| (*name).clone());
    while let Some(name) = current {
        if let Some(at) = path.iter().position(|known| *known == name) {
            path.drain(..at);
            path.push(name);
            break;
        }
        current = by_name.get(&name).and_then(open).map(|(next, place)| {
            span = place;
            next
        });
        path.push(name);
    }
    // The last reference of the circle is in the rule before its end.
    let last = path.iter().rev().nth(1).cloned().unwrap_or_default();
    (
        last,
        Diagnostic::error("cycle", span, format!("segments refer to each other in a circle: {}", path.join(" → "))),
    )
}

impl<'s> Planner<'s> {
    pub fn new(settings: &'s Settings) -> Planner<'s> {
        let money = Arc::new(Money {
            default_currency: settings.default_currency.clone(),
            rates: settings.rates.clone(),
        });
        Planner {
            settings,
            money,
            features: Vec::new(),
            known: BTreeSet::new(),
            queries: BTreeMap::new(),
            kin: BTreeMap::new(),
            depth: 0,
        }
    }

    fn segment(&mut self, rule: &Compiled) -> Result<SegmentPlan, Diagnostic> {
        let zone = rule.definition().time_zone;
        let mut layouts = BTreeMap::new();
        let mut next = rule.unused();
        let split = rule.conditions().try_map(&mut |core: &Core, span: Span| {
            let core = normalise(core.clone(), &mut next);
            let split = Splitter::split(self, core, zone, next).map_err(|reason| {
                Diagnostic::error("not-incremental", span, format!("this cannot be kept incrementally: {reason}"))
                    .expecting("a rule in two segments, or fewer relations at once")
            })?;
            layouts.extend(split.layouts);
            Ok(split.core)
        })?;
        let context = self.context(zone, layouts);
        let whole = split.join();
        // For every condition, including those that cannot affect the whole: explanations evaluate
        // each.
        let mut leaves = Vec::new();
        split.leaves(&mut |leaf: &Core, _| leaves.push(leaf.clone()));
        let reads = reads(&Core::apply(Op::List, leaves));
        let definition = rule.definition();
        let condition = definition.kind != Kind::ComputedAttribute;
        let residual = |core: Core| Residual {
            core: Arc::new(core),
            context: context.clone(),
            condition,
        };
        let conditions = split.map(&residual);
        Ok(SegmentPlan {
            name: definition.name.clone(),
            fingerprint: self.name_of(definition.subject.name(), &whole, zone),
            subject: definition.subject,
            reads,
            rule: rule.clone(),
            conditions,
            residual: residual(whole),
        })
    }

    fn context(&self, zone: Tz, layouts: BTreeMap<QueryId, Vec<u64>>) -> Context {
        Context {
            zone,
            money: self.money.clone(),
            layouts: Arc::new(layouts),
        }
    }

    /// The feature for an expression about a thing of this kind.
    ///
    /// # Errors
    /// Why it cannot be kept incrementally.
    pub fn feature(&mut self, kind: SubjectKind, core: Core, zone: Tz, mut next: Fresh) -> Result<FeatureId, String> {
        let core = normalise(core, &mut next);
        let id = FeatureId(self.name_of(kind.name(), &core, zone));
        if self.known.contains(&id) {
            return Ok(id);
        }
        if self.depth >= DEPTH_MAX {
            return Err("it goes through too many relations".into());
        }
        self.depth += 1;
        let split = Splitter::split(self, core, zone, next);
        self.depth -= 1;
        let Split { core, reads, layouts } = split?;
        self.known.insert(id);
        let residual = Residual {
            core: Arc::new(core),
            context: self.context(zone, layouts),
            condition: false,
        };
        self.features.push(FeaturePlan {
            id,
            kind,
            residual,
            reads,
            bands: None,
        });
        Ok(id)
    }

    /// A name for an expression about one thing or event, the same wherever it is used.
    pub fn name_of(&self, purpose: &str, core: &Core, zone: Tz) -> u64 {
        hash(
            purpose,
            &core.clone().replace(&Core::Var(Var::Host), &Core::Var(SUBJECT)).canonical(),
            &self.settings_of([core], zone),
        )
    }

    /// The settings that the value of expressions depends on, as text.
    fn settings_of<'c>(&self, cores: impl IntoIterator<Item = &'c Core> + Clone, zone: Tz) -> String {
        let mut settings = String::new();
        if cores.clone().into_iter().any(Core::zoned) {
            settings.push_str(zone.name());
        }
        if cores.into_iter().any(Core::monetary) {
            settings.push_str(&format!("\n{} {:?}", self.settings.default_currency, self.settings.rates));
        }
        settings
    }

    pub fn query(&mut self, mut predicate: Vec<Core>, columns: BTreeMap<u64, Core>, keep: Keep, upkeep: Option<Upkeep>, zone: Tz) -> QueryId {
        // The order in which conditions were written does not matter.
        predicate.sort_by_cached_key(Core::canonical);
        let predicate = Core::and(predicate);
        let names: Vec<String> = columns.keys().map(|name| format!("{name:016x}")).collect();
        let mut text = format!("{}\n{}\n{keep:?}", predicate.canonical(), names.join(" "));
        let mut settings = self.settings_of([&predicate], zone);
        if let Some(upkeep) = &upkeep {
            text = format!("{text}\n{}", upkeep.canonical());
            let conditions: Vec<&Core> = [&predicate].into_iter().chain(upkeep.conditions()).collect();
            settings = self.settings_of(conditions, zone);
        }
        let id = QueryId(hash("query", &text, &settings));
        let context = self.context(zone, BTreeMap::new());
        self.queries.entry(id).or_insert_with(|| {
            let demands = demands(&predicate);
            let event_types = demands.get(&demand::event_type()).map(|types| types.iter().cloned().collect());
            let demand = demand::strictest(&demands);
            let layout = Arc::new(columns.keys().copied().collect());
            let (mut tally, mut sequence) = (None, None);
            match upkeep {
                Some(Upkeep::Tally(shape)) => {
                    tally = Some(Tally {
                        shape: Arc::new(shape),
                        layout,
                        context: context.clone(),
                    })
                }
                Some(Upkeep::Progress(shape)) => sequence = Some(Sequence::new(shape, layout, context.clone())),
                None => {}
            }
            EventQuery {
                id,
                keep,
                event_types,
                demand,
                tally,
                sequence,
                predicate: Arc::new(predicate),
                columns: Arc::new(columns.into_values().collect()),
                context,
            }
        });
        id
    }

    /// An aggregate over children, kept.
    pub fn kin(&mut self, shape: kin::KinShape, whole: Core, zone: Tz) -> Core {
        let settings = self.settings_of(shape.expressions().collect::<Vec<_>>(), zone);
        let id = KinId(hash("kin", &shape.canonical(), &settings));
        let (context, asked) = (self.context(zone, BTreeMap::new()), shape.asked);
        self.kin.entry(id).or_insert_with(|| Kin {
            id,
            shape: Arc::new(shape),
            context,
        });
        let whole = Box::new(whole);
        Core::Kin { kin: id, asked, whole }
    }

    /// An expression that reads nothing, as a literal unless it depends on time.
    pub fn constant(&self, core: Core, zone: Tz) -> Core {
        if core.any(&|node| matches!(node, Core::Moment(_))) {
            return core;
        }
        let context = self.context(zone, BTreeMap::new());
        let value = Evaluator::over(Vec::new(), &context, Timestamp(0)).eval(&core).map(|(val, _)| val.into_value());
        value.map_or(core, Core::Literal)
    }
}
