//! Issue 10, "Counts wrong": decimals, untyped values, dates, consents, versions of a wrong clock,
//! blank texts, spellings of one letter.

use millrace_oracle::SourceRecord;
use millrace_oracle::worlds::{NOON_MS, event, key, record};
use serde_json::{Value as Json, json};

use super::stage::{Stage, check};

const P: &str = "1@m.M";
const ID: &str = "b2b_person:1@m.M";
const ME: &[&str] = &[ID];
const NOBODY: &[&str] = &[];
const ACCOUNT: &str = "a@c.C";

fn person(source_key: &str, at: i64, fields: Json) -> SourceRecord {
    record("person", source_key, NOON_MS + at, fields)
}

fn number(text: &str) -> Json {
    Json::Number(text.parse().expect("a number"))
}

fn won(id: &str, at: i64, amount: &str) -> SourceRecord {
    let fields = json!({ "accountKey": key(ACCOUNT), "isWon": true, "opportunityAmount": { "amount": number(amount) } });
    record("opportunity", id, NOON_MS + at, fields)
}

#[test]
fn cents_add_up_whatever_came_and_went() {
    const SUM: &str = "sum(select o.opportunityAmount.amount from accounts.opportunities where o.isWon)";
    let rules = [format!("{SUM} > 1000000"), format!("{SUM} = 1000000"), format!("{SUM} = 506.22")];
    let mut stage = Stage::new(&rules.iter().map(String::as_str).collect::<Vec<_>>());
    stage.send(record("account", ACCOUNT, NOON_MS, json!({})));
    stage.send(person(P, 0, json!({ "b2b": { "accountKey": key(ACCOUNT) } })));
    for (id, amount) in [("1@c.C", "367825.03"), ("2@c.C", "582094.43"), ("3@c.C", "50080.54")] {
        stage.send(won(id, 1, amount));
    }
    let shown = |stage: &mut Stage| stage.members().iter().map(|members| members.len()).collect::<Vec<_>>();
    assert_eq!(shown(&mut stage), [0, 1, 0], "exactly a million");
    stage.send(won("3@c.C", 2, "50080.55"));
    assert_eq!(shown(&mut stage), [1, 0, 0], "a cent above");
    for (id, amount) in [("1@c.C", "324.71"), ("2@c.C", "181.51"), ("3@c.C", "0")] {
        stage.send(won(id, 3, amount));
    }
    assert_eq!(shown(&mut stage), [0, 0, 1], "nothing is left of what went");
}

#[test]
fn sums_over_events_keep_their_cents() {
    let order = |id: &str, price: &str| {
        let items = json!([{ "SKU": "s", "priceTotal": number(price) }]);
        let mut sent = millrace_oracle::worlds::event(
            id,
            NOON_MS - 1,
            &["b2b_person:1@m.M"],
            json!({ "eventType": "commerce.purchases", "productListItems": items }),
        );
        sent.timestamp_ms = NOON_MS;
        sent
    };
    let sum = "(sum v.productListItems.priceTotal over v from xEvent where v.eventType = \"commerce.purchases\")";
    let records: Vec<_> = (0..10).map(|at| order(&format!("e{at}"), "0.1")).collect();
    check(
        "ten tenths",
        &records,
        &[(&format!("{sum} = 1"), ME), (&format!("{sum} > 1"), NOBODY), (&format!("{sum} < 1"), NOBODY)],
    );
}

#[test]
fn whole_numbers_beyond_two_to_the_fifty_third_are_exact() {
    let records = [person(
        P,
        0,
        json!({ "extra": { "n": 9_007_199_254_740_993_i64, "m": number("12345678901234567.89") } }),
    )];
    check(
        "large numbers",
        &records,
        &[
            ("extra.n = 9007199254740993", ME),
            ("extra.n = 9007199254740992", NOBODY),
            ("extra.m = 12345678901234567.89", ME),
            ("extra.m = 12345678901234567.9", NOBODY),
        ],
    );
}

