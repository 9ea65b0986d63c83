//! Changes that touch several records: merges, and the conversion of a lead.

use serde_json::{Value, json};

use super::world::World;

/// Which fields of which objects name a record of an object, and follow it through a merge.
const CHILDREN: [(&str, &str, &str); 7] = [
    ("Account", "Contact", "AccountId"),
    ("Account", "Opportunity", "AccountId"),
    ("Account", "Account", "ParentId"),
    ("Contact", "OpportunityContactRole", "ContactId"),
    ("Contact", "CampaignMember", "ContactId"),
    ("Lead", "CampaignMember", "LeadId"),
    ("Contact", "AccountContactRelation", "ContactId"),
];

impl World {
    /// Merges losers into a winner: accounts, contacts or leads.
    pub fn merge(&mut self, object: &str, winner: &str, losers: &[String]) {
        for loser in losers {
            for (parent, child, field) in CHILDREN {
                if parent != object {
                    continue;
                }
                for id in self.live(child, field, loser) {
                    let direct = self.row(child, &id).is_some_and(|row| row.get("IsDirect") == Some(&json!(true)));
                    if direct {
                        self.delete(child, &id);
                    } else {
                        self.update(child, &id, json!({ field: winner }));
                    }
                }
            }
            self.update(object, loser, json!({"MasterRecordId": winner}));
            self.delete(object, loser);
        }
        self.update(object, winner, json!({}));
    }

    /// Converts a lead into a new contact of an account; returns the contact's id.
    pub fn convert(&mut self, lead: &str, account: &str) -> String {
        let row = self.row("Lead", lead).cloned().unwrap_or_default();
        let mut contact = json!({"AccountId": account});
        for field in ["FirstName", "LastName", "Title", "Email", "Phone", "LeadSource"] {
            contact[field] = row[field].clone();
        }
        let contact = self.create("Contact", contact);
        let date = self.now.to_string()[..10].to_owned();
        let converted: Value = json!({
            "IsConverted": true, "ConvertedDate": date, "ConvertedContactId": contact, "ConvertedAccountId": account, "Status": "Closed - Converted",
        });
        self.update("Lead", lead, converted);
        for member in self.live("CampaignMember", "LeadId", lead) {
            self.update("CampaignMember", &member, json!({"ContactId": contact}));
        }
        contact
    }
}
