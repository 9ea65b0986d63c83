//! Conformance by form.

use super::*;

/// Every rule that must parse, by form.
#[test]
fn accepted() {
    for text in [
        "homeAddress.country = \"CA\"",
        "sum(select o.opportunityAmount.amount from accounts.opportunities where o.isClosed and o.isWon) > 1000000
            and exists v from xEvent where v.eventType = \"web.webpagedetails.pageViews\"
            and v.web.webPageDetails.name = \"New product\" and v.timestamp occurs <= 1 month before now",
    ] {
        parse(text).unwrap_or_else(|diagnostics| panic!("{}", crate::diagnostic::render_all(&diagnostics, text)));
    }
}
