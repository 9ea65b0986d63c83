//! Rules laid out and converted inside the texts that hold them.

use expect_test::{Expect, expect};

use crate::{Form, convert_text, format_text, parse_definitions};

/// The text as laid out, and the rules left alone; laid out again it stays the same.
fn check(text: &str, expected: Expect) {
    let rewritten = format_text(text).unwrap_or_else(|found| panic!("{text}\n{found:?}"));
    let mut out = rewritten.text.clone();
    for left in &rewritten.left {
        out.push_str(&format!("left: {} ({:?})\n", left.message, left.span));
    }
    expected.assert_eq(&out);
    assert_eq!(format_text(&rewritten.text).map(|again| again.text), Ok(rewritten.text));
}

#[test]
fn rules() {
    check(
        "b2b.personScore>80   AND homeAddress.country   IN [\"CA\"]",
        expect![[r#"
        b2b.personScore > 80 and homeAddress.country in ["CA"]
    "#]],
    );
    check(
        "// whom we call\n\n/* and why */ b2b.personScore>80 // warm\n  // near\n and homeAddress.country = \"CA\" /* or so */ and (b2b.isConverted or b2b.isBlocked)\n// done",
        expect![[r#"
            // whom we call
            /* and why */
            b2b.personScore > 80 // warm
            // near
            and homeAddress.country = "CA" /* or so */
            and (b2b.isConverted or b2b.isBlocked)
            // done
        "#]],
    );
    check(
        "b2b.personScore > 80 // alone",
        expect![[r#"
        b2b.personScore > 80 // alone
    "#]],
    );
    check(
        "xEvent[eventType = \"a\" /* kind */ and extra.n   = 1]",
        expect![[r#"
        xEvent[eventType = "a" /* kind */ and extra.n   = 1]left: the rule is left as it is: a comment stands inside a condition (Span { start: 23, end: 33 })
    "#]],
    );
    check(
        "{\"nodeType\": \"literal\",   \"literalType\": \"Boolean\", \"value\": true}",
        expect![[r#"
        {"nodeType": "literal",   "literalType": "Boolean", "value": true}left: the JSON form is left as it is (Span { start: 0, end: 0 })
    "#]],
    );
}

#[test]
fn definitions() {
    check(
        r#"# Our segments.
kind: Segment
metadata: { name: a, description: "pql: not this" }   # kept
spec:
  description_is_elsewhere: no
"#
        .replace(
            "  description_is_elsewhere: no\n",
            "  pql: 'b2b.personScore>80   and  b2b.isConverted'\n  destinations: [x]   # kept too\n",
        )
        .as_str(),
        expect![[r##"
            # Our segments.
            kind: Segment
            metadata: { name: a, description: "pql: not this" }   # kept
            spec:
              pql: |
                b2b.personScore > 80 and b2b.isConverted
              destinations: [x]   # kept too
        "##]],
    );
    check(
        "kind: Segment\nmetadata: { name: a }\nspec:\n  # why\n  pql: |-\n      b2b.personScore>80\n        and exists v from xEvent where v.eventType=\"web.webpagedetails.pageViews\" and v.timestamp occurs <= 1 month before now\n\n  status: draft\n---\nkind: Segment\nmetadata: { name: b }\nspec: { pql: 'b2b.personScore>80' }\n---\nkind: Segment\nmetadata: { name: c }\nspec: { pql: b2b.personScore > 80 }\n---\nkind: Segment\nmetadata: { name: d }\nspec:\n  pql: |\n    xEvent[ // inside\n      extra.n=1]",
        expect![[r#"
            kind: Segment
            metadata: { name: a }
            spec:
              # why
              pql: |
                b2b.personScore > 80
                and exists v from xEvent where v.eventType = "web.webpagedetails.pageViews"
                    and v.timestamp occurs <= 1 month before now

              status: draft
            ---
            kind: Segment
            metadata: { name: b }
            spec: { pql: 'b2b.personScore>80' }
            ---
            kind: Segment
            metadata: { name: c }
            spec: { pql: b2b.personScore > 80 }
            ---
            kind: Segment
            metadata: { name: d }
            spec:
              pql: |
                xEvent[ // inside
                  extra.n=1]left: segment b: the rule is left as it is: it does not stand in a block of its own (Span { start: 283, end: 283 })
            left: segment d: the rule is left as it is: a comment stands inside a condition (Span { start: 448, end: 457 })
        "#]],
    );
}

#[test]
fn external_audiences_have_no_rule() {
    let text = "kind: ExternalAudience\nmetadata: { name: e }\nspec: { expiresAfter: 36h, destinations: [x] }\n---\nkind: ExternalAudience\nmetadata: { name: f }\nspec: { expiresAfter: never }\n";
    check(
        text,
        expect![[r#"
        kind: ExternalAudience
        metadata: { name: e }
        spec: { expiresAfter: 36h, destinations: [x] }
        ---
        kind: ExternalAudience
        metadata: { name: f }
        spec: { expiresAfter: never }
    "#]],
    );
    let json = convert_text(text, Form::Json).expect("converts");
    let (before, after) = (parse_definitions(text).expect("definitions"), parse_definitions(&json).expect("definitions"));
    assert_eq!(before, after);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn conversions() {
    let yaml = "# lost\nkind: Segment\nmetadata: { name: a, description: d }\nspec:\n  subject: account\n  timeZone: Europe/Berlin\n  pql: parent.isNull()\n  destinations: [x]\n---\nkind: Segment\nmetadata: { name: b }\nspec: { pql: 'exists v from xEvent where v.eventType = \"web.webpagedetails.pageViews\" and v.timestamp occurs <= 1 month before now and v.extra.n > 3' }\n";
    let json = convert_text(yaml, Form::Json).expect("converts");
    let text = convert_text(&json, Form::Text).expect("converts");
    expect![[r#"
        {
          "kind": "Segment",
          "metadata": {
            "name": "a",
            "description": "d"
          },
          "spec": {
            "subject": "account",
            "status": "published",
            "timeZone": "Europe/Berlin",
            "pql": {
              "fnName": "isNull",
              "nodeType": "fnApply",
              "params": [
                {
                  "fieldName": "parent",
                  "nodeType": "fieldLookup",
                  "object": {
                    "nodeType": "parameterReference",
                    "position": 1
                  }
                }
              ]
            },
            "destinations": [
              "x"
            ]
          }
        }
        ---
        {
          "kind": "Segment",
          "metadata": {
            "name": "b"
          },
          "spec": {
            "subject": "person",
            "status": "published",
            "timeZone": "UTC",
            "pql": {
              "nodeType": "quantification",
              "quantifier": "exists",
              "variables": [
                {
                  "from": {
                    "fieldName": "xEvent",
                    "nodeType": "fieldLookup",
                    "object": {
                      "nodeType": "parameterReference",
                      "position": 1
                    }
                  },
                  "nodeType": "varDecl",
                  "varName": "v",
                  "where": {
                    "fnName": "and",
                    "nodeType": "fnApply",
                    "params": [
                      {
                        "fnName": "=",
                        "nodeType": "fnApply",
                        "params": [
                          {
                            "fieldName": "eventType",
                            "nodeType": "fieldLookup",
                            "object": {
                              "nodeType": "varRef",
                              "varName": "v"
                            }
                          },
                          {
                            "literalType": "String",
                            "nodeType": "literal",
                            "value": "web.webpagedetails.pageViews"
                          }
                        ]
                      },
                      {
                        "fnName": "occurs",
                        "nodeType": "fnApply",
                        "params": [
                          {
                            "fieldName": "timestamp",
                            "nodeType": "fieldLookup",
                            "object": {
                              "nodeType": "varRef",
                              "varName": "v"
                            }
                          },
                          {
                            "fnName": "<=",
                            "nodeType": "fnApply",
                            "params": [
                              {
                                "literalType": "Integer",
                                "nodeType": "literal",
                                "value": 1
                              },
                              {
                                "literalType": "String",
                                "nodeType": "literal",
                                "value": "month"
                              },
                              {
                                "literalType": "String",
                                "nodeType": "literal",
                                "value": "before"
                              },
                              {
                                "literalType": "RelativeTime",
                                "nodeType": "literal",
                                "value": "now"
                              }
                            ]
                          }
                        ]
                      },
                      {
                        "fnName": ">",
                        "nodeType": "fnApply",
                        "params": [
                          {
                            "fieldName": "n",
                            "nodeType": "fieldLookup",
                            "object": {
                              "fieldName": "extra",
                              "nodeType": "fieldLookup",
                              "object": {
                                "nodeType": "varRef",
                                "varName": "v"
                              }
                            }
                          },
                          {
                            "literalType": "Integer",
                            "nodeType": "literal",
                            "value": 3
                          }
                        ]
                      }
                    ]
                  }
                }
              ]
            }
          }
        }
    "#]]
    .assert_eq(&json);
    expect![[r#"
        kind: Segment
        metadata:
          name: a
          description: d
        spec:
          subject: account
          status: published
          timeZone: Europe/Berlin
          pql: parent.isNull()
          destinations:
          - x
        ---
        kind: Segment
        metadata:
          name: b
        spec:
          subject: person
          status: published
          timeZone: UTC
          pql: |
            exists v from xEvent where v.eventType = "web.webpagedetails.pageViews"
                and v.timestamp occurs <= 1 month before now
                and v.extra.n > 3
    "#]]
    .assert_eq(&text);
    assert_eq!(convert_text(&text, Form::Json), Ok(json.clone()));
    let trimmed = |text: &str| {
        parse_definitions(text)
            .expect("definitions")
            .into_iter()
            .map(|d| {
                (
                    d.name.clone(),
                    millrace_pql::format(&millrace_pql::parse(&d.pql).expect("a rule")),
                    d.subject,
                    d.time_zone,
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(trimmed(yaml), trimmed(&json));
    assert_eq!(
        convert_text("b2b.isConverted", Form::Json).and_then(|json| convert_text(&json, Form::Text)),
        Ok("b2b.isConverted\n".to_owned())
    );
    for (text, code) in [
        ("b2b.isConverted and", "unexpected-token"),
        ("kind: Segment\nspec: {}\n", "missing-key"),
        ("{\"nodeType\": \"x\"}", "unknown-node"),
    ] {
        assert_eq!(convert_text(text, Form::Json).expect_err(text)[0].code, code, "{text}");
        assert_eq!(format_text(text).expect_err(text)[0].code, code, "{text}");
    }
}
