//! Ordinary connections to a server: the catalog of the source, and the destination.

mod endpoint;

use std::time::Duration;

use tokio::sync::watch;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, NoTls};

pub(crate) use endpoint::{Endpoint, SslMode};

use crate::error::{Error, ErrorKind, ServerError};
use crate::replication::transport;

/// Settings under which values read and write the same everywhere, whatever the server's, the database's
/// or the role's say, and under which no timeout of theirs ends the session. Not every server knows all
/// of them: `transaction_timeout` came with PostgreSQL 17.
///
/// A server that never hears of our end would keep our locks, so it looks for it: the keepalives are for
/// a session that waits for data, `idle_in_transaction_session_timeout` for one that waits for a statement.
///
/// Queries of the catalog are not compiled: they look costly where there are thousands of tables, and what took
/// 650 ms every few seconds takes 5 ms without.
const SETTINGS: &str = "SELECT pg_catalog.set_config(v.name, v.setting, false) FROM (VALUES \
     ('search_path', ''), ('timezone', 'UTC'), ('datestyle', 'ISO'), ('synchronous_commit', 'on'), \
     ('default_transaction_read_only', 'off'), ('default_transaction_isolation', 'read committed'), \
     ('statement_timeout', '0'), ('lock_timeout', '0'), ('transaction_timeout', '0'), \
     ('idle_session_timeout', '0'), ('idle_in_transaction_session_timeout', '30s'), \
     ('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '5'), ('tcp_keepalives_count', '3'), \
     ('jit', 'off'), ('client_min_messages', 'warning')) v (name, setting) \
     WHERE EXISTS (SELECT FROM pg_catalog.pg_settings s WHERE lower(s.name) = v.name)";

/// An open connection. Ends when it is dropped.
pub(crate) struct Connection {
    pub(crate) client: Client,
    endpoint: String,
    /// The host of the URL that answered.
    host: (Host, u16),
    patience: Duration,
    open: watch::Receiver<()>,
}

