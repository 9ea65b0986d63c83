//! One rule taken apart: its residual, and the features and queries that it needs, each once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono_tz::Tz;
use millrace_model::{SubjectKind, Timestamp};
use millrace_pql::Diagnostic;
use millrace_pql::ast::Span;

use super::bands::Uses;
use super::demand::{self, demands};
use super::eventless;
use super::rules::Part;
use super::split::{Split, Splitter, hash, reads};
use super::{EventQuery, FeaturePlan, Keep, Residual, SegmentPlan};
use crate::compile::Compiled;
use crate::core::{Core, Fresh, Kept, Op, SUBJECT, Var};
use crate::definition::Kind;
use crate::eval::{Context, Evaluator, Money};
use crate::kin::{self, Kin};
use crate::normal::normalise;
use crate::sequence::{self, Sequence};
use crate::settings::Settings;
use crate::tally::{self, Tally};
use crate::view::{FeatureId, KinId, PartId, QueryId};

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

/// What rules rest on beside their texts.
#[derive(Debug)]
pub(super) struct Terms {
    settings: Settings,
    money: Arc<Money>,
    /// Of expressions that add or compare amounts: what their values depend on.
    currencies: String,
}

impl Terms {
    pub fn new(settings: &Settings) -> Terms {
        Terms {
            settings: settings.clone(),
            money: Arc::new(Money {
                default_currency: settings.default_currency.clone(),
                rates: settings.rates.clone(),
            }),
            currencies: format!("\n{} {:?}", settings.default_currency, settings.rates),
        }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// Collects what a rule needs.
pub(crate) struct Planner<'s> {
    terms: &'s Terms,
    features: Vec<FeaturePlan>,
    known: BTreeSet<FeatureId>,
    queries: BTreeMap<QueryId, EventQuery>,
    kin: BTreeMap<KinId, Kin>,
    depth: usize,
}

impl<'s> Planner<'s> {
    /// Takes a rule apart. The ids of its features and queries do not depend on other rules.
    pub(super) fn part(terms: &'s Terms, rule: &Compiled) -> Result<Part, Diagnostic> {
        let mut planner = Planner {
            terms,
            features: Vec::new(),
            known: BTreeSet::new(),
            queries: BTreeMap::new(),
            kin: BTreeMap::new(),
            depth: 0,
        };
        let segment = planner.segment(rule)?;
        Ok(Part {
            uses: Uses::of(&segment, &planner.features),
            segment: Arc::new(segment),
            features: planner.features.into_iter().map(Arc::new).collect(),
            queries: planner.queries.into_iter().map(|(id, query)| (id, Arc::new(query))).collect(),
            kin: planner.kin.into_iter().map(|(id, kin)| (id, Arc::new(kin))).collect(),
        })
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
        let fingerprint = self.name_of(definition.subject.name(), &whole, zone);
        let part = |condition: &Core| PartId(self.name_of("part", condition, zone));
        // Where no event can change the rule, it is evaluated only when something else does.
        let whole = if condition && !reads.queries.is_empty() {
            eventless::mark(whole, &part)
        } else {
            whole
        };
        Ok(SegmentPlan {
            name: definition.name.clone(),
            fingerprint,
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
            money: self.terms.money.clone(),
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
        self.features.push(FeaturePlan { id, kind, residual, reads });
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
            settings.push_str(&self.terms.currencies);
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
        let kept = Kept::Kin { kin: id, asked };
        Core::Kept { kept, whole }
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
