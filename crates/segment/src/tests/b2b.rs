//! The published B2B use cases.

use millrace_model::SubjectKind;
use serde_json::json;

use crate::testing::{Tree, at, members};

const NOW: &str = "2026-06-15T12:00:00Z";

fn world() -> Tree {
    let visit = |id: &str, at: &str, page: &str| json!({"_id": id, "timestamp": at, "eventType": "web.webpagedetails.pageViews", "web": {"webPageDetails": {"name": page}}});
    Tree::read(&json!({
        "person": {
            "p1": {"extendedWorkDetails": {"jobTitle": "Vice President", "departments": ["HR"]}, "b2b": {"personScore": 90}},
            "p2": {"extendedWorkDetails": {"jobTitle": "COO", "departments": ["HR", "IT"]}, "b2b": {"personScore": 80, "accountKey": {"sourceKey": "a2"}}},
            "p3": {"extendedWorkDetails": {"jobTitle": "Vice President"}},
            "p4": {},
        },
        "account": {
            "a1": {"accountName": "Acme", "accountOrganization": {"industry": "Finance", "annualRevenue": {"amount": 150000000, "currencyCode": "USD"}},
                   "accountBillingAddress": {"country": "Canada"}, "relatedAccountKeys": [{"sourceKey": "a2"}]},
            "a2": {"accountName": "Beta", "accountOrganization": {"industry": "Retail", "annualRevenue": {"amount": 60000000, "currencyCode": "EUR"}},
                   "accountParentKey": {"sourceKey": "a1"}},
            "a3": {"accountName": "Gamma", "accountParentKey": {"sourceKey": "a2"}, "accountOrganization": {"annualRevenue": {"amount": 1, "currencyCode": "XXX"}}},
        },
        "opportunity": {
            "o1": {"accountKey": {"sourceKey": "a1"}, "opportunityAmount": {"amount": 1200000, "currencyCode": "USD"}, "isClosed": false, "isWon": false},
            "o2": {"accountKey": {"sourceKey": "a1"}, "opportunityAmount": {"amount": 400000}, "isClosed": true, "isWon": false},
            "o3": {"accountKey": {"sourceKey": "a2"}, "opportunityAmount": {"amount": 300000, "currencyCode": "EUR"}, "isClosed": true, "isWon": true},
            "o4": {"accountKey": {"sourceKey": "a1"}, "opportunityAmount": {"amount": 500000}, "isClosed": true, "isWon": true},
        },
        "campaign": {"c1": {"actualCost": {"amount": 20}, "budgetedCost": {"amount": 10}}, "c2": {"actualCost": {"amount": 5}, "budgetedCost": {"amount": 10}}},
        "list": {"l1": {"marketingListName": "Anniversary users"}},
        "accountRelations": [
            {"id": "r1", "person": "p1", "to": "a1", "row": {"personRole": "Manager", "isActive": true}},
            {"id": "r2", "person": "p1", "to": "a2", "row": {"personRole": "Manager", "isActive": false}},
            {"id": "r3", "person": "p3", "to": "a3", "row": {"personRole": "Manager", "isActive": true}},
            {"id": "r4", "person": "p3", "to": "a1", "row": {"personRole": "Intern", "isActive": true}},
            {"id": "r5", "person": "p1", "to": "a1", "row": {"personRole": "Owner", "isActive": true}},
            {"id": "r6", "person": "p4", "to": "nowhere", "row": {"personRole": "Manager", "isActive": true}},
        ],
        "opportunityRoles": [
            {"id": "or1", "person": "p1", "to": "o1", "row": {"personRole": "Decision Maker"}},
            {"id": "or2", "person": "p2", "to": "o2", "row": {"personRole": "Decision Maker"}},
            {"id": "or3", "person": "p3", "to": "o3", "row": {"personRole": "Influencer"}},
        ],
        "campaignMemberships": [
            {"id": "cm1", "person": "p1", "to": "c1"}, {"id": "cm2", "person": "p2", "to": "c2"}, {"id": "cm3", "person": "p3", "to": "gone"},
        ],
        "listMemberships": [{"id": "lm1", "person": "p3", "to": "l1"}],
        "events": {
            "p1": [visit("e1", "2026-06-13T00:00:00Z", "Pricing"), visit("e2", "2026-06-14T00:00:00Z", "Pricing"), visit("e3", "2026-05-16T00:00:00Z", "Pricing"),
                   visit("e4", "2026-06-01T00:00:00Z", "New product")],
            "p2": [visit("e5", "2026-06-15T10:00:00Z", "Pricing")],
            "p3": [visit("e6", "2026-06-15T09:00:00Z", "Pricing"), visit("e7", "2026-06-15T13:00:00Z", "New product")],
        },
    }))
}

