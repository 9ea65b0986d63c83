//! The rules in force together.
//!
//! Each rule is taken apart once, when it comes, and again only where a computed attribute that it
//! names changes: a change costs as much as the rules it changes, however many others there are.
//! Rules that come one after the other end in the same set as if they had come together, unless one
//! is refused on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millrace_model::{Schema, Text};
use millrace_pql::Diagnostic;
use millrace_pql::ast::Span;

use super::bands::{self, Uses};
use super::build::{Planner, Terms};
use super::{EventQuery, FeaturePlan, Plan, SegmentPlan};
use crate::check::Library;
use crate::compile::{Compiled, linked};
use crate::definition::Kind;
use crate::kin::Kin;
use crate::settings::Settings;
use crate::view::{FeatureId, KinId, QueryId};

/// What refuses a rule, with the name of the rule it is about.
pub type Problems = Vec<(Text, Diagnostic)>;

/// One rule, taken apart: it, and everything that it needs.
#[derive(Debug)]
pub(super) struct Part {
    /// The rule, its computed attributes filled in.
    pub segment: Arc<SegmentPlan>,
    /// Each once; dependencies first.
    pub features: Vec<Arc<FeaturePlan>>,
    pub queries: BTreeMap<QueryId, Arc<EventQuery>>,
    pub kin: BTreeMap<KinId, Arc<Kin>>,
    pub uses: Uses,
}

/// A rule as it came, and its part.
#[derive(Debug)]
struct Entry {
    rule: Compiled,
    part: Arc<Part>,
}

/// A rule on its way to be put in force.
#[derive(Clone, Debug)]
pub struct Prepared {
    rule: Compiled,
    /// If it is taken apart already.
    part: Option<Arc<Part>>,
}

impl From<Compiled> for Prepared {
    fn from(rule: Compiled) -> Prepared {
        Prepared { rule, part: None }
    }
}

/// Rules in force together. A clone is cheap, and changes apart from its original.
#[derive(Clone, Debug)]
pub struct Rules {
    terms: Arc<Terms>,
    entries: BTreeMap<Text, Arc<Entry>>,
    library: Arc<Library>,
    /// By how many rules each is needed.
    features: BTreeMap<FeatureId, usize>,
    queries: BTreeMap<QueryId, usize>,
}

/// Rules to put in force, with their linked form; `None`: to take out.
type News = BTreeMap<Text, Option<(Prepared, Compiled)>>;
/// Those to put in place, by name; `None`: to take out.
type Entries = BTreeMap<Text, Option<Arc<Entry>>>;

impl Rules {
    /// No rules.
    pub fn new(settings: &Settings) -> Rules {
        Rules {
            terms: Arc::new(Terms::new(settings)),
            entries: BTreeMap::new(),
            library: Arc::default(),
            features: BTreeMap::new(),
            queries: BTreeMap::new(),
        }
    }

    /// Rules that have no computed attribute left to fill in.
    pub(crate) fn of_linked(compiled: &[Compiled], settings: &Settings) -> Result<Rules, Problems> {
        let mut news = News::new();
        let mut twice = Problems::new();
        for rule in compiled {
            let name = &rule.definition().name;
            if news.insert(name.clone(), Some((rule.clone().into(), rule.clone()))).is_some() {
                let message = format!("the segment `{name}` is defined twice");
                twice.push((name.clone(), Diagnostic::error("duplicate", Span::default(), message)));
            }
        }
        if !twice.is_empty() {
            return Err(twice);
        }
        let mut rules = Rules::new(settings);
        rules.settle(news)?;
        Ok(rules)
    }

    /// Takes a rule apart ahead of `change`, unless that depends on computed attributes. A rule that
    /// cannot be kept incrementally is refused by `change`.
    pub fn prepare(&self, rule: Compiled) -> Prepared {
        let alone = rule.attributes().is_empty();
        let part = alone.then(|| Planner::part(&self.terms, &rule).ok()).flatten();
        Prepared {
            rule,
            part: part.map(Arc::new),
        }
    }

