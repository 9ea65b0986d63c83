//! Damage of every kind to every kind of file is detected or harmless; no acknowledged record is
//! lost silently.

use super::*;

/// A log with a cleaned segment, a closed one and an active one, closed cleanly. Returns its
/// contents.
fn three_segments(dir: &Path) -> String {
    let config = EmbeddedConfig::default();
    let log = EmbeddedLog::open(dir, config).unwrap();
    create_topics(&log);
    let mut shard = session(&log, 0);
    let mut write = |round: usize| {
        let rows = vec![
            (at("changelog", 0), record(&format!("key-{}", round % 3), Some(&"v".repeat(round)))),
            (at("input", 1), record("sent", Some("value"))),
        ];
        commit(&mut *shard, rows, vec![(at("input", 0), 0)]);
    };
    let roll = || log.shared.writer().roll(&log.shared).unwrap();
    (0..6).for_each(&mut write);
    roll();
    log.clean(system_now(), true).unwrap();
    (6..12).for_each(&mut write);
    roll();
    (12..18).for_each(&mut write);
    shown(&log)
}

const CLEANED: &str = "0000000001-0000000001.journal";
const CLOSED: &str = "0000000002-0000000002.journal";
const ACTIVE: &str = "0000000003-0000000003.journal";

/// A copy of a log's folder.
fn copy(dir: &Path) -> TempDir {
    let copy = TempDir::new().unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

/// All files but the lock, with their bytes.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let named = paths.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()));
    named.filter(|(name, _)| name != "lock").collect()
}

fn opened(dir: &Path) -> Result<String, String> {
    EmbeddedLog::open(dir, config())
        .map(|log| shown(&log))
        .map_err(|error| millrace_model::chain(&error))
}

/// What a kind of damage does to a folder, given one of its files.
type Harm = fn(&Path, &str);

