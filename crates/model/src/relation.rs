//! What refers to what, as two tables.
//!
//! `SourceKind::names` lists the fields by which a record names other nodes, and what each means.
//! `HOPS` lists the steps that rules can take from one thing to others, and how the thing comes to
//! know them. Routing, profiles, the type checker, the planner, views and previews look here and
//! nowhere else: decisions/0032.

use serde::{Deserialize, Serialize};

use crate::identity::Identity;
use crate::kind::SourceKind;
use crate::subject::SubjectKind;
use crate::value::Value;

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

/// What a thing means by another that one of its own records names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reference {
    /// A person's, or an opportunity's, account.
    Account,
    /// An account's parent.
    Parent,
    /// An account's related account.
    Related,
    /// An opportunity's campaign.
    Campaign,
}

/// A field of a record that names a node.
#[derive(Debug)]
pub struct Names {
    /// The field's path.
    pub field: &'static str,
    /// How the node stands there.
    pub form: Form,
    /// What it is to the record.
    pub role: Role,
}

/// How a field names nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// By the `sourceKey` of a key object, of a thing of this kind.
    Key(SubjectKind),
    /// By those of a list of key objects.
    Keys(SubjectKind),
    /// By a text `namespace:id`, of any kind.
    Identity,
}

/// What a named node is to the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The record is a row, and belongs to the node: its owner keeps the row.
    End,
    /// The record is a row, and leads its other ends to the node.
    Target,
    /// The record is a part of a thing that refers to the node: by its merged value.
    Reference(Reference),
    /// The record says that this node and its other members are one.
    Member,
    /// As `Reference`, but by the value of each of the thing's records.
    ReferenceOfEach(Reference),
}

/// One step that rules can take.
#[derive(Debug, PartialEq, Eq)]
pub struct Hop {
    /// Where it begins.
    pub from: Start,
    /// The word for it.
    pub relation: Relation,
    /// Where it ends.
    pub to: End,
    /// Whether it ends at one thing at most.
    pub one: bool,
    /// How the beginning knows the ends.
    pub by: By,
}

/// Where a hop begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At a thing of this kind.
    Thing(SubjectKind),
    /// At a row that this relation led to. The way back to the thing it came from is no hop.
    Row(Relation),
}

/// Where a hop ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At distinct unified things of this kind.
    Things(SubjectKind),
    /// At rows of this kind.
    Rows(SourceKind),
}

/// How a thing knows the ends of a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Its records name them.
    Reference(Reference),
    /// Its records name them, or rows of this kind lead to them.
    ReferenceOrRows(Reference, SourceKind),
    /// The rows belong to it.
    Rows,
    /// They name it by this relation, and report to it.
    Children(Relation),
    /// The row names it.
    Target,
}

/// Every hop; those of one beginning in the order in which they are suggested.
pub static HOPS: [Hop; 18] = {
    use End::{Rows, Things};
    use Relation as R;
    use Start::{Row, Thing};
    use SubjectKind::{Account, Campaign, List, Opportunity, Person};
    [
        many(
            Thing(Person),
            R::Accounts,
            Things(Account),
            By::ReferenceOrRows(Reference::Account, SourceKind::AccountPerson),
        ),
        many(Thing(Person), R::AccountRelations, Rows(SourceKind::AccountPerson), By::Rows),
        many(Thing(Person), R::OpportunityRoles, Rows(SourceKind::OpportunityPerson), By::Rows),
        many(Thing(Person), R::CampaignMemberships, Rows(SourceKind::CampaignMember), By::Rows),
        many(Thing(Person), R::ListMemberships, Rows(SourceKind::MarketingListMember), By::Rows),
        many(Thing(Person), R::AudienceMemberships, Rows(SourceKind::AudienceMember), By::Rows),
        many(Thing(Account), R::Opportunities, Things(Opportunity), By::Children(R::Account)),
        one(Thing(Account), R::Parent, Things(Account), By::Reference(Reference::Parent)),
        many(Thing(Account), R::Related, Things(Account), By::Reference(Reference::Related)),
        many(Thing(Account), R::Persons, Things(Person), By::Children(R::Accounts)),
        many(Thing(Account), R::AudienceMemberships, Rows(SourceKind::AudienceMember), By::Rows),
        one(Thing(Opportunity), R::Account, Things(Account), By::Reference(Reference::Account)),
        many(Thing(Opportunity), R::Roles, Rows(SourceKind::OpportunityPerson), By::Rows),
        one(Thing(Opportunity), R::Campaign, Things(Campaign), By::Reference(Reference::Campaign)),
        one(Row(R::AccountRelations), R::Account, Things(Account), By::Target),
        one(Row(R::OpportunityRoles), R::Opportunity, Things(Opportunity), By::Target),
        one(Row(R::CampaignMemberships), R::Campaign, Things(Campaign), By::Target),
        one(Row(R::ListMemberships), R::List, Things(List), By::Target),
    ]
};

