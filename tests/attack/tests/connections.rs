//! Clients that hold on to the server: followers of the changes, idle and slow connections. Health answers meanwhile, and so does the API.

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
    let mut followers: Vec<TcpStream> = (0..1_000).map(|_| begin(server.api, &head)).collect();
    for follower in &mut followers {
        let mut status = [0; 12];
        follower.read_exact(&mut status).expect("a follower is answered");
        assert_eq!(&status, b"HTTP/1.1 200");
    }
    server.readyz().expect("an answer").expect(200);
    server.get("/v1/segments").expect(200);
}

#[test]
fn idle_and_slow_connections_leave_the_api_and_health_answering() {
    let server = Server::start();
    let idle: Vec<TcpStream> = (0..400).map(|_| begin(server.api, "")).collect();
    let slow: Vec<TcpStream> = (0..400)
        .map(|_| begin(server.api, "POST /v1/records HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n{"))
        .collect();
    server.readyz().expect("an answer").expect(200);
    server.get("/v1/segments").expect(200);
    drop((idle, slow));
}
