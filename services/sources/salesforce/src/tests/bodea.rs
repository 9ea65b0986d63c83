//! The Bodea case with its two CRMs as Salesforce orgs: from a deal that is won there to a
//! membership, and back.

use std::collections::BTreeSet;

use millrace_model::SourceKind;
use millrace_oracle::worlds::{bodea, key, record, visit};
use millrace_simulators::salesforce::Settings;
use millrace_test_scenarios::Cluster;
use serde_json::json;

use super::stage::{Run, Stage};

const SEGMENT: &str = "new-product-upsell";

/// One org with its source, and how much of its topics the engine has.
struct Crm {
    stage: Stage,
    run: Run,
    taken: Vec<usize>,
}

impl Crm {
    async fn new(seed: u64, org: &str) -> Crm {
        let settings = Settings {
            org: org.to_owned(),
            ..Settings::default()
        };
        let stage = Stage::new(seed, settings).await;
        let run = stage.start();
        Crm {
            stage,
            run,
            taken: vec![0; SourceKind::ALL.len() * 3],
        }
    }

    /// Gives the engine what the source has appended since.
    async fn pass(&mut self, cluster: &mut Cluster) {
        self.run.settled().await;
        for (number, kind) in SourceKind::ALL.into_iter().enumerate() {
            for partition in 0..3u32 {
                let taken = &mut self.taken[number * 3 + partition as usize];
                let content = self.stage.log.content(kind.name());
                let of_partition: Vec<_> = content.into_iter().filter(|one| one.source.partition == partition).collect();
                for one in &of_partition[*taken..] {
                    cluster.source_bytes(kind.name(), one.record.key.as_deref(), one.record.value.clone(), one.timestamp.0);
                }
                *taken = of_partition.len();
            }
        }
    }
}

/// What the engine says once it has everything that both orgs hold.
async fn expect(one: &mut Crm, two: &mut Crm, cluster: &mut Cluster, expected: &[&str], when: &str) {
    one.pass(cluster).await;
    two.pass(cluster).await;
    cluster.advance(one.stage.org.now().max(two.stage.org.now()));
    cluster.settle();
    let expected: BTreeSet<String> = expected.iter().map(|id| (*id).to_owned()).collect();
    assert_eq!(cluster.members(SEGMENT), expected, "{when}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deal_won_in_salesforce_makes_a_member() {
    let (mut one, mut two) = (Crm::new(40, "00D5g000001AaAaEAK").await, Crm::new(41, "00D5g000002BbBbEAK").await);
    let make = |crm: &Crm, email: &str, amount: u64, stage: &str| {
        crm.stage.org.with(|world| {
            let account = world.create("Account", json!({"Name": "Townsend"}));
            let contact = world.create("Contact", json!({"LastName": "L", "Email": email, "AccountId": account}));
            let deal = world.create(
                "Opportunity",
                json!({"Name": "Deal", "AccountId": account, "Amount": amount, "StageName": stage}),
            );
            world.create("OpportunityContactRole", json!({"OpportunityId": deal, "ContactId": contact}));
            [account, contact, deal]
        })
    };
    let [account1, contact1, _] = make(&one, "p1@townsend.example", 200_000, "Closed Won");
    let [account2, _, deal2] = make(&two, "p3@townsend.example", 900_000, "Proposal");
    // The same id in both orgs names two things.
    assert_eq!(account1, account2);
    let (in1, in2) = ("00D5g000001AaAaEAK.Salesforce", "00D5g000002BbBbEAK.Salesforce");

    let now = one.stage.org.now();
    let mut cluster = Cluster::new(3, 40, now);
    cluster.publish(&bodea::rule());
    let members = [key(&format!("{account1}@{in1}")), key(&format!("{account2}@{in2}"))];
    cluster.source(&record("account-link", "townsend@mdm.MDM", now.0, json!({"members": members})));
    let p1 = format!("{contact1}@{in1}");
    cluster.source(&visit("v1", now.0 - 1_000, "New product", &[&format!("b2b_person:{p1}")]));
    let member = format!("b2b_person:{p1}");
    expect(&mut one, &mut two, &mut cluster, &[], "before the second deal is won").await;
    let set_stage = |crm: &Crm, stage: &str| crm.stage.org.with(|world| world.update("Opportunity", &deal2, json!({"StageName": stage})));
    set_stage(&two, "Closed Won");
    expect(&mut one, &mut two, &mut cluster, &[&member], "the second deal is won").await;
    two.stage.org.advance(super::SECOND);
    set_stage(&two, "Closed Lost");
    expect(&mut one, &mut two, &mut cluster, &[], "the deal is lost after all").await;
    two.stage.org.advance(super::SECOND);
    set_stage(&two, "Closed Won");
    expect(&mut one, &mut two, &mut cluster, &[&member], "and won again").await;
    two.stage.org.with(|world| world.delete("Opportunity", &deal2));
    expect(&mut one, &mut two, &mut cluster, &[], "the deal is deleted").await;
    one.run.stop().await;
    two.run.stop().await;
}
