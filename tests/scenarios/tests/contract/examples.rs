//! One record per source topic with every field the contract names, as a producer would write it:
//! each is accepted, and rules can use each field.

use millrace_oracle::SourceRecord;
use millrace_oracle::worlds::NOON_MS;
use serde_json::{Value as Json, json};

use super::stage::{Stage, ids};

const MODIFIED_AT: &str = "2026-03-18T12:30:00+01:00";

fn key_of(id: &str) -> Json {
    json!({ "sourceType": "Marketo", "sourceInstanceID": "marketo1", "sourceID": id, "sourceKey": source_key(id) })
}

fn source_key(id: &str) -> String {
    format!("{id}@marketo1.Marketo")
}

fn address(city: &str) -> Json {
    json!({
        "street1": "1 Main Street", "street2": "Floor 2", "city": city, "region": "West", "state": "CA", "stateProvince": "California",
        "postalCode": "90210", "country": "United States", "countryCode": "US",
    })
}

fn money(amount: f64) -> Json {
    json!({ "amount": amount, "currencyCode": "USD" })
}

/// Topic, id, fields, and how a rule about the person reaches the record.
#[expect(clippy::too_many_lines, reason = "one table")]
fn examples() -> Vec<(&'static str, &'static str, Json, &'static str)> {
    vec![
        (
            "person",
            "1001",
            json!({
                "personKey": key_of("1001"),
                "extSourceSystemAudit": { "externalKey": { "sourceKey": "003A@crm1.Salesforce" } },
                "workEmail": { "address": "Ann.Lee@Townsend.com" },
                "person": { "name": { "firstName": "Ann", "lastName": "Lee" } },
                "extendedWorkDetails": { "jobTitle": "Vice President", "departments": ["HR", "Sales"] },
                "workAddress": address("Beverly Hills"),
                "homeAddress": address("Malibu"),
                "workPhone": { "number": "+1 555 0100" },
                "b2b": {
                    "accountKey": key_of("501"), "personStatus": "Open", "personType": "Lead", "personScore": 81, "companyName": "Townsend",
                    "isConverted": false, "isMarketingSuspended": true,
                },
                "consents": { "marketing": { "email": { "val": "y" }, "call": { "val": "n" } } },
                "identities": [{ "namespace": "ECID", "id": "38400000" }, { "namespace": "crm_login", "id": "ann" }],
                "extra": { "tier": "gold", "visits": 7, "nested": { "flag": true } },
            }),
            "exists x from [1] where",
        ),
        (
            "account",
            "501",
            json!({
                "accountKey": key_of("501"),
                "extSourceSystemAudit": { "externalKey": { "sourceKey": "001A@crm1.Salesforce" } },
                "accountName": "Townsend", "accountType": "Customer", "accountScore": 55.5,
                "accountOrganization": {
                    "industry": "Finance", "annualRevenue": money(1e8), "numberOfEmployees": 1200, "website": "https://townsend.com", "domain": "townsend.com",
                    "DUNSNumber": "150483782",
                },
                "accountBillingAddress": address("Toronto"),
                "accountPhysicalAddress": address("Ottawa"),
                "accountParentKey": key_of("500"),
                "relatedAccountKeys": [key_of("502"), { "sourceKey": "503@marketo1.Marketo" }],
                "extra": { "segment": "enterprise" },
            }),
            "exists x from accounts where",
        ),
        (
            "opportunity",
            "006",
            json!({
                "opportunityKey": key_of("006"),
                "accountKey": key_of("501"), "campaignKey": key_of("c1"),
                "opportunityName": "New product", "opportunityType": "New Business", "opportunityStage": "Closed Won",
                "opportunityAmount": money(900_000.0), "expectedRevenue": money(450_000.5),
                "isClosed": true, "isWon": true, "expectedCloseDate": "2026-04-01", "actualCloseDate": "2026-03-01",
                "probabilityPercentage": 100, "leadSource": "Web",
                "extra": { "region": "emea" },
            }),
            "exists x from accounts.opportunities where",
        ),
        (
            "account-person",
            "ap1",
            json!({
                "accountPersonKey": key_of("ap1"),
                "accountKey": key_of("501"), "personKey": key_of("1001"),
                "personRole": "Manager", "personRoles": ["Manager", "Buyer"], "isActive": true, "isDirect": true, "isPrimary": false,
                "relationStartDate": "2024-01-01", "relationEndDate": "2027-01-01T00:00:00+02:00",
                "extra": { "note": "since the fair" },
            }),
            "exists x from accountRelations where",
        ),
        (
            "opportunity-person",
            "op1",
            json!({
                "opportunityPersonKey": key_of("op1"),
                "opportunityKey": key_of("006"), "personKey": key_of("1001"), "personRole": "Decision Maker", "isPrimary": true,
            }),
            "exists x from opportunityRoles where",
        ),
        (
            "campaign",
            "c1",
            json!({
                "campaignKey": key_of("c1"),
                "campaignName": "Spring", "campaignType": "Webinar", "campaignStatus": "Active", "budgetedCost": money(100.0), "actualCost": money(120.0),
                "campaignStartDate": "2026-03-01", "campaignEndDate": "2026-05-01",
            }),
            "exists x from campaignMemberships.campaign where",
        ),
        (
            "campaign-member",
            "cm1",
            json!({
                "campaignMemberKey": key_of("cm1"),
                "campaignKey": key_of("c1"), "personKey": key_of("1001"), "memberStatus": "Registered", "hasResponded": true, "hasReachedSuccess": false,
            }),
            "exists x from campaignMemberships where",
        ),
        (
            "marketing-list",
            "l1",
            json!({ "marketingListKey": key_of("l1"), "marketingListName": "Anniversary users" }),
            "exists x from listMemberships.list where",
        ),
        (
            "marketing-list-member",
            "lm1",
            json!({ "marketingListMemberKey": key_of("lm1"), "marketingListKey": key_of("l1"), "personKey": key_of("1001") }),
            "exists x from listMemberships where",
        ),
        (
            "activity",
            "1001",
            json!({
                "_id": "visit-1", "timestamp": "2026-03-18T11:59:59.5Z", "eventType": "web.webpagedetails.pageViews",
                "personKey": key_of("1001"), "identities": [{ "namespace": "ecid", "id": "38400000" }],
                "web": {
                    "webPageDetails": { "URL": "https://bodea.com/new?utm=1", "name": "New product", "webPageID": "77", "queryParameters": "utm=1" },
                    "webReferrer": { "URL": "https://search.example" },
                },
                "productListItems": [{ "SKU": "PS", "name": "Pump", "quantity": 2, "priceTotal": 19.5, "currencyCode": "USD" }],
                "commerce": { "order": { "purchaseID": "o-1", "priceTotal": 19.5, "currencyCode": "USD" }, "purchases": { "value": 1 } },
                "environment": { "type": "browser", "ipV4": "10.0.0.1", "browserDetails": { "userAgent": "Mozilla/5.0", "acceptLanguage": "en" } },
                "extra": { "experiment": "b", "depth": 3 },
            }),
            "exists x from xEvent where",
        ),
    ]
}

