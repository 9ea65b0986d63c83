//! Rules over whole data, without a plan.

use std::sync::Arc;

use millrace_model::Timestamp;

use crate::compile::Compiled;
use crate::core::Core;
use crate::eval::{Context, Evaluator, Money};
use crate::explain::{Explanation, explained, observed};
use crate::settings::Settings;
use crate::view::{Timed, Unknown};
use crate::world::World;

impl Compiled {
    /// The rule's own value over whole data, without a plan.
    ///
    /// # Errors
    /// A `World` never returns `Unknown`; it is in the type because the evaluator is the same.
    pub fn evaluate(&self, world: &dyn World, id: &str, settings: &Settings, now: Timestamp) -> Result<Timed<bool>, Unknown> {
        let core = self.conditions().join();
        self.evaluate_core(&core, world, id, settings, now)
    }

    pub(crate) fn evaluate_core(&self, core: &Core, world: &dyn World, id: &str, settings: &Settings, now: Timestamp) -> Result<Timed<bool>, Unknown> {
        let context = self.context(settings);
        let mut machine = Evaluator::over_world(world, self.definition().subject, id, &context, now);
        let (value, valid_until) = machine.verdict(core)?;
        Ok(Timed { value, valid_until })
    }

    /// The rule prepared for evaluation over whole data for many subjects.
    pub fn whole(&self, settings: &Settings) -> Whole {
        Whole {
            compiled: self.clone(),
            core: self.conditions().join(),
            context: self.context(settings),
        }
    }

    fn context(&self, settings: &Settings) -> Context {
        let money = Money {
            default_currency: settings.default_currency.clone(),
            rates: settings.rates.clone(),
        };
        Context {
            zone: self.definition().time_zone,
            money: Arc::new(money),
            layouts: Arc::default(),
        }
    }
}

/// A rule that is evaluated over whole data: as one expression, with the settings it depends on.
#[derive(Clone, Debug)]
pub struct Whole {
    compiled: Compiled,
    core: Core,
    context: Context,
}

impl Whole {
    /// The rule's value for a thing of the definition's kind.
    ///
    /// # Errors
    /// As for `Compiled::evaluate`.
    pub fn evaluate(&self, world: &dyn World, id: &str, now: Timestamp) -> Result<Timed<bool>, Unknown> {
        let (value, valid_until) = self.machine(world, id, now).verdict(&self.core)?;
        Ok(Timed { value, valid_until })
    }

    /// The rule's conditions one by one, as `explain` returns them for a plan.
    pub fn explain(&self, world: &dyn World, id: &str, now: Timestamp) -> Explanation {
        let explanation = explained(self.compiled.conditions(), &|leaf: &Core| observed(self.machine(world, id, now), leaf, true));
        explanation.limited(self.machine(world, id, now), &self.core)
    }

    fn machine<'a>(&'a self, world: &'a dyn World, id: &'a str, now: Timestamp) -> Evaluator<'a> {
        Evaluator::over_world(world, self.compiled.definition().subject, id, &self.context, now)
    }
}
