//! Reading without storing: what the benchmark compares with `pg_recvlogical`.

use std::sync::Arc;

use chrono::DateTime;

use super::catalog;
use super::transport::{Event, Transport, decode_error};
use crate::Lsn;
use crate::error::Error;
use crate::pgoutput::Message;
use crate::postgres::{Connection, Endpoint};
use crate::setup::Server;
use crate::stitch::{Rules, Stitcher};

/// Reads through the slot up to `end`, to changes with their JSON; how many there are.
pub(crate) async fn receive(
    url: &str,
    slot: &str,
    publication: &str,
    end: Lsn,
) -> Result<u64, Error> {
    let endpoint = Endpoint::parse(url)?;
    let source = Connection::open(&endpoint).await?;
    let server = Server::read(&source).await?;
    let mut transport =
        Transport::start(&endpoint, source.host(), slot, publication, Lsn::ZERO).await?;
    let database: Arc<str> = server.database.into();
    let mut stitcher = Stitcher::new(server.system_identifier, database, Rules::default());
    let mut changes = 0;
    loop {
        match transport.recv().await? {
            Event::Message {
                message: Message::Relation(relation),
                frame,
                ..
            } => {
                let description = catalog::describe(&source, &relation).await?;
                stitcher.describe(relation, Some(&frame), description);
            }
            Event::Message {
                message, position, ..
            } => {
                let pushed = stitcher.push(message, position, DateTime::UNIX_EPOCH);
                let pushed = pushed.map_err(|error| decode_error(position, &error))?;
                changes += pushed.map_or(0, |transaction| transaction.changes.len() as u64);
            }
            Event::Unreadable {
                position, problem, ..
            } => return Err(decode_error(position, &problem)),
            Event::Keepalive { wal_end, .. } if wal_end >= end => {
                transport.stop().await;
                return Ok(changes);
            }
            Event::Keepalive { .. } => {}
        }
    }
}
