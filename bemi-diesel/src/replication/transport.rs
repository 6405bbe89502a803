//! The walsender connection. The only file that knows `pgwire-replication`.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use pgwire_replication::tls::rustls::{MaybeTlsStream, maybe_upgrade_to_tls};
use pgwire_replication::{
    Lsn as WireLsn, PgWireError, ReplicationClient, ReplicationConfig, ReplicationEvent,
    SslMode as WireSslMode, TlsConfig,
};
use tokio::net::TcpStream;
use tokio_postgres::config::Host;

use crate::error::{Error, ErrorKind, ServerError, quote_identifier};
use crate::pgoutput::{self, Begin, Commit, DecodeError, LogicalMessage, Message};
use crate::postgres::{Endpoint, SslMode};
use crate::{Lsn, Xid};

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

/// What the server sends.
#[derive(Debug)]
pub(crate) enum Event {
    /// A message of the output plugin, and where in the log its record stands. `frame` is what it was decoded
    /// from, where it describes a table or a row.
    Message {
        message: Message,
        position: Lsn,
        frame: Bytes,
    },
    /// A message that cannot be decoded.
    Unreadable {
        frame: Bytes,
        position: Lsn,
        problem: DecodeError,
    },
    /// All that was committed before `wal_end` has been sent. A requested reply has been sent.
    Keepalive { wal_end: Lsn, reply_requested: bool },
}

/// An open replication stream. Ends when it is dropped.
pub(crate) struct Transport {
    client: ReplicationClient,
    endpoint: String,
    slot: String,
}

impl Transport {
    /// Streams the publication's changes that were committed after `from`, from one `host` of the URL.
    pub(crate) async fn start(
        endpoint: &Endpoint,
        (host, port): (&Host, u16),
        slot: &str,
        publication: &str,
        from: Lsn,
    ) -> Result<Self, Error> {
        let connecting = async |password: &str, name: Option<String>| {
            let mut config = configuration(endpoint, host, port, slot, publication, from);
            config.password = password.to_owned();
            if name.is_some() {
                config.tls.sni_hostname = name;
            }
            let mut client = ReplicationClient::connect_gated(config).await?;
            client.simple_query(ENCODING).await?;
            client.start().await.map(|()| client)
        };
        let starting = async {
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
        };
        match tokio::time::timeout(endpoint.connect_timeout(), starting).await {
            Ok(Ok(client)) => Ok(Self {
                client,
                endpoint: endpoint.to_string(),
                slot: slot.to_owned(),
            }),
            Ok(Err(error)) => Err(classify(error, endpoint.to_string(), slot, Phase::Starting)),
            Err(_) => {
                let kind = ErrorKind::Connect {
                    endpoint: endpoint.to_string(),
                };
                Err(Error::with_source(kind, "timed out"))
            }
        }
    }

    /// The next event, if one has arrived.
    pub(crate) fn try_recv(&mut self) -> Option<Result<Event, Error>> {
        // Under tokio's budget for one turn a full buffer would look empty now and then.
        tokio::task::unconstrained(self.recv()).now_or_never()
    }

    /// The next event. Nothing is lost when the returned future is dropped.
    pub(crate) async fn recv(&mut self) -> Result<Event, Error> {
        loop {
            let event = match self.client.recv().await {
                Ok(Some(event)) => event,
                Ok(None) => {
                    return Err(Error::new(ErrorKind::Disconnected {
                        endpoint: self.endpoint.clone(),
                    }));
                }
                Err(error) => {
                    return Err(classify(
                        error,
                        self.endpoint.clone(),
                        &self.slot,
                        Phase::Streaming,
                    ));
                }
            };
            if let Some(event) = convert(event)? {
                return Ok(event);
            }
        }
    }

    /// Tells the server that everything before `lsn` is stored, so that it may drop the log.
    pub(crate) fn acknowledge(&self, lsn: Lsn) {
        self.client.update_applied_lsn(WireLsn(lsn.as_u64()));
    }

    /// Ends the stream in order.
    pub(crate) async fn stop(mut self) {
        // What the server thinks of our leaving changes nothing: all that matters is stored.
        let _ended = tokio::time::timeout(Duration::from_secs(1), self.client.shutdown()).await;
    }
}

