//! A capture that waits for its turn: any number may be started, and the slot lets one of them read.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::watch;

use super::handle::Status;
use crate::Lsn;
use crate::error::Error;
use crate::postgres::Connection;
use crate::settings::Settings;
use crate::setup::{Server, Slot};
use crate::sink::store;

/// Asks whoever reads the log to store how far it has come. In no transaction, as that could be read-only.
const HEARTBEAT: &str = "SELECT pg_catalog.pg_logical_emit_message(false, '_bemi_heartbeat', '')";

/// How often the slot is looked at. A statement that waits for a lock would be told at once, but would keep
/// the source from cleaning up its tables meanwhile.
const INTERVAL: Duration = Duration::from_millis(250);

/// Waits until nobody reads from the slot, or until that cannot be told any more. Meanwhile the status
/// follows what the other one stores, as far as the destination tells.
///
/// Somebody waits for everything before `wanted` to be stored.
pub(super) async fn slot_is_free(
    settings: &Settings,
    status: &watch::Sender<Status>,
    wanted: &watch::Receiver<Lsn>,
) -> Result<(), Error> {
    let source = Connection::open(&settings.source).await?;
    let server = Server::read(&source).await?;
    let following = async {
        loop {
            // A destination that does not answer is told of by whoever stores there.
            let _ended = follow(settings, &source, &server, status, wanted).await;
            tokio::time::sleep(INTERVAL).await;
        }
    };
    let freed = async {
        loop {
            let slot = Slot::read(&source, &settings.slot).await?;
            if slot.is_none_or(|slot| slot.active_pid.is_none()) {
                return Ok(());
            }
            tokio::time::sleep(INTERVAL).await;
        }
    };
    tokio::select! {
        outcome = freed => outcome,
        never = following => never,
    }
}

/// Follows what is stored, until an error.
async fn follow(
    settings: &Settings,
    source: &Connection,
    server: &Server,
    status: &watch::Sender<Status>,
    wanted: &watch::Receiver<Lsn>,
) -> Result<Infallible, Error> {
    let destination = Connection::open(&settings.destination).await?;
    loop {
        let (identifier, database) = (server.system_identifier, &server.database);
        if let Some(stored) = store::progress(&destination, identifier, database).await? {
            if stored.flush_lsn < *wanted.borrow() {
                // Where that is not allowed, the position is stored a little later.
                let asking = source.client.execute(HEARTBEAT, &[]);
                let _asked = source.answer("asking for a heartbeat", asking).await;
            }
            status.send_if_modified(|status| {
                let advanced = status.captured_lsn < stored.flush_lsn;
                status.captured_lsn = status.captured_lsn.max(stored.flush_lsn);
                status.flush_lsn = status.flush_lsn.max(stored.flush_lsn);
                status.last_committed_at = stored.last_committed_at;
                advanced
            });
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
