//! Bytes that are not requests, and bodies that are not records: each gets an answer or its
//! connection is closed, and the server stays ready.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use millrace_test_attack::{Seed, Server, read_answer};

#[test]
fn random_bytes_on_either_port_leave_the_server_ready() {
    let server = Server::start();
    let mut seed = Seed::new(10);
    for round in 0..200 {
        let port = if round % 2 == 0 { server.api } else { server.metrics };
        let mut stream = TcpStream::connect(port).expect("the port takes connections");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out can be set");
        let count = 1 + seed.below(4_000);
        // The server may close before all is sent.
        let _ = stream.write_all(&seed.bytes(count));
        let _ = stream.shutdown(std::net::Shutdown::Write);
        if let Ok(answer) = read_answer(&mut stream) {
            assert!((400..500).contains(&answer.status), "{}", answer.head);
        }
    }
    server.readyz().expect("an answer").expect(200);
    server.get("/v1/segments").expect(200);
}

#[test]
fn records_that_are_none_are_named_by_their_line() {
    let server = Server::start();
    let mut seed = Seed::new(11);
    let shapes = [
        "{",
        "[]",
        "null",
        "{\"topic\":7}",
        "{\"topic\":\"source.nobody\"}",
        "\"",
        "{\"topic\":\"source.person\"}",
        "[[[[",
    ];
    let lines: Vec<&str> = (0..500).map(|_| *seed.pick(&shapes)).collect();
    let answer = server.send("POST", "/v1/records", &[("content-type", "application/x-ndjson")], lines.join("\n").as_bytes());
    let view = answer.expect(200).json();
    let rejected = view["rejected"].as_array().map_or(0, Vec::len) as u64;
    assert!(rejected > 0, "{view}");
    server.readyz().expect("an answer").expect(200);
}
