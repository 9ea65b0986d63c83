//! The life of definitions: drafts, versions, segments that depend on others, and the progress of
//! an evaluation.

use std::collections::BTreeSet;

use millrace_model::Timestamp;
use millrace_oracle::worlds::{NOON_MS, record};
use millrace_shard::lifecycle::{BATCH_WAIT_MS, VERSIONS_MAX, to_restore};
use millrace_shard::query::SegmentState;
use millrace_test_scenarios::Cluster;
use millrace_test_seeds::seeds;
use millrace_wire::Status;
use serde_json::json;

const SHARDS: u32 = 3;

/// Persons `1` to `9`, with a score of ten times that.
fn cluster(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(SHARDS, seed, Timestamp(NOON_MS));
    for number in 1..=9 {
        cluster.source(&person(number, 0, number * 10));
    }
    cluster.settle();
    cluster
}

fn person(number: i64, at: i64, score: i64) -> millrace_oracle::SourceRecord {
    record(
        "person",
        &format!("{number}@m1.Marketo"),
        NOON_MS + at,
        json!({ "b2b": { "personScore": score } }),
    )
}

fn text(name: &str, status: &str, pql: &str) -> String {
    json!({ "kind": "Segment", "metadata": { "name": name }, "spec": { "status": status, "pql": pql } }).to_string()
}

/// Defines and settles; returns the changes emitted meanwhile, as `+segment person` and `-segment
/// person`.
fn define(cluster: &mut Cluster, name: &str, status: &str, pql: &str) -> BTreeSet<String> {
    emitted(cluster, |cluster| cluster.define(name, Some(&text(name, status, pql))))
}

fn delete(cluster: &mut Cluster, name: &str) -> BTreeSet<String> {
    emitted(cluster, |cluster| cluster.define(name, None))
}

fn emitted(cluster: &mut Cluster, order: impl FnOnce(&mut Cluster)) -> BTreeSet<String> {
    let before = cluster.changes.len();
    order(cluster);
    cluster.settle();
    let changes = &cluster.changes[before..];
    let shown: BTreeSet<String> = changes.iter().map(shown).collect();
    assert_eq!(shown.len(), changes.len(), "each change once: {changes:?}");
    shown
}

fn shown(change: &millrace_wire::Membership) -> String {
    let sign = if change.status == Status::Realized { "+" } else { "-" };
    let number = change.subject_id.trim_start_matches("b2b_person:").trim_end_matches("@m1.Marketo");
    format!("{sign}{} {number}", change.segment)
}

fn state(cluster: &Cluster, name: &str) -> SegmentState {
    let states = cluster.query().segments().expect("tables in memory can be read");
    states
        .into_iter()
        .find(|state| state.accepted.compiled.definition().name == name)
        .expect("the segment is there")
}

fn set(items: &[&str]) -> BTreeSet<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

#[test]
fn every_step_of_a_life_emits_exactly_the_difference() {
    for seed in seeds!(0..20) {
        let mut cluster = cluster(seed);
        assert_eq!(define(&mut cluster, "hot", "draft", "b2b.personScore > 70"), set(&[]));
        assert_eq!(define(&mut cluster, "hot", "published", "b2b.personScore > 70"), set(&["+hot 8", "+hot 9"]));
        assert_eq!(
            define(&mut cluster, "hot", "published", "b2b.personScore > 60 and b2b.personScore < 90"),
            set(&["+hot 7", "-hot 9"])
        );
        assert_eq!(define(&mut cluster, "hot", "inactive", "b2b.personScore > 70"), set(&["-hot 7", "-hot 8"]));
        assert_eq!(define(&mut cluster, "hot", "published", "b2b.personScore > 80"), set(&["+hot 9"]));
        assert_eq!(define(&mut cluster, "hot", "draft", "b2b.personScore > 10"), set(&[]));
        assert_eq!(
            emitted(&mut cluster, |cluster| cluster.source(&person(2, 1, 85))),
            set(&["+hot 2"]),
            "the published rule goes on"
        );
        assert_eq!(
            define(&mut cluster, "hot", "published", "b2b.personScore > 80"),
            set(&[]),
            "the draft is given up"
        );
        assert_eq!(delete(&mut cluster, "hot"), set(&["-hot 2", "-hot 9"]));
        assert_eq!(delete(&mut cluster, "hot"), set(&[]));
        assert_eq!(cluster.dead_letters, Vec::<String>::new());
        cluster.check_derived();
    }
}

