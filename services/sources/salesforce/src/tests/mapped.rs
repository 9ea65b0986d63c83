//! What single records become.

use millrace_connect::mapping::Fields;
use millrace_connect::source::Emitted;
use millrace_model::Timestamp;
use serde_json::{Value, json};

use crate::mapping::{self, Keys, Object, Relations, Rules, Said, Shape, id18};

fn keys() -> Keys {
    Keys {
        org: "00D5g000004XyZaEAK".to_owned(),
        currency: None,
        relations: Relations::Own,
    }
}

fn shape(object: Object, fields: &[(&str, &str)], rules: &Rules) -> Shape {
    let fields: Vec<Value> = fields
        .iter()
        .map(|(name, kind)| json!({"name": name, "type": kind, "custom": name.ends_with("__c")}))
        .collect();
    Shape::new(object, &json!({"fields": fields}), rules, Timestamp(0)).expect("rules that hold")
}

const COMMON: [(&str, &str); 4] = [
    ("Id", "id"),
    ("IsDeleted", "boolean"),
    ("SystemModstamp", "datetime"),
    ("MasterRecordId", "reference"),
];

fn fields(value: Value) -> Fields {
    value.as_object().cloned().expect("an object")
}

/// The values of the records that a live row becomes.
fn values(shape: &Shape, row: Value, keys: &Keys) -> Vec<Value> {
    let Said::Live(emitted) = mapping::read(shape, &fields(row), keys) else {
        panic!("not live");
    };
    let value = |emitted| match emitted {
        Emitted::Record { value, .. } => value.expect("a record"),
        other => panic!("{other:?}"),
    };
    emitted.into_iter().map(value).collect()
}

#[test]
fn ids_have_eighteen_characters() {
    // From Salesforce's own documentation, and two that are no ids of fifteen.
    for (id, full) in [
        ("001D000000IRt53", "001D000000IRt53IAD"),
        ("001D000000IRt53IAD", "001D000000IRt53IAD"),
        ("", ""),
    ] {
        assert_eq!(id18(id), full);
    }
}

#[test]
fn a_query_and_a_job_give_the_same_record() {
    let mut all = COMMON.to_vec();
    all.extend([
        ("AccountId", "reference"),
        ("Amount", "currency"),
        ("CurrencyIsoCode", "picklist"),
        ("StageName", "picklist"),
        ("IsClosed", "boolean"),
        ("IsWon", "boolean"),
        ("CloseDate", "date"),
        ("CreatedDate", "datetime"),
    ]);
    let shape = shape(Object::Opportunity, &all, &Rules::built_in());
    let by_query = json!({
        "attributes": {"type": "Opportunity"}, "Id": "0065g00000AAAAAAAA", "IsDeleted": false, "SystemModstamp": "2026-05-01T10:00:00.000+0000",
        "AccountId": "0015g00000AAAAB", "Amount": 900000.0, "CurrencyIsoCode": "EUR", "StageName": "Closed Won", "IsClosed": true, "IsWon": true,
        "CloseDate": "2026-04-30", "CreatedDate": "2026-01-01T00:00:00.000+0000",
    });
    let by_job = json!({
        "Id": "0065g00000AAAAAAAA", "IsDeleted": "false", "SystemModstamp": "2026-05-01T10:00:00.000Z", "AccountId": "0015g00000AAAABAA4",
        "Amount": "900000", "CurrencyIsoCode": "EUR", "StageName": "Closed Won", "IsClosed": "true", "IsWon": "true", "CloseDate": "2026-04-30",
        "CreatedDate": "2026-01-01T00:00:00.000Z",
    });
    let key = id18("0015g00000AAAAB");
    let by_job = serde_json::from_str::<Value>(&by_job.to_string().replace("0015g00000AAAABAA4", &key)).expect("JSON");
    let deal = values(&shape, by_query, &keys()).remove(0);
    assert_eq!(values(&shape, by_job, &keys()).remove(0), deal);
    let expected = json!({
        "opportunityKey": {"sourceKey": "0065g00000AAAAAAAA@00D5g000004XyZaEAK.Salesforce"}, "modifiedAt": "2026-05-01T10:00:00.000Z",
        "accountKey": {"sourceKey": format!("{key}@00D5g000004XyZaEAK.Salesforce")}, "opportunityStage": "Closed Won", "isClosed": true, "isWon": true,
        "opportunityAmount": {"amount": 900000, "currencyCode": "EUR"}, "expectedCloseDate": "2026-04-30", "actualCloseDate": "2026-04-30",
        "extSourceSystemAudit": {"createdDate": "2026-01-01T00:00:00.000Z"},
    });
    assert_eq!(deal, expected);
}

