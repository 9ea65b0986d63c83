//! What each call says, as a table: one line a record.

use std::sync::Arc;

use expect_test::{Expect, expect};
use millrace_events::segment::Call;
use millrace_events::{Arrival, Sender};
use millrace_model::{Schema, Timestamp};
use millrace_wire::Decoder;
use serde_json::Value;

use crate::body::{Form, binary, events};

pub fn source() -> Sender {
    Sender {
        name: "site".to_owned(),
        user_namespace: None,
        device_namespace: "anonymous_id".to_owned(),
    }
}

pub fn arrival() -> Arrival {
    Arrival {
        at: Timestamp::parse("2026-11-29T12:00:00Z").unwrap(),
        nonce: "n".to_owned(),
    }
}

fn shown(sent: Vec<crate::body::Sent>) -> String {
    let decoder = Decoder::builder(Arc::new(Schema::built_in().unwrap())).unwrap().build();
    let mut text = String::new();
    for one in sent {
        match one.facts {
            Err(rejection) => text.push_str(&format!("refused {}: {}\n", rejection.reason, rejection.detail)),
            Ok(facts) => {
                for fact in facts {
                    let bytes = fact.value.to_string();
                    let decoded = decoder.decode(fact.kind, Some(fact.key.as_bytes()), Some(bytes.as_bytes()), arrival().at, arrival().at);
                    let judged = decoded.err().map(|error| format!("\n  !! {error}")).unwrap_or_default();
                    text.push_str(&format!("{} {} {bytes}{judged}\n", fact.kind.name(), fact.key));
                }
            }
        }
    }
    text
}

fn check(form: Form, body: &str, expected: Expect) {
    let sent = events(form, body.as_bytes(), &source(), &arrival());
    expected.assert_eq(&sent.map_or_else(|error| format!("{error:?}\n"), shown));
}

#[test]
fn identify_settles_the_traits_it_names() {
    check(
        Form::Call(Call::Identify),
        r#"{"userId":42,"timestamp":"2026-11-29T11:00:00Z","traits":{"email":"ann@acme.com","first_name":"Ann","lastName":null,"plan":"gold",
           "company":{"name":"Acme","size":"10-20"},"address":{"street":"Way 1","postal_code":"1"},"birthday":"soon","a.b":1}}"#,
        expect![[r#"
            person 42@site.Segment {"b2b":{"companyName":"Acme"},"changedFields":["extra.a_b","workAddress.postalCode","workAddress.street1","extra.birthday","b2b.companyName","extra.company","workEmail.address","person.name.firstName","person.name.lastName","extra.plan","extSourceSystemAudit.externalID"],"extSourceSystemAudit":{"externalID":"42"},"extra":{"a_b":1,"birthday":"soon","company":{"name":"Acme","size":"10-20"},"plan":"gold"},"modifiedAt":"2026-11-29T11:00:00.000Z","person":{"name":{"firstName":"Ann"}},"personKey":{"sourceKey":"42@site.Segment"},"workAddress":{"postalCode":"1","street1":"Way 1"},"workEmail":{"address":"ann@acme.com"}}
        "#]],
    );
}

