//! A broker for experiments: prints its `bootstrap.servers`, and ends, with its data, at the end of
//! standard input.

use std::io::Read as _;

fn main() {
    let broker = millrace_kafka_harness::KafkaBroker::start();
    println!("{}", broker.bootstrap());
    // An error is an end as well.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