const fn many(from: Start, relation: Relation, to: End, by: By) -> Hop {
    Hop {
        from,
        relation,
        to,
        one: false,
        by,
    }
}

const fn one(from: Start, relation: Relation, to: End, by: By) -> Hop {
    Hop {
        from,
        relation,
        to,
        one: true,
        by,
    }
}

impl SourceKind {
    /// The fields by which a record of this kind names other nodes.
    pub fn names(self) -> &'static [Names] {
        const fn key(field: &'static str, kind: SubjectKind, role: Role) -> Names {
            Names {
                field,
                form: Form::Key(kind),
                role,
            }
        }
        use SubjectKind::{Account, Campaign, List, Opportunity, Person};
        match self {
            SourceKind::Person => const { &[key("b2b.accountKey", Account, Role::ReferenceOfEach(Reference::Account))] },
            SourceKind::Account => {
                const {
                    &[
                        key("accountParentKey", Account, Role::Reference(Reference::Parent)),
                        Names {
                            field: "relatedAccountKeys",
                            form: Form::Keys(Account),
                            role: Role::Reference(Reference::Related),
                        },
                    ]
                }
            }
            SourceKind::Opportunity => {
                const {
                    &[
                        key("accountKey", Account, Role::Reference(Reference::Account)),
                        key("campaignKey", Campaign, Role::Reference(Reference::Campaign)),
                    ]
                }
            }
            SourceKind::AccountPerson => const { &[key("personKey", Person, Role::End), key("accountKey", Account, Role::Target)] },
            SourceKind::OpportunityPerson => {
                const {
                    &[
                        key("personKey", Person, Role::End),
                        key("opportunityKey", Opportunity, Role::End),
                        key("opportunityKey", Opportunity, Role::Target),
                    ]
                }
            }
            SourceKind::CampaignMember => const { &[key("personKey", Person, Role::End), key("campaignKey", Campaign, Role::Target)] },
            SourceKind::MarketingListMember => const { &[key("personKey", Person, Role::End), key("marketingListKey", List, Role::Target)] },
            SourceKind::AudienceMember => {
                const {
                    &[
                        Names {
                            field: "member",
                            form: Form::Identity,
                            role: Role::End,
                        },
                        key("personKey", Person, Role::End),
                        key("accountKey", Account, Role::End),
                    ]
                }
            }
            SourceKind::AccountLink => {
                const {
                    &[Names {
                        field: "members",
                        form: Form::Keys(Account),
                        role: Role::Member,
                    }]
                }
            }
            // An event is filed under one of its identities.
            SourceKind::Activity | SourceKind::Campaign | SourceKind::MarketingList => &[],
        }
    }

    /// The nodes that a record of this kind names in this role, in the order of its fields.
    pub fn named(self, role: Role, record: &Value) -> impl Iterator<Item = Identity> {
        let fields = self.names().iter().filter(move |names| names.role == role);
        fields.flat_map(|names| names.nodes(record))
    }
}

impl Names {
    /// The nodes that a record names by the field.
    pub fn nodes(&self, record: &Value) -> Vec<Identity> {
        let value = record.at(self.field);
        let of_key = |kind: SubjectKind, key: &Value| Identity::new(kind.namespace(), key.field("sourceKey").as_str()?);
        match self.form {
            Form::Key(kind) => of_key(kind, value).into_iter().collect(),
            Form::Keys(kind) => {
                let keys = value.as_list().unwrap_or_default();
                keys.iter().filter_map(|key| of_key(kind, key)).collect()
            }
            Form::Identity => value.as_str().and_then(|text| Identity::parse(text).ok()).into_iter().collect(),
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
        match self.any_hop()?.to {
            End::Rows(kind) => Some(kind),
            End::Things(_) => None,
        }
    }

    /// The kind of unified thing a relation yields, if it yields such.
    pub fn target(self) -> Option<SubjectKind> {
        match self.any_hop()?.to {
            End::Things(kind) => Some(kind),
            End::Rows(_) => None,
        }
    }

    /// Whether the relation leads to at most one thing.
    pub fn to_one(self) -> bool {
        self.any_hop().is_some_and(|hop| hop.one)
    }

    /// The kind of thing at its end, through the row where it yields rows.
    pub fn leads_to(self) -> Option<SubjectKind> {
        self.target().or_else(|| Hop::of_row(self)?.relation.target())
    }

    /// The kind of things that report to the beginning as its children, if it leads to such.
    pub fn children(self) -> Option<SubjectKind> {
        match self.any_hop()? {
            Hop {
                by: By::Children(_),
                to: End::Things(kind),
                ..
            } => Some(*kind),
            _ => None,
        }
    }

    /// Whether no two things share an end.
    pub fn disjoint(self) -> bool {
        self.any_hop().is_some_and(|hop| match hop.by {
            By::Rows => true,
            By::Children(up) => up.to_one(),
            By::Reference(_) | By::ReferenceOrRows(..) | By::Target => false,
        })
    }

    /// All hops of one name end at the same kind, in the same number.
    fn any_hop(self) -> Option<&'static Hop> {
        HOPS.iter().find(|hop| hop.relation == self)
    }
}