#[test]
fn a_device_points_to_the_user_who_identified_on_it_last() {
    check(
        Form::Call(Call::Identify),
        r#"{"userId":"u","anonymousId":"a","traits":{}}"#,
        expect![[r#"
            person u@site.Segment {"changedFields":["extSourceSystemAudit.externalID"],"extSourceSystemAudit":{"externalID":"u"},"modifiedAt":"2026-11-29T12:00:00.000Z","personKey":{"sourceKey":"u@site.Segment"}}
            person a@site.SegmentDevice {"identities":[{"id":"u@site.Segment","namespace":"b2b_person"},{"id":"a","namespace":"anonymous_id"}],"modifiedAt":"2026-11-29T12:00:00.000Z","personKey":{"sourceKey":"a@site.SegmentDevice"}}
        "#]],
    );
    check(
        Form::Call(Call::Identify),
        r#"{"anonymousId":"a","traits":{"email":"no address"}}"#,
        expect![[r#"
        person a@site.SegmentAnonymous {"changedFields":["extra.email","extSourceSystemAudit.externalID","identities"],"extSourceSystemAudit":{"externalID":"a"},"extra":{"email":"no address"},"identities":[{"id":"a","namespace":"anonymous_id"}],"modifiedAt":"2026-11-29T12:00:00.000Z","personKey":{"sourceKey":"a@site.SegmentAnonymous"}}
    "#]],
    );
    let own = Sender {
        user_namespace: Some("crm".to_owned()),
        ..source()
    };
    let sent = events(Form::Call(Call::Identify), br#"{"userId":"u"}"#, &own, &arrival()).unwrap();
    expect![[r#"
        person u@site.Segment {"changedFields":["extSourceSystemAudit.externalID","identities"],"extSourceSystemAudit":{"externalID":"u"},"identities":[{"id":"u","namespace":"crm"}],"modifiedAt":"2026-11-29T12:00:00.000Z","personKey":{"sourceKey":"u@site.Segment"}}
    "#]].assert_eq(&shown(sent));
}

#[test]
fn group_states_an_account_and_a_relation() {
    check(
        Form::Call(Call::Group),
        r#"{"userId":"u|1","groupId":"acme","traits":{"name":"Acme","employees":"20","industry":"Finance","plan":"gold"}}"#,
        expect![[r#"
            person u|1@site.Segment {"changedFields":["extSourceSystemAudit.externalID"],"extSourceSystemAudit":{"externalID":"u|1"},"modifiedAt":"2026-11-29T12:00:00.000Z","personKey":{"sourceKey":"u|1@site.Segment"}}
            account acme@site.Segment {"accountKey":{"sourceKey":"acme@site.Segment"},"accountName":"Acme","accountOrganization":{"industry":"Finance","numberOfEmployees":20},"changedFields":["accountOrganization.numberOfEmployees","accountOrganization.industry","accountName","extra.plan","extSourceSystemAudit.externalID"],"extSourceSystemAudit":{"externalID":"acme"},"extra":{"plan":"gold"},"modifiedAt":"2026-11-29T12:00:00.000Z"}
            account-person u%7C1@site.Segment|acme@site.Segment {"accountKey":{"sourceKey":"acme@site.Segment"},"accountPersonKey":{"sourceKey":"u%7C1@site.Segment|acme@site.Segment"},"changedFields":["accountKey","personKey","isActive","relationEndDate"],"isActive":true,"modifiedAt":"2026-11-29T12:00:00.000Z","personKey":{"sourceKey":"u|1@site.Segment"}}
        "#]],
    );
    check(
        Form::Call(Call::Group),
        r#"{"userId":"u"}"#,
        expect![[r#"
        refused missing-key: `groupId` is missing
    "#]],
    );
}

#[test]
fn alias_unites_two_ids() {
    check(
        Form::Call(Call::Alias),
        r#"{"userId":"u","previousId":"old"}"#,
        expect![[r#"
        person old@site.SegmentAlias {"identities":[{"id":"u@site.Segment","namespace":"b2b_person"},{"id":"old@site.Segment","namespace":"b2b_person"},{"id":"old","namespace":"anonymous_id"}],"modifiedAt":"2026-11-29T12:00:00.000Z","personKey":{"sourceKey":"old@site.SegmentAlias"}}
    "#]],
    );
    check(
        Form::Call(Call::Alias),
        r#"{"anonymousId":"a","previousId":"old"}"#,
        expect![[r#"
        refused no-identity: `userId` is missing
    "#]],
    );
}

#[test]
fn track_page_and_screen_are_activities() {
    check(
        Form::Call(Call::Track),
        r#"{"userId":"u","anonymousId":"a","messageId":"m1","event":"Signed Up","properties":{"plan":"gold","price":12.50},
           "context":{"ip":"10.0.0.1","userAgent":"UA","locale":"de-DE","groupId":"acme","page":{"url":"https://x.com/a","title":"A"},
           "os":{"name":"Linux"},"campaign":{"name":"Spring"},"screen":{"width":800}}}"#,
        expect![[r#"
            activity b2b_person:u@site.Segment {"_id":"m1","device":{"screenWidth":800},"environment":{"browserDetails":{"userAgent":"UA"},"ipV4":"10.0.0.1","language":"de-DE","operatingSystem":"Linux"},"eventType":"Signed Up","extra":{"groupId":"acme","plan":"gold","price":12.50},"identities":[{"id":"a","namespace":"anonymous_id"}],"marketing":{"campaignName":"Spring"},"personKey":{"sourceKey":"u@site.Segment"},"timestamp":"2026-11-29T12:00:00.000Z","web":{"webPageDetails":{"URL":"https://x.com/a","name":"A"}}}
        "#]],
    );
    check(
        Form::Call(Call::Page),
        r#"{"anonymousId":"a","messageId":"m2","properties":{"url":"https://x.com/new?a=1","search":"?a=1","title":"New product","referrer":"https://y.com/"}}"#,
        expect![[r#"
            activity anonymous_id:a {"_id":"m2","eventType":"web.webpagedetails.pageViews","extra":{"referrer":"https://y.com/","search":"?a=1","title":"New product","url":"https://x.com/new?a=1"},"identities":[{"id":"a","namespace":"anonymous_id"}],"timestamp":"2026-11-29T12:00:00.000Z","web":{"webPageDetails":{"URL":"https://x.com/new?a=1","name":"New product","pageViews":{"value":1},"queryParameters":"a=1"},"webReferrer":{"URL":"https://y.com/"}}}
        "#]],
    );
    check(
        Form::Call(Call::Screen),
        r#"{"userId":"u","name":"Home","context":{"app":{"name":"App"},"ip":"::1"}}"#,
        expect![[r#"
        activity b2b_person:u@site.Segment {"_id":"n-0","application":{"name":"App"},"environment":{"ipV6":"::1"},"eventType":"application.screenViews","extra":{},"identities":[],"personKey":{"sourceKey":"u@site.Segment"},"timestamp":"2026-11-29T12:00:00.000Z","web":{"webPageDetails":{"viewName":"Home"}}}
    "#]],
    );
    check(
        Form::Call(Call::Track),
        r#"{"userId":"u"}"#,
        expect![[r#"
        refused wrong-type: `event` is missing: the name of what happened
    "#]],
    );
    check(
        Form::Call(Call::Track),
        r#"{"event":"x"}"#,
        expect![[r#"
        refused no-identity: neither `userId` nor `anonymousId` is there
    "#]],
    );
    check(
        Form::Call(Call::Track),
        r#"{"userId":"u","event":"x","timestamp":"yesterday"}"#,
        expect![[r#"
        refused wrong-type: `timestamp` is "yesterday"; expected RFC 3339, such as 2026-03-31T12:00:00Z
    "#]],
    );
    check(
        Form::Call(Call::Track),
        r#"{"userId":"u","event":"x","timestamp":"2026-11-29T13:00:00Z"}"#,
        expect![[r#"
        activity b2b_person:u@site.Segment {"_id":"n-0","eventType":"x","extra":{},"identities":[],"personKey":{"sourceKey":"u@site.Segment"},"timestamp":"2026-11-29T13:00:00.000Z"}
          !! record rejected as from-the-future: `timestamp` is 2026-11-29T13:00:00.000Z, now is 2026-11-29T12:00:00.000Z, 300000 ms ahead are allowed
    "#]],
    );
}

#[test]
fn users_are_added_to_accounts_and_removed_by_events() {
    for event in ["Account Added User", "Account Removed User", "Account Deleted"] {
        let body = format!(r#"{{"userId":"u","messageId":"m","event":"{event}","properties":{{"role":"admin"}},"context":{{"groupId":"acme"}}}}"#);
        let sent = events(Form::Call(Call::Track), body.as_bytes(), &source(), &arrival()).unwrap();
        let kinds: Vec<String> = sent[0]
            .facts
            .as_ref()
            .unwrap()
            .iter()
            .map(|fact| format!("{} {}", fact.kind.name(), fact.value["isActive"]))
            .collect();
        let expected: &[&str] = match event {
            "Account Added User" => &["activity null", "person null", "account-person true"],
            "Account Removed User" => &["activity null", "account-person false"],
            _ => &["activity null", "account null"],
        };
        assert_eq!(kinds, expected, "{event}");
    }
}

#[test]
fn a_wrong_clock_is_corrected_by_when_the_request_was_sent() {
    // Said, sent, and the instant that counts; the arrival is at noon.
    for (said, sent, expected) in [
        (Some("2026-11-29T11:00:00Z"), None, "2026-11-29T11:00:00.000Z"),
        (Some("2026-11-29T11:00:00Z"), Some("2026-11-29T11:59:59Z"), "2026-11-29T11:00:00.000Z"),
        (Some("2026-11-30T11:00:00Z"), Some("2026-11-30T12:00:00Z"), "2026-11-29T11:00:00.000Z"),
        (Some("1970-01-01T00:00:10Z"), Some("1970-01-01T00:01:10Z"), "2026-11-29T11:59:00.000Z"),
        (Some("2026-11-29T11:00:00"), None, "2026-11-29T11:00:00.000Z"),
        (None, Some("2026-11-30T12:00:00Z"), "2026-11-29T12:00:00.000Z"),
    ] {
        let quoted = |text: Option<&str>| text.map_or(Value::Null, Value::from);
        let body = serde_json::json!({"sentAt": quoted(sent), "batch": [{"type": "track", "event": "x", "userId": "u", "timestamp": quoted(said)}]});
        let facts = events(Form::Batch, body.to_string().as_bytes(), &source(), &arrival())
            .unwrap()
            .remove(0)
            .facts
            .unwrap();
        assert_eq!(facts[0].value["timestamp"], expected, "{said:?} {sent:?}");
    }
}

#[test]
fn a_batch_gives_its_items_what_they_lack_and_takes_the_good_ones() {
    check(
        Form::Batch,
        r#"{"writeKey":"k","context":{"locale":"en","ip":"10.0.0.9"},"batch":[
            {"type":"track","event":"a","userId":"u","messageId":"1","context":{"locale":"de"}},
            {"type":"delete","userId":"u"},
            {"type":"track","event":"a","messageId":"2"},
            7]}"#,
        expect![[r#"
            activity b2b_person:u@site.Segment {"_id":"1","environment":{"ipV4":"10.0.0.9","language":"de"},"eventType":"a","extra":{},"identities":[],"personKey":{"sourceKey":"u@site.Segment"},"timestamp":"2026-11-29T12:00:00.000Z"}
            refused wrong-type: `type` is `delete`; expected identify, group, alias, track, page or screen
            refused no-identity: neither `userId` nor `anonymousId` is there
            refused malformed-json: an event is an object: invalid type: integer `7`, expected a map at line 1 column 1
        "#]],
    );
    check(
        Form::Batch,
        r#"{"batch":[{]}"#,
        expect![[r#"
        Malformed("the body is no JSON of this form: key must be a string at line 1 column 12")
    "#]],
    );
    check(
        Form::Batch,
        "[]",
        expect![[r#"
        Malformed("a batch is an object with a list `batch`")
    "#]],
    );
    check(
        Form::Batch,
        "{}",
        expect![[r#"
        Malformed("the body is no JSON of this form: missing field `batch` at line 1 column 2")
    "#]],
    );
}

#[test]
fn limits_name_themselves() {
    let large = "x".repeat(33 << 10);
    check(
        Form::Call(Call::Track),
        &format!(r#"{{"userId":"u","event":"{large}"}}"#),
        expect![[r#"
        TooLarge("an event has at most 32 KiB (32768 bytes); this one has 33817")
    "#]],
    );
    check(
        Form::Batch,
        &format!(r#"{{"batch":[{{"type":"track","userId":"u","event":"{large}"}},{{"type":"track","userId":"u","event":"x","messageId":"m"}}]}}"#),
        expect![[r#"
            refused oversize: an event has at most 32 KiB (32768 bytes); this one has 33832
            activity b2b_person:u@site.Segment {"_id":"m","eventType":"x","extra":{},"identities":[],"personKey":{"sourceKey":"u@site.Segment"},"timestamp":"2026-11-29T12:00:00.000Z"}
        "#]],
    );
    check(
        Form::Activities,
        &format!("[{}1]", "1,".repeat(2_500)),
        expect![[r#"
        TooLarge("a request has at most 2500 events; this one has 2501")
    "#]],
    );
}

#[test]
fn activities_are_the_contract_s() {
    check(
        Form::Activities,
        r#"{"_id":"v1","timestamp":"2026-11-28T00:00:00Z","eventType":"call","personKey":{"sourceKey":"1@crm1.Salesforce"}}
           {"eventType":"call","identities":[{"namespace":"Email","id":"Ann@Acme.com"}],"minutes":7}
           {"eventType":"call"}"#,
        expect![[r#"
            activity b2b_person:1@crm1.Salesforce {"_id":"v1","eventType":"call","personKey":{"sourceKey":"1@crm1.Salesforce"},"timestamp":"2026-11-28T00:00:00Z"}
            activity email:ann@acme.com {"_id":"n-1","eventType":"call","identities":[{"id":"Ann@Acme.com","namespace":"Email"}],"minutes":7,"timestamp":"2026-11-29T12:00:00.000Z"}
            refused no-identity: neither `personKey` nor `identities` names a person
        "#]],
    );
    check(
        Form::Activities,
        r#"[{"_id":"v1","eventType":"call","identities":[{"namespace":"email","id":"a@b.c"}],"web":"x"}]"#,
        expect![[r#"
        activity email:a@b.c {"_id":"v1","eventType":"call","identities":[{"id":"a@b.c","namespace":"email"}],"timestamp":"2026-11-29T12:00:00.000Z","web":"x"}
          !! record rejected as wrong-type: `web`: expected an object, found text `x`
    "#]],
    );
}

#[test]
fn cloud_events_are_activities() {
    check(
        Form::CloudEvent,
        r#"{"specversion":"1.0","id":"1","source":"/shop","type":"order.paid","time":"2026-11-29T10:00:00Z","subject":"email:ann@acme.com",
           "traceparent":"t","data":{"total":12.5}}"#,
        expect![[r#"
            activity email:ann@acme.com {"_id":"/shop#1","eventType":"order.paid","extra":{"ce":{"source":"/shop","subject":"email:ann@acme.com","traceparent":"t"}},"identities":[{"id":"ann@acme.com","namespace":"email"}],"timestamp":"2026-11-29T10:00:00.000Z","total":12.5}
        "#]],
    );
    check(
        Form::CloudEvents,
        r#"[{"specversion":"1.0","id":"2","source":"/shop","type":"t","subject":"42","datacontenttype":"text/plain","data":"hello"},
            {"specversion":"1.0","id":"3","source":"/shop","type":"t","subject":"order/9","data":{"identities":[{"namespace":"email","id":"a@b.c"}]}},
            {"specversion":"1.0","id":"4","source":"/shop","type":"t","subject":"42","data_base64":"eyJhIjoxfQ=="},
            {"specversion":"0.3","id":"5","source":"/shop","type":"t"},
            {"specversion":"1.0","source":"/shop","type":"t"}]"#,
        expect![[r#"
            activity b2b_person:42@site.Segment {"_id":"/shop#2","eventType":"t","extra":{"ce":{"source":"/shop","subject":"42"},"data":"hello"},"personKey":{"sourceKey":"42@site.Segment"},"timestamp":"2026-11-29T12:00:00.000Z"}
            activity email:a@b.c {"_id":"/shop#3","eventType":"t","extra":{"ce":{"source":"/shop","subject":"order/9"}},"identities":[{"id":"a@b.c","namespace":"email"}],"timestamp":"2026-11-29T12:00:00.000Z"}
            activity b2b_person:42@site.Segment {"_id":"/shop#4","a":1,"eventType":"t","extra":{"ce":{"source":"/shop","subject":"42"}},"personKey":{"sourceKey":"42@site.Segment"},"timestamp":"2026-11-29T12:00:00.000Z"}
            refused wrong-type: `specversion` is `0.3`; 1.0 is taken
            refused missing-id: `id` is missing, which every CloudEvent has
        "#]],
    );
}

#[test]
fn attributes_of_a_binary_event_are_in_the_head() {
    let attributes = [
        ("specversion", "1.0"),
        ("id", "a%20b"),
        ("source", "/shop"),
        ("type", "t"),
        ("subject", "email:ann@acme.com"),
        ("partitionkey", "7"),
    ];
    let read = |kind: &str, body: &[u8]| shown(binary(&attributes, Some(kind), body, &source(), &arrival()).unwrap());
    expect![[r#"
        activity email:ann@acme.com {"_id":"/shop#a b","a":1,"eventType":"t","extra":{"ce":{"partitionkey":"7","source":"/shop","subject":"email:ann@acme.com"}},"identities":[{"id":"ann@acme.com","namespace":"email"}],"timestamp":"2026-11-29T12:00:00.000Z"}
    "#]].assert_eq(&read("application/json", br#"{"a":1}"#));
    expect![[r#"
        activity email:ann@acme.com {"_id":"/shop#a b","eventType":"t","extra":{"ce":{"partitionkey":"7","source":"/shop","subject":"email:ann@acme.com"}},"identities":[{"id":"ann@acme.com","namespace":"email"}],"timestamp":"2026-11-29T12:00:00.000Z"}
    "#]].assert_eq(&read("application/json", b""));
    expect![[r#"
        activity email:ann@acme.com {"_id":"/shop#a b","eventType":"t","extra":{"ce":{"partitionkey":"7","source":"/shop","subject":"email:ann@acme.com"},"data":"/9g="},"identities":[{"id":"ann@acme.com","namespace":"email"}],"timestamp":"2026-11-29T12:00:00.000Z"}
    "#]].assert_eq(&read("image/png", b"\xff\xd8"));
    expect![[r#"
        refused malformed-json: data: EOF while parsing an object at line 1 column 1
    "#]]
    .assert_eq(&read("application/json", b"{"));
}
