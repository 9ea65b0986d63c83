//! A real pipeline on the embedded log that replays the Bodea story again and again and reads from
//! a simulated Marketo, and a real Prometheus that watches it.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{chart, output_of};

/// How long a process may take to answer. Two cores, and everything else on them.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// The audience of the story.
const DEFINITIONS: &str = r#"kind: Segment
metadata: { name: new-product-upsell }
spec:
  subject: person
  status: published
  destinations: [hook]
  pql: |
    sum(select o.opportunityAmount.amount from accounts.opportunities where o.isClosed and o.isWon) > 1000000
    and exists v from xEvent where v.eventType = "web.webpagedetails.pageViews"
        and v.web.webPageDetails.name = "New product" and v.timestamp occurs <= 1 month before now
"#;

/// A guard that a record can trip, a source, and a destination.
fn config(marketo: &str) -> String {
    // The simulator accepts this client. It has nothing older than a day, and is called often.
    let yesterday = SystemTime::now() - Duration::from_secs(24 * 3_600);
    let source = json!({
        "type": "marketo", "munchkin": "111-AAA-222", "client_id": "client", "client_secret": "secret", "url": marketo,
        "created_from": humantime::format_rfc3339_seconds(yesterday).to_string(), "activity_days": 1, "interval_seconds": 1, "extract_interval_seconds": 1,
    });
    // Nobody listens there, so changes wait.
    let hook = json!({"namespace": "email", "sink": "webhook", "settings": {"url": "http://127.0.0.1:9", "privateAddresses": true}});
    json!({"identity": {"blocked": ["email:info@*"]}, "sources": {"crm": source}, "destinations": {"hook": hook}}).to_string()
}

