//! Windows: one side is a fixed fact, the other may be a word of time that moves with now.
//!
//! Each form is reduced to an interval of the moving side. It holds while the staircase of that
//! side is within the interval, and the instants at which the staircase reaches the ends are known
//! exactly.

use millrace_model::Timestamp;
use millrace_pql::ast::{Comparison, Direction, Moment, Unit};

use super::{Evaluator, NEVER};
use crate::calendar::{add, fixed_ms, next_step, reach, shift, staircase, stand, start};
use crate::core::Core;
use crate::view::Unknown;

/// Both ends belong to it; empty if the first is after the last.
type Interval = (Timestamp, Timestamp);

const MS: i64 = 1;

/// One side of a comparison of instants.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Fixed(Timestamp),
    Moving(Moment),
}

/// A window of `n` units before or after an anchor.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub comparison: Comparison,
    pub unit: Unit,
    pub direction: Direction,
}

impl<'a> Evaluator<'a> {
    /// An operand as an instant; `None` if it is null or not an instant.
    pub(super) fn side(&mut self, core: &'a Core) -> Result<Option<(Side, Timestamp)>, Unknown> {
        if let Core::Moment(moment) = core {
            return Ok(Some((Side::Moving(*moment), NEVER)));
        }
        let (val, until) = self.eval(core)?;
        Ok(val.value().as_time().map(|at| (Side::Fixed(at), until)))
    }

    /// Whether the staircase of `moment`, moved by `away` of its units, is in the interval; and
    /// until when that stays so.
    fn stands(&self, moment: Moment, away: i64, (low, high): Interval) -> (bool, Timestamp) {
        let zone = self.context.zone;
        let (unit, own) = staircase(moment);
        let stairs = (unit, own + away);
        let at = stand(zone, self.now, stairs);
        if low > high || at > high {
            return (false, NEVER);
        }
        if at < low {
            return (false, self.later(reach(zone, low, stairs)));
        }
        (
            true,
            if high == NEVER {
                NEVER
            } else {
                self.later(reach(zone, high.plus_ms(MS), stairs))
            },
        )
    }

    /// Rounding at the ends of a skipped or repeated hour must not stop the clock.
    fn later(&self, at: Timestamp) -> Timestamp {
        at.max(self.now.plus_ms(MS))
    }

    fn position(&self, side: Side) -> Timestamp {
        match side {
            Side::Fixed(at) => at,
            Side::Moving(moment) => stand(self.context.zone, self.now, staircase(moment)),
        }
    }

    /// The next instant at which a side moves.
    fn step(&self, side: Side) -> Timestamp {
        match side {
            Side::Fixed(_) => NEVER,
            Side::Moving(moment) => next_step(self.context.zone, self.now, staircase(moment)),
        }
    }

    /// `left op right` of instants.
    pub(super) fn compare_instants(&mut self, comparison: Comparison, left: (Side, Timestamp), right: (Side, Timestamp)) -> (bool, Timestamp) {
        let until = left.1.min(right.1);
        let ends = |comparison: Comparison, fixed: Timestamp| match comparison {
            Comparison::Equal | Comparison::NotEqual => (fixed, fixed),
            Comparison::Less => (Timestamp::MIN, fixed.plus_ms(-MS)),
            Comparison::LessOrEqual => (Timestamp::MIN, fixed),
            Comparison::Greater => (fixed.plus_ms(MS), NEVER),
            Comparison::GreaterOrEqual => (fixed, NEVER),
        };
        let (flag, flips) = match (left.0, right.0) {
            (Side::Moving(moment), Side::Fixed(fixed)) => self.stands(moment, 0, ends(comparison, fixed)),
            (Side::Fixed(fixed), Side::Moving(moment)) => {
                let mirrored = match comparison {
                    Comparison::Less => Comparison::Greater,
                    Comparison::LessOrEqual => Comparison::GreaterOrEqual,
                    Comparison::Greater => Comparison::Less,
                    Comparison::GreaterOrEqual => Comparison::LessOrEqual,
                    same @ (Comparison::Equal | Comparison::NotEqual) => same,
                };
                self.stands(moment, 0, ends(mirrored, fixed))
            }
            (a, b) => {
                let (x, y) = (self.position(a), self.position(b));
                let (low, high) = ends(comparison, y);
                (low <= x && x <= high, self.step(a).min(self.step(b)))
            }
        };
        (if comparison == Comparison::NotEqual { !flag } else { flag }, until.min(flips))
    }

