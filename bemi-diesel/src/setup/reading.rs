//! The slot that changes are read through, and whether it goes on where the stored ones end.

use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::source::{Publication, Server, Slot};
use super::{OnGap, Report, unless_silent};
use crate::Lsn;
use crate::error::{Error, ErrorKind, quote_identifier};
use crate::postgres::Connection;
use crate::replication::resume;
use crate::settings::Settings;
use crate::sink::gap::{self, Cause};
use crate::sink::store::{self, Progress};

pub(super) struct Reading<'a> {
    settings: &'a Settings,
    pub(super) slot: Option<Slot>,
    /// How far changes are stored already.
    pub(super) stored: Option<Progress>,
    /// The identifier of the publication, if there is one.
    publication: Option<u32>,
    /// The server can hand slots on to its standbys.
    fails_over: bool,
}

impl<'a> Reading<'a> {
    pub(super) async fn read(
        source: &Connection,
        destination: &Connection,
        settings: &'a Settings,
        server: &Server,
        publication: Option<&Publication>,
    ) -> Result<Self, Error> {
        let mut slot = Slot::read(source, &settings.slot).await?;
        let (identifier, database) = (server.system_identifier, &server.database);
        let stored = store::progress(destination, identifier, database).await?;
        if let Some(slot) = &mut slot {
            slot.check_database(database)?;
            // Another capture may be storing all the while.
            if let Some(later) = Slot::read(source, &settings.slot).await? {
                slot.log_end = later.log_end;
            }
        }
        Ok(Self {
            settings,
            slot,
            stored,
            publication: publication.map(|publication| publication.oid),
            fails_over: server.has_failover_slots(),
        })
    }

    /// Refuses what `on_gap` does not allow.
    pub(super) fn check(&self, on_gap: OnGap) -> Result<(), Error> {
        match self.gap() {
            None => match &self.slot {
                Some(slot) if slot.is_lost() && on_gap == OnGap::Refuse => Err(slot.lost()),
                _ => Ok(()),
            },
            Some(kind) if on_gap.allows(&kind) => Ok(()),
            Some(kind) => Err(Error::new(kind)),
        }
    }

    /// What keeps it from going on where the stored changes end.
    fn gap(&self) -> Option<ErrorKind> {
        let stored = self.stored.as_ref()?;
        let slot = self.slot.as_ref().filter(|slot| !slot.is_lost());
        if stored.slot != self.settings.slot {
            return Some(ErrorKind::OtherSlot {
                stored: stored.slot.clone(),
            });
        }
        let Some(slot) = slot else {
            return Some(ErrorKind::SlotLost {
                slot: stored.slot.clone(),
                stored: stored.flush_lsn,
            });
        };
        if !self.publishes_since(stored) {
            return Some(ErrorKind::PublicationLost {
                publication: self.settings.publication.clone(),
            });
        }
        resume(slot.confirmed_flush_lsn, stored.flush_lsn, slot.log_end).err()
    }

    /// Whether there has been one publication since the changes of `stored` were read.
    fn publishes_since(&self, stored: &Progress) -> bool {
        self.publication == Some(stored.publication)
    }

    /// Makes the slot unless there is one that can be read.
    pub(super) async fn make(
        &self,
        source: &Connection,
        report: &mut Report,
        notify: fn(&str),
    ) -> Result<(), Error> {
        let name = &self.settings.slot;
        if let Some(slot) = &self.slot
            && !slot.is_lost()
        {
            let skipped = self.skip_unpublished(source, slot).await?;
            let what = format!("replication slot {name:?}");
            report.step(skipped, what);
            return Ok(());
        }
        report.step(true, format!("replication slot {name:?}"));
        let binds: [&(dyn ToSql + Sync); 1] = [name];
        if self.slot.is_some() {
            let drop = "SELECT pg_drop_replication_slot($1)";
            let dropped = source.client.execute(drop, &binds).await;
            dropped.map_err(|error| source.error("dropping the lost replication slot", &error))?;
        }
        let create = if self.fails_over {
            "SELECT pg_create_logical_replication_slot($1, 'pgoutput', failover => true)"
        } else {
            "SELECT pg_create_logical_replication_slot($1, 'pgoutput')"
        };
        let creating = source.client.execute(create, &binds);
        let waiting = "the replication slot waits for the transactions that are running to end; \
                       `SELECT pid, xact_start, query FROM pg_stat_activity WHERE backend_xid IS NOT NULL` lists them";
        unless_silent(creating, waiting, notify)
            .await
            .map_err(|error| source.error("creating the replication slot", &error))?;
        Ok(())
    }

