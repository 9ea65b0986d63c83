//! The operator's settings of a PostgreSQL destination. The comments are the manual.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_connect::secret::Confidential;
use serde::Deserialize;

pub use millrace_connect::settings::ConfigError;

/// PostgreSQL cuts longer names off.
const NAME_BYTES_MAX: usize = 63;

/// One destination as written. Secrets may be `file:` references; the code that reads the file
/// resolves them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// The server's name or address.
    pub host: String,
    /// Left out: 5432.
    #[serde(default = "port")]
    pub port: u16,
    pub database: String,
    pub user: String,
    /// Left out: the server must not ask for one.
    #[serde(default)]
    pub password: Option<String>,
    /// `verify-full`: encrypted, and the certificate must be the host's. `verify-ca`: the certificate
    /// need not name the host. `disable`: in clear. Left out: `verify-full`.
    #[serde(default)]
    pub tls: Tls,
    /// The authority of the server's certificate, as PEM or a `file:` with it. Left out: those that
    /// the system trusts.
    #[serde(default)]
    pub ca: Option<String>,
    /// The certificate that the server asks for, as PEM or a `file:` with it; needs `client_key`.
    #[serde(default)]
    pub client_certificate: Option<String>,
    #[serde(default)]
    pub client_key: Option<String>,
    /// Of all tables.
    #[serde(default = "schema")]
    pub schema: String,
    /// One table for all audiences, with a column for the audience. Left out: each audience has a
    /// table.
    #[serde(default)]
    pub table: Option<String>,
    /// The table of each audience, without `table`. An audience that is not named here has the table
    /// of its own name.
    #[serde(default)]
    pub tables: BTreeMap<String, String>,
    /// The column of ids; part of the primary key.
    #[serde(default = "id")]
    pub id_column: String,
    /// The column of audiences, where `table` is set; part of the primary key.
    #[serde(default = "audience")]
    pub audience_column: String,
    /// The type of each attribute's column: `text`, `numeric`, `timestamptz`, `date`, `boolean` or
    /// `jsonb`. An attribute that is not named here is `text`. A column bears its attribute's name.
    #[serde(default)]
    pub columns: BTreeMap<String, Kind>,
    /// The table of positions, in the same schema.
    #[serde(default = "positions")]
    pub positions: String,
    /// Whether missing tables and columns are created. Left out: the destination waits for them, and
    /// its status says what is missing.
    #[serde(default)]
    pub create: bool,
    /// Changes of one transaction at most.
    #[serde(default = "rows")]
    pub rows_per_transaction: usize,
    /// How long a change waits for others to fill a transaction.
    #[serde(default = "wait_seconds")]
    pub wait_seconds: f64,
}

/// How the connection is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    #[default]
    VerifyFull,
    VerifyCa,
    Disable,
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Text,
    /// Exact, with all digits.
    Numeric,
    Timestamptz,
    Date,
    Boolean,
    Jsonb,
}

/// A column of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub host: String,
    pub port: u16,
    pub database: String,
    pub user: String,
    pub password: Option<Confidential>,
    pub tls: Tls,
    pub ca: Option<String>,
    /// Certificate and key of this client.
    pub client: Option<(String, Confidential)>,
    pub schema: String,
    pub table: Option<String>,
    pub tables: BTreeMap<String, String>,
    pub id_column: String,
    pub audience_column: String,
    /// Of the attributes, in order of names.
    pub columns: Vec<Column>,
    pub positions: String,
    pub create: bool,
    pub rows_per_transaction: usize,
    pub wait: Duration,
}

const fn port() -> u16 {
    5432
}

fn schema() -> String {
    "public".to_owned()
}

fn id() -> String {
    "id".to_owned()
}

fn audience() -> String {
    "audience".to_owned()
}

fn positions() -> String {
    "millrace_positions".to_owned()
}

const fn rows() -> usize {
    1_000
}

const fn wait_seconds() -> f64 {
    0.5
}