    /// `fact occurs CMP n UNIT before/after anchor`
    pub(super) fn window(&mut self, window: Window, fact: &'a Core, amount: &'a Core, anchor: &'a Core) -> Result<(bool, Timestamp), Unknown> {
        let Window { comparison, unit, direction } = window;
        let Some((fact, fact_until)) = self.side(fact)? else {
            return Ok((false, self.null_until(fact)?));
        };
        let (amount, amount_until) = self.eval(amount)?;
        let Some((anchor, anchor_until)) = self.side(anchor)? else {
            return Ok((false, self.null_until(anchor)?));
        };
        let until = fact_until.min(amount_until).min(anchor_until);
        // A window of a negative number of units has no meaning; a literal one is refused.
        let Some(n) = amount.value().as_f64().filter(|n| *n >= 0.0) else {
            return Ok((false, until));
        };
        let n = if direction == Direction::Before { n } else { -n };
        let (flag, flips) = match (fact, anchor) {
            (Side::Fixed(fact), Side::Moving(moment)) => self.stands(moment, 0, self.anchors(comparison, unit, n, fact)),
            (Side::Fixed(fact), Side::Fixed(anchor)) => {
                let (low, high) = self.anchors(comparison, unit, n, fact);
                (low <= anchor && anchor <= high, NEVER)
            }
            (Side::Moving(moment), Side::Fixed(anchor)) => {
                let (flag, flips) = self.stands(moment, 0, self.facts(comparison, unit, n, anchor));
                (
                    flag,
                    if fixed_ms(unit).is_some() {
                        flips
                    } else {
                        self.before_change_of_offset(flips)
                    },
                )
            }
            (fact, anchor) => {
                let (low, high) = self.anchors(comparison, unit, n, self.position(fact));
                let at = self.position(anchor);
                (low <= at && at <= high, self.step(fact).min(self.step(anchor)))
            }
        };
        Ok((if comparison == Comparison::NotEqual { !flag } else { flag }, until.min(flips)))
    }

    /// A null operand may cease to be null.
    pub(super) fn null_until(&mut self, core: &'a Core) -> Result<Timestamp, Unknown> {
        self.eval(core).map(|(_, until)| until)
    }

    /// The anchors for which a fact lies in the window: `n` units after it, or before it if `n` is
    /// negative.
    fn anchors(&self, comparison: Comparison, unit: Unit, n: f64, fact: Timestamp) -> Interval {
        let zone = self.context.zone;
        let far = add(zone, fact, n, unit);
        let reversed = n < 0.0 || (n == 0.0 && n.is_sign_negative());
        match comparison {
            Comparison::Equal | Comparison::NotEqual => {
                let begin = shift(zone, start(zone, fact, unit), n.round() as i64, unit);
                (begin, shift(zone, begin, 1, unit).plus_ms(-MS))
            }
            Comparison::LessOrEqual if reversed => (far, fact),
            Comparison::Less if reversed => (far.plus_ms(MS), fact),
            Comparison::Greater if reversed => (Timestamp::MIN, far.plus_ms(-MS)),
            Comparison::GreaterOrEqual if reversed => (Timestamp::MIN, far),
            Comparison::LessOrEqual => (fact, far),
            Comparison::Less => (fact, far.plus_ms(-MS)),
            Comparison::Greater => (far.plus_ms(MS), NEVER),
            Comparison::GreaterOrEqual => (far, NEVER),
        }
    }

    /// The facts for which an anchor lies in the window.
    fn facts(&self, comparison: Comparison, unit: Unit, n: f64, anchor: Timestamp) -> Interval {
        let zone = self.context.zone;
        let reversed = n < 0.0 || (n == 0.0 && n.is_sign_negative());
        // The least fact whose far end is at `level` or above.
        let least = |level: Timestamp| self.least_fact(unit, n, level);
        match comparison {
            Comparison::Equal | Comparison::NotEqual => {
                let begin = shift(zone, start(zone, anchor, unit), -(n.round() as i64), unit);
                (begin, shift(zone, begin, 1, unit).plus_ms(-MS))
            }
            // far <= anchor <= fact
            Comparison::LessOrEqual if reversed => (anchor, least(anchor.plus_ms(MS)).plus_ms(-MS)),
            Comparison::Less if reversed => (anchor, least(anchor).plus_ms(-MS)),
            Comparison::Greater if reversed => (least(anchor.plus_ms(MS)), NEVER),
            Comparison::GreaterOrEqual if reversed => (least(anchor), NEVER),
            // fact <= anchor <= far
            Comparison::LessOrEqual => (least(anchor), anchor),
            Comparison::Less => (least(anchor.plus_ms(MS)), anchor),
            Comparison::Greater => (Timestamp::MIN, least(anchor).plus_ms(-MS)),
            Comparison::GreaterOrEqual => (Timestamp::MIN, least(anchor.plus_ms(MS)).plus_ms(-MS)),
        }
    }

    fn least_fact(&self, unit: Unit, n: f64, level: Timestamp) -> Timestamp {
        let zone = self.context.zone;
        let guess = add(zone, level, -n, unit);
        if fixed_ms(unit).is_some() {
            return guess;
        }
        // Clamped month ends move the guess by less than four days.
        let (mut low, mut high) = (guess.plus_ms(-5 * millrace_model::DAY_MS), guess.plus_ms(5 * millrace_model::DAY_MS));
        while low < high {
            let middle = low.plus_ms((high.0 - low.0) / 2);
            if add(zone, middle, n, unit) >= level {
                high = middle
            } else {
                low = middle.plus_ms(MS)
            }
        }
        low
    }