impl Connection {
    /// Opens a connection to the first host of the URL that answers.
    pub(crate) async fn open(endpoint: &Endpoint) -> Result<Self, Error> {
        let mut failure = None;
        for (host, port) in endpoint.hosts() {
            let opening = Self::open_prepared(endpoint, &host, port);
            match tokio::time::timeout(endpoint.connect_timeout(), opening).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => failure = Some(error),
                Err(_) => {
                    let kind = ErrorKind::Connect {
                        endpoint: endpoint.to_string(),
                    };
                    failure = Some(Error::with_source(kind, "timed out"));
                }
            }
        }
        Err(failure.unwrap_or_else(|| Error::configuration("the database URL names no host")))
    }

    async fn open_prepared(endpoint: &Endpoint, host: &Host, port: u16) -> Result<Self, Error> {
        let connection = Self::open_host(endpoint, host, port).await?;
        connection.batch("preparing the session", SETTINGS).await?;
        if endpoint.wants_writable() {
            let query = connection
                .client
                .query_one("SELECT pg_is_in_recovery()", &[]);
            let row = connection.answer("looking for the primary", query).await?;
            if row.get(0) {
                let kind = ErrorKind::Connect {
                    endpoint: endpoint.to_string(),
                };
                return Err(Error::with_source(kind, "no host of the URL is a primary"));
            }
        }
        Ok(connection)
    }

    async fn open_host(endpoint: &Endpoint, host: &Host, port: u16) -> Result<Self, Error> {
        let config = endpoint.config_for(host, port);
        let connect_error = |error: &tokio_postgres::Error| classify_connect(endpoint, error);
        match host {
            Host::Tcp(name) if endpoint.ssl_mode() != SslMode::Disable => {
                let stream = transport::connect(name, port, endpoint).await?;
                let (client, driver) = config
                    .connect_raw(stream, NoTls)
                    .await
                    .map_err(|error| connect_error(&error))?;
                Ok(Self::driven(client, endpoint, (host.clone(), port), driver))
            }
            Host::Tcp(_) | Host::Unix(_) => {
                let (client, driver) = config
                    .connect(NoTls)
                    .await
                    .map_err(|error| connect_error(&error))?;
                Ok(Self::driven(client, endpoint, (host.clone(), port), driver))
            }
        }
    }

    fn driven(
        client: Client,
        endpoint: &Endpoint,
        host: (Host, u16),
        driver: impl Future + Send + 'static,
    ) -> Self {
        let (alive, open) = watch::channel(());
        tokio::spawn(async move {
            let _ended = driver.await;
            drop(alive);
        });
        Self {
            client,
            endpoint: endpoint.to_string(),
            host,
            patience: endpoint.patience(),
            open,
        }
    }

    /// The host of the URL that this connection is to.
    pub(crate) fn host(&self) -> (&Host, u16) {
        (&self.host.0, self.host.1)
    }

    /// Waits for what the server is asked while `doing` something, as long as it is worth waiting: a
    /// network can fall silent without a word.
    pub(crate) async fn answer<T>(
        &self,
        doing: &'static str,
        asking: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.patience, asking).await {
            Ok(answer) => answer.map_err(|error| self.error(doing, &error)),
            Err(_) => Err(self.silent(doing)),
        }
    }

    /// The error for a server that does not answer while `doing` something.
    pub(crate) fn silent(&self, doing: &str) -> Error {
        let kind = ErrorKind::Disconnected {
            endpoint: self.endpoint.clone(),
        };
        let silence = format!("no answer for {:?} while {doing}", self.patience);
        Error::with_source(kind, silence)
    }

    /// Runs `statements` in one transaction, in one round trip: a batch of the simple protocol is one.
    pub(crate) async fn batch(&self, doing: &'static str, statements: &str) -> Result<(), Error> {
        self.client
            .batch_execute(statements)
            .await
            .map_err(|error| self.error(doing, &error))
    }

    /// Waits until the connection has ended, which the server's shutdown does without being asked.
    pub(crate) async fn closed(&self) {
        let mut open = self.open.clone();
        while open.changed().await.is_ok() {}
    }

    /// The error for a connection that [ended](Self::closed).
    pub(crate) fn disconnected(&self) -> Error {
        Error::new(ErrorKind::Disconnected {
            endpoint: self.endpoint.clone(),
        })
    }

    /// What `error` means, met while `doing` something.
    pub(crate) fn error(&self, doing: &'static str, error: &tokio_postgres::Error) -> Error {
        match server_error(error) {
            Some(error) => Error::new(ErrorKind::Server { doing, error }),
            None if self.client.is_closed() || error.is_closed() => self.disconnected(),
            // The driver's own text alone: the cause of a failed conversion could quote a value.
            None => {
                let text = error.to_string();
                let kind = text.split(": ").next().unwrap_or_default();
                Error::with_source(ErrorKind::Io { doing }, kind)
            }
        }
    }
}

fn classify_connect(endpoint: &Endpoint, error: &tokio_postgres::Error) -> Error {
    let endpoint = endpoint.to_string();
    match server_error(error) {
        // Starting up, shutting down, too many connections: there, but not yet for us.
        Some(reason)
            if matches!(
                &reason.sqlstate[..2.min(reason.sqlstate.len())],
                "57" | "53"
            ) =>
        {
            Error::with_source(ErrorKind::Connect { endpoint }, reason.to_string())
        }
        Some(reason) => Error::new(ErrorKind::Refused { endpoint, reason }),
        None => {
            // The driver wraps the cause ("error connecting to server") around the one that tells.
            let cause = std::error::Error::source(error)
                .map_or_else(|| error.to_string(), ToString::to_string);
            Error::with_source(ErrorKind::Connect { endpoint }, cause)
        }
    }
}

fn server_error(error: &tokio_postgres::Error) -> Option<ServerError> {
    error.as_db_error().map(|error| {
        ServerError::new(error.code().code(), error.message()).about(
            error.constraint(),
            error.column(),
            error.table(),
        )
    })
}
