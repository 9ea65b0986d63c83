//! The Bodea case: two divisions, each with its own CRM and marketing automation, sell to one
//! company, and only master data knows.
//!
//! System 1 (`crm1`, `marketo1`) knows p1 and p2 and 200,000 of closed-won deals; system 2 (`crm2`,
//! `marketo2`) knows p2 and p3 and 900,000. Marketo's copies of account and person point at the
//! CRM's by `externalKey`. p2 is one person because both systems have the same e-mail. p2 stands on
//! both accounts and qualifies with a visit, link or no link; p1 and p3 need the link as well.

use serde_json::json;

use super::{DAY_MS, NOON_MS, key, record, visit};
use crate::{Rule, SourceRecord, Subject};

/// A record with a name, by which to leave it out or move it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    pub name: &'static str,
    pub record: SourceRecord,
}

/// Canonical ids of p1, p2 and p3 once everything is known.
pub const PERSONS: [&str; 3] = [
    "b2b_person:003A@crm1.Salesforce",
    "b2b_person:1002@marketo1.Marketo",
    "b2b_person:2003@marketo2.Marketo",
];

/// Canonical id of Townsend once the link is known.
pub const TOWNSEND: &str = "b2b_account:001A@crm1.Salesforce";

/// "My accounts' closed-won deals exceed a million, and I saw the new product's page within a
/// month."
pub fn rule() -> Rule {
    let pql = r#"sum(select o.opportunityAmount.amount from accounts.opportunities where o.isClosed and o.isWon) > 1000000
and exists v from xEvent where v.eventType = "web.webpagedetails.pageViews"
    and v.web.webPageDetails.name = "New product" and v.timestamp occurs <= 1 month before now"#;
    Rule {
        name: "new-product-upsell".to_owned(),
        subject: Subject::Person,
        time_zone: "UTC".to_owned(),
        pql: pql.to_owned(),
    }
}

/// Every fact of the case, the visits of all three persons included; all lie before `NOON_MS`.
pub fn facts() -> Vec<Fact> {
    let at = NOON_MS - 10 * DAY_MS;
    let fact = |name, record| Fact { name, record };
    let townsend = |name: &str, extra: serde_json::Value| {
        let mut fields = json!({ "accountName": name, "accountOrganization": { "industry": "Manufacturing" } });
        fields
            .as_object_mut()
            .expect("just written as an object")
            .extend(extra.as_object().cloned().unwrap_or_default());
        fields
    };
    let twin = |source_key: &str| json!({ "extSourceSystemAudit": { "externalKey": key(source_key) } });
    let won = |account: &str, amount: i64| json!({ "accountKey": key(account), "opportunityAmount": { "amount": amount }, "isClosed": true, "isWon": true });
    let person = |address: &str, account: &str| json!({ "workEmail": { "address": address }, "b2b": { "accountKey": key(account) } });
    let mut p1 = person("p1@townsend.com", "501.mkto_org@marketo1.Marketo");
    p1["extSourceSystemAudit"] = json!({ "externalKey": key("003A@crm1.Salesforce") });
    vec![
        fact("account-crm-1", record("account", "001A@crm1.Salesforce", at, townsend("Townsend", json!({})))),
        fact(
            "account-marketo-1",
            record(
                "account",
                "501.mkto_org@marketo1.Marketo",
                at,
                townsend("Townsend Inc", twin("001A@crm1.Salesforce")),
            ),
        ),
        fact("account-crm-2", record("account", "001B@crm2.Salesforce", at, townsend("TOWNSEND", json!({})))),
        fact("person-1", record("person", "1001@marketo1.Marketo", at, p1)),
        fact(
            "person-2-marketo-1",
            record(
                "person",
                "1002@marketo1.Marketo",
                at,
                person("p2@townsend.com", "501.mkto_org@marketo1.Marketo"),
            ),
        ),
        fact(
            "person-2-marketo-2",
            record("person", "2002@marketo2.Marketo", at, person(" P2@Townsend.com ", "001B@crm2.Salesforce")),
        ),
        fact(
            "person-3",
            record("person", "2003@marketo2.Marketo", at, json!({ "workEmail": { "address": "p3@townsend.com" } })),
        ),
        fact(
            "relation-3",
            record(
                "account-person",
                "9003@crm2.Salesforce",
                at,
                json!({ "personKey": key("2003@marketo2.Marketo"), "accountKey": key("001B@crm2.Salesforce"), "isActive": true }),
            ),
        ),
        fact(
            "deal-1",
            record("opportunity", "006A@crm1.Salesforce", at, won("001A@crm1.Salesforce", 200_000)),
        ),
        fact(
            "deal-2",
            record("opportunity", "006B@crm2.Salesforce", at, won("001B@crm2.Salesforce", 900_000)),
        ),
        fact(
            "link",
            record(
                "account-link",
                "townsend@mdm.MDM",
                at,
                json!({ "members": [key("001A@crm1.Salesforce"), key("001B@crm2.Salesforce")] }),
            ),
        ),
        fact("visit-1", visit("visit-1", at + DAY_MS, "New product", &["email:p1@townsend.com"])),
        fact("visit-2", visit("visit-2", at + DAY_MS, "New product", &["email:p2@townsend.com"])),
        fact("visit-3", visit("visit-3", at + DAY_MS, "New product", &["b2b_person:2003@marketo2.Marketo"])),
    ]
}