fn change(dir: &Path, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = dir.join(file);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn every_kind_of_damage_to_every_kind_of_file() {
    let dir = TempDir::new().unwrap();
    let expected = three_segments(dir.path());
    assert_eq!(opened(copy(dir.path()).path()), Ok(expected.clone()));
    let kinds: [(&str, Harm); 9] = [
        ("bit flip", |dir, file| change(dir, file, |bytes| *bytes.last_mut().unwrap() ^= 4)),
        ("bit flip at the begin", |dir, file| change(dir, file, |bytes| bytes[9] ^= 4)),
        ("truncation", |dir, file| change(dir, file, |bytes| bytes.truncate(bytes.len() - 30))),
        ("emptied", |dir, file| change(dir, file, Vec::clear)),
        ("zeroed page", |dir, file| change(dir, file, |bytes| bytes[60..].fill(0))),
        ("missing", |dir, file| fs::remove_file(dir.join(file)).unwrap()),
        ("swapped", |dir, file| {
            let other = if file == CLOSED { CLEANED } else { CLOSED };
            fs::rename(dir.join(file), dir.join("aside")).unwrap();
            fs::rename(dir.join(other), dir.join(file)).unwrap();
            fs::rename(dir.join("aside"), dir.join(other)).unwrap();
        }),
        ("duplicated", |dir, file| {
            fs::copy(dir.join(file), dir.join("0000000004-0000000004.journal")).unwrap();
        }),
        ("appended garbage", |dir, file| {
            change(dir, file, |bytes| bytes.extend_from_slice(b"garbage, longer than any frame's header"));
        }),
    ];
    // The messages, by kind and by file; every one of these refuses.
    let table = [
        ("bit flip", [CLEANED, CLOSED, ACTIVE, "manifest is damaged"]),
        ("bit flip at the begin", [CLEANED, CLOSED, ACTIVE, "manifest is damaged"]),
        ("truncation", [CLEANED, CLOSED, "bytes that were on disk are missing", "manifest is damaged"]),
        (
            "emptied",
            ["damaged at byte 0", "damaged at byte 0", "damaged at byte 0", "manifest is damaged"],
        ),
        ("zeroed page", [CLEANED, CLOSED, ACTIVE, "manifest is damaged"]),
        (
            "missing",
            [
                "0000000001-0000000001.journal is missing",
                "0000000002-0000000002.journal is missing",
                "0000000003-0000000003.journal is missing",
                "manifest is missing",
            ],
        ),
        (
            "swapped",
            ["under another name", "under another name", "under another name", "manifest is damaged"],
        ),
        ("duplicated", ["is not in", "is not in", "is not in", "is not in"]),
        ("appended garbage", [CLEANED, CLOSED, ACTIVE, "manifest is damaged"]),
    ];
    for (kind, harm) in kinds {
        let words = table.iter().find(|(named, _)| *named == kind).unwrap().1;
        for (file, word) in [CLEANED, CLOSED, ACTIVE, "manifest"].into_iter().zip(words) {
            let copy = copy(dir.path());
            harm(copy.path(), file);
            let before = files(copy.path());
            let refused = opened(copy.path()).expect_err(&format!("{kind} of {file} went unnoticed"));
            assert!(
                refused.contains(word) && refused.contains("millrace log salvage"),
                "{kind} of {file}: {refused}"
            );
            assert_eq!(files(copy.path()), before, "{kind} of {file}: the folder was changed");
            assert!(!EmbeddedLog::check(copy.path()).unwrap().whole(), "{kind} of {file}: check finds nothing");
            assert_eq!(files(copy.path()), before, "{kind} of {file}: check changed the folder");
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_is_noticed() {
    let dir = TempDir::new().unwrap();
    let expected = three_segments(dir.path());
    let mut random = Random::new(10);
    let copy = copy(dir.path());
    for (file, bytes) in files(dir.path()) {
        for place in 0..bytes.len() {
            let bit = random.below(8) as u8;
            let mut flipped = bytes.clone();
            flipped[place] ^= 1 << bit;
            fs::write(copy.path().join(&file), &flipped).unwrap();
            let refused = opened(copy.path()).expect_err(&format!("{file} at {place}, bit {bit}"));
            assert!(refused.contains(&file), "{file} at {place}: {refused}");
        }
        fs::write(copy.path().join(&file), &bytes).unwrap();
    }
    assert_eq!(opened(copy.path()), Ok(expected));
}

/// Without the mark in the manifest: as if the process had been killed within its first minute.
#[test]
fn a_flipped_bit_of_a_killed_log_is_noticed_in_its_last_batch_too() {
    let dir = TempDir::new().unwrap();
    let (states, file) = written(dir.path());
    let whole = fs::read(&file).unwrap();
    let copy = copy(dir.path());
    let path = copy.path().join(file.file_name().unwrap());
    for place in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        let refused = opened(copy.path()).expect_err(&format!("flipped at {place}"));
        assert!(refused.contains("is damaged at byte"), "flipped at {place}: {refused}");
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(opened(copy.path()).as_ref(), Ok(states.values().next_back().unwrap()));
}

/// The process is killed at once after its last commit, and the log is cut afterwards: also at a frame's begin, and by zeros in its last write.
#[test]
fn a_killed_log_that_is_cut_is_told_from_one_that_was_killed() {
    const ONLY: &str = "0000000001-0000000001.journal";
    let dir = TempDir::new().unwrap();
    let log = EmbeddedLog::open(dir.path(), EmbeddedConfig::default()).unwrap();
    create_topics(&log);
    for number in 0..3 {
        log.append(vec![(at("input", 0), record("a", Some(&number.to_string())))]).unwrap();
    }
    let last = log.size_bytes() as usize;
    log.append(vec![(at("input", 0), record("a", Some("last")))]).unwrap();
    let (expected, end) = (shown(&log), log.size_bytes() as usize);
    // The log is still open: what is copied is what a kill leaves.
    let refused = |harm: &dyn Fn(&mut Vec<u8>), words: &str| {
        let copy = copy(dir.path());
        change(copy.path(), ONLY, harm);
        let before = files(copy.path());
        let refused = opened(copy.path()).expect_err(words);
        assert!(refused.contains(ONLY) && refused.contains(words), "{refused}");
        assert!(!EmbeddedLog::check(copy.path()).unwrap().whole(), "check finds nothing");
        assert_eq!(files(copy.path()), before, "the folder was changed");
    };
    for length in (0..end).filter(|length| length % 7 == 0).chain([last, end - 1]) {
        refused(
            &|bytes: &mut Vec<u8>| bytes.truncate(length),
            if length < 100 { "" } else { "bytes that were on disk are missing" },
        );
    }
    refused(&|bytes: &mut Vec<u8>| bytes[last..].fill(0), "bytes that were on disk are missing");
    // What was not acknowledged is no damage.
    let copy = copy(dir.path());
    change(copy.path(), ONLY, |bytes| bytes.extend_from_slice(&[7; 9]));
    let found = EmbeddedLog::check(copy.path()).unwrap();
    assert_eq!((found.whole(), found.segments[0].unfinished), (true, Some(end as u64)), "{found:?}");
    assert_eq!(opened(copy.path()), Ok(expected.clone()));
    // A log of a version without marks has none; another log's is no mark.
    fs::remove_file(copy.path().join("mark")).unwrap();
    assert_eq!(opened(copy.path()), Ok(expected));
    let other = TempDir::new().unwrap();
    drop(EmbeddedLog::open(other.path(), EmbeddedConfig::default()).unwrap());
    fs::copy(other.path().join("mark"), copy.path().join("mark")).unwrap();
    let refused = opened(copy.path()).unwrap_err();
    assert!(refused.contains("mark is damaged, or another log's"), "{refused}");
}

/// What power loss leaves of a write that nobody waited for to its end: pages that were never written.
#[test]
fn pages_that_were_never_written_are_cut_off_where_nothing_follows() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path());
    create_topics(&log);
    let expected = shown(&log);
    let begin = log.size_bytes() as usize;
    log.append(vec![(at("input", 0), record("a", Some(&"v".repeat(20_000))))]).unwrap();
    let end = log.size_bytes() as usize;
    drop(log);
    let path = dir.path().join("0000000001-0000000001.journal");
    let whole = fs::read(&path).unwrap();
    assert_eq!(whole.len(), end);
    for zeros in [begin..end, 8192..12288, begin..4096, 16384..end] {
        let copy = copy(dir.path());
        let mut bytes = whole.clone();
        bytes[zeros.clone()].fill(0);
        fs::write(copy.path().join(path.file_name().unwrap()), &bytes).unwrap();
        assert!(EmbeddedLog::check(copy.path()).unwrap().whole(), "{zeros:?}");
        assert_eq!(opened(copy.path()), Ok(expected.clone()), "{zeros:?}");
    }
    // The same hole with a batch after it is damage.
    let log = open(dir.path());
    log.append(vec![(at("input", 0), record("b", None))]).unwrap();
    drop(log);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8192..12288].fill(0);
    fs::write(&path, &bytes).unwrap();
    let refused = opened(dir.path()).unwrap_err();
    assert!(
        refused.contains(&format!("is damaged at byte {begin}: the batch that begins here")),
        "{refused}"
    );
}

#[test]
fn salvage_saves_all_that_is_whole() {
    let dir = TempDir::new().unwrap();
    let expected = three_segments(dir.path());
    let total = EmbeddedLog::check(dir.path()).unwrap();
    assert!(total.whole(), "{total:?}");
    let records: u64 = total.segments.iter().map(|segment| segment.records).sum();
    for (file, lost) in [("manifest", 0), (CLOSED, 2), (ACTIVE, 2)] {
        let copy = copy(dir.path());
        let place = if file == "manifest" {
            20
        } else {
            fs::read(copy.path().join(file)).unwrap().len() / 2
        };
        change(copy.path(), file, |bytes| bytes[place] ^= 1);
        let found = EmbeddedLog::check(copy.path()).unwrap();
        assert!(!found.whole());
        let to = copy.path().join("saved");
        let rescue = EmbeddedLog::salvage(copy.path(), &to, &|_| false).unwrap();
        assert_eq!((rescue.records, rescue.left_out), (records - lost, 0), "{file}");
        assert_eq!(rescue.found.topics.iter().map(|topic| topic.lost).sum::<u64>(), lost, "{file}: {found:?}");
        let log = open(&to);
        assert_ne!(log.identity().unwrap(), total.log, "what was saved is another log");
        if lost == 0 {
            assert_eq!(shown(&log), expected);
        }
        let bounds = [at("input", 1), at("changelog", 0)].map(|place| log.bounds(&place).unwrap());
        assert_eq!(bounds, [(0, 18), (0, 18)], "offsets stay and go on");
    }
    let error = millrace_model::chain(&EmbeddedLog::salvage(dir.path(), dir.path(), &|_| false).unwrap_err());
    assert!(error.contains("is not empty"), "{error}");
    let error = millrace_model::chain(&EmbeddedLog::check(&dir.path().join("nowhere")).unwrap_err());
    assert!(error.contains("holds no log"), "{error}");
}

/// Beside lost batches the rest of what follows from others would contradict it.
#[test]
fn what_follows_begins_anew_once_anything_is_damaged() {
    let dir = TempDir::new().unwrap();
    let expected = three_segments(dir.path());
    let follows = |topic: &str| topic == "changelog";
    let whole = TempDir::new().unwrap();
    let rescue = EmbeddedLog::salvage(dir.path(), whole.path(), &follows).unwrap();
    assert_eq!((rescue.begun_anew, shown(&open(whole.path()))), (vec![], expected));
    for file in [CLEANED, CLOSED, ACTIVE, "manifest"] {
        let copy = copy(dir.path());
        change(copy.path(), file, |bytes| *bytes.last_mut().unwrap() ^= 1);
        let to = copy.path().join("saved");
        let rescue = EmbeddedLog::salvage(copy.path(), &to, &follows).unwrap();
        assert_eq!(rescue.begun_anew, ["changelog"], "{file}");
        let log = open(&to);
        assert_eq!(read(&log, &at("changelog", 0)), [], "{file}");
        let input = read(&log, &at("input", 1)).len() as u64;
        assert!(input >= 17 && input == rescue.records, "{file}: {input} of {}", rescue.records);
        let (start, next) = log.bounds(&at("changelog", 0)).unwrap();
        assert!(start == next && next >= 17, "{file}: offsets go on, {start} to {next}");
        assert_eq!(log.shared.index().positions.len(), 0, "{file}");
        // What is written from now on is kept.
        let mut shard = session(&log, 0);
        commit(&mut *shard, vec![(at("changelog", 0), record("key-0", Some("new")))], vec![(at("input", 0), 0)]);
        drop((shard, log));
        assert_eq!(read(&open(&to), &at("changelog", 0)).len(), 1, "{file}");
    }
}

/// Written by the last version that had this format, over the topics and commits of `written`.
const FORMAT_ONE: &[u8] = include_bytes!("format-1.journal");

#[test]
fn a_log_of_format_one_is_refused_and_carried_over() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("0000000001-0000000001.journal"), FORMAT_ONE).unwrap();
    let refused = opened(dir.path()).unwrap_err();
    assert!(refused.contains("in format 1; `millrace log salvage"), "{refused}");
    let found = EmbeddedLog::check(dir.path()).unwrap();
    assert!(found.whole() && found.format == 1, "{found:?}");
    let to = dir.path().join("new");
    EmbeddedLog::salvage(dir.path(), &to, &|topic| topic == "changelog").unwrap();
    let (states, _) = written(TempDir::new().unwrap().path());
    assert_eq!(shown(&open(&to)), *states.values().next_back().unwrap());
}

#[test]
fn the_making_of_a_log_may_be_cut_off_anywhere() {
    let dir = TempDir::new().unwrap();
    drop(open(dir.path()));
    fs::remove_file(dir.path().join("manifest")).unwrap();
    assert_eq!(opened(dir.path()), Ok("{}".to_owned()));
    // A segment that was begun and that the manifest does not name yet.
    let log = open(dir.path());
    create_topics(&log);
    let manifest = fs::read(dir.path().join("manifest")).unwrap();
    let expected = shown(&log);
    log.shared.writer().roll(&log.shared).unwrap();
    drop(log);
    fs::write(dir.path().join("manifest"), manifest).unwrap();
    assert_eq!(opened(dir.path()), Ok(expected));
    assert!(!dir.path().join(CLOSED).exists());
}
