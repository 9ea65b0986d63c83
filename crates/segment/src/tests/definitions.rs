//! Reading of definitions.

use expect_test::expect;

use crate::{Kind, Status, documents, parse_definitions};

#[test]
fn yaml_and_json() {
    let text = r#"
kind: Segment
metadata: { name: new-product-upsell, description: "Bodea upsell" }
spec:
  subject: person            # or account
  status: draft
  timeZone: Europe/Berlin
  pql: |
    b2b.personScore > 80
  destinations: [marketo-1, linkedin, linkedin]
---
{"kind": "Segment", "metadata": {"name": "b"}, "spec": {"subject": "account", "pql": "parent.isNull()"}}
---
kind: Segment
metadata: { name: c }
spec:
  pql: {"nodeType": "literal", "literalType": "Boolean", "value": true}
"#;
    let definitions = parse_definitions(text).expect("definitions");
    let shown: Vec<_> = definitions
        .iter()
        .map(|d| {
            (
                d.name.as_str(),
                d.subject.name(),
                d.status,
                d.time_zone.name(),
                d.pql.trim(),
                d.destinations.len(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("new-product-upsell", "person", Status::Draft, "Europe/Berlin", "b2b.personScore > 80", 2),
            ("b", "account", Status::Published, "UTC", "parent.isNull()", 0),
            ("c", "person", Status::Published, "UTC", "true", 0),
        ]
    );
    let json = serde_json::to_string(&definitions[0]).expect("json");
    assert_eq!(serde_json::from_str::<crate::Definition>(&json).expect("definition"), definitions[0]);
}

#[test]
fn numbers_of_the_json_form_keep_their_digits() {
    let numbers = [
        ("9007199254740993.25", "9007199254740993.25"),
        ("12345678901234567890.123456", "12345678901234567890.123456"),
        ("0.1234567890123456789012345678", "0.1234567890123456789012345678"),
        ("-12345678901234567890123", "-12345678901234567890123.0"),
        ("1.5e3", "1500.0"),
        ("0.1", "0.1"),
        ("7", "7"),
    ];
    for (written, rule) in numbers {
        let json = format!(r#"{{"nodeType": "literal", "value": [{written}, "x", null]}}"#);
        let texts = [
            format!("kind: Segment\nmetadata: {{ name: a }}\nspec:\n  pql: {json}\n"),
            format!(r#"{{"kind": "Segment", "metadata": {{"name": "a"}}, "spec": {{"pql": {json}}}}}"#),
            format!("kind: Segment\nmetadata: {{ name: a }}\nspec:\n  pql:\n    nodeType: literal\n    value: [&n {written}, x, null]\n"),
        ];
        for text in texts {
            assert_eq!(
                parse_definitions(&text).expect("a definition")[0].pql,
                format!("[{rule}, \"x\", null]"),
                "{text}"
            );
        }
    }
    // Forms that YAML has and JSON has not, in a document that is not the first.
    let text = "kind: Segment\nmetadata: { name: a }\nspec: { pql: 'true' }\n---\nkind: Segment\nmetadata: { name: b }\nspec:\n  pql: {nodeType: literal, value: [0x1F, .5, +7.50, 1.5]}\n";
    assert_eq!(parse_definitions(text).expect("definitions")[1].pql, "[31, 0.5, 7.5, 1.5]");
}

#[test]
fn refused_definitions() {
    let text = r#"
kind: Segmant
metadata: { nam: x, name: "Up Sell" }
spec:
  subjct: person
  status: publishd
  timeZone: Europe/Berln
  destinations: 5
---
kind: Segment
"#;
    let problems = parse_definitions(text).expect_err("refused");
    let shown: String = problems.iter().map(|problem| problem.render(text)).collect();
    expect![[r#"
        error[kind]: `kind` cannot be `Segmant`
         --> line 2, column 1
          |
        2 | kind: Segmant
          | ^^^^
          = expected Segment, ExternalAudience, ComputedAttribute
          = did you mean `Segment`?
        error[unknown-key]: `metadata` has no key `nam`
         --> line 3, column 13
          |
        3 | metadata: { nam: x, name: "Up Sell" }
          |             ^^^
          = expected name, description
          = did you mean `name`?
        error[unknown-key]: `spec` has no key `subjct`
         --> line 5, column 3
          |
        5 |   subjct: person
          |   ^^^^^^
          = expected subject, status, timeZone, pql, destinations
          = did you mean `subject`?
        error[name]: `Up Sell` is no name: small letters, digits and hyphens, 1 to 128 of them
         --> line 3, column 21
          |
        3 | metadata: { nam: x, name: "Up Sell" }
          |                     ^^^^
        error[unknown-value]: `Europe/Berln` is no time zone
         --> line 7, column 13
          |
        7 |   timeZone: Europe/Berln
          |             ^^^^^^^^^^^^
          = expected a name such as `Europe/Berlin`
          = did you mean `Europe/Berlin`?
        error[unknown-value]: `status` cannot be `publishd`
         --> line 6, column 11
          |
        6 |   status: publishd
          |           ^^^^^^^^
          = expected published, draft, inactive
          = did you mean `published`?
        error[missing-key]: `pql` is missing: a segment has a rule
         --> line 4, column 1
          |
        4 | spec:
          | ^^^^
        error[type]: `destinations` is a list of names
         --> line 8, column 3
          |
        8 |   destinations: 5
          |   ^^^^^^^^^^^^
        error[missing-key]: `metadata` is missing
         --> line 9, column 1
          |
        9 | ---
          | ^
        error[missing-key]: `spec` is missing
         --> line 9, column 1
          |
        9 | ---
          | ^
    "#]]
    .assert_eq(&shown);
    let to = |name: &str| format!("{{kind: Segment, metadata: {{name: a}}, spec: {{pql: true, destinations: [{name}]}}}}");
    assert!(parse_definitions(&to("linkedin-2")).is_ok());
    for name in ["LinkedIn", "'my ads!'", "''", "7", "ads/x"] {
        assert!(parse_definitions(&to(name)).is_err(), "{name}");
    }
    for text in ["", "# nothing", "- a", "kind: [", "5"] {
        assert!(!parse_definitions(text).expect_err("refused").is_empty(), "{text}");
    }
}

#[test]
fn external_audiences_mean_a_rule_about_their_memberships() {
    let audience = |spec: &str| parse_definitions(&format!("kind: ExternalAudience\nmetadata: {{ name: partners }}\n{spec}"));
    let table = [
        ("", "occurs < 30 days before now", Some(2_592_000_000)),
        ("spec: { expiresAfter: 36h }", "occurs < 36 hours before now", Some(129_600_000)),
        (
            "spec: { expiresAfter: 14d, subject: account }",
            "occurs < 2 weeks before now",
            Some(1_209_600_000),
        ),
        ("spec: { expiresAfter: never }", "or m.validUntil.isNull())", None),
    ];
    for (spec, part, expires_after_ms) in table {
        let definition = audience(spec).expect("a definition").remove(0);
        assert_eq!(definition.kind, Kind::ExternalAudience { expires_after_ms }, "{spec}");
        assert!(definition.pql.contains(part), "{spec}: {}", definition.pql);
        let compiled = crate::compile(&definition, crate::testing::schema_once()).expect("the rule compiles");
        assert!(compiled.warnings().is_empty(), "{spec}");
    }
    for spec in [
        "spec: { expiresAfter: 0d }",
        "spec: { expiresAfter: 30 }",
        "spec: { expiresAfter: 99999999d }",
        "spec: { pql: 'true' }",
    ] {
        assert!(audience(spec).is_err(), "{spec}");
    }
}

#[test]
fn computed_attributes_are_filled_in_with_their_types() {
    let schema = crate::testing::schema_once();
    let compiled = |text: &str| {
        let definitions = parse_definitions(text).expect("definitions");
        definitions
            .iter()
            .map(|definition| crate::compile(definition, schema).expect("each compiles by itself"))
            .collect::<Vec<_>>()
    };
    let attributes = compiled(
        r#"
kind: ComputedAttribute
metadata: { name: score }
spec: { pql: b2b.personScore }
---
kind: ComputedAttribute
metadata: { name: won }
spec: { subject: account, pql: opportunities.count() }
---
kind: ComputedAttribute
metadata: { name: today-in-berlin }
spec: { pql: "xEvent[timestamp occurs today].count()", timeZone: Europe/Berlin }
"#,
    );
    let library = crate::Library::of(&attributes);
    let table = [
        ("computed.score > 7", "good"),
        ("let computed = b2b in computed.personScore > 7", "good"),
        ("accounts[computed.won > 5 and ^.computed.score > 1]", "good"),
        ("accounts.computed.won.sum() > 5", "good"),
        ("computed.won > 5", "subject"),
        ("accounts[computed.score > 5]", "subject"),
        ("not(computed.score)", "not-boolean"),
        ("computed.`today-in-berlin` > 1", "time-zone"),
        ("computed.nothing > 1", "warning unknown-attribute"),
        ("extra.computed.score > 1", "good"),
    ];
    for (pql, expected) in table {
        let definition = crate::testing::definition(millrace_model::SubjectKind::Person, chrono_tz::Tz::UTC, pql);
        let found = match crate::compile_with(&definition, schema, &library) {
            Ok(compiled) => compiled
                .warnings()
                .first()
                .map_or("good".to_owned(), |warning| format!("warning {}", warning.code)),
            Err(problems) => problems[0].code.to_owned(),
        };
        assert_eq!(found, expected, "{pql}");
    }
}

#[test]
fn documents_are_definitions_one_each() {
    let one = "kind: Segment\nmetadata: { name: one }\nspec: { pql: 'true' }\n";
    let two = one.replace("one", "two");
    for text in [
        format!("{one}---\n{two}"),
        format!("---\n{one}---\n{two}"),
        format!("# ours\n---\n{one}\n--- # the second\n{two}---\n# no third\n---\n"),
        format!("%YAML 1.2\n---\r\n{one}...\n---\n\n---\n{two}..."),
        format!("--- {{kind: Segment, metadata: {{name: one}}, spec: {{pql: 'true'}}}}\n--- \n{two}"),
    ] {
        let names = |text: &str| parse_definitions(text).map(|definitions| definitions.into_iter().map(|definition| definition.name).collect::<Vec<_>>());
        assert_eq!(names(&text).expect("definitions"), ["one", "two"], "{text}");
        let documents = documents(&text);
        assert_eq!(documents.concat(), text);
        let each: Vec<_> = documents.iter().map(|document| names(document).expect(document)).collect();
        assert_eq!(each, [["one"], ["two"]], "{text}");
    }
    assert!(documents("# nothing\n---\n").is_empty());
    // Places are those of the document with the error.
    let text = format!("# ours\n---\n{one}---\n{}", two.replace("spec", "spek"));
    let problems = parse_definitions(&text).expect_err("refused");
    assert!(problems[0].render(&text).contains("line 9, column 1"), "{}", problems[0].render(&text));
}