/// Opens a connection to `host` and negotiates TLS as the endpoint's `sslmode` asks.
pub(crate) async fn connect(
    host: &str,
    port: u16,
    endpoint: &Endpoint,
) -> Result<MaybeTlsStream, Error> {
    let connecting = async |tls: TlsConfig| {
        let tcp = TcpStream::connect((host, port)).await?;
        // Else a small packet waits until the one before it is acknowledged: 40 ms each time.
        tcp.set_nodelay(true)?;
        maybe_upgrade_to_tls(tcp, &tls, host).await
    };
    let mut config = tls(endpoint, host);
    let mut outcome = connecting(config.clone()).await;
    if let Err(error) = &outcome
        && let Some(name) = certified_name(endpoint, error)
    {
        config.sni_hostname = Some(name);
        outcome = connecting(config).await;
    }
    outcome.map_err(|error| {
        let kind = ErrorKind::Connect {
            endpoint: endpoint.to_string(),
        };
        match error {
            PgWireError::Io(error) => Error::with_source(kind, error),
            error => Error::with_source(kind, error),
        }
    })
}

/// The name that the server's certificate holds, where `sslmode` leaves it open and a refusal tells it.
///
/// `verify-ca` trusts the chain, which comes first, whatever the name. The crate means that too, but
/// knows only an older form of the refusal: asked for a name that is in the certificate, it accepts it.
fn certified_name(endpoint: &Endpoint, error: &PgWireError) -> Option<String> {
    let PgWireError::Tls(text) = error else {
        return None;
    };
    if tls(endpoint, "").mode != WireSslMode::VerifyCa {
        return None;
    }
    let (_, names) = text.split_once("certificate is only valid for ")?;
    let (_, name) = names.split_once("DnsName(\"")?;
    let (name, _) = name.split_once('"')?;
    Some(name.replace('*', "any"))
}

/// The forms in which the server may know the password: as SCRAM prepares it, and as it is.
fn passwords(endpoint: &Endpoint) -> Vec<String> {
    let plain = String::from_utf8_lossy(endpoint.password()).into_owned();
    match stringprep::saslprep(&plain) {
        Ok(prepared) if prepared != plain => vec![prepared.into_owned(), plain],
        _ => vec![plain],
    }
}

fn tls(endpoint: &Endpoint, host: &str) -> TlsConfig {
    let mode = match endpoint.ssl_mode() {
        SslMode::Disable => WireSslMode::Disable,
        SslMode::Prefer => WireSslMode::Prefer,
        // As libpq has it: with a root certificate at hand, `require` verifies the chain.
        SslMode::Require if endpoint.ssl_root_cert.is_none() => WireSslMode::Require,
        SslMode::Require | SslMode::VerifyCa => WireSslMode::VerifyCa,
        SslMode::VerifyFull => WireSslMode::VerifyFull,
    };
    TlsConfig {
        mode,
        ca_pem_path: endpoint.ssl_root_cert.clone(),
        // The crate refuses to verify an address, which certificates can hold too, unless told outright.
        sni_hostname: host.parse::<IpAddr>().is_ok().then(|| host.to_owned()),
        client_cert_pem_path: endpoint.ssl_cert.clone(),
        client_key_pem_path: endpoint.ssl_key.clone(),
    }
}