#[test]
fn shards_decide_alike_however_definitions_fall_into_their_steps() {
    for seed in seeds!(0..40) {
        let mut cluster = cluster(seed);
        let before = cluster.dead_letters.len();
        for (name, pql) in [
            ("b", "b2b.personScore > 70"),
            ("a", "inSegment(\"b\")"),
            // It closes a circle where it stands in the topic, though the next one would open it.
            ("b", "inSegment(\"a\")"),
            ("a", "b2b.personScore > 80"),
        ] {
            cluster.define(name, Some(&text(name, "published", pql)));
        }
        cluster.settle();
        let numbers = |segment: &str| {
            cluster
                .members(segment)
                .iter()
                .map(|id| id["b2b_person:".len()..][..1].to_owned())
                .collect::<String>()
        };
        assert_eq!((numbers("a"), numbers("b")), ("9".to_owned(), "89".to_owned()));
        assert_eq!(cluster.dead_letters.len() - before, 1, "{:?}", cluster.dead_letters);
    }
}

/// Changes that are valid together and not one by one, whatever comes first: two segments turn round,
/// an attribute and its rule change their type. Processes stop between any two records.
#[test]
fn a_batch_is_judged_as_a_whole_however_it_falls_into_steps() {
    let attribute = |pql: &str| json!({ "kind": "ComputedAttribute", "metadata": { "name": "rank" }, "spec": { "pql": pql } }).to_string();
    let rule = |name: &str, pql: &str| Some(text(name, "published", pql));
    for seed in seeds!(0..60) {
        let mut cluster = cluster(seed);
        cluster.define("b", rule("b", "b2b.personScore > 70").as_deref());
        cluster.define("a", rule("a", "inSegment(\"b\")").as_deref());
        cluster.define("rank", Some(&attribute("b2b.personScore")));
        cluster.define("hot", rule("hot", "computed.rank > 60").as_deref());
        cluster.settle();
        let mut batch = vec![
            ("a", rule("a", "b2b.personScore > 80")),
            ("b", rule("b", "inSegment(\"a\")")),
            ("rank", Some(attribute("b2b.personScore > 50"))),
            ("hot", rule("hot", "computed.rank")),
        ];
        batch.rotate_left(seed as usize % 4);
        cluster.define_together("first", &batch);
        for _ in 0..seed % 7 {
            cluster.act();
        }
        cluster.restart(millrace_test_scenarios::config(SHARDS));
        cluster.settle();
        let numbers = |cluster: &Cluster, segment: &str| {
            cluster
                .members(segment)
                .iter()
                .map(|id| id["b2b_person:".len()..][..1].to_owned())
                .collect::<String>()
        };
        let all = |cluster: &Cluster| ["a", "b", "hot"].map(|segment| numbers(cluster, segment));
        assert_eq!(all(&cluster), ["9", "9", "6789"], "{batch:?}");
        assert_eq!(cluster.dead_letters, Vec::<String>::new());

        // What is wrong as a whole is refused as a whole.
        let wrong = [
            ("a", rule("a", "inSegment(\"b\")")),
            ("hot", rule("hot", "computed.rank and b2b.personScore > 60")),
            ("later", rule("later", "true")),
        ];
        cluster.define_together("second", &wrong);
        cluster.settle();
        assert_eq!(all(&cluster), ["9", "9", "6789"]);
        assert_eq!(numbers(&cluster, "later"), "");
        assert_eq!(cluster.dead_letters.len(), 3, "{:?}", cluster.dead_letters);
        cluster.check_derived();
    }
}

#[test]
fn a_rule_is_in_progress_while_what_it_rests_on_is() {
    let attribute = |pql: &str| json!({ "kind": "ComputedAttribute", "metadata": { "name": "rank" }, "spec": { "pql": pql } }).to_string();
    let mut seen = 0;
    for seed in seeds!(0..10) {
        let mut cluster = cluster(seed);
        cluster.define("rank", Some(&attribute("b2b.personScore")));
        cluster.define("hot", Some(&text("hot", "published", "computed.rank > 60")));
        cluster.define("hotter", Some(&text("hotter", "published", "inSegment(\"hot\")")));
        cluster.define("apart", Some(&text("apart", "published", "b2b.personScore > 1")));
        cluster.settle();
        cluster.define("rank", Some(&attribute("b2b.personScore + 20")));
        let complete = |cluster: &Cluster, name: &str| state(cluster, name).progress.iter().all(|shard| shard.complete);
        while cluster.act() {
            assert!(complete(&cluster, "apart"));
            let of_rank = complete(&cluster, "rank");
            seen += u64::from(!of_rank);
            assert_eq!([complete(&cluster, "hot"), complete(&cluster, "hotter")], [of_rank; 2]);
        }
        assert_eq!(cluster.members("hotter").len(), 5);
    }
    assert!(seen > 10, "{seen}");
}

