//! Ordinary connections to a server: the catalog of the source, and the destination.

mod endpoint;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, NoTls};

pub(crate) use endpoint::{Endpoint, SslMode};

use crate::error::{Error, ErrorKind, ServerError};
use crate::replication::transport;

/// An open connection. Ends when it is dropped.
pub(crate) struct Connection {
    pub(crate) client: Client,
    endpoint: String,
    open: watch::Receiver<()>,
}

impl Connection {
    /// Opens a connection whose values read and write the same everywhere, whatever the server's,
    /// the database's or the role's settings say, and which no timeout of theirs ends.
    pub(crate) async fn open(endpoint: &Endpoint) -> Result<Self, Error> {
        let connecting = Self::open_first(endpoint);
        let connection = tokio::time::timeout(endpoint.connect_timeout(), connecting)
            .await
            .map_err(|_| {
                Error::with_source(
                    ErrorKind::Connect {
                        endpoint: endpoint.to_string(),
                    },
                    "timed out",
                )
            })??;
        connection
            .batch(
                "preparing the session",
                "SET search_path = ''; SET timezone = 'UTC'; SET datestyle = 'ISO'; SET statement_timeout = 0; \
                 SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET synchronous_commit = on; \
                 SET client_min_messages = warning",
            )
            .await?;
        Ok(connection)
    }

    /// Opens a connection to the first host of the URL that answers.
    async fn open_first(endpoint: &Endpoint) -> Result<Self, Error> {
        let mut failure = None;
        for (host, port) in endpoint.hosts() {
            match Self::open_host(endpoint, &host, port).await {
                Ok(connection) => return Ok(connection),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| Error::configuration("the database URL names no host")))
    }

    async fn open_host(endpoint: &Endpoint, host: &Host, port: u16) -> Result<Self, Error> {
        let config = endpoint.config_for(host, port);
        let connect_error = |error: &tokio_postgres::Error| classify_connect(endpoint, error);
        let unreachable = |error: std::io::Error| {
            Error::with_source(
                ErrorKind::Connect {
                    endpoint: endpoint.to_string(),
                },
                error,
            )
        };
        match host {
            Host::Tcp(name) if endpoint.ssl_mode() != SslMode::Disable => {
                let tcp = TcpStream::connect((name.as_str(), port))
                    .await
                    .map_err(unreachable)?;
                let stream = transport::secure(tcp, name, endpoint).await?;
                let (client, driver) = config
                    .connect_raw(stream, NoTls)
                    .await
                    .map_err(|error| connect_error(&error))?;
                Ok(Self::driven(client, endpoint, driver))
            }
            Host::Tcp(_) | Host::Unix(_) => {
                let (client, driver) = config
                    .connect(NoTls)
                    .await
                    .map_err(|error| connect_error(&error))?;
                Ok(Self::driven(client, endpoint, driver))
            }
        }
    }

    fn driven(client: Client, endpoint: &Endpoint, driver: impl Future + Send + 'static) -> Self {
        let (alive, open) = watch::channel(());
        tokio::spawn(async move {
            let _ended = driver.await;
            drop(alive);
        });
        Self {
            client,
            endpoint: endpoint.to_string(),
            open,
        }
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
            // Never the driver's own text: a failed conversion could quote a value.
            None => Error::new(ErrorKind::Io { doing }),
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
    error
        .as_db_error()
        .map(|error| ServerError::new(error.code().code(), error.message()))
}
