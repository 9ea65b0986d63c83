//! The split of chains. If its progress can be kept, a chain's events are one query, so that they
//! lie together in order of time; otherwise each step has a query.

use std::collections::BTreeSet;

use super::{Class, Splitter, asked_once};
use crate::core::{Bind, ChainStep, Core, Kept, Op, QueryRef, SUBJECT};
use crate::plan::Keep;
use crate::plan::build::Upkeep;
use crate::sequence::{ChainShape, candidates};

impl Splitter<'_, '_> {
    pub(super) fn chain(&mut self, steps: Vec<ChainStep>) -> Core {
        if ChainShape::fits(&steps) {
            return self.sequence(steps);
        }
        let steps = steps.into_iter().map(|step| {
            let (source, (class, _)) = self.expr(step.source);
            if !matches!(class, Class::Event(_)) {
                self.refuse("a chain goes through another person's events and depends on more than that person");
            }
            self.sorts.insert(step.var, (class, false));
            let (body, _) = self.expr(step.body);
            ChainStep { source, body, ..step }
        });
        Core::Chain(steps.collect())
    }

    fn sequence(&mut self, steps: Vec<ChainStep>) -> Core {
        // The part of each step evaluated when the event arrives, and the rest.
        let parts = |step: &ChainStep| match candidates(&step.source).1 {
            Some((var, body)) => {
                let (own, rest): (Vec<Core>, Vec<Core>) = body.clone().conjuncts().into_iter().partition(|part| asked_once(part, var));
                let mut own: Vec<Core> = own.into_iter().map(|part| part.substitute(var, &Core::Var(SUBJECT))).collect();
                // The order in which conditions were written does not matter.
                own.sort_by_cached_key(Core::canonical);
                (Core::and(own), Core::and(rest))
            }
            None => (Core::bool(true), Core::bool(true)),
        };
        let parts: Vec<(Core, Core)> = steps.iter().map(parts).collect();
        let mut any: Vec<Core> = parts.iter().map(|(own, _)| own.clone()).collect();
        any.sort_by_cached_key(Core::canonical);
        any.dedup_by_key(|own| own.canonical());
        let predicate = match any.len() {
            _ if any.contains(&Core::bool(true)) => Vec::new(),
            1 => any.remove(0).conjuncts(),
            _ => vec![Core::apply(Op::Or, any)],
        };
        let index = self.query(predicate, Keep::Progress);
        let (rows, class) = (Core::Rows(QueryRef::Open(index)), Class::Event(BTreeSet::from([index])));
        let steps = steps.into_iter().zip(parts).map(|(step, (own, rest))| {
            let source = if let Core::Bind { var, .. } = step.source {
                self.sorts.insert(var, (class.clone(), false));
                let body = Core::and(vec![own.substitute(SUBJECT, &Core::Var(var)), rest]);
                Core::bind(Bind::Filter, rows.clone(), var, self.expr(body).0)
            } else {
                rows.clone()
            };
            self.sorts.insert(step.var, (class.clone(), false));
            let (body, _) = self.expr(step.body);
            ChainStep { source, body, ..step }
        });
        let steps: Vec<ChainStep> = steps.collect();
        self.queries[index].upkeep = Some(Upkeep::Progress(ChainShape::of(&steps)));
        Core::Kept {
            kept: Kept::Sequence(QueryRef::Open(index)),
            whole: Box::new(Core::Chain(steps)),
        }
    }
}