/// Compaction leaves a batch without its last record where that was superseded.
#[test]
fn what_is_left_of_a_batch_is_taken_when_nothing_more_comes() {
    let mut cluster = cluster(3);
    let rule = |name: &str, pql: &str| (name.to_owned(), Some(text(name, "published", pql)));
    let left = [rule("low", "b2b.personScore < 30"), rule("both", "inSegment(\"low\") and b2b.personScore > 10")];
    let left = left.each_ref().map(|(name, text)| (name.as_str(), text.clone()));
    cluster.define_some_of("old", &left);
    cluster.settle();
    assert_eq!(cluster.members("low").len(), 0, "more may come");
    cluster.restart(millrace_test_scenarios::config(SHARDS));
    cluster.advance(Timestamp(NOON_MS + BATCH_WAIT_MS - 1));
    assert_eq!(cluster.members("low").len(), 0);
    cluster.advance(Timestamp(NOON_MS + BATCH_WAIT_MS));
    assert_eq!((cluster.members("low").len(), cluster.members("both").len()), (2, 1));
    assert_eq!(cluster.dead_letters, Vec::<String>::new());
}

/// Persons change while a batch arrives. Under a part of it nobody would be in `either`.
#[test]
fn nobody_is_evaluated_under_a_part_of_a_batch() {
    let rule = |name: &str, pql: &str| Some(text(name, "published", pql));
    for seed in seeds!(0..30) {
        let mut cluster = cluster(seed);
        for (name, pql) in [
            ("one", "b2b.personScore > 70"),
            ("other", "false"),
            ("either", "inSegment(\"one\") or inSegment(\"other\")"),
        ] {
            cluster.define(name, rule(name, pql).as_deref());
        }
        cluster.settle();
        let before = cluster.changes.len();
        let fillers: Vec<String> = (0..20).map(|number| format!("filler-{number}")).collect();
        let mut batch = vec![("one", rule("one", "false"))];
        batch.extend(fillers.iter().map(|name| (name.as_str(), rule(name, "false"))));
        batch.push(("other", rule("other", "b2b.personScore > 70")));
        cluster.define_together("turn", &batch);
        for at in 1..=9 {
            cluster.source(&person(at, at, at * 10));
            cluster.act();
        }
        cluster.settle();
        let of_either = cluster.changes[before..].iter().filter(|change| change.segment == "either");
        assert_eq!(of_either.count(), 0, "{:?}", &cluster.changes[before..]);
    }
}

#[test]
fn a_draft_stands_beside_what_is_published_until_it_is_published() {
    let mut cluster = cluster(1);
    define(&mut cluster, "hot", "published", "b2b.personScore > 80");
    define(&mut cluster, "hot", "draft", "b2b.personScore > 70");
    let drafted = state(&cluster, "hot");
    assert_eq!((drafted.accepted.row.version, drafted.draft.map(|draft| draft.row.version)), (1, Some(2)));
    assert_eq!(define(&mut cluster, "hot", "published", "b2b.personScore > 70"), set(&["+hot 8"]));
    let after = state(&cluster, "hot");
    assert_eq!((after.accepted.row.version, after.draft.is_none(), after.members), (3, true, 2));
}

#[test]
fn versions_are_kept_and_brought_back() {
    let mut cluster = cluster(2);
    define(&mut cluster, "hot", "published", "b2b.personScore > 80");
    define(&mut cluster, "hot", "published", "b2b.personScore > 50");
    let versions = cluster.query().versions("hot").expect("tables in memory can be read");
    let before = to_restore(&versions, None).expect("there is one before").row.text.clone();
    assert_eq!(
        emitted(&mut cluster, |cluster| cluster.define("hot", Some(&before))),
        set(&["-hot 6", "-hot 7", "-hot 8"])
    );
    let versions = cluster.query().versions("hot").expect("tables in memory can be read");
    let shown: Vec<(u64, bool)> = versions.iter().map(|version| (version.number, version.in_force)).collect();
    assert_eq!(shown, [(1, false), (2, false), (3, true)]);
    assert_eq!(versions[0].row.text, versions[2].row.text);
    // Any number of drafts leaves the definition in force.
    for score in 0..30 {
        define(&mut cluster, "hot", "draft", &format!("b2b.personScore > {score}"));
    }
    let versions = cluster.query().versions("hot").expect("tables in memory can be read");
    let numbers: Vec<u64> = versions.iter().map(|version| version.number).collect();
    assert_eq!((numbers.len(), numbers[0], numbers[1], numbers[VERSIONS_MAX - 1]), (VERSIONS_MAX, 3, 15, 33));
    delete(&mut cluster, "hot");
    assert!(cluster.query().versions("hot").expect("tables in memory can be read").is_empty());
}

