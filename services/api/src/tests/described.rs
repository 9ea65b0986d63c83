//! What `/openapi.json` says against what is served.

use super::*;
use crate::openapi;

/// The names of an operation's parameters of a place.
fn parameters<'o>(operation: &'o Value, place: &str) -> Vec<&'o str> {
    let all = operation["parameters"].as_array().unwrap().iter();
    all.filter(|parameter| parameter["in"] == place)
        .map(|parameter| parameter["name"].as_str().unwrap())
        .collect()
}

/// Everything described is served: no described operation meets the router's own 404 or 405.
#[tokio::test]
async fn every_described_operation_is_served() {
    let description = openapi();
    for (path, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let uri = path
                .replace("{id}", "email:x")
                .replace("{namespace}", "email")
                .replace("{sourceKey}", "k")
                .replace("{name}", "n");
            let body = match path.as_str() {
                "/v1/persons/lookup/explain" => "{\"id\":\"email:x\",\"segment\":\"n\"}",
                path if path.contains("/lookup") => "{\"id\":\"email:x\"}",
                _ => "",
            };
            let taken = parameters(operation, "query");
            let given = [("segment", "n"), ("follow", "false"), ("q", "n")];
            let query: Vec<String> = given
                .iter()
                .filter(|(name, _)| taken.contains(name))
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let answer = api(&method.to_uppercase(), &format!("{uri}?{}", query.join("&")), body).await;
            assert!(
                !answer.starts_with("405") && !answer.contains("nothing is served") && !answer.contains("no parameter"),
                "{method} {path}\n{answer}"
            );
        }
    }
    assert!(
        description["components"]["schemas"]["PersonView"]["properties"]["provenance"].is_object(),
        "{description}"
    );
}

/// A path with its variable steps unnamed.
fn shape(path: &str) -> String {
    let steps = path.split('/').map(|step| if step.starts_with('{') { "{}" } else { step });
    steps.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn parameters_are_described_as_they_are_taken_and_others_refused() {
    let description = openapi();
    let described = description["paths"].as_object().unwrap();
    for route in ROUTES {
        let of_path = described.iter().filter(|(path, _)| shape(path) == shape(route.path));
        for operation in of_path.filter_map(|(_, operations)| operations.get(route.method.to_lowercase())) {
            assert_eq!(parameters(operation, "query"), route.parameters, "{} {}", route.method, route.path);
        }
    }
    for (method, uri, body, expected) in [
        (
            "POST",
            "/v1/audiences/partners/members?replce=true",
            "",
            "there is no parameter `replce` here; taken: `replace`, `allowEmpty`",
        ),
        ("POST", "/v1/records?strickt=true", "", "there is no parameter `strickt` here; taken: `strict`"),
        ("POST", "/v1/records?strict=true&strict=false", "", "`strict` is given twice"),
        (
            "PUT",
            "/v1/segments/upsell?dry=true",
            "kind: Segment",
            "there is no parameter `dry` here; none is taken",
        ),
        (
            "POST",
            "/v1/persons/lookup/events",
            "{\"id\":\"email:x\",\"limt\":\"5\"}",
            "there is no parameter `limt` here",
        ),
    ] {
        let answer = api(method, uri, body).await;
        assert!(
            answer.starts_with("400 application/problem+json") && answer.contains(expected),
            "{method} {uri}\n{answer}"
        );
    }
    assert!(api("GET", "/?from=mail", "").await.starts_with("200 text/html"));
}

/// Every route under `/v1/` is described, whatever its parameters are called.
#[test]
fn every_route_is_described() {
    let description = openapi();
    let described = description["paths"].as_object().unwrap();
    let is_described = |method: &str, path: &str| {
        let operations = described.iter().filter(|(known, _)| shape(known) == shape(path));
        let mut operations = operations;
        operations.any(|(_, operations)| operations.get(method.to_lowercase()).is_some())
    };
    // A definition is posted to one name, `preview`, which is described as such.
    let missing: Vec<_> = ROUTES
        .iter()
        .filter(|route| route.path.starts_with("/v1/") && (route.method, route.path) != ("POST", "/v1/segments/{name}"))
        .filter(|route| !is_described(route.method, route.path))
        .map(|route| (route.method, route.path))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