    /// Puts rules in force, in place of those of the same names, and takes out those that are
    /// `None`: all of them or, where they conflict with each other or with the others, none.
    ///
    /// # Errors
    /// Segments that refer to each other in a circle or to a segment of another kind of subject,
    /// computed attributes that a rule cannot use as they are, rules that cannot be kept
    /// incrementally, and more parts than `Settings::parts_max`. The definitions must be changed.
    pub fn change(&mut self, mut changes: BTreeMap<Text, Option<Prepared>>, schema: &Schema) -> Result<(), Problems> {
        let present = |name: &Text| self.entries.get(name).map(|entry| &entry.rule);
        let concerns_library =
            |(name, new): (&Text, &Option<Prepared>)| new.as_ref().is_some_and(|new| is_attribute(&new.rule)) || present(name).is_some_and(is_attribute);
        let mut library = Arc::clone(&self.library);
        if changes.iter().any(concerns_library) {
            let others = self
                .entries
                .iter()
                .filter(|(name, _)| !changes.contains_key(*name))
                .map(|(_, entry)| &entry.rule);
            library = Arc::new(Library::of(changes.values().flatten().map(|new| &new.rule).chain(others)));
            self.add_users(&mut changes);
        }
        let mut problems = Problems::new();
        let mut news = News::new();
        for (name, change) in changes {
            let new = match change {
                None => None,
                Some(new) => match linked(&new.rule, schema, &library) {
                    Ok(linked) => Some((new, linked)),
                    Err(found) => {
                        problems.extend(found.into_iter().map(|problem| (name.clone(), problem)));
                        continue;
                    }
                },
            };
            news.insert(name, new);
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        self.settle(news)?;
        self.library = library;
        Ok(())
    }

    /// Adds the rules that name one of these as a computed attribute, or one that does, and so on:
    /// they have to be linked anew.
    fn add_users(&self, changes: &mut BTreeMap<Text, Option<Prepared>>) {
        loop {
            let names = |entry: &Entry| entry.rule.attributes().iter().any(|(name, _)| changes.contains_key(name));
            let users = self.entries.iter().filter(|(name, entry)| !changes.contains_key(*name) && names(entry));
            let users: Vec<(Text, Compiled)> = users.map(|(name, entry)| (name.clone(), entry.rule.clone())).collect();
            if users.is_empty() {
                return;
            }
            changes.extend(users.into_iter().map(|(name, rule)| (name, Some(rule.into()))));
        }
    }

    fn settle(&mut self, news: News) -> Result<(), Problems> {
        let after = After { rules: self, news: &news };
        let mut problems = after.misfits();
        if problems.is_empty() {
            problems.extend(after.circle());
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut parts = Entries::new();
        for (name, new) in news {
            let Some((Prepared { rule, part }, linked)) = new else {
                parts.insert(name, None);
                continue;
            };
            match part.map_or_else(|| Planner::part(&self.terms, &linked).map(Arc::new), Ok) {
                Ok(part) => drop(parts.insert(name, Some(Arc::new(Entry { rule, part })))),
                Err(problem) => problems.push((name, problem)),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let last = parts.keys().next_back().cloned().unwrap_or_default();
        let before = self.replace_all(parts);
        self.check_size().map_err(|problem| {
            self.replace_all(before);
            vec![(last, problem)]
        })
    }

    /// Returns what stood in their place.
    fn replace_all(&mut self, entries: Entries) -> Entries {
        let replaced = |(name, entry): (Text, Option<Arc<Entry>>)| (name.clone(), self.replace(name, entry));
        entries.into_iter().map(replaced).collect()
    }

    fn replace(&mut self, name: Text, entry: Option<Arc<Entry>>) -> Option<Arc<Entry>> {
        if let Some(entry) = &entry {
            entry
                .part
                .features
                .iter()
                .for_each(|feature| *self.features.entry(feature.id).or_default() += 1);
            entry.part.queries.keys().for_each(|query| *self.queries.entry(*query).or_default() += 1);
        }
        let before = match entry {
            Some(entry) => self.entries.insert(name, entry),
            None => self.entries.remove(&name),
        };
        if let Some(before) = &before {
            before.part.features.iter().for_each(|feature| release(&mut self.features, feature.id));
            before.part.queries.keys().for_each(|query| release(&mut self.queries, *query));
        }
        before
    }

    fn check_size(&self) -> Result<(), Diagnostic> {
        let parts = self.entries.len().max(self.features.len()).max(self.queries.len());
        let most = self.settings().parts_max;
        if parts <= most {
            return Ok(());
        }
        let message = format!("the rules together need {parts} parts, more than the limit of {most} (`parts_max`)");
        Err(Diagnostic::error("too-many", Span::default(), message))
    }

    /// The rules, computed attributes filled in, by name.
    pub(crate) fn linked(&self) -> impl Iterator<Item = &Compiled> {
        self.entries.values().map(|entry| &entry.part.segment.rule)
    }

    /// Each rule with its event queries, by name.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&SegmentPlan, &BTreeMap<QueryId, Arc<EventQuery>>)> {
        self.entries.values().map(|entry| (&*entry.part.segment, &entry.part.queries))
    }

    pub(crate) fn settings(&self) -> &Settings {
        self.terms.settings()
    }

    /// All of them, as they are evaluated.
    pub fn plan(&self) -> Plan {
        let mut plan = Plan::default();
        let mut features = BTreeSet::new();
        let (mut queries, mut kin) = (BTreeMap::new(), BTreeMap::new());
        let mut uses = Uses::default();
        for name in self.order() {
            let part = &self.entries[name].part;
            let of = if is_attribute(&part.segment.rule) {
                &mut plan.attributes
            } else {
                &mut plan.segments
            };
            of.push(Arc::clone(&part.segment));
            plan.features
                .extend(part.features.iter().filter(|feature| features.insert(feature.id)).cloned());
            queries.extend(part.queries.iter().map(|(id, query)| (*id, query)));
            kin.extend(part.kin.iter().map(|(id, kin)| (*id, kin)));
            uses.add(&part.uses);
        }
        plan.attributes.sort_by(|a, b| a.name.cmp(&b.name));
        plan.queries = queries.into_values().cloned().collect();
        plan.kin = kin.into_values().cloned().collect();
        plan.bands = bands::of(uses);
        plan
    }

    /// Names in order of evaluation: dependencies first, otherwise by name.
    fn order(&self) -> Vec<&Text> {
        let mut waiting: BTreeMap<&Text, usize> = BTreeMap::new();
        let mut readers: BTreeMap<&Text, Vec<&Text>> = BTreeMap::new();
        let mut ready: BTreeSet<&Text> = BTreeSet::new();
        for (name, entry) in &self.entries {
            let named: BTreeSet<&Text> = entry.part.segment.rule.segments().iter().map(|(other, _)| other).collect();
            let known = named.into_iter().filter(|other| self.entries.contains_key(*other));
            let count = known.map(|other| readers.entry(other).or_default().push(name)).count();
            if count == 0 {
                ready.insert(name);
            } else {
                waiting.insert(name, count);
            }
        }
        let mut order = Vec::with_capacity(self.entries.len());
        while !ready.is_empty() {
            let mut next = BTreeSet::new();
            for name in ready {
                order.push(name);
                for reader in readers.get(name).into_iter().flatten() {
                    let count = waiting.get_mut(*reader).expect("it waits for this one");
                    *count -= 1;
                    if *count == 0 {
                        next.insert(*reader);
                    }
                }
            }
            ready = next;
        }
        order
    }
}

/// The linked rules as they would be.
struct After<'a> {
    rules: &'a Rules,
    news: &'a News,
}

impl<'a> After<'a> {
    fn get(&self, name: &Text) -> Option<&'a Compiled> {
        match self.news.get(name) {
            Some(new) => new.as_ref().map(|(_, linked)| linked),
            None => self.rules.entries.get(name).map(|entry| &entry.part.segment.rule),
        }
    }

    /// References to what has no members, or members of another kind: of the new rules, and to
    /// them.
    fn misfits(&self) -> Problems {
        let new = self.news.values().flatten().map(|(_, linked)| linked);
        let others = self.rules.entries.iter().filter(|(name, _)| !self.news.contains_key(*name));
        let others = others.map(|(_, entry)| &entry.part.segment.rule);
        let refer = others.filter(|rule| rule.segments().iter().any(|(name, _)| self.news.contains_key(name)));
        new.chain(refer).flat_map(|rule| self.misfits_of(rule)).collect()
    }

    fn misfits_of(&self, rule: &Compiled) -> Problems {
        let mut problems = Problems::new();
        let own = rule.definition();
        for (name, span) in rule.segments() {
            let Some(other) = self.get(name) else { continue };
            let message = if is_attribute(other) {
                format!("`{name}` is a computed attribute and has no members; write `computed.{name}`")
            } else if other.definition().subject != own.subject {
                let (subject, others) = (own.subject.name(), other.definition().subject.name());
                format!("`{}` is about the {subject}, the segment `{name}` about the {others}", own.name)
            } else {
                continue;
            };
            problems.push((own.name.clone(), Diagnostic::error("subject", *span, message)));
        }
        problems
    }

    /// A circle of segments that the new rules close. The others have none.
    fn circle(&self) -> Option<(Text, Diagnostic)> {
        let mut done: BTreeSet<&Text> = BTreeSet::new();
        for (start, _) in self.news.iter().filter(|(_, new)| new.is_some()) {
            // The path from the start, each with the references that are left to follow.
            let mut path: Vec<(&Text, std::slice::Iter<'_, (Text, Span)>)> = Vec::new();
            let mut on_path: BTreeSet<&Text> = BTreeSet::new();
            let mut next = self.get(start).filter(|_| !done.contains(start)).map(|rule| (start, rule, Span::default()));
            loop {
                if let Some((name, rule, span)) = next.take() {
                    if !on_path.insert(name) {
                        let at = path.iter().position(|(known, _)| *known == name).unwrap_or_default();
                        let last = path.last().map(|(last, _)| (*last).clone()).unwrap_or_default();
                        let names = path[at..].iter().map(|(name, _)| name.as_str()).chain([name.as_str()]);
                        let message = format!("segments refer to each other in a circle: {}", names.collect::<Vec<_>>().join(" → "));
                        return Some((last, Diagnostic::error("cycle", span, message)));
                    }
                    path.push((name, rule.segments().iter()));
                }
                let Some((name, references)) = path.last_mut() else { break };
                match references.find(|(other, _)| !done.contains(other)) {
                    Some((other, span)) => next = self.get(other).map(|rule| (other, rule, *span)),
                    None => {
                        done.insert(name);
                        path.pop();
                    }
                }
            }
        }
        None
    }
}

fn is_attribute(rule: &Compiled) -> bool {
    rule.definition().kind == Kind::ComputedAttribute
}

fn release<K: Ord>(counts: &mut BTreeMap<K, usize>, id: K) {
    if let std::collections::btree_map::Entry::Occupied(mut count) = counts.entry(id) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}
