//! The connection, and what an error of the server means.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_model::chain;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::{Client, NoTls, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::Config;
use crate::tls;

/// A server that does not accept a connection in this time is unavailable.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// A transaction whose client is silent, frozen or gone holds its locks for this long: another
/// process that takes over waits for them. A statement has an end, so that the sink goes on.
const SESSION: &str = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET statement_timeout = '60s'; SET lock_timeout = '20s'; \
                       SET idle_in_transaction_session_timeout = '15s'";

/// Why a transaction did not come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It may succeed later, as it is.
    Later(String),
    /// A person must change something at the server, or in the settings.
    Destination(String),
    /// A value is not accepted: by whose fault shows when the changes come one by one.
    Rows { reason: String, detail: String },
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Fault {
        match error.as_db_error() {
            Some(refusal) => of_server(refusal),
            // A wrong password is an error of the server; what is left is certificates and addresses.
            None => Fault::Later(chain(&error)),
        }
    }
}

fn of_server(refusal: &DbError) -> Fault {
    let code = refusal.code();
    let reason = format!("{}: {}", code.code(), refusal.message());
    let passing = [
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::OBJECT_IN_USE,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        SqlState::T_R_SERIALIZATION_FAILURE,
    ];
    if passing.contains(code) {
        return Fault::Later(reason);
    }
    match code.code().get(..2).unwrap_or_default() {
        // Data, constraints, limits of an index row, a check option, what a trigger raises.
        "22" | "23" | "54" | "44" | "P0" => Fault::Rows {
            reason: format!("{reason}{}", place(refusal)),
            detail: refusal.detail().unwrap_or_default().to_owned(),
        },
        // Connection, serialization and deadlock, resources, operator intervention, system, internal.
        "08" | "40" | "53" | "57" | "58" | "XX" => Fault::Later(reason),
        _ => Fault::Destination(reason),
    }
}

fn place(refusal: &DbError) -> String {
    let parts = [("constraint", refusal.constraint()), ("column", refusal.column())];
    parts.iter().filter_map(|(what, name)| Some(format!(", {what} `{}`", (*name)?))).collect()
}

/// A connection with the statements that it has prepared.
pub struct Connection {
    pub client: Client,
    prepared: BTreeMap<String, Statement>,
}

impl Connection {
    /// # Errors
    /// Where the server is not there, or refuses.
    pub async fn open(config: &Config, application: &str) -> Result<Connection, Fault> {
        let tls = tls::client_config(config).map_err(|error| Fault::Destination(chain(&error)))?;
        let mut settings = tokio_postgres::Config::new();
        settings
            .host(&config.host)
            .port(config.port)
            .dbname(&config.database)
            .user(&config.user)
            .application_name(application)
            .connect_timeout(CONNECT_WITHIN)
            .ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        if let Some(password) = &config.password {
            settings.password(password.reveal());
        }
        // The connection's own task ends with it; its errors are those of the calls.
        let client = match tls {
            Some(tls) => {
                let (client, connection) = settings.connect(MakeRustlsConnect::new(tls)).await?;
                tokio::spawn(connection);
                client
            }
            None => {
                let (client, connection) = settings.connect(NoTls).await?;
                tokio::spawn(connection);
                client
            }
        };
        client.batch_execute(SESSION).await?;
        Ok(Connection {
            client,
            prepared: BTreeMap::new(),
        })
    }

    /// # Errors
    /// Where the server refuses the statement.
    pub async fn statement(&mut self, text: &str) -> Result<Statement, Fault> {
        if let Some(known) = self.prepared.get(text) {
            return Ok(known.clone());
        }
        let statement = self.client.prepare(text).await?;
        self.prepared.insert(text.to_owned(), statement.clone());
        Ok(statement)
    }
}