const PRICING: &str = r#"v.eventType = "web.webpagedetails.pageViews" and v.web.webPageDetails.name = "Pricing""#;

#[test]
fn published_use_cases() {
    let tree = world();
    let check = |subject: SubjectKind, pql: &str, expected: &[&str]| {
        let pql = pql.replace("PRICING", PRICING);
        assert_eq!(members(subject, &pql, &tree, at(NOW)), expected, "{pql}");
    };
    let person = |pql: &str, expected: &[&str]| check(SubjectKind::Person, pql, expected);
    let account = |pql: &str, expected: &[&str]| check(SubjectKind::Account, pql, expected);

    person(r#"exists r from opportunityRoles where r.personRole = "Decision Maker""#, &["p1", "p2"]);
    person("exists r from opportunityRoles where r.opportunity.opportunityAmount.amount > 1000000", &["p1"]);
    person(
        r#"exists r from opportunityRoles where r.opportunity.account.accountBillingAddress.country = "Canada""#,
        &["p1", "p2"],
    );
    person(
        r#"(exists r from opportunityRoles where r.personRole = "Decision Maker" and r.opportunity.account.accountOrganization.industry = "Finance")
           and exists v from xEvent where PRICING and v.timestamp occurs <= 3 days before now"#,
        &["p1", "p2"],
    );
    person(
        r#""HR" in extendedWorkDetails.departments and exists o from accounts.opportunities where not(o.isClosed) and o.opportunityAmount.amount >= 1000000"#,
        &["p1"],
    );
    person(
        r#"extendedWorkDetails.jobTitle = "Vice President" and (exists a from accounts where a.accountOrganization.annualRevenue.amount >= 100000000)
           and count(select v from xEvent where PRICING and v.timestamp occurs <= 1 month before now) >= 3"#,
        &["p1"],
    );
    person(
        r#"(exists r from opportunityRoles where r.personRole = "Decision Maker" and r.opportunity.isClosed and not(r.opportunity.isWon))
           and exists v from xEvent where PRICING and v.timestamp occurs <= 3 days before now"#,
        &["p2"],
    );
    person(
        r#""HR" in extendedWorkDetails.departments and exists a from accounts where
           (exists o from a.opportunities where not(o.isClosed) and o.opportunityAmount.amount >= 1000000)
           or exists o from a.related.opportunities where not(o.isClosed) and o.opportunityAmount.amount >= 1000000"#,
        &["p1"],
    );
    person("b2b.personScore > 80", &["p1"]);
    account("parent.accountOrganization.annualRevenue.amount > 100000000", &["a2", "a3"]);
    person(
        r#"exists r from accountRelations where r.personRole = "Manager" and r.account.accountName = "Acme" and r.isActive"#,
        &["p1"],
    );
    person(
        "exists m from campaignMemberships where m.campaign.actualCost.amount > m.campaign.budgetedCost.amount",
        &["p1"],
    );
    person(
        r#"exists m from listMemberships where m.list.marketingListName = "Anniversary users" and not(m.isDeleted)"#,
        &["p3"],
    );
    person(
        r#"(exists r from opportunityRoles where r.personRole = "Decision Maker" and r.opportunity.isClosed and r.opportunity.isWon = false)
           and exists v from xEvent where PRICING and v.timestamp occurs <= 24 hours before now"#,
        &["p2"],
    );
    account(
        r#"not(exists p from persons where p.extendedWorkDetails.jobTitle in ["COO", "CMO"])"#,
        &["a1", "a3"],
    );
    account(
        "count(persons[xEvent[web.webPageDetails.name = \"Pricing\" and timestamp occurs this week]]) >= 1",
        &["a1", "a2", "a3"],
    );
    account(
        "count(select p from persons where exists v from p.xEvent where PRICING and v.timestamp occurs this week) >= 2",
        &[],
    );
    account(
        "count(select p from persons where exists v from p.xEvent where PRICING and v.timestamp occurs <= 7 days before now) >= 2",
        &["a1", "a2"],
    );
    person(
        r#"sum(select o.opportunityAmount.amount from accounts.opportunities where o.isClosed and o.isWon) > 1000000
           and exists v from xEvent where v.eventType = "web.webpagedetails.pageViews"
               and v.web.webPageDetails.name = "New product" and v.timestamp occurs <= 1 month before now"#,
        &["p1"],
    );
}
