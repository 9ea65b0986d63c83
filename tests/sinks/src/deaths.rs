//! Where a process dies: at a point of the frame, or within a delivery.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millrace_connect::sink::{Actual, Answer, BatchLimits, Change, Claim, Delivery, Destination, DestinationError, FaultPlan, Point, Tenure, Upkeep};
use millrace_log::random::Random;
use millrace_log::{Record, TopicSpec};
use millrace_model::Identity;

/// Whether a process dies at a point of the frame: this often in a thousand.
const POINTS_PER_MILLE: u32 = 60;

/// The deaths of the processes of one stage. Nobody dies at first.
#[derive(Default)]
pub struct Deaths {
    points: Mutex<Option<Random>>,
    once: Mutex<Option<Point>>,
    awaits: Mutex<Option<(Random, u64)>>,
    /// A delivery was interrupted: its process dies when it returns.
    interrupted: AtomicBool,
}

fn set<T>(place: &Mutex<T>, value: T) {
    *place.lock().unwrap_or_else(PoisonError::into_inner) = value;
}

impl Deaths {
    /// From now on at any point of the frame.
    pub fn at_points(&self, random: Random) {
        set(&self.points, Some(random));
    }

    /// Once, the next time that a process passes here.
    pub fn once_at(&self, point: Point) {
        set(&self.once, Some(point));
    }

    /// From now on within each delivery, after fewer awaits than this, if it has that many.
    pub fn at_awaits(&self, random: Random, below: u64) {
        set(&self.awaits, Some((random, below)));
    }

    /// Nobody dies any more.
    pub fn end(&self) {
        set(&self.points, None);
        set(&self.once, None);
        set(&self.awaits, None);
    }

    fn awaits(&self) -> Option<u64> {
        let mut awaits = self.awaits.lock().unwrap_or_else(PoisonError::into_inner);
        awaits.as_mut().map(|(random, below)| random.below(*below))
    }
}

impl FaultPlan for Deaths {
    fn dies(&self, point: Point) -> bool {
        if point == Point::AfterDelivery && self.interrupted.swap(false, Ordering::SeqCst) {
            return true;
        }
        let mut once = self.once.lock().unwrap_or_else(PoisonError::into_inner);
        if *once == Some(point) {
            *once = None;
            return true;
        }
        let mut points = self.points.lock().unwrap_or_else(PoisonError::into_inner);
        points.as_mut().is_some_and(|random| random.chance(POINTS_PER_MILLE))
    }
}

/// A destination whose delivery can be cut off.
pub trait Interruptible: Destination {
    /// Delivers, and is dropped at the await of this number; `None` then.
    fn deliver_within(&mut self, awaits: u64, batch: &[Change], tenures: &[Tenure]) -> Option<Delivery>;
}

/// A destination whose process dies within a delivery, as its stage's deaths decide.
pub struct Dying<D> {
    inner: D,
    deaths: Arc<Deaths>,
}

impl<D: Interruptible> Dying<D> {
    /// In the place of `inner`.
    pub fn new(inner: D, deaths: &Arc<Deaths>) -> Dying<D> {
        Dying {
            inner,
            deaths: Arc::clone(deaths),
        }
    }
}

impl<D: Interruptible> Destination for Dying<D> {
    fn limits(&self) -> BatchLimits {
        self.inner.limits()
    }

    fn lane(&self, change: &Change) -> String {
        self.inner.lane(change)
    }

    fn concerns(&self, identity: &Identity) -> bool {
        self.inner.concerns(identity)
    }

    fn deliver(&mut self, batch: &[Change]) -> Delivery {
        self.deliver_as(batch, &[])
    }

    fn fences(&self) -> bool {
        self.inner.fences()
    }

    fn claim(&mut self, partition: u32, epoch: u64) -> Result<Claim, DestinationError> {
        self.inner.claim(partition, epoch)
    }

    fn deliver_as(&mut self, batch: &[Change], tenures: &[Tenure]) -> Delivery {
        let Some(awaits) = self.deaths.awaits() else {
            return self.inner.deliver_as(batch, tenures);
        };
        self.inner.deliver_within(awaits, batch, tenures).unwrap_or_else(|| {
            self.deaths.interrupted.store(true, Ordering::SeqCst);
            Delivery::all(&Answer::Later("killed".to_owned()), batch.len(), 0)
        })
    }

    fn topic(&self) -> Option<&str> {
        self.inner.topic()
    }

    fn topic_spec(&self) -> Option<TopicSpec> {
        self.inner.topic_spec()
    }

    fn record(&self, change: &Change) -> Option<Record> {
        self.inner.record(change)
    }

    fn place(&self, audience: &str) -> Option<String> {
        self.inner.place(audience)
    }

    fn upkeep(&mut self, audiences: &[String]) -> Upkeep {
        self.inner.upkeep(audiences)
    }

    fn warnings(&self) -> Vec<String> {
        self.inner.warnings()
    }

    fn remark(&self, audience: &str) -> Option<String> {
        self.inner.remark(audience)
    }

    fn readable(&self) -> bool {
        self.inner.readable()
    }

    fn actual(&mut self, audiences: &[String]) -> Result<Vec<Actual>, DestinationError> {
        self.inner.actual(audiences)
    }

    fn compares_attributes(&self) -> bool {
        self.inner.compares_attributes()
    }

    fn different(&mut self, members: &[Change]) -> Result<Vec<usize>, DestinationError> {
        self.inner.different(members)
    }

    fn calls(&self, batch: &[Change]) -> u64 {
        self.inner.calls(batch)
    }

    fn request(&self, batch: &[Change]) -> Option<String> {
        self.inner.request(batch)
    }

    fn takes(&mut self, calls: u64) -> Option<Duration> {
        self.inner.takes(calls)
    }

    fn quota_left(&self) -> Option<u64> {
        self.inner.quota_left()
    }
}
