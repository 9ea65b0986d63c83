//! Definitions that are designed to be expensive: deep, wide, many, doubling. Each is refused at
//! once, with the limit it hit; the server stays ready.

use millrace_test_attack::{Server, command, folder};

const YAML: (&str, &str) = ("content-type", "application/yaml");

/// A definition of 2 MiB may be held some dozens of times over while it is read.
const MEMORY_MAX: u64 = 600 << 20;

fn segment(name: &str, pql: &str) -> String {
    format!("kind: Segment\nmetadata: {{ name: {name} }}\nspec: {{ pql: '{pql}' }}\n")
}

/// One value of many, named as often as a text of this size allows.
fn aliases() -> String {
    let many = vec!["1"; 50_000].join(",");
    format!("kind: Segment\na: &a [{many}]\nb: [{}]\n", vec!["*a"; 90].join(","))
}

/// Attributes that each name the one before twice.
fn doubling(levels: usize) -> String {
    let attribute = |n: usize| {
        let pql = if n == 0 {
            "b2b.personScore".to_owned()
        } else {
            format!("computed.a{0} + computed.a{0}", n - 1)
        };
        format!("---\nkind: ComputedAttribute\nmetadata: {{ name: a{n} }}\nspec: {{ pql: '{pql}' }}\n")
    };
    (0..levels).map(attribute).collect()
}

fn attacks() -> Vec<(&'static str, String, &'static str)> {
    let keys: String = (0..50_000).map(|n| format!("k{n}: &a{n} x\n")).collect();
    let documents: String = (0..20_000).map(|n| format!("---\n{}", segment(&format!("a{n}"), "true"))).collect();
    vec![
        ("brackets", "[".repeat(100_000), "more than 256 brackets"),
        ("brackets of a rule", segment("a", &"(".repeat(100_000)), "nested deeper than 128 levels"),
        (
            "closed brackets of a rule",
            segment("a", &format!("{}true{}", "(".repeat(129), ")".repeat(129))),
            "nested deeper than 128 levels",
        ),
        (
            "negations",
            segment("a", &format!("{}true", "not ".repeat(1_000))),
            "nested deeper than 128 levels",
        ),
        ("aliases", aliases(), "more than 200000 values"),
        ("anchors under unknown keys", format!("kind: Segment\n{keys}"), "has no key"),
        ("documents", documents, "more than 10000 at a time"),
        ("doubling attributes", doubling(22), "more than 20000 steps"),
    ]
}

#[test]
fn costly_definitions_are_refused_with_the_limit() {
    let server = Server::start();
    for (what, text, limit) in attacks() {
        let answer = server.send("POST", "/v1/segments", &[YAML], text.as_bytes());
        assert_eq!(answer.status, 422, "{what}: {}", answer.body);
        let errors = answer.json()["errors"].as_array().cloned().unwrap_or_default();
        assert!(!errors.is_empty() && errors.len() <= 100, "{what}: {} errors", errors.len());
        let first = errors[0].as_str().unwrap_or_default();
        assert!(first.contains(limit), "{what}: {first}");
        assert!(!answer.body.contains("unclosed-bracket"), "{what}: {}", answer.body);
    }
    let put = server.send("PUT", "/v1/segments/a", &[YAML], "[".repeat(1 << 20).as_bytes()).expect(422);
    assert!(put.body.contains("more than 256 brackets"), "{}", put.body);
    let preview = server.send("POST", "/v1/segments/preview", &[YAML], aliases().as_bytes()).expect(422);
    assert!(preview.body.contains("more than 200000 values"), "{}", preview.body);
    assert!(server.memory_peak() < MEMORY_MAX, "{} MiB", server.memory_peak() >> 20);
    server.readyz().expect("an answer").expect(200);
    server.send("PUT", "/v1/segments/a", &[YAML], segment("a", "true").as_bytes()).expect(204);
}

#[test]
fn lint_ends_on_all_of_them() {
    let folder = folder();
    let path = folder.path().join("attack.yaml");
    for (what, text, limit) in attacks() {
        std::fs::write(&path, text).expect("a writable folder");
        let outcome = command(&["segment", "lint", &path.to_string_lossy()]);
        assert_eq!(outcome.status, Some(64), "{what}: {outcome:?}");
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(said.contains(limit), "{what}: {said}");
    }
}
