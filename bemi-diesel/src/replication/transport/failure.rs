//! What an error of the stream means.

use pgwire_replication::PgWireError;

use crate::error::{Error, ErrorKind, ServerError};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    Streaming,
}

/// What an error of the stream means. The crate carries the SQLSTATE as text at the message's end.
pub(super) fn classify(error: PgWireError, endpoint: String, slot: &str, phase: Phase) -> Error {
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