#[test]
fn the_typed_side_decides() {
    let records = [person(P, 0, json!({ "extra": { "n": "30", "word": "gold" } }))];
    check(
        "a number as a text",
        &records,
        &[
            ("extra.n < 100", ME),
            ("100 > extra.n", ME),
            ("extra.n > 200", NOBODY),
            ("200 < extra.n", NOBODY),
            ("extra.word < 100", NOBODY),
            ("100 > extra.word", NOBODY),
            ("extra.word in [30] or extra.word notIn [30]", NOBODY),
            ("extra.word notIn [\"silver\"]", ME),
        ],
    );
}

#[test]
fn a_list_is_no_item_of_single_values() {
    let lists = json!({ "v": [30], "empty": [] });
    let visit = event("v1", NOON_MS - 1_000, &[ID], json!({ "eventType": "view", "extra": lists }));
    check(
        "a list beside typed items",
        &[person(P, 0, json!({ "extra": lists })), visit],
        &[
            ("extra.v in [30, 5] or extra.v notIn [30, 5]", NOBODY),
            ("extra.empty in [30] or extra.empty notIn [30]", NOBODY),
            ("extra.v notIn [\"x\"] or extra.v notIn [true]", NOBODY),
            ("exists v from xEvent where v.extra.v notIn [30, 5]", NOBODY),
            ("exists v from xEvent where v.extra.v.isNotNull()", ME),
        ],
    );
}

#[test]
fn a_date_is_the_day_that_is_written() {
    let born = |date: &str| person(P, 0, json!({ "person": { "birthDate": date } }));
    for written in ["1990-02-28", "1990-02-28T23:30:00-08:00", "1990-02-28T00:30:00.000+0900", "1990-02-28T12:00:00"] {
        let cases: &[(&str, &[&str])] = &[
            ("person.birthDate = date(1990, 2, 28)", ME),
            ("person.birthDate occurs on date(1990, 2, 28)", ME),
            ("person.birthDate.getDayOfMonth() = 28", ME),
            ("person.birthDate > date(1990, 2, 28)", NOBODY),
        ];
        check(written, &[born(written)], cases);
    }
    let mut stage = Stage::new(&["true"]);
    for wrong in [json!(636_163_200_000_i64), json!("yesterday"), json!("1990-02-30")] {
        stage.cluster.source(&person("2@m.M", 0, json!({ "person": { "birthDate": wrong } })));
    }
    stage.cluster.settle();
    assert_eq!(stage.cluster.dead_letters, ["wrong-type"; 3]);
}

#[test]
fn a_consent_is_one_value() {
    const MAY: &str = "consents.marketing.email.val = \"y\"";
    const REASON: &str = "consents.marketing.email.reason = \"asked\"";
    let with = |source_key: &str, at: i64, consent: Json| {
        let fields = json!({ "workEmail": { "address": "a@b.c" }, "consents": { "marketing": { "email": consent } } });
        person(source_key, at, fields)
    };
    let two: &[&str] = ME;
    let stale = with("2@m.M", 1, json!({ "val": "y" }));
    let refusal = with(P, 2, json!({ "val": "n", "reason": "asked" }));
    check(
        "the newer refusal with its reason",
        &[stale.clone(), refusal.clone()],
        &[(MAY, NOBODY), (REASON, two)],
    );
    let older_decision = with("2@m.M", 9, json!({ "val": "y", "time": NOON_MS - 5_000 }));
    check("the time decides, not the version", &[older_decision, refusal], &[(MAY, NOBODY), (REASON, two)]);
    let at = NOON_MS - 1_000;
    let tie = [
        with(P, 1, json!({ "val": "n", "time": at })),
        with("2@m.M", 9, json!({ "val": "y", "time": at })),
    ];
    check("on a tie the refusal", &tie, &[(MAY, NOBODY)]);
    let mut partial = person(P, 5, json!({ "consents": { "marketing": { "email": { "val": "y" } } } }));
    partial.value.as_mut().expect("just made")["changedFields"] = json!(["consents.marketing.email.val"]);
    let before = with(P, 1, json!({ "val": "n", "reason": "asked", "time": NOON_MS }));
    check("a partial update is a decision of its own", &[before, partial], &[(MAY, two), (REASON, NOBODY)]);
}