fn configuration(
    endpoint: &Endpoint,
    host: &Host,
    port: u16,
    slot: &str,
    publication: &str,
    from: Lsn,
) -> ReplicationConfig {
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
        .with_port(port)
        .with_tls(tls(endpoint, name)),
        Host::Unix(path) => ReplicationConfig::unix(
            path.to_string_lossy(),
            port,
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

fn convert(event: ReplicationEvent) -> Result<Option<Event>, Error> {
    let lsn = |lsn: WireLsn| Lsn::new(lsn.0);
    let time = |micros, position: WireLsn| {
        pgoutput::timestamp(micros).map_err(|error| decode_error(Lsn::new(position.0), &error))
    };
    Ok(Some(match event {
        ReplicationEvent::XLogData {
            wal_start, data, ..
        } => {
            let (position, frame) = (lsn(wal_start), data.clone());
            match decode(data) {
                Ok(message) => Event::Message {
                    message,
                    position,
                    frame,
                },
                Err(problem) => Event::Unreadable {
                    frame,
                    position,
                    problem,
                },
            }
        }
        ReplicationEvent::Begin {
            final_lsn,
            xid,
            commit_time_micros,
        } => Event::Message {
            message: Message::Begin(Begin {
                final_lsn: lsn(final_lsn),
                committed_at: time(commit_time_micros, final_lsn)?,
                xid: Xid::new(xid),
            }),
            position: lsn(final_lsn),
            frame: Bytes::new(),
        },
        ReplicationEvent::Commit {
            lsn: commit_lsn,
            end_lsn,
            commit_time_micros,
        } => Event::Message {
            message: Message::Commit(Commit {
                commit_lsn: lsn(commit_lsn),
                end_lsn: lsn(end_lsn),
                committed_at: time(commit_time_micros, commit_lsn)?,
            }),
            position: lsn(commit_lsn),
            frame: Bytes::new(),
        },
        ReplicationEvent::Message {
            transactional,
            lsn: position,
            prefix,
            content,
        } => Event::Message {
            message: Message::LogicalMessage(LogicalMessage {
                transactional,
                lsn: lsn(position),
                prefix,
                content,
            }),
            position: lsn(position),
            frame: Bytes::new(),
        },
        ReplicationEvent::KeepAlive {
            wal_end,
            reply_requested,
            ..
        } => Event::Keepalive {
            wal_end: lsn(wal_end),
            reply_requested,
        },
        ReplicationEvent::StoppedAt { .. } => return Ok(None),
    }))
}

/// Decodes a message, unless a test pretends that it cannot be: one with a certain text in it.
pub(super) fn decode(frame: Bytes) -> Result<Message, DecodeError> {
    #[cfg(feature = "__internals")]
    if holds_pretended(&frame) {
        return Err(DecodeError::TrailingBytes);
    }
    pgoutput::decode(frame)
}

#[cfg(feature = "__internals")]
fn holds_pretended(frame: &[u8]) -> bool {
    fail::fail_point!("undecodable", |text| {
        let text = text.unwrap_or_default();
        let mut parts = frame.windows(text.len().max(1));
        parts.any(|part| part == text.as_bytes())
    });
    false
}

pub(super) fn decode_error(position: Lsn, problem: &impl ToString) -> Error {
    Error::new(ErrorKind::Decode {
        position,
        problem: problem.to_string(),
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Streaming,
}

/// What an error of the stream means. The crate carries the SQLSTATE as text at the message's end.
fn classify(error: PgWireError, endpoint: String, slot: &str, phase: Phase) -> Error {
    let reason = match &error {
        PgWireError::Server(text) => {
            let (message, sqlstate) = text
                .rsplit_once(" (SQLSTATE ")
                .and_then(|(message, rest)| {
                    rest.strip_suffix(')').map(|sqlstate| (message, sqlstate))
                })
                .unwrap_or((text, ""));
            ServerError::new(sqlstate, message)
        }
        PgWireError::Auth(reason) => {
            let reason = ServerError::new("28000", reason);
            return Error::new(ErrorKind::Refused { endpoint, reason });
        }
        PgWireError::MessageTooLarge { .. } | PgWireError::Protocol(_) => {
            return Error::with_source(
                ErrorKind::Io {
                    doing: "reading the replication stream",
                },
                error,
            );
        }
        _ if phase == Phase::Starting => {
            return Error::with_source(ErrorKind::Connect { endpoint }, error);
        }
        _ => return Error::with_source(ErrorKind::Disconnected { endpoint }, error),
    };
    let slot = slot.to_owned();
    Error::new(match &*reason.sqlstate {
        "55006" => ErrorKind::SlotInUse {
            slot,
            pid: pid_in(&reason.message),
        },
        "42704" => ErrorKind::NotSetUp {
            missing: missing_in(&reason.message),
        },
        "55000" => ErrorKind::WrongSlot {
            slot,
            problem: format!("cannot be read: {}", reason.message),
        },
        sqlstate if sqlstate.starts_with("28") || sqlstate.starts_with("3D") => {
            ErrorKind::Refused { endpoint, reason }
        }
        // 0A000: until PostgreSQL 16 a server in recovery decodes nothing, and it may be promoted.
        sqlstate
            if sqlstate.starts_with("57") || sqlstate.starts_with("53") || sqlstate == "0A000" =>
        {
            return match phase {
                Phase::Starting => {
                    Error::with_source(ErrorKind::Connect { endpoint }, reason.to_string())
                }
                Phase::Streaming => {
                    Error::with_source(ErrorKind::Disconnected { endpoint }, reason.to_string())
                }
            };
        }
        _ => ErrorKind::Server {
            doing: "reading the replication stream",
            error: reason,
        },
    })
}

/// The process in `replication slot "bemi" is active for PID 4711`.
fn pid_in(message: &str) -> Option<i32> {
    message.rsplit(' ').next()?.parse().ok()
}

/// The thing in `replication slot "bemi" does not exist`.
fn missing_in(message: &str) -> String {
    format!("the {}", message.trim_end_matches(" does not exist"))
}
