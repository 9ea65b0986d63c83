//! The published B2B rules, and others that random worlds certainly touch.

use super::bodea;
use crate::{Rule, Subject};

fn rule(name: &str, subject: Subject, time_zone: &str, pql: &str) -> Rule {
    Rule {
        name: name.to_owned(),
        subject,
        time_zone: time_zone.to_owned(),
        pql: pql.to_owned(),
    }
}

/// The rule of an external audience whose memberships count for five days.
fn audience(name: &str) -> String {
    format!(
        r#"exists m from audienceMemberships where m.audience = "{name}"
and (m.validUntil > now or m.validUntil.isNull() and m.modifiedAt occurs < 5 days before now)"#
    )
}

/// Rules over all parts of random worlds. Names are unique; some refer to others.
#[expect(clippy::too_many_lines, reason = "one table")]
pub fn all() -> Vec<Rule> {
    let person = |name: &str, pql: &str| rule(name, Subject::Person, "UTC", pql);
    let person_in = |name, zone, pql| rule(name, Subject::Person, zone, pql);
    let account = |name: &str, pql: &str| rule(name, Subject::Account, "UTC", pql);
    vec![
        bodea::rule(),
        person("decision-maker", r#"exists r from opportunityRoles where r.personRole = "Decision Maker""#),
        person(
            "role-on-large-deal",
            "exists r from opportunityRoles where r.opportunity.opportunityAmount.amount > 1000000",
        ),
        person(
            "role-on-canadian-deal",
            r#"exists r from opportunityRoles where r.opportunity.account.accountBillingAddress.country = "Canada""#,
        ),
        person(
            "finance-decision-maker-at-pricing",
            r#"(exists r from opportunityRoles where r.personRole = "Decision Maker" and r.opportunity.account.accountOrganization.industry = "Finance")
and exists v from xEvent where v.web.webPageDetails.name = "Pricing" and v.timestamp occurs <= 3 days before now"#,
        ),
        person(
            "hr-with-open-deal",
            r#"extendedWorkDetails.departments.includes("HR")
and exists o from accounts.opportunities where not(o.isClosed) and o.opportunityAmount.amount >= 1000000"#,
        ),
        person(
            "vice-president-at-pricing",
            r#"extendedWorkDetails.jobTitle = "Vice President" and (exists a from accounts where a.accountOrganization.annualRevenue.amount >= 100000000)
and xEvent[web.webPageDetails.name = "Pricing" and timestamp occurs <= 1 month before now].count() >= 3"#,
        ),
        person_in(
            "lost-decision-maker-at-pricing",
            "America/New_York",
            r#"(exists r from opportunityRoles where r.personRole = "Decision Maker" and r.opportunity.isClosed and not(r.opportunity.isWon))
and chain(xEvent, timestamp, [V: WHAT(web.webPageDetails.name = "Pricing") WHEN(<= 24 hours before now)])"#,
        ),
        person(
            "hr-with-open-deal-around",
            r#"extendedWorkDetails.departments.includes("HR")
and ((exists o from accounts.opportunities where not(o.isClosed) and o.opportunityAmount.amount >= 1000000)
    or (exists o from accounts.related.opportunities where not(o.isClosed) and o.opportunityAmount.amount >= 1000000))"#,
        ),
        person("high-score", "b2b.personScore > 80"),
        person(
            "rich-parent",
            "exists a from accounts where a.parent.accountOrganization.annualRevenue.amount > 100000000",
        ),
        person(
            "manager-at-acme",
            r#"exists r from accountRelations where r.personRole = "Manager" and r.isActive and r.account.accountName = "Acme""#,
        ),
        person(
            "over-budget-campaign",
            "exists m from campaignMemberships where m.campaign.actualCost.amount > m.campaign.budgetedCost.amount",
        ),
        person(
            "anniversary",
            r#"exists m from listMemberships where m.list.marketingListName = "Anniversary users" and m.isDeleted = false"#,
        ),
        person("partners", &audience("partners")),
        person(
            "active-partners",
            r#"inSegment("partners") and exists v from xEvent where v.timestamp occurs <= 7 days before now"#,
        ),
        account("webinar", &audience("webinar")),
        person("never-visited", "not(exists v from xEvent)"),
        person("unknown-title", "extendedWorkDetails.jobTitle.isNull()"),
        person(
            "won-above-average",
            "accounts.opportunities[isWon].opportunityAmount.amount.average() > accounts.opportunities.opportunityAmount.amount.average()",
        ),
        person("one-account", "accounts.count() = 1"),
        person(
            "pricing-then-form",
            r#"chain(xEvent, timestamp, [A: WHAT(web.webPageDetails.name = "Pricing") COUNT(2), N: not WHAT(web.webPageDetails.name = "Support"),
    B: WHAT(eventType = "web.formFilledOut")])"#,
        ),
        person(
            "form-then-silence",
            r#"chain(xEvent, timestamp, [A: WHAT(eventType = "web.formFilledOut"), N: not WHAT(eventType = "web.webpagedetails.pageViews")])"#,
        ),
        // Sequences by their use of time: since the step before, of an event's age from both sides,
        // of an absence, of the calendar.
        person(
            "form-soon-after-visit",
            r#"chain(xEvent, timestamp, [A: WHAT(eventType = "web.webpagedetails.pageViews") WHEN(<= 7 days before now),
    B: WHAT(eventType = "web.formFilledOut") WHEN(<= 1 day after A)])"#,
        ),
        person(
            "visit-without-form",
            r#"chain(xEvent, timestamp, [A: WHAT(eventType = "web.webpagedetails.pageViews") WHEN(>= 1 day before now), N: not WHAT(eventType = "web.formFilledOut")])"#,
        ),
        person(
            "form-without-visit-lately",
            r#"chain(xEvent, timestamp, [N: not WHAT(web.webPageDetails.name = "Support"), A: WHAT(eventType = "web.formFilledOut"),
    M: not WHAT(eventType = "web.webpagedetails.pageViews") WHEN(<= 3 days before now) COUNT(2)])"#,
        ),
        person_in(
            "pricing-this-week-after-last",
            "Europe/Berlin",
            r#"chain(xEvent, timestamp, [A: WHEN(last week), B: WHAT(web.webPageDetails.name = "Pricing") WHEN(this week)])
or not(chain(xEvent, timestamp, [A: WHAT(true) COUNT(2) WHEN(<= 1 month before now), B: WHAT(true)]))"#,
        ),
        person_in("visited-this-week", "Europe/Berlin", "exists v from xEvent where v.timestamp occurs this week"),
        person_in(
            "visited-last-month",
            "America/New_York",
            "exists v from xEvent where v.timestamp occurs last month",
        ),
        person_in(
            "visited-since-yesterday",
            "Asia/Kolkata",
            "exists v from xEvent where v.timestamp occurs between yesterday and today",
        ),
        person("latest-is-pricing", r#"xEvent.topN(timestamp, 1).head().web.webPageDetails.name = "Pricing""#),
        person(
            "closing-soon",
            "exists o from accounts.opportunities where o.expectedCloseDate occurs <= 30 days after now",
        ),
        person(
            "upsell-or-score",
            r#"inSegment("new-product-upsell") or inSegment("high-score") and not(inSegment("never-visited"))"#,
        ),
        person(
            "mail-domain",
            r#"workEmail.address.matches("(?i)@acme\.") or workEmail.address.endsWith("@TOWNSEND.com", false)"#,
        ),
        person("quiet-for-days", "max(select v.timestamp from xEvent) occurs > 3 days before now"),
        person(
            "came-back",
            "(exists v from xEvent where v.timestamp occurs > 3 days before now) and (exists v from xEvent where v.timestamp occurs <= 1 day before now)",
        ),
        person(
            "well-read",
            "count(distinct(select v.web.webPageDetails.name from xEvent where v.timestamp occurs <= 7 days before now)) >= 2",
        ),
        person(
            "spent-lately",
            "sum(select i.priceTotal from xEvent.productListItems where i.priceTotal > 1) > 20
or sum(select v.productListItems.priceTotal.sum() from xEvent where v.timestamp occurs <= 7 days before now) > 8.5",
        ),
        person("busy-week", "xEvent[timestamp occurs this week].count() in [2, 3]"),
        person("biggest-deal-open", "accounts.opportunities.topN(opportunityAmount.amount, 1)[not(isClosed)]"),
        account(
            "no-chiefs",
            r#"not(exists p from persons where p.extendedWorkDetails.jobTitle in ["COO", "CMO"])"#,
        ),
        account(
            "busy-on-pricing",
            r#"count(select p from persons where exists v from p.xEvent where v.web.webPageDetails.name = "Pricing" and v.timestamp occurs this week) >= 2"#,
        ),
        account("visits-of-staff", "persons[xEvent[timestamp occurs <= 7 days before now]].count() >= 2"),
        account(
            "won-a-million",
            "sum(select o.opportunityAmount.amount from opportunities where o.isClosed and o.isWon) >= 1000000",
        ),
        account(
            "richer-than-parent",
            "accountOrganization.annualRevenue.amount > parent.accountOrganization.annualRevenue.amount",
        ),
        account("deals-without-people", "exists o from opportunities where o.roles.count() = 0"),
        account(
            "large-or-related",
            r#"inSegment("won-a-million") or (exists a from related where a.opportunities.opportunityAmount.amount.sum() >= 1000000)"#,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<String> = all().into_iter().map(|rule| rule.name).collect();
        assert_eq!(names.len(), all().len());
    }
}