/// The records of all facts but those named.
pub fn without(names: &[&str]) -> Vec<SourceRecord> {
    facts().into_iter().filter(|fact| !names.contains(&fact.name)).map(|fact| fact.record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Oracle};

    #[test]
    fn who_qualifies_without_which_facts() {
        let all = ["003A", "1002", "2003"];
        let table: &[(&[&str], &[&str])] = &[
            (&[], &all),
            (&["visit-2"], &["003A", "2003"]),
            (&["visit-1", "visit-2", "visit-3"], &[]),
            // p2 is on both accounts.
            (&["link"], &["1002"]),
            // Without its shared e-mail, p2 is two persons, each visible to one system; the visit
            // belongs to the one with the e-mail.
            (&["link", "person-2-marketo-2"], &[]),
            (&["person-2-marketo-2"], &all),
            (&["deal-1"], &[]),
            (&["deal-2"], &[]),
            (&["relation-3"], &["003A", "1002"]),
            // No path leads through a thing without a live record; the link still makes the two
            // keys one company.
            (&["account-crm-1"], &all),
            (&["account-crm-1", "account-marketo-1", "account-crm-2"], &[]),
            // p1 belongs to the Marketo copy of the account, which only its external key ties to
            // the CRM's.
            (&["account-marketo-1"], &["1002", "2003"]),
        ];
        for (missing, expected) in table {
            let world = Oracle::evaluate(&without(missing), &[rule()], NOON_MS, &Config::default());
            let expected: Vec<&str> = PERSONS.into_iter().filter(|id| expected.iter().any(|short| id.contains(short))).collect();
            assert_eq!(
                world.members["new-product-upsell"].iter().map(String::as_str).collect::<Vec<_>>(),
                expected,
                "without {missing:?}"
            );
        }
    }

    #[test]
    fn canonical_ids() {
        let world = Oracle::evaluate(&without(&[]), &[], NOON_MS, &Config::default());
        assert_eq!(world.persons.keys().map(String::as_str).collect::<Vec<_>>(), PERSONS);
        assert_eq!(world.accounts.keys().map(String::as_str).collect::<Vec<_>>(), [TOWNSEND]);
        assert_eq!(
            world.persons[PERSONS[1]].attributes["workEmail"]["address"], "p2@townsend.com",
            "of equally late ones the least source key's spelling"
        );
    }

    #[test]
    fn the_visit_counts_for_exactly_a_month() {
        let visited = NOON_MS - 9 * DAY_MS;
        // 2026-03-09T12:00 to 2026-04-09T12:00.
        let end = visited + 31 * DAY_MS;
        for (now, expected) in [(visited, 3), (visited - 1, 0), (end, 3), (end + 1, 0)] {
            let world = Oracle::evaluate(&without(&[]), &[rule()], now, &Config::default());
            assert_eq!(world.members["new-product-upsell"].len(), expected, "{now}");
        }
    }
}
