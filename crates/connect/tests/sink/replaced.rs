//! Processes that take partitions over from each other, and calls that arrive too late.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use millrace_log::LogError;

use super::*;

/// Opens all partitions and steps, whatever goes wrong, as the process around a task does.
fn keeps_going(task: &mut SinkTask, now: &AtomicI64, steps: usize) {
    for _ in 0..steps {
        now.fetch_add(500, Ordering::SeqCst);
        for number in task.doubtful() {
            task.settle_doubts(number).expect("settled");
        }
        let open = task.partitions();
        for number in (0..2).filter(|number| !open.contains(number)) {
            task.open(number).expect("opens");
        }
        if let Err((partition, error)) = task.step() {
            assert!(matches!(error, SinkError::Log(LogError::Fenced)), "{error:?}");
            task.abandon(partition);
        }
    }
}

/// A process is frozen in the middle of a delivery. Another one takes its partitions over and sends
/// what is newer; then the first one wakes up and its call arrives.
#[test]
fn what_a_replaced_owner_sends_late_is_sent_over() {
    for (before, newer) in [(Some("old"), Some("new")), (Some("old"), None), (None, Some("new"))] {
        let mut world = World::new();
        world.contested = true;
        world.desire("a", "q@x.com", Some("x"));
        world.desire("a", "p@x.com", Some("first"));
        let frozen = Freeze::default();
        let mut first = world.other(Arc::clone(&frozen));
        keeps_going(&mut first, &world.hand(), 20);
        assert_eq!(world.members(), world.desired);

        world.desire("a", "p@x.com", before);
        let newest = world.desired_by("a", "p@x.com", newer);
        let second = Arc::new(Mutex::new(world.other(Freeze::default())));
        let meanwhile = {
            let (log, second, now) = (world.log.clone(), Arc::clone(&second), world.hand());
            move || {
                log.append(vec![newest]).expect("appended");
                now.fetch_add(30_000, Ordering::SeqCst);
                keeps_going(&mut second.lock().expect("no panic"), &now, 20);
            }
        };
        *frozen.lock().expect("no panic") = Some(Box::new(meanwhile));
        let lost = (0..20).find_map(|_| {
            world.pass(500);
            first.step().err()
        });
        let (partition, error) = lost.expect("it learns that it was replaced");
        assert!(matches!(error, SinkError::Log(LogError::Fenced)), "{error:?}");
        assert_ne!(world.members(), world.desired, "the harm is done");
        first.abandon(partition);
        for number in first.doubtful() {
            first.settle_doubts(number).expect("settled");
        }
        drop(first);
        let mut second = second.lock().expect("no panic");
        let history = world.far.lock().expect("no panic").history.len();
        keeps_going(&mut second, &world.hand(), 200);
        assert_eq!(world.members(), world.desired, "{before:?} {newer:?}");
        let again = world.far.lock().expect("no panic").history[history..].to_vec();
        assert_eq!(again, [("a|email:p@x.com".to_owned(), newer.is_some())], "nothing else is sent again");
        assert_eq!(second.status().delivered, world.desired.len() as u64);
    }
}

#[test]
fn a_replaced_owner_that_wakes_up_between_deliveries_sends_nothing() {
    let mut world = World::new();
    world.contested = true;
    world.desire("a", "p@x.com", Some("x"));
    let mut first = world.other(Freeze::default());
    keeps_going(&mut first, &world.hand(), 20);
    let mut second = world.other(Freeze::default());
    keeps_going(&mut second, &world.hand(), 20);
    world.desire("a", "p@x.com", Some("y"));
    world.pass(30_000);
    let lost = (0..20).find_map(|_| first.step().err());
    assert!(matches!(lost, Some((_, SinkError::Log(LogError::Fenced)))), "{lost:?}");
    assert_eq!(world.calls(), 1, "the newer state is for the owner to send");
    keeps_going(&mut second, &world.hand(), 20);
    assert_eq!(world.members(), world.desired);
    assert_eq!(world.calls(), 2);
}

#[test]
fn a_partition_that_is_handed_over_is_handed_over_with_its_last_commit() {
    let mut world = World::new();
    world.contested = true;
    world.desire("a", "p@x.com", Some("x"));
    let mut first = world.other(Freeze::default());
    for number in world.partitions() {
        first.open(number).expect("opens");
    }
    first.step().map_err(|(_, error)| error).expect("sent");
    assert_eq!(world.calls(), 1);
    for number in world.partitions() {
        first.close(number).expect("closes");
    }
    let mut second = world.other(Freeze::default());
    keeps_going(&mut second, &world.hand(), 200);
    assert_eq!(world.calls(), 1, "its successor repeats nothing");
}

/// The same freeze at a destination that fences: the late call changes nothing, so nothing is in doubt.
#[test]
fn what_a_replaced_owner_sends_late_is_refused_by_a_fence() {
    let mut world = World::new();
    world.contested = true;
    world.far.lock().expect("no panic").fences = true;
    let frozen = Freeze::default();
    let mut first = world.other(Arc::clone(&frozen));
    keeps_going(&mut first, &world.hand(), 20);
    world.desire("a", "p@x.com", Some("old"));
    let newest = world.desired_by("a", "p@x.com", Some("new"));
    let second = Arc::new(Mutex::new(world.other(Freeze::default())));
    let meanwhile = {
        let (log, second, now) = (world.log.clone(), Arc::clone(&second), world.hand());
        move || {
            log.append(vec![newest]).expect("appended");
            now.fetch_add(30_000, Ordering::SeqCst);
            keeps_going(&mut second.lock().expect("no panic"), &now, 20);
        }
    };
    *frozen.lock().expect("no panic") = Some(Box::new(meanwhile));
    let lost = (0..20).find_map(|_| {
        world.pass(500);
        first.step().err()
    });
    assert!(matches!(lost, Some((_, SinkError::Log(LogError::Fenced)))), "{lost:?}");
    assert_eq!(world.members(), world.desired, "no harm is done");
    assert_eq!(first.doubtful(), Vec::<u32>::new());
}

#[test]
fn an_owner_whose_ledger_was_lost_claims_above_what_is_there() {
    let mut world = World::new();
    {
        let mut far = world.far.lock().expect("no panic");
        far.fences = true;
        far.epochs = world.partitions().map(|number| (number, 41)).collect();
    }
    for number in 0..20 {
        world.desire("a", &format!("p{number}@x.com"), Some("x"));
    }
    let mut task = world.opened();
    world.settle(&mut task);
    assert_eq!(world.members(), world.desired);
    let epochs: Vec<u64> = world.far.lock().expect("no panic").epochs.values().copied().collect();
    assert_eq!(epochs, [42, 42]);
    // The next owner goes above it.
    drop(task);
    world.desire("a", "p1@x.com", Some("y"));
    world.settle(&mut world.opened());
    assert_eq!(world.members(), world.desired);
}
