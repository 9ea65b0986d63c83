//! Long histories: work on many rows costs in proportion to them, and no step handles many.
//!
//! Rows are counted, because times say little on a busy machine; `docs/figures.md` has those. The
//! stories check their own ends.

use millrace_test_scenarios::long::{self, ORDERS, Part};

/// Events of a long history in these tests; `benches/long.rs` has a hundred thousand.
const EVENTS: i64 = 6_000;

fn rows_read(parts: &[Part]) -> usize {
    parts.iter().map(|part| part.rows_read).sum()
}

/// The rows read by work on this number of events and by the same with a quarter of them: about
/// four times as many.
fn check_linear(about: &str, story: impl Fn(i64) -> Vec<Part>) {
    let (few, many) = (story(EVENTS / 4), story(EVENTS));
    assert!(rows_read(&many) <= 6 * rows_read(&few), "{about}: {few:#?}\n{many:#?}");
}

#[test]
fn a_history_moves_in_proportion_to_its_length() {
    for order in ORDERS {
        check_linear(order, |count| long::moves(count, order));
    }
}

#[test]
fn a_history_expires_event_by_event_in_proportion_to_its_length() {
    check_linear("one by one", |count| long::expires(count, "ascending", true));
}

#[test]
fn a_history_that_expires_at_once_does_so_in_portions() {
    for order in ORDERS {
        check_linear(order, |count| long::expires(count, order, false));
    }
}

#[test]
fn rules_come_to_a_long_history_and_go_in_portions() {
    for order in ["ascending", "equal"] {
        long::rules_come_and_go(EVENTS, order);
    }
}

#[test]
fn definitions_come_one_by_one() {
    long::many_definitions(60);
}
