//! The kinds of source record.

use serde::{Deserialize, Serialize};

use crate::subject::SubjectKind;

/// The records of a source topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SourceKind {
    /// A person as one source knows it.
    Person,
    /// A company account.
    Account,
    /// A opportunity.
    Opportunity,
    /// A person's relation to an account.
    AccountPerson,
    /// A person's role on an opportunity.
    OpportunityPerson,
    /// A campaign.
    Campaign,
    /// A person in a campaign.
    CampaignMember,
    /// A static list.
    MarketingList,
    /// A person on a list.
    MarketingListMember,
    /// Accounts that are the same company.
    AccountLink,
    /// An experience event.
    Activity,
    /// A member of an external audience.
    AudienceMember,
}

impl SourceKind {
    /// Every kind.
    pub const ALL: [SourceKind; 12] = [
        SourceKind::Person,
        SourceKind::Account,
        SourceKind::Opportunity,
        SourceKind::AccountPerson,
        SourceKind::OpportunityPerson,
        SourceKind::Campaign,
        SourceKind::CampaignMember,
        SourceKind::MarketingList,
        SourceKind::MarketingListMember,
        SourceKind::AccountLink,
        SourceKind::Activity,
        SourceKind::AudienceMember,
    ];

    /// The last part of the source topic's name, and of the schema file's.
    pub fn name(self) -> &'static str {
        match self {
            SourceKind::Person => "person",
            SourceKind::Account => "account",
            SourceKind::Opportunity => "opportunity",
            SourceKind::AccountPerson => "account-person",
            SourceKind::OpportunityPerson => "opportunity-person",
            SourceKind::Campaign => "campaign",
            SourceKind::CampaignMember => "campaign-member",
            SourceKind::MarketingList => "marketing-list",
            SourceKind::MarketingListMember => "marketing-list-member",
            SourceKind::AccountLink => "account-link",
            SourceKind::Activity => "activity",
            SourceKind::AudienceMember => "audience-member",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<SourceKind> {
        SourceKind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The field that holds the record's own key object. `None` for activities, which are named by
    /// `_id`.
    pub fn key_field(self) -> Option<&'static str> {
        Some(match self {
            SourceKind::Person => "personKey",
            SourceKind::Account => "accountKey",
            SourceKind::Opportunity => "opportunityKey",
            SourceKind::AccountPerson => "accountPersonKey",
            SourceKind::OpportunityPerson => "opportunityPersonKey",
            SourceKind::Campaign => "campaignKey",
            SourceKind::CampaignMember => "campaignMemberKey",
            SourceKind::MarketingList => "marketingListKey",
            SourceKind::MarketingListMember => "marketingListMemberKey",
            SourceKind::AccountLink => "linkKey",
            SourceKind::AudienceMember => "audienceMemberKey",
            SourceKind::Activity => return None,
        })
    }

    /// The unified thing a record of this kind is a fragment of. `None` for relation rows, links
    /// and activities.
    pub fn subject(self) -> Option<SubjectKind> {
        match self {
            SourceKind::Person => Some(SubjectKind::Person),
            SourceKind::Account => Some(SubjectKind::Account),
            SourceKind::Opportunity => Some(SubjectKind::Opportunity),
            SourceKind::Campaign => Some(SubjectKind::Campaign),
            SourceKind::MarketingList => Some(SubjectKind::List),
            SourceKind::AccountPerson
            | SourceKind::OpportunityPerson
            | SourceKind::CampaignMember
            | SourceKind::MarketingListMember
            | SourceKind::AccountLink
            | SourceKind::AudienceMember
            | SourceKind::Activity => None,
        }
    }
}

impl SubjectKind {
    /// The kind of source record whose fragments make up a thing of this kind.
    pub fn source(self) -> SourceKind {
        match self {
            SubjectKind::Person => SourceKind::Person,
            SubjectKind::Account => SourceKind::Account,
            SubjectKind::Opportunity => SourceKind::Opportunity,
            SubjectKind::Campaign => SourceKind::Campaign,
            SubjectKind::List => SourceKind::MarketingList,
        }
    }
}
