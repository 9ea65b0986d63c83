//! Bodies that are designed to be expensive: a refusal names its limit, and memory stays bounded.

use millrace_test_attack::Server;

const LINES: (&str, &str) = ("content-type", "application/x-ndjson");

/// A server at rest holds far less; a body of 15 MiB used to take 4.3 GiB.
const MEMORY_MAX: u64 = 400 << 20;

#[test]
fn lines_without_content_take_no_memory() {
    let server = Server::start();
    let blank = server.send("POST", "/v1/records", &[LINES], &vec![b'\n'; 15 << 20]).expect(200).json();
    assert_eq!(blank["accepted"], 0);
    let wrong = server
        .send("POST", "/v1/records", &[LINES], "x\n".repeat(2 << 20).as_bytes())
        .expect(200)
        .json();
    assert_eq!(wrong["rejected"].as_array().map(Vec::len), Some(1_000));
    assert_eq!(wrong["rejectedMore"], (2 << 20) - 1_000);
    let deep = format!("{}\n", "[".repeat(1 << 19)).repeat(20);
    server.send("POST", "/v1/records", &[LINES], deep.as_bytes()).expect(200);
    assert!(server.memory_peak() < MEMORY_MAX, "{} MiB", server.memory_peak() >> 20);
    server.readyz().expect("an answer").expect(200);
}

#[test]
fn a_body_that_is_too_large_is_refused_with_the_bound() {
    let server = Server::start();
    let answer = server.send("POST", "/v1/records", &[LINES], &vec![b' '; (16 << 20) + 1]).expect(413);
    assert!(answer.body.contains("16 MiB (16777216 bytes)"), "{}", answer.body);
    let yaml = ("content-type", "application/yaml");
    let answer = server.send("PUT", "/v1/segments/a", &[yaml], &vec![b' '; (2 << 20) + 1]).expect(413);
    assert!(answer.body.contains("2 MiB (2097152 bytes)"), "{}", answer.body);
}