    /// Moves a slot past changes that cannot be read, as they were made while there was no publication
    /// (it was dropped, or made after the slot). Whether there may be any.
    async fn skip_unpublished(&self, source: &Connection, slot: &Slot) -> Result<bool, Error> {
        let Slot {
            name: slot,
            active_pid: pid,
            ..
        } = slot;
        let publication = &self.settings.publication;
        match &self.stored {
            Some(stored) if self.publishes_since(stored) => return Ok(false),
            // The gap is accepted.
            Some(_) if pid.is_none() => {}
            Some(_) => {
                let (slot, pid) = (slot.clone(), *pid);
                return Err(Error::new(ErrorKind::SlotInUse { slot, pid }));
            }
            None if pid.is_some() => return Ok(false),
            None => {
                let peek = "SELECT FROM pg_logical_slot_peek_binary_changes($1, NULL, 1, 'proto_version', '1', \
                            'publication_names', $2, 'messages', 'true')";
                let quoted = quote_identifier(publication);
                match source.client.query(peek, &[slot, &quoted]).await {
                    Ok(_) => return Ok(false),
                    Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => {}
                    Err(error) => {
                        return Err(source.error("reading from the replication slot", &error));
                    }
                }
            }
        }
        let advance = "SELECT pg_replication_slot_advance($1, pg_current_wal_insert_lsn())";
        let advanced = source.client.execute(advance, &[slot]).await;
        advanced.map_err(|error| source.error("moving the replication slot", &error))?;
        Ok(true)
    }

    /// Begins the progress, or, where a gap was [found](Self::gap), moves it to where the slot is now and
    /// records what is missing: everything that was committed from the returned position on and before the other.
    pub(super) async fn start(
        &self,
        source: &Connection,
        destination: &Connection,
        server: &Server,
        publication: &Publication,
        on_gap: OnGap,
    ) -> Result<Option<(Lsn, Lsn)>, Error> {
        let Some(slot) = Slot::read(source, &self.settings.slot).await? else {
            let missing = format!("the replication slot {:?}", self.settings.slot);
            return Err(Error::new(ErrorKind::NotSetUp { missing }));
        };
        store::start(destination, server, &slot, publication).await?;
        if on_gap == OnGap::Refuse {
            return Ok(None);
        }
        let Some(gap) = self.gap() else {
            return Ok(None);
        };
        let asking = source.client.query_one("SELECT clock_timestamp()", &[]);
        let row = source.answer("asking for the time", asking).await?;
        let cause = Cause {
            reason: reason(&gap),
            at: row.get(0),
        };
        let from = gap::accept(destination, server, &slot, publication, cause).await?;
        Ok(from.map(|from| (from, slot.confirmed_flush_lsn)))
    }
}

/// What a gap came from, in the trail.
fn reason(gap: &ErrorKind) -> &'static str {
    match gap {
        ErrorKind::OtherSlot { .. } => "the changes are read through another replication slot",
        ErrorKind::PublicationLost { .. } => "the publication was dropped",
        ErrorKind::Gap { .. } => "the replication slot was moved on",
        ErrorKind::Rewound { .. } => "the database was set back",
        _ => "the replication slot was lost",
    }
}
