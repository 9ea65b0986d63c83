//! Known answers of the mapping.

use millrace_connect::sink::Change;
use millrace_model::{Identity, Timestamp};
use serde_json::{Value, json};

use crate::Ids;
use crate::mapping::{email_hash, masked};

fn change(id: &str, present: bool, attributes: Value) -> Change {
    Change {
        key: format!("hot|x:{id}"),
        audience: "hot".to_owned(),
        identity: Identity::new("x", id).expect("an identity"),
        present,
        attributes: serde_json::from_value(attributes).expect("an object"),
        changed_at: Timestamp(1),
        id: 1,
    }
}

#[test]
fn addresses_are_hashed_in_their_normal_form() {
    let townsend = "f22add7875dc96025edd4259482a5d302078cbc433f918d40218a0ac28ea54d7";
    let table = [
        ("p2@townsend.com", townsend),
        (" P2@Townsend.com\n", townsend),
        ("p2 @townsend.com", townsend),
        // printf %s test@example.com | sha256sum
        ("test@example.com", "973dfe463ec85785f5f95af5ba3906eedb2d931c24e69824a89ea65dba4e813b"),
    ];
    for (address, hash) in table {
        assert_eq!(email_hash(address), hash, "{address:?}");
    }
    // Neither dots nor a plus are removed.
    assert_ne!(email_hash("t.est+1@example.com"), email_hash("test@example.com"));
}

#[test]
fn elements_are_what_linkedin_documents() {
    let hash = "f22add7875dc96025edd4259482a5d302078cbc433f918d40218a0ac28ea54d7";
    let of_email = Ids::Email.element(&change(
        "p2@townsend.com",
        true,
        json!({"firstName": "P".repeat(40), "country": "US", "title": null}),
    ));
    assert_eq!(
        of_email.expect("an element"),
        json!({"action": "ADD", "userIds": [{"idType": "SHA256_EMAIL", "idValue": hash}], "firstName": "P".repeat(35), "country": "US"})
    );
    let removed = Ids::Sha256.element(&change(hash, false, json!({})));
    assert_eq!(
        removed.expect("an element"),
        json!({"action": "REMOVE", "userIds": [{"idType": "SHA256_EMAIL", "idValue": hash}]})
    );
    let company = Ids::Domain.element(&change("townsend.example", true, json!({"industries": ["a", "b", "c", "d"], "city": "Hull"})));
    let expected = json!({
        "action": "ADD", "companyWebsiteDomain": "townsend.example", "companyEmailDomain": "townsend.example",
        "industries": ["a", "b", "c"], "city": "Hull",
    });
    assert_eq!(company.expect("an element"), expected);
    for (ids, id) in [
        (Ids::Email, "no address"),
        (Ids::Email, "nobody"),
        (Ids::Sha256, "F22ADD"),
        (Ids::Sha512, hash),
        (Ids::Domain, "https://townsend.example"),
        (Ids::Organization, "1035"),
    ] {
        assert!(ids.element(&change(id, true, json!({}))).is_err(), "{ids:?} {id}");
    }
}

#[test]
fn no_address_and_no_secret_is_shown() {
    let table = [
        ("/userIds :: \"pat@townsend.example\" is wrong", "/userIds :: \"(address)\" is wrong"),
        ("token AQXdSP_W41_UPs5ioT_t8HESyODB4FqbkJ8LrV_5mff4gPODzOYR ended", "token AQXdSP_W… ended"),
        ("access_token=AQXdSPW41UPs5ioTt8HESyODB4FqbkJ8LrV", "access_token=AQXdSPW4…"),
        ("a short word", "a short word"),
        ("<pat@x.com>, ünïcode", "<(address)>, ünïcode"),
    ];
    for (text, expected) in table {
        assert_eq!(masked(text), expected);
    }
}
