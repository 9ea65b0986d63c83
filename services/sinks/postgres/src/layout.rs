//! Whether a table is as the settings say: it is created and widened where that is allowed, and
//! otherwise named, with what a person can do.

use tokio_postgres::Client;

use crate::client::Fault;
use crate::config::{Config, Kind};
use crate::mapping::{Statements, qualified, quoted};

/// What the catalogue knows of a table; no row where there is none.
const TABLE: &str = "SELECT c.oid::text, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                     WHERE n.nspname = $1 AND c.relname = $2";

/// Its columns: name, type, type with its parameters, and whether an insert must give a value.
const COLUMNS: &str = "SELECT a.attname::text, t.typname::text, format_type(a.atttypid, a.atttypmod), \
                       a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AND a.attgenerated = '' \
                       FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
                       WHERE a.attrelid = $1::text::oid AND a.attnum > 0 AND NOT a.attisdropped";

/// The columns of each unique index that `ON CONFLICT` can name.
const KEYS: &str = "SELECT array(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)) \
                    FROM pg_index i WHERE i.indrelid = $1::text::oid AND i.indisunique AND i.indimmediate AND i.indisvalid \
                    AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnatts = i.indnkeyatts";

/// The server and its timeline: another one after a failover, and after a restore from a backup.
const SERVER: &str = "SELECT (SELECT system_identifier FROM pg_control_system())::text || '.' || left(pg_walfile_name(pg_current_wal_lsn()), 8)";

/// A table that can be written.
#[derive(Clone, Debug)]
pub struct Layout {
    pub statements: Statements,
    /// What names the table: another one once it was made anew, or the server was restored.
    pub place: String,
}

/// A column of the catalogue.
struct Found {
    name: String,
    kind: String,
    exact: String,
    demanded: bool,
}

/// The table of an audience, or of all, as the settings have it.
///
/// # Errors
/// What is missing, with the remedy; what the server says.
pub async fn ready(client: &Client, config: &Config, table: &str) -> Result<Layout, Fault> {
    Config::check_name(table).map_err(|reason| Fault::Destination(format!("no table can be named as the audience: {reason}; name one in `tables`")))?;
    let name = qualified(config, table);
    let mut found = client.query_opt(TABLE, &[&config.schema, &table]).await?;
    if found.is_none() {
        let made = create(config, table);
        change(client, config, &format!("there is no table {name}"), &made).await?;
        found = client.query_opt(TABLE, &[&config.schema, &table]).await?;
    }
    let Some(row) = found else {
        return Err(Fault::Later(format!("the table {name} was created and is gone")));
    };
    let (oid, relkind): (String, String) = (row.get(0), row.get(1));
    if !matches!(relkind.as_str(), "r" | "p") {
        return Err(Fault::Destination(format!("{name} is no table: name another one")));
    }
    widen(client, config, &name, &oid).await?;
    let columns = columns(client, &oid).await?;
    check_others(config, &name, &columns)?;
    check_key(client, config, &name, &oid).await?;
    let exact = |column: &crate::config::Column| {
        let found = columns.iter().find(|found| found.name == column.name);
        match column.kind {
            // A cast to a shorter text would cut it off.
            Kind::Text => "text".to_owned(),
            Kind::Numeric | Kind::Timestamptz | Kind::Date | Kind::Boolean | Kind::Jsonb => {
                found.map_or_else(|| column.kind.name().to_owned(), |found| found.exact.clone())
            }
        }
    };
    let exact: Vec<String> = config.columns.iter().map(exact).collect();
    // A role that may not see it does without.
    let server: String = match client.query_one(SERVER, &[]).await {
        Ok(row) => row.get(0),
        Err(error) if error.as_db_error().is_some() => String::new(),
        Err(error) => return Err(error.into()),
    };
    Ok(Layout {
        statements: Statements::new(config, table, &exact),
        place: format!("{oid}@{server}"),
    })
}

/// The table of positions.
///
/// # Errors
/// As `ready`.
pub async fn positions(client: &Client, config: &Config) -> Result<(), Fault> {
    if client.query_opt(TABLE, &[&config.schema, &config.positions]).await?.is_some() {
        return Ok(());
    }
    let name = qualified(config, &config.positions);
    let made = format!(
        "CREATE TABLE IF NOT EXISTS {name} (destination text NOT NULL, partition integer NOT NULL, epoch bigint NOT NULL, \
         position bigint NOT NULL, changed_at timestamptz NOT NULL, PRIMARY KEY (destination, partition))"
    );
    change(client, config, &format!("there is no table {name}"), &made).await
}

