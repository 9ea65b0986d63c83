//! Reduces a failing stream to a small one that still fails.

use crate::SourceRecord;

/// The shortest stream found, by leaving out records, of which `fails` is true; `records` itself
/// must fail.
///
/// Leaves out halves, then quarters, down to single records, and starts over until nothing more can
/// go. `fails` runs some thousand times on a stream of a hundred records.
pub fn shrink(records: &[SourceRecord], mut fails: impl FnMut(&[SourceRecord]) -> bool) -> Vec<SourceRecord> {
    let mut held = records.to_vec();
    let mut chunk = held.len().div_ceil(2).max(1);
    loop {
        let before = held.len();
        let mut at = 0;
        while at < held.len() {
            let end = (at + chunk).min(held.len());
            let without: Vec<SourceRecord> = held[..at].iter().chain(&held[end..]).cloned().collect();
            if fails(&without) {
                held = without;
            } else {
                at = end;
            }
        }
        if chunk > 1 {
            chunk = chunk.div_ceil(2);
        } else if held.len() == before {
            return held;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worlds::{NOON_MS, bodea};
    use crate::{Config, Oracle};

    #[test]
    fn what_makes_p3_a_member() {
        let records = shrink(&bodea::without(&[]), |records| {
            let world = Oracle::evaluate(records, &[bodea::rule()], NOON_MS, &Config::default());
            world.members["new-product-upsell"].contains(bodea::PERSONS[2])
        });
        let keys: Vec<&str> = records.iter().map(|record| record.key.as_str()).collect();
        // No record of the person is needed: the row and the visit name it. Both deals and the link
        // are.
        let expected = [
            "001B@crm2.Salesforce",
            "9003@crm2.Salesforce",
            "006A@crm1.Salesforce",
            "006B@crm2.Salesforce",
            "townsend@mdm.MDM",
            "b2b_person:2003@marketo2.Marketo",
        ];
        assert_eq!(keys, expected);
    }
}
