//! Processes that take partitions over from each other: an older one writes nothing after a newer
//! one has claimed.

use millrace_connect::sink::{Answer, Change, Claim, Destination, SinkError, SinkTask, Tenure};
use millrace_log::LogError;
use millrace_log::random::Random;
use millrace_model::{Identity, Timestamp};
use millrace_test_seeds::seeds;
use millrace_test_sinks::Interruptible;
use serde_json::json;

use super::stage::Stage;
use crate::PostgresSink;

fn change(id: &str, present: bool, company: &str) -> Change {
    let identity = Identity::new("email", id).expect("an identity");
    Change {
        key: format!("hot|{identity}"),
        audience: "hot".to_owned(),
        identity,
        present,
        attributes: [("company".to_owned(), json!(company))].into(),
        changed_at: Timestamp(0),
        id: 0,
    }
}

fn tenure(epoch: u64) -> Tenure {
    Tenure {
        partition: 0,
        epoch,
        position: 7,
    }
}

fn deliver(sink: &mut PostgresSink, change: Change, epoch: u64) -> Answer {
    sink.deliver_as(&[change], &[tenure(epoch)]).answers.remove(0)
}

#[test]
fn a_replaced_owner_writes_nothing() {
    let stage = Stage::new("replaced", json!({}));
    let (mut first, mut second) = (stage.sink(), stage.sink());
    assert_eq!(first.claim(0, 1).expect("claimed"), Claim::Taken);
    assert_eq!(deliver(&mut first, change("p@x.com", true, "old"), 1), Answer::Accepted);
    assert_eq!(second.claim(0, 2).expect("claimed"), Claim::Taken);
    let refused = Answer::Later("another process has claimed partition 0".to_owned());
    assert_eq!(deliver(&mut first, change("p@x.com", false, "old"), 1), refused);
    assert_eq!(deliver(&mut second, change("p@x.com", true, "new"), 2), Answer::Accepted);
    assert_eq!(deliver(&mut first, change("q@x.com", true, "old"), 1), refused);
    assert_eq!(stage.values("SELECT company FROM hot"), ["new".to_owned()].into());
    // A claim that comes late learns what is there; other partitions go on.
    assert_eq!(first.claim(0, 2).expect("asked"), Claim::Behind(2));
    assert_eq!(first.claim(1, 1).expect("claimed"), Claim::Taken);
    assert_eq!(
        first.deliver(&[change("q@x.com", true, "old")]).answers[0],
        Answer::Later("no owner of a partition delivers this".to_owned())
    );
}

/// The first owner is cut off at every await of its delivery. One of them is frozen there, with its
/// transaction open; the others die. The second owner claims at once, which waits for what the server
/// still does for the first.
#[test]
fn a_delivery_that_is_cut_off_is_over_when_the_next_owner_has_claimed() {
    const FROZEN: u64 = 41;
    let stage = Stage::new("cut_off", json!({}));
    let (mut cut, mut whole, mut frozen) = (0, 0, None);
    for awaits in (1..80).step_by(2) {
        let (mut first, mut second) = (stage.sink(), stage.sink());
        let (id, epoch) = (format!("p{awaits}@x.com"), 2 * awaits);
        assert_eq!(first.claim(0, epoch).expect("claimed"), Claim::Taken);
        match first.deliver_within(awaits, &[change(&id, true, "old")], &[tenure(epoch)]) {
            Some(_) => whole += 1,
            None => cut += 1,
        }
        frozen = if awaits == FROZEN { Some(first) } else { frozen };
        assert_eq!(second.claim(0, epoch + 1).expect("claimed"), Claim::Taken);
        assert_eq!(deliver(&mut second, change(&id, false, ""), epoch + 1), Answer::Accepted);
    }
    let mut frozen = frozen.expect("one of them");
    let refused = deliver(&mut frozen, change("late@x.com", true, "old"), 2 * FROZEN);
    assert!(matches!(refused, Answer::Later(_)), "{refused:?}");
    assert_eq!(stage.values("SELECT id FROM hot"), [].into());
    assert!(cut > 3 && whole > 3, "{cut} cut off, {whole} whole");
}

/// Steps a process whose partitions another one takes over again and again.
fn step(stage: &Stage<'_>, task: &mut SinkTask, opens: bool) {
    let open = task.partitions();
    for number in stage.partitions().filter(|number| opens && !open.contains(number)) {
        task.open(number).expect("opens");
    }
    if let Err((partition, error)) = task.step() {
        assert!(matches!(error, SinkError::Log(LogError::Fenced)), "{error:?}");
        task.abandon(partition);
    }
}

#[test]
fn two_processes_at_once_do_no_harm() {
    for seed in seeds!(500..504) {
        let database: &'static str = Box::leak(format!("two_processes_{seed}").into_boxed_str());
        let mut stage = Stage::new(database, json!({}));
        stage.contested = true;
        let mut random = Random::new(seed);
        let mut tasks = [stage.elsewhere(Box::new(stage.sink())), stage.elsewhere(Box::new(stage.sink()))];
        for _ in 0..150 {
            let (id, company) = (format!("p{}@x.com", random.below(8)), format!("c{}", random.below(3)));
            match random.chance(600) {
                true => stage.enter("hot", &id, &company, "1"),
                false => stage.desire("hot", &id, false),
            }
            let turn = usize::try_from(random.below(2)).expect("small");
            // The other one believes that it owns them still.
            step(&stage, &mut tasks[turn], random.chance(300));
            stage.pass(i64::try_from(random.below(2_000)).expect("small"));
        }
        drop(tasks);
        let mut task = stage.task();
        stage.settle(&mut task);
        assert_eq!(stage.members(&["hot"]), stage.expected());
        assert_eq!(task.status().delivered, stage.desired.len() as u64);
    }
}