/// Asks again and again until there is an answer.
fn wait_for<T>(mut ask: impl FnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        let answer = ask();
        if let Ok(Some(answer)) = answer {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            return answer?.context("no answer within the time for it");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A process that ends with its owner.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The pipeline, its inputs, the Prometheus, and their folder.
pub struct Watched {
    program: std::ffi::OsString,
    api: SocketAddr,
    prometheus: SocketAddr,
    processes: Vec<Process>,
    folder: TempDir,
}

/// An address that was free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

/// Scrapes the pipeline as the chart's PodMonitor would, with the labels of namespace and pod,
/// evaluates the chart's alerts, and watches itself doing so.
fn watching(metrics: SocketAddr, own: SocketAddr) -> String {
    let job =
        |name: &str, address: SocketAddr, labels: Value| json!({"job_name": name, "static_configs": [{"targets": [address.to_string()], "labels": labels}]});
    json!({
        "global": {"scrape_interval": "500ms", "evaluation_interval": "1s"},
        "rule_files": [chart::folder().join("files/alerts.yaml")],
        "scrape_configs": [
            job("millrace", metrics, json!({"namespace": "cdp", "pod": "bodea-millrace-processor-0"})),
            job("prometheus", own, json!({})),
        ],
    })
    .to_string()
}

impl Watched {
    /// Starts all and waits until all answer. The simulator is next to the program.
    ///
    /// # Errors
    /// Where one does not start or answer; with the logs of all.
    pub fn start(program: std::ffi::OsString) -> anyhow::Result<Watched> {
        let mut watched = Watched {
            api: free_address()?,
            prometheus: free_address()?,
            processes: Vec::new(),
            folder: tempfile::tempdir()?,
            program,
        };
        let started = watched.start_all();
        let log = |name: &str| std::fs::read_to_string(watched.file(name)).unwrap_or_default();
        started.with_context(|| ["marketo.log", "millrace.log", "prometheus.log"].map(log).concat())?;
        Ok(watched)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start_all(&mut self) -> anyhow::Result<()> {
        let simulator = Path::new(&self.program).with_file_name("millrace-simulators");
        self.spawn(Command::new(simulator).args(["marketo", "--leads", "5"]), "marketo.log")?;
        let marketo = wait_for(|| Ok(std::fs::read_to_string(self.file("marketo.log"))?.strip_suffix('\n').map(str::to_owned)))?;

        let metrics = free_address()?;
        std::fs::write(self.file("millrace.yaml"), config(&marketo))?;
        let mut pipeline = Command::new(&self.program);
        pipeline
            .arg("run")
            .env_clear()
            .env("MILLRACE_CONFIG", "millrace.yaml")
            .env("MILLRACE__HTTP__API_ADDRESS", self.api.to_string())
            .env("MILLRACE__HTTP__METRICS_ADDRESS", metrics.to_string());
        self.spawn(&mut pipeline, "millrace.log")?;

        std::fs::write(self.file("prometheus.yml"), watching(metrics, self.prometheus))?;
        let address = format!("--web.listen-address={}", self.prometheus);
        let mut watcher = Command::new("prometheus");
        watcher.args(["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", "--log.level=warn", &address]);
        self.spawn(&mut watcher, "prometheus.log")?;
        wait_for(|| self.millrace(&["segment", "apply", "-"], DEFINITIONS).map(Some))?;
        wait_for(|| Ok(self.ask("up{job=\"millrace\"} == 1")?.pop()))?;
        Ok(())
    }

    fn spawn(&mut self, command: &mut Command, log: &str) -> anyhow::Result<()> {
        let log = std::fs::File::create(self.file(log))?;
        let name = format!("{:?}", command.get_program());
        let command = command.current_dir(self.folder.path()).stdin(Stdio::null());
        let child = command.stdout(log.try_clone()?).stderr(log).spawn();
        self.processes.push(Process(child.with_context(|| format!("cannot start {name}"))?));
        Ok(())
    }

    fn millrace(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let mut command = Command::new(&self.program);
        command.args(arguments).env_clear().env("MILLRACE__HTTP__API_ADDRESS", self.api.to_string());
        output_of(&mut command, input)
    }

    /// One round of the story: in every second one the two accounts are one company, and p1 is in
    /// the audience. Some records of it are old, some arrive twice, one is unusable.
    ///
    /// # Errors
    /// Where the pipeline accepts nothing.
    pub fn play(&self, round: u32) -> anyhow::Result<()> {
        let lines: Vec<String> = story(round).iter().map(Value::to_string).collect();
        self.millrace(&["source", "file"], &lines.join("\n"))?;
        // Unusable, so the command says so and ends with another status.
        let unusable = json!({"topic": "person", "key": "bad", "value": {"personKey": 7}}).to_string();
        match self.millrace(&["source", "file"], &unusable) {
            Ok(out) => bail!("an unusable record was taken: {out}"),
            Err(_) => Ok(()),
        }
    }

    /// Prometheus's answer to a query: its values, without those that are not numbers.
    ///
    /// # Errors
    /// Where it refuses the query, or does not answer.
    pub fn ask(&self, query: &str) -> anyhow::Result<Vec<f64>> {
        let server = format!("http://{}", self.prometheus);
        let answer = output_of(Command::new("promtool").args(["query", "instant", "--format=json", &server, query]), "")?;
        let answer: Value = serde_json::from_str(&answer).with_context(|| format!("{query}: {answer}"))?;
        let series = answer.as_array().with_context(|| format!("{query}: no series but {answer}"))?;
        let values = series.iter().filter_map(|one| one["value"][1].as_str()?.parse::<f64>().ok());
        Ok(values.filter(|value| value.is_finite()).collect())
    }
}

fn story(round: u32) -> Vec<Value> {
    let record = |topic: &str, key: &str, value: Value| json!({"topic": topic, "key": key, "value": value});
    let key = |name: &str| json!({"sourceKey": name});
    let account = |name: &str| record("account", name, json!({"accountKey": key(name), "accountName": "Townsend"}));
    let deal = |name: &str, of: &str, amount: u32| {
        let amount = json!({"amount": amount, "currencyCode": "USD"});
        let value = json!({"opportunityKey": key(name), "accountKey": key(of), "opportunityAmount": amount, "isClosed": true, "isWon": true});
        record("opportunity", name, value)
    };
    let person = |name: &str, email: &str, more: Value| {
        let mut value = json!({"personKey": key(name), "workEmail": {"address": email}, "b2b": {"accountKey": key("001A@crm1.Salesforce")}});
        for (field, content) in more.as_object().into_iter().flatten() {
            value[field] = content.clone();
        }
        record("person", name, value)
    };
    let members = [key("001A@crm1.Salesforce"), key("001B@crm2.Salesforce")];
    let link = json!({"linkKey": key("townsend@mdm.MDM"), "members": members, "isDeleted": round % 2 == 1});
    let page = json!({"webPageDetails": {"name": "New product"}});
    let p1 = [json!({"namespace": "email", "id": "p1@townsend.com"})];
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()) * 1_000;
    let visit = json!({"_id": "visit", "timestamp": now, "eventType": "web.webpagedetails.pageViews", "identities": p1, "web": page});
    vec![
        account("001A@crm1.Salesforce"),
        account("001B@crm2.Salesforce"),
        deal("006A@crm1.Salesforce", "001A@crm1.Salesforce", 200_000),
        deal("006B@crm2.Salesforce", "001B@crm2.Salesforce", 900_000),
        person("1001@marketo1.Marketo", "p1@townsend.com", json!({})),
        // Older than what is known.
        person("1001@marketo1.Marketo", "old@townsend.com", json!({"modifiedAt": "2020-01-01T00:00:00Z"})),
        // An identity that two records share and the guard sets aside, another one each time.
        person(&format!("{round}@marketo1.Marketo"), &format!("info@{round}.example"), json!({})),
        person(&format!("{round}@marketo2.Marketo"), &format!("info@{round}.example"), json!({})),
        record("account-link", "townsend@mdm.MDM", link),
        record("activity", "email:p1@townsend.com", visit.clone()),
        record("activity", "email:p1@townsend.com", visit),
    ]
}
