//! The walsender connection. Only here is `pgwire-replication` known.

mod client;
mod failure;
mod pace;
mod reading;
mod tls;

use std::vec;

use bytes::Bytes;
use pgwire_replication::{Lsn as WireLsn, ReplicationEvent};
use tokio_postgres::config::Host;

use self::client::Wanted;
use self::failure::{Phase, classify};
use self::reading::{Came, Reading};
use crate::error::{Error, ErrorKind};
use crate::pgoutput::{self, Begin, Commit, DecodeError, LogicalMessage, Message};
use crate::postgres::Endpoint;
use crate::{Lsn, Xid};

pub(crate) use self::tls::connect;

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

/// An open replication stream, which is read in a thread of its own. Ends when it is dropped.
pub(crate) struct Transport {
    reading: Reading,
    /// What came together, and has not been taken yet.
    gulp: vec::IntoIter<Came>,
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
        let wanted = Wanted {
            endpoint: endpoint.clone(),
            host: (host.clone(), port),
            slot: slot.to_owned(),
            publication: publication.to_owned(),
            from,
        };
        Ok(Self {
            reading: Reading::start(wanted).await?,
            gulp: Vec::new().into_iter(),
            endpoint: endpoint.to_string(),
            slot: slot.to_owned(),
        })
    }

    /// The next event of those that came together, if there is one left.
    pub(crate) fn at_hand(&mut self) -> Option<Result<Event, Error>> {
        self.gulp.next().map(|came| self.event(came))
    }

    /// The next event, if one has come.
    pub(crate) fn try_recv(&mut self) -> Option<Result<Event, Error>> {
        if self.gulp.as_slice().is_empty() {
            self.gulp = self.reading.gulps.try_recv().ok()?.into_iter();
        }
        self.at_hand()
    }

    /// The next event. Nothing is lost when the returned future is dropped.
    pub(crate) async fn recv(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.at_hand() {
                return event;
            }
            let Some(gulp) = self.reading.gulps.recv().await else {
                let endpoint = self.endpoint.clone();
                return Err(Error::new(ErrorKind::Disconnected { endpoint }));
            };
            self.gulp = gulp.into_iter();
        }
    }

    /// Tells the server that everything before `lsn` is stored, so that it may drop the log.
    pub(crate) fn acknowledge(&self, lsn: Lsn) {
        self.reading.acknowledge(lsn);
    }

    /// Ends the stream in order.
    pub(crate) async fn stop(self) {
        self.reading.stop().await;
    }

    fn event(&self, came: Came) -> Result<Event, Error> {
        came.map_err(|error| classify(error, self.endpoint.clone(), &self.slot, Phase::Streaming))
            .and_then(convert)
    }
}

fn convert(event: ReplicationEvent) -> Result<Event, Error> {
    let lsn = |lsn: WireLsn| Lsn::new(lsn.0);
    let time = |micros, position: WireLsn| {
        pgoutput::timestamp(micros).map_err(|error| decode_error(Lsn::new(position.0), &error))
    };
    Ok(match event {
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
        // Comes only where it was asked for.
        ReplicationEvent::StoppedAt { reached } => Event::Keepalive {
            wal_end: lsn(reached),
            reply_requested: false,
        },
    })
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
