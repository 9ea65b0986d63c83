//! Other sites' web pages, rebound DNS names, and proxies: without tokens only this machine gets
//! answers; with tokens, their bearers.

use millrace_test_attack::{Answer, Server, folder};

const RULE: &[u8] = b"kind: Segment\nmetadata: { name: a }\nspec: { pql: 'true' }\n";
const YAML: (&str, &str) = ("content-type", "application/yaml");
const LINES: (&str, &str) = ("content-type", "application/x-ndjson");

#[test]
fn web_pages_neither_read_nor_write() {
    let server = Server::start();
    let own = format!("http://{}", server.api);
    let put = |headers: &[(&str, &str)]| server.send("PUT", "/v1/segments/a", headers, RULE);
    let records = |headers: &[(&str, &str)]| server.send("POST", "/v1/records", headers, b"{}");
    let read = |headers: &[(&str, &str)]| server.send("GET", "/v1/persons?q=a", headers, b"");
    let says = |answer: Answer, status: u16, word: &str| {
        let answer = answer.expect(status);
        assert!(answer.body.contains(word), "{}", answer.body);
    };
    // A name that its owner pointed at this machine.
    for answer in [read(&[("host", "rebound.example:8080")]), put(&[("host", "rebound.example"), YAML])] {
        says(answer, 421, "http.hosts");
    }
    // A page of another origin, or one that hides its own.
    for origin in ["https://example.net", "null"] {
        says(put(&[("origin", origin), YAML]), 403, "http.origins");
        says(records(&[("origin", origin), LINES]), 403, "http.origins");
    }
    says(records(&[("sec-fetch-site", "cross-site"), LINES]), 403, "another site");
    // Bodies that a page may send without asking for permission.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        says(records(&[("content-type", kind)]), 415, "application/x-ndjson");
        says(put(&[("content-type", kind)]), 415, "application/yaml");
    }
    says(records(&[("origin", &own)]), 415, "application/x-ndjson");
    says(put(&[("sec-fetch-site", "same-origin")]), 415, "application/yaml");
    // A client behind a proxy is not this machine.
    for name in ["x-forwarded-for", "forwarded", "via"] {
        says(read(&[(name, "10.0.0.9")]), 403, "auth.tokens");
    }
    let segments = server.get("/v1/segments").expect(200).json();
    assert_eq!(segments.as_array().map(Vec::len), Some(0), "{segments}");
    put(&[("origin", &own), YAML]).expect(204);
}

#[test]
fn a_server_that_others_reach_asks_who_they_are_or_does_not_start() {
    let everywhere = "api_address = \"0.0.0.0:0\"";
    let folder = folder();
    let (status, said) = Server::refused(&folder, everywhere, "");
    assert_eq!(status, Some(64), "{said}");
    assert!(said.contains("http.api_address") && said.contains("auth.tokens"), "{said}");

    let place = folder.path().join("token");
    std::fs::write(&place, "0123456789abcdef\n").expect("a writable folder");
    let tokens = format!(
        "[auth.tokens.console]\nrole = \"operator\"\ntoken = \"file:{}\"\n[auth.tokens.reports]\nrole = \"viewer\"\ntoken = \"fedcba9876543210\"\n",
        place.display()
    );
    let server = Server::in_folder(folder, everywhere, &tokens);
    let ask = |headers: &[(&str, &str)]| server.send("PUT", "/v1/segments/a", headers, RULE);
    ask(&[]).expect(401);
    ask(&[("authorization", "Bearer 0123456789abcdeg")]).expect(401);
    ask(&[("authorization", "Basic 0123456789abcdef")]).expect(401);
    let refused = ask(&[("authorization", "Bearer fedcba9876543210")]).expect(403);
    assert!(refused.body.contains("operator, admin"), "{}", refused.body);
    ask(&[("authorization", "Bearer 0123456789abcdef")]).expect(204);
    server
        .send("POST", "/internal/v1/shards/0/get", &[("authorization", "Bearer 0123456789abcdef")], b"x")
        .expect(404);
}
