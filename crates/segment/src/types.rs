//! The types of the core language, and the fields and relations of each.

use std::sync::Arc;

use millrace_model::relation::Hop;
use millrace_model::{RecordType, Relation, Schema, SourceKind, SubjectKind, Text, Type};

/// The type of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Ty {
    Null,
    Bool,
    Int,
    Number,
    Text,
    Date,
    Time,
    List(Box<Ty>),
    Map(Box<Ty>),
    Record(Arc<RecordType>),
    /// The result of `groupBy`: lists of such items by key.
    Groups(Box<Ty>),
    /// Typed when it is evaluated.
    Any,
    /// A unified thing, this many relations away from the subject.
    Thing(SubjectKind, u8),
    /// A row of a relation.
    Row(Relation, u8),
    /// An experience event of a person.
    Event,
    /// Already refused; fits everywhere, so that one mistake is reported once.
    Broken,
}

/// The result of a field access.
pub enum Member {
    Field(Ty),
    /// The amount of a money record.
    Amount,
    Relation(Relation, Ty),
    Events,
    /// A field with this known value.
    False,
}

impl Ty {
    pub fn of(ty: &Type) -> Ty {
        match ty {
            Type::Bool => Ty::Bool,
            Type::Int => Ty::Int,
            Type::Number => Ty::Number,
            Type::Text => Ty::Text,
            Type::Date => Ty::Date,
            Type::Time => Ty::Time,
            Type::List(item) => Ty::List(Box::new(Ty::of(item))),
            Type::Map(value) => Ty::Map(Box::new(Ty::of(value))),
            Type::Record(record) => Ty::Record(record.clone()),
            Type::Any => Ty::Any,
        }
    }

    /// For messages.
    pub fn show(&self) -> String {
        match self {
            Ty::Null => "null".into(),
            Ty::Bool => "a boolean".into(),
            Ty::Int => "a whole number".into(),
            Ty::Number => "a number".into(),
            Ty::Text => "a text".into(),
            Ty::Date => "a date".into(),
            Ty::Time => "an instant".into(),
            Ty::List(item) => format!("a list of {}", item.plural()),
            Ty::Map(_) | Ty::Groups(_) => "a map".into(),
            Ty::Record(record) => format!("a record {}", record.name),
            Ty::Any | Ty::Broken => "any value".into(),
            Ty::Thing(kind, _) => match kind {
                SubjectKind::Account | SubjectKind::Opportunity => format!("an {}", kind.name()),
                SubjectKind::Person | SubjectKind::Campaign | SubjectKind::List => format!("a {}", kind.name()),
            },
            Ty::Row(relation, _) => format!("a row of {}", relation.name()),
            Ty::Event => "an event".into(),
        }
    }

    fn plural(&self) -> String {
        match self {
            Ty::Bool => "booleans".into(),
            Ty::Int => "whole numbers".into(),
            Ty::Number => "numbers".into(),
            Ty::Text => "texts".into(),
            Ty::Date => "dates".into(),
            Ty::Time => "instants".into(),
            Ty::List(_) => "lists".into(),
            Ty::Map(_) | Ty::Groups(_) => "maps".into(),
            Ty::Record(record) => format!("records {}", record.name),
            Ty::Null | Ty::Any | Ty::Broken => "values".into(),
            Ty::Thing(SubjectKind::Opportunity, _) => "opportunities".into(),
            Ty::Thing(kind, _) => format!("{}s", kind.name()),
            Ty::Row(relation, _) => format!("rows of {}", relation.name()),
            Ty::Event => "events".into(),
        }
    }

    pub fn is_number(&self) -> bool {
        matches!(self, Ty::Int | Ty::Number)
    }

    /// Whether it is a thing, row or event, or a list of such.
    pub fn is_object(&self) -> bool {
        match self {
            Ty::Thing(..) | Ty::Row(..) | Ty::Event => true,
            Ty::List(item) | Ty::Groups(item) => item.is_object(),
            Ty::Null | Ty::Bool | Ty::Int | Ty::Number | Ty::Text | Ty::Date | Ty::Time | Ty::Map(_) | Ty::Record(_) | Ty::Any | Ty::Broken => false,
        }
    }

    /// What a binder over a value of this type binds: the item of a list, otherwise the value
    /// itself.
    pub fn item(&self) -> Ty {
        if let Ty::List(item) = self { (**item).clone() } else { self.clone() }
    }

