//! The collector: how many events over HTTP the log has, durable, in a second, and how soon a
//! sender has its answer. Nothing reads the log meanwhile.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use millrace_config::{LogKind, Secret, WriteKey};
use millrace_log::{EmbeddedConfig, Log};
use millrace_telemetry::Metrics;

use super::report::Figure;
use super::{machine, settings_apart};
use crate::assembly;
use crate::collector::{CollectorPort, RunningCollector};
use crate::commands::topics;
use crate::instance;
use crate::settings::Settings;

const KEY: &str = "a-write-key-of-the-measurement";

/// A way to send: connections at a time, and events of each request.
const SENDERS: [(&str, usize, usize); 3] = [
    ("events per second, 100 a request, durable", 8, 100),
    ("events per second, one a request, 64 at a time, durable", 64, 1),
    ("events per second, one a request, one at a time, durable", 1, 1),
];

/// Measures each way for so long.
pub fn measure(settings: &Settings, folder: &Path, on_kafka: bool, seconds: u64) -> anyhow::Result<Vec<Figure>> {
    let mut apart = settings_apart(settings, &folder.join("collector"), on_kafka)?;
    apart.config.collector.address = SocketAddr::from(([127, 0, 0, 1], 0));
    let key = WriteKey {
        key: Secret::new("token", KEY),
        source: "bench".to_owned(),
        public: true,
        user_namespace: None,
        device_namespace: "anonymous_id".to_owned(),
    };
    apart.config.collector.keys = [("bench".to_owned(), key)].into_iter().collect();
    let log: Arc<dyn Log> = match apart.config.log.kind {
        LogKind::Embedded => Arc::new(instance::embedded_log(&apart, EmbeddedConfig::default())?),
        LogKind::Kafka => {
            topics::refuse_unfit(&topics::create_missing(&apart)?)?;
            Arc::new(assembly::kafka_log(&apart.config)?)
        }
    };
    let port = CollectorPort::take(&apart.config)?.context("a write key is there")?;
    let collector = RunningCollector::start(&apart.config, port, &log, &Metrics::new()?)?;
    let mut figures = Vec::new();
    for (name, connections, events) in SENDERS {
        let before = machine::processor_seconds("collector");
        let (count, mut answers, elapsed) = send(collector.address(), connections, events, Duration::from_secs(seconds))?;
        answers.sort_unstable();
        let target = (events > 1).then_some("10,000");
        let mut note = |name: &'static str, value: f64, unit: &'static str, target: Option<&'static str>| {
            tracing::info!(name, value, unit, "measured");
            figures.push(Figure {
                scenario: "collector",
                name,
                value,
                unit,
                target,
                load: machine::load(),
            });
        };
        note(name, count as f64 / elapsed.as_secs_f64(), "", target);
        let used = machine::processor_seconds("collector") - before;
        note("  processor time of the collector per event", used * 1e6 / count.max(1) as f64, "µs", None);
        for (name, part) in [("  answer, p50", 50), ("  answer, p99", 99)] {
            let at = answers.get(answers.len().saturating_sub(1) * part / 100).copied().unwrap_or_default();
            note(name, at.as_secs_f64() * 1_000.0, "ms", None);
        }
    }
    Ok(figures)
}

/// Events that were answered, how long each answer took, and how long all of it took.
fn send(address: SocketAddr, connections: usize, events: usize, within: Duration) -> anyhow::Result<(usize, Vec<Duration>, Duration)> {
    let begun = Instant::now();
    let threads: Vec<_> = (0..connections)
        .map(|sender| std::thread::spawn(move || send_one(address, sender, events, begun + within)))
        .collect();
    let mut answers = Vec::new();
    for thread in threads {
        answers.extend(thread.join().map_err(|_| anyhow::anyhow!("a sender panicked"))??);
    }
    Ok((answers.len() * events, answers, begun.elapsed()))
}

fn send_one(address: SocketAddr, sender: usize, events: usize, until: Instant) -> anyhow::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut answer = BufReader::new(stream.try_clone()?);
    let mut answers = Vec::new();
    while Instant::now() < until {
        let body = batch(sender, answers.len(), events);
        let begun = Instant::now();
        let head = format!(
            "POST /v1/batch HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
        read_answer(&mut answer)?;
        answers.push(begun.elapsed());
    }
    Ok(answers)
}

/// Page views as a browser sends them.
fn batch(sender: usize, request: usize, events: usize) -> String {
    let item = |number: usize| {
        let person = (sender * 7_919 + request * 131 + number) % 100_000;
        format!(
            r#"{{"type":"page","messageId":"{sender}-{request}-{number}","anonymousId":"visitor-{person}","timestamp":"2026-01-01T00:00:00.000Z","properties":{{"url":"https://www.example.com/products/{number}?utm_source=mail","title":"Product {number}","path":"/products/{number}","referrer":"https://www.example.com/"}},"context":{{"userAgent":"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0","locale":"en-GB","screen":{{"width":1920,"height":1080}}}}}}"#
        )
    };
    let items: Vec<String> = (0..events).map(item).collect();
    format!(r#"{{"writeKey":"{KEY}","batch":[{}]}}"#, items.join(","))
}

fn read_answer(answer: &mut BufReader<TcpStream>) -> anyhow::Result<()> {
    let mut line = String::new();
    answer.read_line(&mut line)?;
    ensure!(line.starts_with("HTTP/1.1 200"), "the collector answered `{}`", line.trim());
    let mut length = 0;
    loop {
        line.clear();
        answer.read_line(&mut line)?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(bytes) = line.strip_prefix("content-length:") {
            length = bytes.trim().parse()?;
        }
    }
    answer.read_exact(&mut vec![0; length])?;
    Ok(())
}