/// A condition for every leaf of a record that is true of it.
fn conditions(path: &str, value: &Json, found: &mut Vec<String>) {
    match value {
        Json::Object(fields) => fields.iter().for_each(|(name, field)| conditions(&format!("{path}.{name}"), field, found)),
        Json::Array(items) => {
            for item in items {
                match item.as_object() {
                    Some(fields) => found.extend(fields.iter().map(|(name, field)| format!("{path}.{name}.includes({field})"))),
                    None => found.push(format!("{path}.includes({item})")),
                }
            }
        }
        _ => found.push(format!("{path} = {value}")),
    }
}

#[test]
fn every_field_of_the_contract_can_be_asked_for() {
    let mut records = Vec::new();
    let mut rules = Vec::new();
    for (topic, id, fields, reach) in examples() {
        let mut found = Vec::new();
        let path = if topic == "person" { "" } else { "x" };
        conditions(path, &fields, &mut found);
        rules.extend(found.into_iter().map(|condition| match topic {
            "person" => condition[1..].to_owned(),
            _ => format!("{reach} x.{}", &condition[2..]),
        }));
        let mut value = fields;
        value["modifiedAt"] = json!(MODIFIED_AT);
        value["isDeleted"] = json!(false);
        value["changedFields"] = Json::Null;
        records.push(SourceRecord {
            topic: topic.to_owned(),
            key: source_key(id),
            value: Some(value),
            timestamp_ms: NOON_MS,
        });
    }
    let link = json!({
        "linkKey": { "sourceKey": "k1@mdm.MDM" }, "members": [key_of("501"), { "sourceKey": "77@crm9.Dynamics" }],
        "validFrom": "2026-01-01", "validTo": "2027-01-01T00:00:00Z", "modifiedAt": MODIFIED_AT,
    });
    records.push(SourceRecord {
        topic: "account-link".to_owned(),
        key: "k1@mdm.MDM".to_owned(),
        value: Some(link),
        timestamp_ms: NOON_MS,
    });
    // Parts of keys are derived if only the whole is given.
    rules.push(r#"exists x from accounts where x.relatedAccountKeys.sourceID.includes("503")"#.to_owned());
    rules.push(r#"extSourceSystemAudit.externalKey.sourceInstanceID = "crm1""#.to_owned());
    assert!(rules.len() > 150, "{}", rules.len());
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let mut stage = Stage::new(&rules);
    records.into_iter().for_each(|record| stage.send(record));
    for (rule, members) in rules.iter().zip(stage.members()) {
        assert_eq!(members, ids(&["b2b_person:003A@crm1.Salesforce"]), "{rule}");
    }
}