impl Config {
    /// Checks everything. No IO. `attributes`: the names of those that the destination maps.
    ///
    /// # Errors
    /// All errors.
    pub fn new(raw: Raw, attributes: &[&str]) -> Result<Config, ConfigError> {
        let mut wrong = Vec::new();
        for (key, value) in [("host", &raw.host), ("database", &raw.database), ("user", &raw.user)] {
            if value.is_empty() {
                wrong.push(format!("{key}: a name is needed"));
            }
        }
        let client = client(&raw, &mut wrong);
        if raw.tls == Tls::Disable && (raw.ca.is_some() || raw.client_certificate.is_some()) {
            wrong.push("tls: `disable` uses no certificates".to_owned());
        }
        names(&raw, attributes, &mut wrong);
        if !(1..=50_000).contains(&raw.rows_per_transaction) {
            wrong.push(format!("rows_per_transaction: {} is not in 1 to 50000", raw.rows_per_transaction));
        }
        let wait = Duration::try_from_secs_f64(raw.wait_seconds).ok();
        if wait.is_none() {
            wrong.push(format!("wait_seconds: `{}` is no time in seconds", raw.wait_seconds));
        }
        let kind = |name: &str| raw.columns.get(name).copied().unwrap_or(Kind::Text);
        let column = |name: &&str| Column {
            name: (*name).to_owned(),
            kind: kind(name),
        };
        match wait {
            Some(wait) if wrong.is_empty() => Ok(Config {
                columns: attributes.iter().map(column).collect(),
                client,
                wait,
                host: raw.host,
                port: raw.port,
                database: raw.database,
                user: raw.user,
                password: raw.password.map(Confidential::new),
                tls: raw.tls,
                ca: raw.ca,
                schema: raw.schema,
                table: raw.table,
                tables: raw.tables,
                id_column: raw.id_column,
                audience_column: raw.audience_column,
                positions: raw.positions,
                create: raw.create,
                rows_per_transaction: raw.rows_per_transaction,
            }),
            _ => Err(ConfigError(wrong)),
        }
    }

    /// The table of an audience.
    pub fn table_of<'a>(&'a self, audience: &'a str) -> &'a str {
        match &self.table {
            Some(table) => table,
            None => self.tables.get(audience).map_or(audience, String::as_str),
        }
    }

    /// Whether a name can be one of PostgreSQL's.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_name(name: &str) -> Result<(), String> {
        if name.is_empty() || name.contains('\0') {
            return Err(format!("`{}` is no name", name.escape_default()));
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(format!("`{name}` is longer than {NAME_BYTES_MAX} bytes"));
        }
        Ok(())
    }
}

fn client(raw: &Raw, wrong: &mut Vec<String>) -> Option<(String, Confidential)> {
    match (&raw.client_certificate, &raw.client_key) {
        (Some(certificate), Some(key)) => Some((certificate.clone(), Confidential::new(key))),
        (None, None) => None,
        _ => {
            wrong.push("client_certificate: `client_key` is needed with it, and neither without the other".to_owned());
            None
        }
    }
}

fn names(raw: &Raw, attributes: &[&str], wrong: &mut Vec<String>) {
    let mut check = |key: String, name: &str| {
        if let Err(reason) = Config::check_name(name) {
            wrong.push(format!("{key}: {reason}"));
        }
    };
    check("schema".to_owned(), &raw.schema);
    check("positions".to_owned(), &raw.positions);
    check("id_column".to_owned(), &raw.id_column);
    check("audience_column".to_owned(), &raw.audience_column);
    raw.table.iter().for_each(|table| check("table".to_owned(), table));
    for (audience, table) in &raw.tables {
        check(format!("tables.{audience}"), table);
    }
    for name in attributes {
        check(format!("attributes.{name}"), name);
    }
    if raw.table.is_some() && !raw.tables.is_empty() {
        wrong.push("tables: with `table` all audiences are in that one".to_owned());
    }
    let mut users: BTreeMap<&str, &str> = BTreeMap::new();
    for (audience, table) in &raw.tables {
        if let Some(other) = users.insert(table, audience) {
            wrong.push(format!(
                "tables.{audience}: `{table}` is that of `{other}`; several audiences in one table need `table`"
            ));
        }
    }
    let own = |name: &str| name == raw.id_column || (raw.table.is_some() && name == raw.audience_column);
    for name in attributes.iter().filter(|name| own(name)) {
        wrong.push(format!(
            "attributes.{name}: the column of that name is taken; choose another name, or `id_column` and `audience_column`"
        ));
    }
    for name in raw.columns.keys().filter(|name| !attributes.contains(&name.as_str())) {
        wrong.push(format!("columns.{name}: the destination has no attribute of that name"));
    }
}
