//! The examples run, and print what they should.

use std::fs::File;
use std::process::{Command, Stdio};

use expect_test::{Expect, expect};

fn check(program: &str, input: Stdio, expected: Expect) {
    let output = Command::new(program).stdin(input).output().expect("the example starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    expected.assert_eq(&String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_rule_over_a_few_facts() {
    check(
        env!("CARGO_BIN_EXE_rule"),
        Stdio::null(),
        expect![[r#"
        2026-11-02T12:00:00.000Z: ann is in hot-buyers, until 2026-11-08T12:00:00.001Z
        2026-11-09T12:00:00.000Z: ann is not in hot-buyers, for ever
    "#]],
    );
}

#[test]
fn source_records_decoded() {
    check(
        env!("CARGO_BIN_EXE_decode"),
        Stdio::null(),
        expect![[r#"
        person 1@crm.Salesforce at 2026-11-01T12:00:00.000Z is now {"personKey":{"sourceID":"1","sourceInstanceID":"crm","sourceKey":"1@crm.Salesforce","sourceType":"Salesforce"},"workEmail":{"address":"ann@acme.com"}}
        person 1@crm.Salesforce at 2026-11-01T12:00:00.000Z has new b2b.personScore: {"b2b":{"personScore":80},"personKey":{"sourceID":"1","sourceInstanceID":"crm","sourceKey":"1@crm.Salesforce","sourceType":"Salesforce"}}
        person 1@crm.Salesforce at 2026-11-02T00:00:00.000Z is deleted
        dead letter, wrong-type: `isDeleted`: expected true or false, found text `perhaps`
    "#]],
    );
}

#[test]
fn a_shard_over_json_lines() {
    let lines = File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/records.jsonl")).expect("the example's records");
    check(
        env!("CARGO_BIN_EXE_shard"),
        Stdio::from(lines),
        expect![[r#"
        b2b_person:2@crm.Salesforce Realized leads
        b2b_person:1@crm.Salesforce Realized leads
        b2b_person:2@crm.Salesforce Exited leads
    "#]],
    );
}