impl Hop {
    /// The hops from a thing of this kind.
    pub fn all_from(kind: SubjectKind) -> impl Iterator<Item = &'static Hop> {
        HOPS.iter().filter(move |hop| hop.from == Start::Thing(kind))
    }

    /// The hop of this name from a thing of this kind.
    pub fn from_thing(kind: SubjectKind, relation: Relation) -> Option<&'static Hop> {
        Hop::all_from(kind).find(|hop| hop.relation == relation)
    }

    /// The hop from a row that a relation led to.
    pub fn of_row(relation: Relation) -> Option<&'static Hop> {
        HOPS.iter().find(|hop| hop.from == Start::Row(relation))
    }

    /// The relation by which things of kind `child` name those of kind `parent` that they report
    /// to.
    pub fn upwards(parent: SubjectKind, child: SubjectKind) -> Option<Relation> {
        Hop::all_from(parent).find_map(|hop| match hop.by {
            By::Children(up) if hop.to == End::Things(child) => Some(up),
            By::Children(_) | By::Reference(_) | By::ReferenceOrRows(..) | By::Rows | By::Target => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(kind: SourceKind) -> Vec<(Form, Role)> {
        kind.names().iter().map(|names| (names.form, names.role)).collect()
    }

    /// Whether records of a thing's kind name things of another in this sense.
    fn refers(from: SubjectKind, to: SubjectKind, reference: Reference) -> bool {
        let named = roles(from.source());
        [Form::Key(to), Form::Keys(to)]
            .into_iter()
            .any(|form| named.contains(&(form, Role::Reference(reference))) || named.contains(&(form, Role::ReferenceOfEach(reference))))
    }

    #[test]
    fn every_hop_has_fields_that_carry_it() {
        for hop in &HOPS {
            let carried = match (hop.from, hop.to, hop.by) {
                (Start::Thing(from), End::Things(to), By::Reference(reference)) => refers(from, to, reference),
                (Start::Thing(from), End::Things(to), By::ReferenceOrRows(reference, row)) => {
                    let named = roles(row);
                    refers(from, to, reference) && named.contains(&(Form::Key(from), Role::End)) && named.contains(&(Form::Key(to), Role::Target))
                }
                (Start::Thing(from), End::Rows(row), By::Rows) => roles(row).contains(&(Form::Key(from), Role::End)),
                (Start::Thing(from), End::Things(to), By::Children(up)) => {
                    Hop::from_thing(to, up).is_some_and(|hop| hop.to == End::Things(from)) && Hop::upwards(from, to) == Some(up)
                }
                (Start::Row(relation), End::Things(to), By::Target) => relation.row().is_some_and(|row| roles(row).contains(&(Form::Key(to), Role::Target))),
                _ => false,
            };
            assert!(carried, "{hop:?}");
        }
    }

    #[test]
    fn hops_of_one_name_end_alike() {
        for hop in &HOPS {
            let alike = HOPS.iter().filter(|other| other.relation == hop.relation);
            for other in alike {
                assert_eq!((hop.to, hop.one), (other.to, other.one), "{}", hop.relation.name());
            }
            let same = HOPS.iter().filter(|other| (other.from, other.relation) == (hop.from, hop.relation));
            assert_eq!(same.count(), 1, "{hop:?}");
        }
    }

    #[test]
    fn records_name_nodes_by_their_fields() {
        let value = Value::from_json(&serde_json::json!({
            "accountParentKey": { "sourceKey": "1@crm.Salesforce" },
            "relatedAccountKeys": [{ "sourceKey": "2@crm.Salesforce" }, {}, { "sourceKey": "3@crm.Salesforce" }],
            "member": "email:ann@acme.com",
        }));
        let named = |kind: SourceKind, role: Role| kind.named(role, &value).map(|node| node.to_string()).collect::<Vec<_>>();
        assert_eq!(named(SourceKind::Account, Role::Reference(Reference::Parent)), ["b2b_account:1@crm.Salesforce"]);
        assert_eq!(
            named(SourceKind::Account, Role::Reference(Reference::Related)),
            ["b2b_account:2@crm.Salesforce", "b2b_account:3@crm.Salesforce"]
        );
        assert_eq!(named(SourceKind::AudienceMember, Role::End), ["email:ann@acme.com"]);
        assert_eq!(named(SourceKind::Person, Role::End), Vec::<String>::new());
    }
}