#[test]
fn an_org_with_one_currency_has_it_by_configuration() {
    let mut all = COMMON.to_vec();
    all.push(("Amount", "currency"));
    let shape = shape(Object::Opportunity, &all, &Rules::built_in());
    let row = |amount: Value| json!({"Id": "0065g00000AAAAAAAA", "SystemModstamp": "2026-05-01T10:00:00Z", "Amount": amount});
    let keys = Keys {
        currency: Some("EUR".to_owned()),
        ..keys()
    };
    assert_eq!(
        values(&shape, row(json!(5)), &keys)[0]["opportunityAmount"],
        json!({"amount": 5, "currencyCode": "EUR"})
    );
    assert_eq!(values(&shape, row(Value::Null), &keys)[0].get("opportunityAmount"), None);
}

#[test]
fn custom_fields_go_to_extra() {
    let mut all = COMMON.to_vec();
    all.extend([
        ("Email", "email"),
        ("Region__c", "multipicklist"),
        ("Score__c", "double"),
        ("Partner__c", "reference"),
        ("Place__c", "location"),
    ]);
    let mut rules = Rules::built_in();
    rules.over(
        Object::Contact,
        fields(json!({"b2b.personScore": {"of": "Score__c", "number": {}}, "extra": {"fields": "*"}})),
    );
    let shape = shape(Object::Contact, &all, &rules);
    assert!(
        !shape.fields.contains(&"Place__c".to_owned()) && shape.fields.contains(&"Region__c".to_owned()),
        "{:?}",
        shape.fields
    );
    let row = json!({
        "Id": "0035g00000AAAAAAAA", "SystemModstamp": "2026-05-01T10:00:00Z", "Email": "a@x.example", "Region__c": "EMEA;APAC", "Score__c": 7.50,
        "Partner__c": "0015g00000AAAAAAAA",
    });
    let person = values(&shape, row, &keys()).remove(0);
    assert_eq!(person["extra"], json!({"Region__c": ["EMEA", "APAC"], "Partner__c": "0015g00000AAAAAAAA"}));
    assert_eq!(person["b2b"]["personScore"].to_string().parse::<f64>().ok(), Some(7.5));
}

#[test]
fn a_converted_lead_is_its_contact() {
    let mut all = COMMON.to_vec();
    all.extend([("IsConverted", "boolean"), ("ConvertedContactId", "reference"), ("ConvertedDate", "date")]);
    let shape = shape(Object::Lead, &all, &Rules::built_in());
    let row = json!({
        "Id": "00Q5g00000AAAAAAAA", "SystemModstamp": "2026-05-01T10:00:00Z", "IsConverted": true, "ConvertedContactId": "0035g00000AAAAAAAA",
        "ConvertedDate": "2026-05-01",
    });
    let contact = "0035g00000AAAAAAAA@00D5g000004XyZaEAK.Salesforce";
    let person = values(&shape, row, &keys()).remove(0);
    assert_eq!(person["identities"], json!([{"namespace": "b2b_person", "id": contact}]));
    assert_eq!(
        person["b2b"],
        json!({"personType": "Contact", "isConverted": true, "convertedDate": "2026-05-01", "convertedContactKey": {"sourceKey": contact}})
    );
}

#[test]
fn deleted_and_merged_rows_say_so() {
    let shape = shape(Object::Contact, &COMMON, &Rules::built_in());
    let row =
        |winner: Value| fields(json!({"Id": "0035g00000AAAAAAAA", "SystemModstamp": "2026-05-01T10:00:00Z", "IsDeleted": true, "MasterRecordId": winner}));
    let deleted = mapping::read(&shape, &row(Value::Null), &keys());
    assert!(matches!(&deleted, Said::Deleted { id, .. } if id == "0035g00000AAAAAAAA"), "{deleted:?}");
    let merged = mapping::read(&shape, &row(json!("0035g00000BBBBBBBB")), &keys());
    assert!(matches!(&merged, Said::Merged { winner, .. } if winner == "0035g00000BBBBBBBB"), "{merged:?}");
}

#[test]
fn relations_follow_from_accounts_where_the_org_has_none() {
    let mut all = COMMON.to_vec();
    all.push(("AccountId", "reference"));
    let shape = shape(Object::Contact, &all, &Rules::built_in());
    let row = json!({"Id": "0035g00000AAAAAAAA", "SystemModstamp": "2026-05-01T10:00:00Z", "AccountId": "0015g00000AAAAAAAA"});
    let with = |relations| Keys { relations, ..keys() };
    let derived = values(&shape, row.clone(), &with(Relations::Derived));
    assert_eq!(derived[1]["accountKey"]["sourceKey"], "0015g00000AAAAAAAA@00D5g000004XyZaEAK.Salesforce");
    assert_eq!(
        derived[1]["accountPersonKey"]["sourceKey"],
        "0035g00000AAAAAAAA.account@00D5g000004XyZaEAK.Salesforce"
    );
    assert_eq!(values(&shape, row.clone(), &with(Relations::NoLongerDerived))[1]["isDeleted"], true);
    assert_eq!(values(&shape, row, &with(Relations::Own)).len(), 1);
}
