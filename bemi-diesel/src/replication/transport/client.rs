//! A walsender connection, from what the URL says.

use std::time::Duration;

use pgwire_replication::{Lsn as WireLsn, PgWireError, ReplicationClient, ReplicationConfig};
use tokio_postgres::config::Host;

use super::failure::{Phase, classify};
use super::tls::{certified_name, tls};
use crate::Lsn;
use crate::error::{Error, ErrorKind, quote_identifier};
use crate::postgres::Endpoint;

/// How often the server hears from us at least. It gives up on a client after `wal_sender_timeout`
/// (60 s by default, and people set it to a few seconds); it also learns within this time that it may
/// drop log, which a fast shutdown waits for.
const STATUS_INTERVAL: Duration = Duration::from_millis(500);

/// Events read ahead of the consumer: each can be a row of many megabytes.
const BUFFERED_EVENTS: usize = 64;

/// Session settings under which every value has the text form that the decoder expects.
const OPTIONS: &str = "-c datestyle=ISO -c intervalstyle=postgres -c timezone=UTC -c extra_float_digits=3 \
                       -c bytea_output=hex -c statement_timeout=0 -c idle_session_timeout=0";

/// The crate asks for UTF-8, which the server converts to from every encoding but `SQL_ASCII`, under which it stores
/// whatever bytes a client wrote: it would refuse to send those that are no UTF-8, now and for ever.
const ENCODING: &str = "SELECT pg_catalog.set_config('client_encoding', 'SQL_ASCII', false) \
                        WHERE pg_catalog.current_setting('server_encoding') = 'SQL_ASCII'";

/// What is to be read, from where on.
pub(super) struct Wanted {
    pub(super) endpoint: Endpoint,
    /// One host of the endpoint, and its port.
    pub(super) host: (Host, u16),
    pub(super) slot: String,
    pub(super) publication: String,
    pub(super) from: Lsn,
}

/// Connects, and starts the stream.
pub(super) async fn start(wanted: Wanted) -> Result<ReplicationClient, Error> {
    let endpoint = &wanted.endpoint;
    let name = endpoint.to_string();
    match tokio::time::timeout(endpoint.connect_timeout(), connect(&wanted)).await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(error)) => Err(classify(error, name, &wanted.slot, Phase::Starting)),
        Err(_) => {
            let kind = ErrorKind::Connect { endpoint: name };
            Err(Error::with_source(kind, "timed out"))
        }
    }
}

/// Tries the forms of the password, and the names that the server may be certified by.
async fn connect(wanted: &Wanted) -> Result<ReplicationClient, PgWireError> {
    let connecting = async |password: &str, name: Option<String>| {
        let mut config = configuration(wanted);
        config.password = password.to_owned();
        if name.is_some() {
            config.tls.sni_hostname = name;
        }
        let mut client = ReplicationClient::connect_gated(config).await?;
        client.simple_query(ENCODING).await?;
        client.start().await.map(|()| client)
    };
    let endpoint = &wanted.endpoint;
    let mut name = None;
    let mut outcome = Err(PgWireError::Auth("no password".to_owned()));
    for password in passwords(endpoint) {
        outcome = connecting(&password, name.clone()).await;
        if let Err(error) = &outcome
            && let Some(certified) = certified_name(endpoint, error)
        {
            name = Some(certified);
            outcome = connecting(&password, name.clone()).await;
        }
        if !matches!(&outcome, Err(PgWireError::Server(text)) if text.contains("(SQLSTATE 28P01)"))
        {
            break;
        }
    }
    outcome
}

/// The forms in which the server may know the password: as SCRAM prepares it, and as it is.
fn passwords(endpoint: &Endpoint) -> Vec<String> {
    let plain = String::from_utf8_lossy(endpoint.password()).into_owned();
    match stringprep::saslprep(&plain) {
        Ok(prepared) if prepared != plain => vec![prepared.into_owned(), plain],
        _ => vec![plain],
    }
}

fn configuration(wanted: &Wanted) -> ReplicationConfig {
    let Wanted {
        endpoint,
        host: (host, port),
        slot,
        publication,
        from,
    } = wanted;
    // The server reads a list of identifiers here.
    let publication = quote_identifier(publication);
    let mut config = match host {
        Host::Tcp(name) => ReplicationConfig::new(
            name,
            endpoint.user(),
            String::new(),
            endpoint.database(),
            slot,
            publication,
        )
        .with_port(*port)
        .with_tls(tls(endpoint, name)),
        Host::Unix(path) => ReplicationConfig::unix(
            path.to_string_lossy(),
            *port,
            endpoint.user(),
            String::new(),
            endpoint.database(),
            slot,
            publication,
        ),
    };
    config.options = Some(OPTIONS.to_owned());
    config
        .with_start_lsn(WireLsn(from.as_u64()))
        .with_status_interval(STATUS_INTERVAL)
        .with_wakeup_interval(STATUS_INTERVAL)
        .with_buffer_size(BUFFERED_EVENTS)
        .with_application_name("bemi")
}
