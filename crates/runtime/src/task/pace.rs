//! How much background work a step does.

use super::TaskConfig;
use crate::clock::Clock;

/// Subjects or rows of background work between two looks at the clock.
const BACKGROUND_PORTION: usize = 32;
/// At least one background subject per eight inputs, so that overload slows background work but
/// never stops it.
const INPUTS_A_BACKGROUND: usize = 8;
/// A step without inputs may work this many times as long, so that its commit weighs less.
const IDLE_TIMES: i64 = 4;

impl TaskConfig {
    /// The portions of background work in a step with this number of inputs: as long as there is
    /// time for them, from the first one on.
    pub(super) fn portions<'a>(&self, inputs: usize, clock: &'a dyn Clock) -> impl FnMut() -> usize + use<'a> {
        let least = inputs / INPUTS_A_BACKGROUND;
        let most = self.background_max;
        let time_ms = self.background_ms.saturating_mul(if inputs == 0 { IDLE_TIMES } else { 1 });
        let (mut begun, mut given) = (None, 0);
        move || {
            let now = clock.now().0;
            let taken_ms = now - *begun.get_or_insert(now);
            let portion = if given == 0 || given < least || taken_ms < time_ms {
                BACKGROUND_PORTION.min(most - given)
            } else {
                0
            };
            given += portion;
            portion
        }
    }
}
