//! Objects and their fields.

/// What a field holds, by Salesforce's own names of types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub kind: String,
}

impl Field {
    pub fn custom(&self) -> bool {
        self.name.ends_with("__c")
    }
}

/// Of every object.
const COMMON: &str = "Id:id IsDeleted:boolean CreatedDate:datetime LastModifiedDate:datetime SystemModstamp:datetime";

/// Name, prefix of ids, fields.
pub const OBJECTS: [(&str, &str, &str); 8] = [
    (
        "Account",
        "001",
        "MasterRecordId:reference Name:string ParentId:reference AccountNumber:string Website:url Phone:phone Industry:picklist Sic:string \
         AnnualRevenue:currency NumberOfEmployees:int TickerSymbol:string Rating:picklist Type:picklist Ownership:picklist BillingStreet:textarea \
         BillingCity:string BillingState:string BillingPostalCode:string BillingCountry:string BillingAddress:address",
    ),
    (
        "Contact",
        "003",
        "MasterRecordId:reference AccountId:reference Salutation:picklist FirstName:string LastName:string Name:string Title:string Department:string \
         Email:email Phone:phone MobilePhone:phone MailingStreet:textarea MailingCity:string MailingCountry:string MailingAddress:address \
         HasOptedOutOfEmail:boolean DoNotCall:boolean LeadSource:picklist Region__c:multipicklist Score__c:double",
    ),
    (
        "Lead",
        "00Q",
        "MasterRecordId:reference Company:string Salutation:picklist FirstName:string LastName:string Name:string Title:string Email:email Phone:phone \
         Status:picklist Rating:picklist Industry:picklist LeadSource:picklist HasOptedOutOfEmail:boolean DoNotCall:boolean IsConverted:boolean \
         ConvertedDate:date ConvertedContactId:reference ConvertedAccountId:reference ConvertedOpportunityId:reference",
    ),
    (
        "Opportunity",
        "006",
        "AccountId:reference CampaignId:reference Name:string Description:textarea StageName:picklist Amount:currency ExpectedRevenue:currency \
         Probability:percent CloseDate:date IsClosed:boolean IsWon:boolean Type:picklist LeadSource:picklist NextStep:string ForecastCategory:picklist \
         ForecastCategoryName:picklist FiscalYear:int FiscalQuarter:int",
    ),
    (
        "OpportunityContactRole",
        "00K",
        "OpportunityId:reference ContactId:reference Role:picklist IsPrimary:boolean",
    ),
    (
        "AccountContactRelation",
        "07k",
        "AccountId:reference ContactId:reference IsActive:boolean IsDirect:boolean StartDate:date EndDate:date Roles:multipicklist",
    ),
    (
        "Campaign",
        "701",
        "ParentId:reference Name:string Description:textarea Type:picklist Status:picklist StartDate:date EndDate:date IsActive:boolean \
         BudgetedCost:currency ActualCost:currency ExpectedRevenue:currency",
    ),
    (
        "CampaignMember",
        "00v",
        "CampaignId:reference LeadId:reference ContactId:reference LeadOrContactId:reference Status:picklist HasResponded:boolean FirstRespondedDate:date",
    ),
];

/// The fields of one object; `currencies`: the org has several currencies.
pub fn fields(own: &str, currencies: bool) -> Vec<Field> {
    let more = if currencies { "CurrencyIsoCode:picklist" } else { "" };
    let all = [COMMON, own, more];
    let words = all.iter().flat_map(|text| text.split_whitespace());
    words
        .filter_map(|word| word.split_once(':'))
        .map(|(name, kind)| Field {
            name: name.to_owned(),
            kind: kind.to_owned(),
        })
        .collect()
}
