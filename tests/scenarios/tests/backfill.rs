//! A new rule over accounts, while persons are touched: features that accounts send for it alone
//! wait for the backfill, which then misses nobody.

use millrace_model::{Identity, Timestamp};
use millrace_oracle::worlds::random::Random;
use millrace_oracle::worlds::{NOON_MS, event, record};
use millrace_test_scenarios::Cluster;
use millrace_test_seeds::seeds;
use serde_json::json;

const PERSONS: usize = 12;
/// More than persons have: a backfill takes accounts first, and needs a while for them.
const ACCOUNTS: usize = 40;

fn segment(name: &str, pql: &str) -> String {
    json!({ "kind": "Segment", "metadata": { "name": name }, "spec": { "subject": "person", "pql": pql } }).to_string()
}

fn person(number: usize) -> String {
    format!("{number}@m1.Marketo")
}

#[test]
fn nobody_who_is_touched_meanwhile_is_missed() {
    for seed in seeds!(0..150) {
        let mut random = Random::new(seed);
        let mut cluster = Cluster::new(3, seed, Timestamp(NOON_MS));
        // The shards learn of the accounts before the new rule arrives.
        cluster.define("named", Some(&segment("named", r#"exists a from accounts where a.accountName = "no such""#)));
        for number in 0..ACCOUNTS {
            let fields = json!({ "accountName": "A", "accountOrganization": { "numberOfEmployees": 100 * (number % 3) } });
            cluster.source(&record("account", &format!("a{number}"), NOON_MS, fields));
        }
        for number in 0..PERSONS {
            let fields = json!({ "b2b": { "accountKey": { "sourceKey": format!("a{number}") } } });
            cluster.source(&record("person", &person(number), NOON_MS, fields));
        }
        cluster.settle();

        let attribute = json!({
            "kind": "ComputedAttribute", "metadata": { "name": "staff" },
            "spec": { "subject": "person", "pql": "sum(select a.accountOrganization.numberOfEmployees from accounts)" },
        });
        cluster.define("staff", Some(&attribute.to_string()));
        cluster.define(
            "large",
            Some(&segment("large", "exists a from accounts where a.accountOrganization.numberOfEmployees > 150")),
        );
        // Once each: a second visit would repair what the first missed.
        for number in 0..PERSONS {
            let identity = format!("b2b_person:{}", person(number));
            let page = json!({ "eventType": "web.webpagedetails.pageViews", "web": { "webPageDetails": { "name": "x" } } });
            cluster.source(&event(&format!("e{number}"), NOON_MS, &[&identity], page));
            (0..random.below(6)).for_each(|_| _ = cluster.act());
        }
        cluster.settle();

        let large: Vec<String> = (0..PERSONS)
            .filter(|number| number % 3 == 2)
            .map(|number| format!("b2b_person:{}", person(number)))
            .collect();
        assert_eq!(cluster.members("large"), large.into_iter().collect(), "seed {seed}");
        for number in 0..PERSONS {
            let query = cluster.query();
            let subject = query
                .resolve(&Identity::new("b2b_person", &person(number)).expect("an identity"))
                .expect("tables in memory can be read");
            let profile = query
                .profile(&subject, cluster.now)
                .expect("tables in memory can be read")
                .expect("the subject is there");
            let staff: Vec<_> = profile.computed.iter().map(|kept| kept.value.to_json().as_f64()).collect();
            assert_eq!(staff, [Some(100.0 * (number % 3) as f64)], "seed {seed}, person {number}");
        }
        cluster.check_derived();
    }
}
