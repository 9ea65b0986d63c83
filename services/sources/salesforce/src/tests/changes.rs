//! Random changes of an org.

use millrace_log::random::Random;
use millrace_simulators::salesforce::World;
use serde_json::json;

/// A live record of an object.
fn one(world: &World, object: &str, random: &mut Random) -> Option<String> {
    let ids = world.ids(object);
    (!ids.is_empty()).then(|| ids[random.below(ids.len() as u64) as usize].clone())
}

/// One change, with its side effects. Some transactions commit late.
pub fn change(world: &mut World, random: &mut Random) {
    world.late_ms = if random.chance(200) { 5_000 } else { 0 };
    match random.below(14) {
        0..=2 => created(world, random),
        3 | 4 => removed(world, random),
        5 | 6 => merged(world, random),
        7 => converted(world, random),
        _ => updated(world, random),
    }
    world.late_ms = 0;
}

fn created(world: &mut World, random: &mut Random) {
    let (Some(account), Some(contact)) = (one(world, "Account", random), one(world, "Contact", random)) else {
        return;
    };
    if random.chance(500) {
        let email = format!("n{}@x.example", random.below(1_000_000));
        world.create("Contact", json!({"LastName": "New", "Email": email, "AccountId": account}));
    } else {
        let deal = world.create(
            "Opportunity",
            json!({"Name": "New", "AccountId": account, "StageName": "Closed Won", "Amount": 5.5}),
        );
        world.create(
            "OpportunityContactRole",
            json!({"OpportunityId": deal, "ContactId": contact, "IsPrimary": true}),
        );
    }
}

fn updated(world: &mut World, random: &mut Random) {
    let kinds = ["Contact", "Contact", "Opportunity", "Account", "AccountContactRelation"];
    let kind = kinds[random.below(5) as usize];
    let (Some(id), Some(account)) = (one(world, kind, random), one(world, "Account", random)) else {
        return;
    };
    let values = match kind {
        "Contact" if random.chance(300) => json!({"AccountId": account}),
        "Contact" => json!({"Title": format!("T{}", random.below(100)), "HasOptedOutOfEmail": random.chance(500)}),
        "Opportunity" => {
            let stages = ["Closed Won", "Closed Lost", "Proposal"];
            json!({"StageName": stages[random.below(3) as usize]})
        }
        "Account" => json!({"NumberOfEmployees": random.below(1_000)}),
        _ => json!({"Roles": "Buyer;Decision Maker", "StartDate": "2026-01-31"}),
    };
    world.update(kind, &id, values);
}

fn removed(world: &mut World, random: &mut Random) {
    let kinds = ["Contact", "Lead", "Opportunity", "Account", "CampaignMember", "OpportunityContactRole"];
    let kind = kinds[random.below(6) as usize];
    let Some(id) = one(world, kind, random).filter(|_| world.ids(kind).len() > 5) else {
        return;
    };
    world.delete(kind, &id);
    if kind == "Opportunity" && random.chance(300) {
        world.undelete(kind, &id);
    }
}

fn merged(world: &mut World, random: &mut Random) {
    let kind = ["Contact", "Lead", "Account"][random.below(3) as usize];
    let Some(winner) = one(world, kind, random).filter(|_| world.ids(kind).len() > 5) else {
        return;
    };
    let losers: Vec<String> = world.ids(kind).into_iter().filter(|other| *other != winner && random.chance(50)).collect();
    world.merge(kind, &winner, &losers);
}

fn converted(world: &mut World, random: &mut Random) {
    let (Some(lead), Some(account)) = (one(world, "Lead", random), one(world, "Account", random)) else {
        return;
    };
    if world.row("Lead", &lead).is_some_and(|row| row["IsConverted"] == json!(false)) {
        world.convert(&lead, &account);
    }
}