/// `either` depends on two segments that swap; `odd` on both and on `either`.
#[test]
fn dependents_do_not_flicker() {
    for seed in seeds!(0..20) {
        let mut cluster = cluster(seed);
        define(&mut cluster, "low", "published", "b2b.personScore <= 50");
        define(&mut cluster, "high", "published", "b2b.personScore > 50");
        define(&mut cluster, "either", "published", r#"inSegment("low") or inSegment("high")"#);
        define(
            &mut cluster,
            "odd",
            "published",
            r#"inSegment("low") and inSegment("high") or not(inSegment("either"))"#,
        );
        assert_eq!(emitted(&mut cluster, |cluster| cluster.source(&person(3, 1, 60))), set(&["-low 3", "+high 3"]));
        let swapped = emitted(&mut cluster, |cluster| {
            cluster.define("low", Some(&text("low", "published", "b2b.personScore <= 80")));
            cluster.define("high", Some(&text("high", "published", "b2b.personScore > 80")));
        });
        let expected = ["-high 3", "-high 6", "-high 7", "-high 8", "+low 3", "+low 6", "+low 7", "+low 8"];
        let unexpected: Vec<&String> = swapped.iter().filter(|change| change.contains("either")).collect();
        assert!(
            unexpected.is_empty() && expected.iter().all(|change| swapped.contains(*change)),
            "seed {seed}: {swapped:?}"
        );
        assert!(cluster.members("odd").is_empty(), "seed {seed}");
    }
}

/// Commands are refused where others depend on a segment; a deletion on the topic itself takes
/// effect, and leaves an empty segment.
#[test]
fn what_rests_on_a_deleted_segment_sees_it_empty() {
    let mut cluster = cluster(3);
    define(&mut cluster, "hot", "published", "b2b.personScore > 80");
    define(&mut cluster, "rest", "published", r#"b2b.personScore > 70 and not(inSegment("hot"))"#);
    define(&mut cluster, "also", "published", r#"inSegment("hot")"#);
    assert_eq!(cluster.members("rest").len(), 1);
    assert_eq!(delete(&mut cluster, "hot"), set(&["-hot 9", "+rest 9", "-also 9"]));
    assert_eq!(
        define(&mut cluster, "hot", "published", "b2b.personScore > 80"),
        set(&["+hot 9", "-rest 9", "+also 9"])
    );
    assert_eq!(
        define(&mut cluster, "hot", "inactive", "b2b.personScore > 80"),
        set(&["-hot 9", "+rest 9", "-also 9"])
    );
}

/// A circle is refused whichever record closes it, a draft's publication included, and the previous
/// definition stays.
#[test]
fn a_circle_is_refused() {
    let mut cluster = cluster(4);
    define(&mut cluster, "a", "published", r#"b2b.personScore > 80 or inSegment("b")"#);
    define(&mut cluster, "b", "draft", r#"inSegment("a")"#);
    assert_eq!(cluster.dead_letters, Vec::<String>::new());
    assert_eq!(define(&mut cluster, "b", "published", r#"inSegment("a")"#), set(&[]));
    assert_eq!(cluster.dead_letters, ["bad-definition"]);
    assert_eq!(state(&cluster, "b").accepted.compiled.definition().status, millrace_segment::Status::Draft);
    assert_eq!(define(&mut cluster, "b", "published", "b2b.personScore > 70"), set(&["+a 8", "+b 8", "+b 9"]));
}

#[test]
fn progress_grows_to_the_whole_and_is_the_definitions_own() {
    let mut cluster = cluster(5);
    define(&mut cluster, "first", "published", "b2b.personScore > 80");
    assert_eq!(state(&cluster, "first").whole(), (9, 9, true));
    cluster.define("second", Some(&text("second", "published", "b2b.personScore > 50")));
    let mut seen = Vec::new();
    while cluster.act() {
        let (first, states) = (state(&cluster, "first"), cluster.query().segments().expect("tables in memory can be read"));
        assert_eq!(first.whole(), (9, 9, true), "another's evaluation is not its own");
        seen.extend(
            states
                .iter()
                .find(|state| state.accepted.compiled.definition().name == "second")
                .map(SegmentState::whole),
        );
    }
    assert!(seen.is_sorted_by_key(|(done, _, _)| *done), "{seen:?}");
    assert!(seen.iter().any(|(done, of, complete)| *done < *of && !complete), "{seen:?}");
    assert_eq!(seen.last(), Some(&(9, 9, true)));
    let shards: Vec<u32> = state(&cluster, "second").progress.iter().map(|progress| progress.shard.0).collect();
    assert_eq!(shards, [0, 1, 2]);
}
