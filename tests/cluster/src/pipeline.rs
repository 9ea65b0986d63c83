//! A real pipeline on the embedded log that tells the Bodea story again and again, and a real Prometheus that watches it.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::told;

/// How long a process may take to answer. Two cores, and everything else on them.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// The audience of the story.
const DEFINITIONS: &str = r#"kind: Segment
metadata: { name: new-product-upsell }
spec:
  subject: person
  status: published
  pql: |
    sum(select o.opportunityAmount.amount from accounts.opportunities where o.isClosed and o.isWon) > 1000000
    and exists v from xEvent where v.eventType = "web.webpagedetails.pageViews"
        and v.web.webPageDetails.name = "New product" and v.timestamp occurs <= 1 month before now
"#;

/// What the pipeline is told besides; a guard that something can trip.
const CONFIG: &str = "identity: { blocked: ['email:info@*'] }\n";

/// A process that ends with its owner.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The pipeline, the Prometheus, and the folder of both.
pub struct Watched {
    program: std::ffi::OsString,
    api: SocketAddr,
    prometheus: SocketAddr,
    _processes: [Process; 2],
    _folder: TempDir,
}

/// An address that was free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

/// Scrapes the pipeline as the chart's PodMonitor would: with the labels of namespace and pod.
fn scraping(metrics: SocketAddr) -> String {
    json!({
        "global": {"scrape_interval": "500ms"},
        "scrape_configs": [{
            "job_name": "millrace",
            "static_configs": [{"targets": [metrics.to_string()], "labels": {"namespace": "cdp", "pod": "bodea-millrace-processor-0"}}],
        }],
    })
    .to_string()
}

fn spawn(command: &mut Command, log: &Path) -> anyhow::Result<Process> {
    let log = std::fs::File::create(log)?;
    let name = format!("{:?}", command.get_program());
    let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
    Ok(Process(child.with_context(|| format!("cannot start {name}"))?))
}

impl Watched {
    /// Starts both and waits until both answer.
    ///
    /// # Errors
    /// Where one does not start or answer; with its log.
    pub fn start(program: std::ffi::OsString) -> anyhow::Result<Watched> {
        let folder = tempfile::tempdir()?;
        let file = |name: &str| folder.path().join(name);
        let (api, metrics, prometheus) = (free_address()?, free_address()?, free_address()?);
        std::fs::write(file("millrace.yaml"), CONFIG)?;
        std::fs::write(file("prometheus.yml"), scraping(metrics))?;
        let pipeline = spawn(
            Command::new(&program)
                .arg("run")
                .current_dir(folder.path())
                .env_clear()
                .env("MILLRACE_CONFIG", "millrace.yaml")
                .env("MILLRACE__HTTP__API_ADDRESS", api.to_string())
                .env("MILLRACE__HTTP__METRICS_ADDRESS", metrics.to_string()),
            &file("millrace.log"),
        )?;
        let watcher = spawn(
            Command::new("prometheus")
                .args(["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", "--log.level=warn"])
                .arg(format!("--web.listen-address={prometheus}"))
                .current_dir(folder.path()),
            &file("prometheus.log"),
        )?;
        let watched = Watched {
            program,
            api,
            prometheus,
            _processes: [pipeline, watcher],
            _folder: folder,
        };
        let ready = || watched.told(&["segment", "apply", "-"], DEFINITIONS).and_then(|_| watched.ask("up == 1"));
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let problem = match ready() {
                Ok(answer) if !answer.is_empty() => return Ok(watched),
                Ok(_) => "Prometheus does not see the pipeline yet".to_owned(),
                Err(error) => format!("{error:#}"),
            };
            if Instant::now() > deadline {
                let log = |name| std::fs::read_to_string(watched._folder.path().join(name)).unwrap_or_default();
                bail!("{problem}\n{}{}", log("millrace.log"), log("prometheus.log"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn told(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let mut command = Command::new(&self.program);
        command.args(arguments).env_clear().env("MILLRACE__HTTP__API_ADDRESS", self.api.to_string());
        told(&mut command, input)
    }

    /// One round of the story: in every second one the two accounts are one company, and p1 is in the audience. Some records of it are old, some come twice,
    /// one is unusable.
    ///
    /// # Errors
    /// Where the pipeline takes nothing.
    pub fn tell(&self, round: u32) -> anyhow::Result<()> {
        let lines: Vec<String> = story(round).iter().map(Value::to_string).collect();
        self.told(&["source", "file"], &lines.join("\n"))?;
        // Unusable, so the command says so and ends with another status.
        let unusable = json!({"topic": "person", "key": "bad", "value": {"personKey": 7}}).to_string();
        match self.told(&["source", "file"], &unusable) {
            Ok(out) => bail!("an unusable record was taken: {out}"),
            Err(_) => Ok(()),
        }
    }

    /// What Prometheus answers to a query: its values, those that are no numbers left out.
    ///
    /// # Errors
    /// Where it refuses the query, or does not answer.
    pub fn ask(&self, query: &str) -> anyhow::Result<Vec<f64>> {
        let server = format!("http://{}", self.prometheus);
        let answer = told(Command::new("promtool").args(["query", "instant", "--format=json", &server, query]), "")?;
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
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
        * 1_000;
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
