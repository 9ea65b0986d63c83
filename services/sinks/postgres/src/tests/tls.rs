//! Encryption and passwords, against a server that asks for them.

use millrace_connect::sink::{Claim, Destination};
use millrace_model::chain;
use millrace_postgres_harness::Postgres;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use serde_json::{Value, json};

use super::stage::sink;

struct Certificates {
    ca: String,
    server: (String, String),
    client: (String, String),
    /// Another authority's.
    other_ca: String,
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed")
}

/// A certificate and its key as PEM. PostgreSQL takes a client for the role that the common name is.
fn issued(authority: &CertifiedIssuer<'static, KeyPair>, names: &[&str], common: &str, usage: ExtendedKeyUsagePurpose) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).expect("names");
    params.distinguished_name.push(rcgen::DnType::CommonName, common);
    params.extended_key_usages = vec![usage];
    let certificate = params.signed_by(&key, authority).expect("signed");
    (certificate.pem(), key.serialize_pem())
}

fn certificates() -> Certificates {
    let (ours, others) = (authority(), authority());
    Certificates {
        // For a name that is not the address that the test connects to.
        server: issued(&ours, &["localhost"], "localhost", ExtendedKeyUsagePurpose::ServerAuth),
        client: issued(&ours, &[], "certified", ExtendedKeyUsagePurpose::ClientAuth),
        ca: ours.pem(),
        other_ca: others.pem(),
    }
}

fn outcome(server: &Postgres, settings: Value) -> String {
    let claimed = sink(server, "postgres", &settings).claim(0, u64::try_from(server.rows("postgres", "SELECT nextval('epochs')").len()).expect("small"));
    match claimed {
        Ok(Claim::Taken | Claim::Behind(_)) => "connected".to_owned(),
        Err(error) => chain(&error),
    }
}

#[test]
fn connections_are_as_protected_as_the_settings_say() {
    let made = certificates();
    let hba = "hostssl all certified all cert\nhostssl all spoken all scram-sha-256\nhostnossl all postgres all trust\n";
    let files = [
        ("server.crt", made.server.0.as_str()),
        ("server.key", &made.server.1),
        ("ca.crt", &made.ca),
        ("pg_hba.conf", hba),
    ];
    let server = Postgres::start_with(&files, &["ssl=on", "ssl_ca_file=ca.crt"]);
    server.run(
        "postgres",
        "CREATE SEQUENCE epochs; CREATE ROLE certified LOGIN SUPERUSER; CREATE ROLE spoken LOGIN SUPERUSER PASSWORD 'open sesame'",
    );
    let spoken = |more: Value| {
        let mut all = json!({"user": "spoken", "password": "open sesame", "tls": "verify-full", "ca": made.ca});
        all.as_object_mut().expect("an object").extend(more.as_object().expect("settings").clone());
        all
    };
    let certified = json!({"user": "certified", "host": "localhost", "tls": "verify-full", "ca": made.ca, "client_certificate": made.client.0, "client_key": made.client.1});
    let table = [
        (spoken(json!({"host": "localhost"})), "connected"),
        (spoken(json!({})), "certificate not valid for name"),
        (spoken(json!({"tls": "verify-ca"})), "connected"),
        (spoken(json!({"host": "localhost", "ca": made.other_ca})), "invalid peer certificate"),
        (spoken(json!({"tls": "verify-ca", "ca": made.other_ca})), "invalid peer certificate"),
        (
            spoken(json!({"host": "localhost", "password": "sesame"})),
            "28P01: password authentication failed for user \"spoken\"",
        ),
        (spoken(json!({"tls": "verify-ca", "ca": "no certificate"})), "`ca` holds no certificate in PEM"),
        (certified, "connected"),
        (
            json!({"user": "spoken", "password": "open sesame", "tls": "disable"}),
            "28000: no pg_hba.conf entry",
        ),
    ];
    for (settings, expected) in table {
        let found = outcome(&server, settings.clone());
        assert!(found.contains(expected), "{found}\nwhere `{expected}` was expected of\n{settings:#}");
        assert!(!found.contains("sesame"), "{found}");
    }
}
