//! Clients that hold on to the server: followers of the changes, idle and slow connections. Health
//! and the API answer meanwhile.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use millrace_test_attack::{Request, Server};

fn begin(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the port takes connections");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out can be set");
    stream.write_all(text.as_bytes()).expect("the server reads");
    stream
}

/// Forty once occupied all threads.
#[test]
fn a_thousand_followers_leave_the_api_and_health_answering() {
    let server = Server::start();
    let head = Request {
        method: "GET",
        path: "/v1/changes?from=start",
        headers: &[],
        body: &[],
    }
    .head(server.api);
    let mut followers: Vec<TcpStream> = Vec::new();
    for count in [40, 1_000] {
        while followers.len() < count {
            let mut follower = begin(server.api, &head);
            let mut status = [0; 12];
            follower.read_exact(&mut status).expect("a follower is answered");
            assert_eq!(&status, b"HTTP/1.1 200");
            followers.push(follower);
        }
        server.readyz().expect("an answer").expect(200);
        server.get("/v1/segments").expect(200);
        server.get("/v1/persons?q=a").expect(200);
    }
    // Each of them receives a change.
    let rule = b"kind: Segment\nmetadata: { name: all }\nspec: { pql: 'b2b.personScore > 0' }\n";
    server.send("PUT", "/v1/segments/all", &[], rule).expect(204);
    let record = b"{\"topic\":\"person\",\"key\":\"1@m.M\",\"value\":{\"b2b\":{\"personScore\":1},\"personKey\":{\"sourceKey\":\"1@m.M\"}}}";
    server.send("POST", "/v1/records", &[], record).expect(200);
    for follower in [0, 39, 40, 999] {
        let received = until(&mut followers[follower], "\"realized\"");
        assert!(received.contains("\"all\""), "{received}");
    }
    // One beyond the limit gets an answer that says so.
    while followers.len() < 1_024 {
        followers.push(begin(server.api, &head));
        let mut status = [0; 12];
        followers.last_mut().expect("one").read_exact(&mut status).expect("a follower is answered");
    }
    let refused = server.get("/v1/changes?from=start").expect(503);
    assert!(refused.body.contains("1024 follow the changes already"), "{}", refused.body);
}

/// Reads until a word comes.
fn until(stream: &mut TcpStream, word: &str) -> String {
    let mut received = Vec::new();
    let mut bytes = [0; 4_096];
    while !String::from_utf8_lossy(&received).contains(word) {
        let read = stream.read(&mut bytes).expect("a follower receives changes");
        assert!(read > 0, "the stream ended: {}", String::from_utf8_lossy(&received));
        received.extend_from_slice(&bytes[..read]);
    }
    String::from_utf8_lossy(&received).into_owned()
}

#[test]
fn idle_and_slow_connections_leave_the_api_and_health_answering() {
    let server = Server::start();
    let idle: Vec<TcpStream> = (0..300).map(|_| begin(server.api, "")).collect();
    let slow: Vec<TcpStream> = (0..300)
        .map(|_| begin(server.api, "POST /v1/records HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n{"))
        .collect();
    server.readyz().expect("an answer").expect(200);
    server.get("/v1/segments").expect(200);
    drop((idle, slow));
}
