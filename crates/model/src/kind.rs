//! The kinds of source record, and the relations between unified things.

use serde::{Deserialize, Serialize};

use crate::subject::SubjectKind;

/// The records of a source topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SourceKind {
    /// A person as one source knows it.
    Person,
    /// A company account.
    Account,
    /// A deal.
    Opportunity,
    /// A person's relation to an account.
    AccountPerson,
    /// A person's role on a deal.
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

/// A step from one subject to others, as rules write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Relation {
    /// Person → distinct unified accounts, by `b2b.accountKey` and account-person rows.
    Accounts,
    /// Person → account-person rows.
    AccountRelations,
    /// Person → opportunity-person rows.
    OpportunityRoles,
    /// Person → campaign-member rows.
    CampaignMemberships,
    /// Person → marketing-list-member rows.
    ListMemberships,
    /// Account → distinct unified opportunities.
    Opportunities,
    /// Account → its one parent account.
    Parent,
    /// Account → the accounts it lists as related.
    Related,
    /// Account → distinct persons.
    Persons,
    /// Opportunity, or account-person row → its one account.
    Account,
    /// Opportunity → opportunity-person rows.
    Roles,
    /// Opportunity, or campaign-member row → its one campaign.
    Campaign,
    /// Opportunity-person row → its one opportunity.
    Opportunity,
    /// Marketing-list-member row → its one list.
    List,
    /// Person or account → audience-member rows.
    AudienceMemberships,
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

impl Relation {
    /// The word for it in rules.
    pub fn name(self) -> &'static str {
        match self {
            Relation::Accounts => "accounts",
            Relation::AccountRelations => "accountRelations",
            Relation::OpportunityRoles => "opportunityRoles",
            Relation::CampaignMemberships => "campaignMemberships",
            Relation::ListMemberships => "listMemberships",
            Relation::Opportunities => "opportunities",
            Relation::Parent => "parent",
            Relation::Related => "related",
            Relation::Persons => "persons",
            Relation::Account => "account",
            Relation::Roles => "roles",
            Relation::Campaign => "campaign",
            Relation::Opportunity => "opportunity",
            Relation::List => "list",
            Relation::AudienceMemberships => "audienceMemberships",
        }
    }

    /// The row record a relation yields, if it yields rows and not unified things.
    pub fn row(self) -> Option<SourceKind> {
        match self {
            Relation::AccountRelations => Some(SourceKind::AccountPerson),
            Relation::OpportunityRoles | Relation::Roles => Some(SourceKind::OpportunityPerson),
            Relation::CampaignMemberships => Some(SourceKind::CampaignMember),
            Relation::ListMemberships => Some(SourceKind::MarketingListMember),
            Relation::AudienceMemberships => Some(SourceKind::AudienceMember),
            Relation::Accounts
            | Relation::Opportunities
            | Relation::Parent
            | Relation::Related
            | Relation::Persons
            | Relation::Account
            | Relation::Campaign
            | Relation::Opportunity
            | Relation::List => None,
        }
    }

    /// The kind of unified thing a relation yields, if it yields such.
    pub fn target(self) -> Option<SubjectKind> {
        match self {
            Relation::Accounts | Relation::Parent | Relation::Related | Relation::Account => Some(SubjectKind::Account),
            Relation::Opportunities | Relation::Opportunity => Some(SubjectKind::Opportunity),
            Relation::Campaign => Some(SubjectKind::Campaign),
            Relation::List => Some(SubjectKind::List),
            Relation::Persons => Some(SubjectKind::Person),
            Relation::AccountRelations
            | Relation::OpportunityRoles
            | Relation::CampaignMemberships
            | Relation::ListMemberships
            | Relation::Roles
            | Relation::AudienceMemberships => None,
        }
    }

    /// Whether the relation leads to at most one thing.
    pub fn to_one(self) -> bool {
        matches!(
            self,
            Relation::Parent | Relation::Account | Relation::Campaign | Relation::Opportunity | Relation::List
        )
    }
}