    /// The one type of two branches; `None` if they do not go together.
    pub fn join(&self, other: &Ty) -> Option<Ty> {
        Some(match (self, other) {
            (Ty::Broken, _) | (_, Ty::Broken) => Ty::Broken,
            (Ty::Null, ty) | (ty, Ty::Null) => ty.clone(),
            // A date and an instant are read when they are compared.
            (Ty::Any, _) | (_, Ty::Any) | (Ty::Date, Ty::Time) | (Ty::Time, Ty::Date) => Ty::Any,
            (a, b) if a.is_number() && b.is_number() => {
                if a == b {
                    a.clone()
                } else {
                    Ty::Number
                }
            }
            (Ty::Thing(a, m), Ty::Thing(b, n)) if a == b => Ty::Thing(*a, *m.max(n)),
            (Ty::Row(a, m), Ty::Row(b, n)) if a == b => Ty::Row(*a, *m.max(n)),
            (Ty::List(a), Ty::List(b)) => Ty::List(Box::new(a.join(b)?)),
            (Ty::Map(a), Ty::Map(b)) => Ty::Map(Box::new(a.join(b)?)),
            (a, b) if a == b => a.clone(),
            _ => return None,
        })
    }
}

/// The member `name` of a thing, row, event or record; `None` if there is none.
pub fn member(schema: &Schema, of: &Ty, name: &str) -> Option<Member> {
    let record = |kind: SourceKind| {
        let record = schema.record(kind);
        match record.fields.get(name) {
            Some(field) => Some(Member::Field(Ty::of(&field.ty))),
            // Custom namespaces, and custom fields that the schema does not list.
            None if name == "extra" || name.starts_with('_') => Some(Member::Field(Ty::Any)),
            None => None,
        }
    };
    match of {
        Ty::Thing(kind, hops) => {
            if name == "isDeleted" {
                return Some(Member::False);
            }
            if *kind == SubjectKind::Person && name == "xEvent" {
                return Some(Member::Events);
            }
            match Hop::all_from(*kind).map(|hop| hop.relation).find(|relation| relation.name() == name) {
                Some(relation) => Some(Member::Relation(relation, relation_ty(relation, *hops))),
                None => record(kind.source()),
            }
        }
        Ty::Row(row, hops) => {
            if name == "isDeleted" {
                return Some(Member::False);
            }
            match Hop::of_row(*row).map(|hop| hop.relation) {
                // The hop to the row and the hop to its thing are one:
                // `opportunityRoles.opportunity` is a path of two words and one step away.
                Some(relation) if relation.name() == name => {
                    Some(Member::Relation(relation, Ty::Thing(relation.target().unwrap_or(SubjectKind::Account), *hops)))
                }
                _ => record(row.row().unwrap_or(SourceKind::AccountPerson)),
            }
        }
        Ty::Event => {
            if name == "isDeleted" {
                return Some(Member::False);
            }
            match name {
                "timestamp" => Some(Member::Field(Ty::Time)),
                "_id" => Some(Member::Field(Ty::Text)),
                _ => record(SourceKind::Activity),
            }
        }
        Ty::Record(record) => {
            if name == "amount" && record.fields.contains_key("currencyCode") && record.fields.contains_key("amount") {
                return Some(Member::Amount);
            }
            let custom = name.starts_with('_').then_some(Member::Field(Ty::Any));
            record.fields.get(name).map(|field| Member::Field(Ty::of(&field.ty))).or(custom)
        }
        Ty::Map(value) => Some(Member::Field((**value).clone())),
        Ty::Any | Ty::Broken => Some(Member::Field(of.clone())),
        Ty::Null | Ty::Bool | Ty::Int | Ty::Number | Ty::Text | Ty::Date | Ty::Time | Ty::List(_) | Ty::Groups(_) => None,
    }
}

/// The type of a relation.
fn relation_ty(relation: Relation, hops: u8) -> Ty {
    let hops = hops.saturating_add(1);
    let item = match relation.target() {
        Some(kind) => Ty::Thing(kind, hops),
        None => Ty::Row(relation, hops),
    };
    if relation.to_one() { item } else { Ty::List(Box::new(item)) }
}

/// Every member's name, for suggestions.
pub fn members(schema: &Schema, of: &Ty) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut record = |record: &RecordType| names.extend(record.fields.keys().map(Text::to_string));
    match of {
        Ty::Thing(kind, _) => {
            record(schema.record(kind.source()));
            names.extend(Hop::all_from(*kind).map(|hop| hop.relation.name().to_owned()));
            names.push("isDeleted".into());
            if *kind == SubjectKind::Person {
                names.push("xEvent".into());
            }
        }
        Ty::Row(row, _) => {
            record(schema.record(row.row().unwrap_or(SourceKind::AccountPerson)));
            names.extend(Hop::of_row(*row).map(|hop| hop.relation.name().to_owned()));
        }
        Ty::Event => {
            record(schema.record(SourceKind::Activity));
            names.push("timestamp".into());
        }
        Ty::Record(of) => record(of),
        Ty::Null | Ty::Bool | Ty::Int | Ty::Number | Ty::Text | Ty::Date | Ty::Time | Ty::List(_) | Ty::Map(_) | Ty::Groups(_) | Ty::Any | Ty::Broken => {}
    }
    names
}