async fn columns(client: &Client, oid: &str) -> Result<Vec<Found>, Fault> {
    let rows = client.query(COLUMNS, &[&oid]).await?;
    let found = |row: &tokio_postgres::Row| Found {
        name: row.get(0),
        kind: row.get(1),
        exact: row.get(2),
        demanded: row.get(3),
    };
    Ok(rows.iter().map(found).collect())
}

/// The name and kind of every column that the settings speak of.
fn wanted(config: &Config) -> Vec<(&str, Kind)> {
    let audience = config.table.is_some().then_some((config.audience_column.as_str(), Kind::Text));
    let attributes = config.columns.iter().map(|column| (column.name.as_str(), column.kind));
    audience
        .into_iter()
        .chain([(config.id_column.as_str(), Kind::Text)])
        .chain(attributes)
        .collect()
}

fn key(config: &Config) -> Vec<&str> {
    let audience = config.table.is_some().then_some(config.audience_column.as_str());
    audience.into_iter().chain([config.id_column.as_str()]).collect()
}

fn key_list(config: &Config) -> String {
    key(config).into_iter().map(quoted).collect::<Vec<_>>().join(", ")
}

fn create(config: &Config, table: &str) -> String {
    let columns: Vec<String> = wanted(config).iter().map(|(name, kind)| format!("{} {}", quoted(name), kind.name())).collect();
    format!(
        "CREATE TABLE IF NOT EXISTS {} ({}, PRIMARY KEY ({}))",
        qualified(config, table),
        columns.join(", "),
        key_list(config)
    )
}

/// Adds missing columns, and compares the types of the others.
async fn widen(client: &Client, config: &Config, table: &str, oid: &str) -> Result<(), Fault> {
    let found = columns(client, oid).await?;
    for (name, kind) in wanted(config) {
        let Some(column) = found.iter().find(|column| column.name == name) else {
            let added = format!("ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {} {}", quoted(name), kind.name());
            change(client, config, &format!("{table} has no column {}", quoted(name)), &added).await?;
            continue;
        };
        let fits = match kind {
            Kind::Text => matches!(column.kind.as_str(), "text" | "varchar" | "citext"),
            Kind::Boolean => column.kind == "bool",
            Kind::Numeric | Kind::Timestamptz | Kind::Date | Kind::Jsonb => column.kind == kind.name(),
        };
        if !fits {
            let remedy = format!("ALTER TABLE {table} ALTER COLUMN {} TYPE {}", quoted(name), kind.name());
            return Err(Fault::Destination(format!(
                "column {} of {table} is of the type {}, not {}: `{remedy}`, or set its type in `columns`",
                quoted(name),
                column.exact,
                kind.name()
            )));
        }
    }
    Ok(())
}

/// A column that the settings do not speak of must do without a value.
fn check_others(config: &Config, table: &str, found: &[Found]) -> Result<(), Fault> {
    let own = wanted(config);
    let demanding = found.iter().find(|column| column.demanded && own.iter().all(|(name, _)| *name != column.name));
    match demanding {
        None => Ok(()),
        Some(column) => Err(Fault::Destination(format!(
            "column {name} of {table} demands a value: `ALTER TABLE {table} ALTER COLUMN {name} SET DEFAULT …`, or map an attribute to it",
            name = quoted(&column.name)
        ))),
    }
}

async fn check_key(client: &Client, config: &Config, table: &str, oid: &str) -> Result<(), Fault> {
    let mut wanted: Vec<&str> = key(config);
    wanted.sort_unstable();
    let keys = client.query(KEYS, &[&oid]).await?;
    let columns = |row: &tokio_postgres::Row| {
        let mut columns: Vec<String> = row.get(0);
        columns.sort_unstable();
        columns
    };
    if keys.iter().any(|row| columns(row) == wanted) {
        return Ok(());
    }
    let columns = key_list(config);
    Err(Fault::Destination(format!(
        "{table} has no key over ({columns}) alone: `ALTER TABLE {table} ADD PRIMARY KEY ({columns})`"
    )))
}

/// Makes a change of the schema where that is allowed.
async fn change(client: &Client, config: &Config, missing: &str, statement: &str) -> Result<(), Fault> {
    if !config.create {
        return Err(Fault::Destination(format!("{missing}: `{statement}`, or set `create = true`")));
    }
    match client.batch_execute(statement).await.map_err(Fault::from) {
        // Another process makes the same change.
        Err(Fault::Rows { reason, .. }) => Err(Fault::Later(reason)),
        Err(Fault::Destination(reason)) => Err(Fault::Destination(format!("{missing}, and creating it fails with {reason}"))),
        other => other,
    }
}