    /// Across a repeated hour calendar steps are not monotone: wake before it.
    fn before_change_of_offset(&self, at: Timestamp) -> Timestamp {
        if at == NEVER {
            return at;
        }
        let margin = 3 * 3_600_000;
        let early = at.plus_ms(-margin);
        if early > self.now { early } else { self.later(at) }
    }

    /// `fact occurs before/after anchor`; a span is passed as a whole.
    pub(super) fn relative(&mut self, direction: Direction, fact: &'a Core, anchor: &'a Core) -> Result<(bool, Timestamp), Unknown> {
        let Some((fact, fact_until)) = self.side(fact)? else {
            return Ok((false, self.null_until(fact)?));
        };
        let Some((anchor, anchor_until)) = self.side(anchor)? else {
            return Ok((false, self.null_until(anchor)?));
        };
        let (fact, anchor) = ((fact, fact_until), (anchor, anchor_until));
        Ok(match (direction, fact.0, anchor.0) {
            (Direction::Before, _, _) => self.compare_instants(Comparison::Less, fact, anchor),
            (_, Side::Fixed(at), Side::Moving(moment)) if moment != Moment::Now => {
                let (flag, flips) = self.stands(moment, 1, (Timestamp::MIN, at));
                (flag, flips.min(fact_until))
            }
            (_, Side::Moving(_), Side::Moving(moment)) if moment != Moment::Now => {
                let (unit, away) = staircase(moment);
                let end = stand(self.context.zone, self.now, (unit, away + 1));
                (self.position(fact.0) >= end, self.step(fact.0).min(self.step(anchor.0)))
            }
            _ => self.compare_instants(Comparison::Greater, fact, anchor),
        })
    }

    /// `fact occurs on anchor`: within the span of a word of time, on the day of an instant.
    pub(super) fn on(&mut self, fact: &'a Core, anchor: &'a Core) -> Result<(bool, Timestamp), Unknown> {
        let Some((fact, fact_until)) = self.side(fact)? else {
            return Ok((false, self.null_until(fact)?));
        };
        let Some((anchor, anchor_until)) = self.side(anchor)? else {
            return Ok((false, self.null_until(anchor)?));
        };
        let zone = self.context.zone;
        let until = fact_until.min(anchor_until);
        let day = |at: Timestamp| {
            let begin = start(zone, at, Unit::Day);
            (begin, shift(zone, begin, 1, Unit::Day).plus_ms(-MS))
        };
        let (flag, flips) = match (fact, anchor) {
            (Side::Fixed(at), Side::Moving(moment)) => {
                let begin = start(zone, at, staircase(moment).0);
                self.stands(moment, 0, (begin, begin))
            }
            (Side::Fixed(at), Side::Fixed(anchor)) => (day(at) == day(anchor), NEVER),
            (Side::Moving(moment), Side::Fixed(anchor)) => self.stands(moment, 0, day(anchor)),
            (Side::Moving(_), Side::Moving(moment)) => {
                let begin = start(zone, self.position(fact), staircase(moment).0);
                (begin == self.position(anchor), self.step(fact).min(self.step(anchor)))
            }
        };
        Ok((flag, until.min(flips)))
    }

    /// `fact occurs between from and to`: both ends belong to it, words of time as whole spans.
    pub(super) fn between(&mut self, fact: &'a Core, from: &'a Core, to: &'a Core) -> Result<(bool, Timestamp), Unknown> {
        let Some(fact) = self.side(fact)? else {
            return Ok((false, self.null_until(fact)?));
        };
        let Some(from) = self.side(from)? else {
            return Ok((false, self.null_until(from)?));
        };
        let Some(to) = self.side(to)? else {
            return Ok((false, self.null_until(to)?));
        };
        let begun = self.compare_instants(Comparison::GreaterOrEqual, fact, from);
        let open = match (fact.0, to.0) {
            (Side::Fixed(at), Side::Moving(moment)) if moment != Moment::Now => {
                let (flag, flips) = self.stands(moment, 1, (at.plus_ms(MS), NEVER));
                (flag, flips.min(fact.1))
            }
            (Side::Moving(_), Side::Moving(moment)) if moment != Moment::Now => {
                let (unit, away) = staircase(moment);
                let end = stand(self.context.zone, self.now, (unit, away + 1));
                (self.position(fact.0) < end, self.step(fact.0).min(self.step(to.0)))
            }
            _ => self.compare_instants(Comparison::LessOrEqual, fact, to),
        };
        Ok(match (begun, open) {
            ((true, a), (true, b)) => (true, a.min(b)),
            ((false, a), (false, b)) => (false, a.max(b)),
            ((false, a), _) | (_, (false, a)) => (false, a),
        })
    }
}
