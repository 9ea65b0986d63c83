//! Accounts with many persons and many identities: no step handles many of them. The stories check
//! their own ends.

use millrace_test_scenarios::long;

#[test]
fn many_persons_of_an_account() {
    long::many_persons(2_000);
}

#[test]
fn many_links_that_end() {
    for by_time in [false, true] {
        long::many_links(by_time);
    }
}