#[test]
fn what_is_said_about_a_consent_leaves_the_decision() {
    const MAY: &str = "consents.marketing.email.val = \"y\"";
    const REASON: &str = "consents.marketing.email.reason = \"by phone\"";
    let with = |source_key: &str, at: i64, consent: Json| {
        let fields = json!({ "workEmail": { "address": "a@b.c" }, "consents": { "marketing": { "email": consent } } });
        person(source_key, at, fields)
    };
    let refusal = with(P, 1, json!({ "val": "n", "time": NOON_MS - 1_000, "reason": "asked" }));
    let stale = with("2@m.M", 2, json!({ "val": "y", "time": NOON_MS - 5_000 }));
    let mut reason = with(P, 5, json!({ "reason": "by phone" }));
    reason.value.as_mut().expect("just made")["changedFields"] = json!(["consents.marketing.email.reason"]);
    check(
        "a reason is no decision",
        &[refusal, stale, reason],
        &[(MAY, NOBODY), ("consents.marketing.email.val = \"n\"", ME), (REASON, ME)],
    );
    let ahead = with(P, 1, json!({ "val": "y", "time": "9999-01-01T00:00:00Z" }));
    let later = with("2@m.M", 2, json!({ "val": "n", "time": NOON_MS + 2 }));
    check("a decision from the future is as old as its record", &[ahead, later], &[(MAY, NOBODY)]);
}

#[test]
fn a_wrong_clock_does_not_win_for_ever() {
    let score = |modified_at: Json, arrives_at: i64, score: i64| {
        let mut record = person(P, 0, json!({ "b2b": { "personScore": score } }));
        record.value.as_mut().expect("just made")["modifiedAt"] = modified_at;
        record.timestamp_ms = NOON_MS + arrives_at;
        record
    };
    let mut stage = Stage::new(&["b2b.personScore = 2"]);
    stage.send(score(json!("9999-12-31T00:00:00Z"), 1, 1));
    stage.send(score(json!(NOON_MS + 2), 2, 2));
    stage.expect("the true clock's later word", ME);
    assert_eq!(stage.cluster.counted["ingest person accepted-with-modified-at-ahead"], 1);
    stage.send(score(json!(NOON_MS + 300_000), 3, 3));
    stage.expect("five minutes ahead are believed", NOBODY);
    stage.cluster.source(&score(json!("2026-03-18T12:00:00"), 4, 4));
    stage.cluster.settle();
    assert_eq!(stage.cluster.dead_letters, ["wrong-type"], "no zone, no instant");
}

#[test]
fn a_blank_text_says_nothing() {
    let filled = person(
        P,
        1,
        json!({ "workEmail": { "address": "a@b.c" }, "homeAddress": { "city": "Kyoto" }, "extra": { "note": " " } }),
    );
    let blank = person(
        "2@m.M",
        2,
        json!({ "workEmail": { "address": "a@b.c" }, "homeAddress": { "city": "  " }, "extra": { "tier": "" } }),
    );
    check(
        "blank and filled",
        &[filled, blank],
        &[("homeAddress.city = \"Kyoto\"", ME), ("extra.note.isNotNull() and extra.tier.isNotNull()", ME)],
    );
    // As tables are exported: blank cells in fields of every type.
    let exported = json!({ "isDeleted": "", "person": { "birthDate": "" }, "b2b": { "personScore": " ", "isConverted": "", "companyName": "C" } });
    check(
        "blank in typed fields",
        &[person(P, 1, exported)],
        &[("b2b.companyName = \"C\"", ME), ("b2b.personScore.isNull() and person.birthDate.isNull()", ME)],
    );
}

#[test]
fn one_letter_has_one_spelling() {
    let composed = person(
        P,
        1,
        json!({ "workEmail": { "address": "ren\u{e9}@x.com" }, "homeAddress": { "city": "Zu\u{308}rich" } }),
    );
    let apart = person(
        "2@m.M",
        2,
        json!({ "workEmail": { "address": "\u{feff}rene\u{301}@x.com\u{200b}" }, "extra": { "city": "Zu\u{308}rich" } }),
    );
    check(
        "both spellings",
        &[composed, apart],
        &[
            ("homeAddress.city = \"Z\u{fc}rich\" and extra.city = \"Zu\u{308}rich\"", ME),
            ("homeAddress.city.startsWith(\"Z\u{fc}\")", ME),
        ],
    );
}
