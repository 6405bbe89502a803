//! What is missing, and the making of it.

use tokio_postgres::error::SqlState;
use tokio_postgres::types::{PgLsn, ToSql};

use super::publish::Publishing;
use super::selection::Tables;
use super::source::{Publication, Server, Slot};
use super::{OnGap, Report, follow, unless_silent};
use crate::Lsn;
use crate::error::{Error, ErrorKind, quote_identifier};
use crate::postgres::Connection;
use crate::settings::Settings;
use crate::sink::store::{self, Beginning, Holding, Progress};

/// A setup whose checks have passed.
pub(super) struct Plan<'a> {
    settings: &'a Settings,
    server: Server,
    on_gap: OnGap,
    publishing: Publishing,
    slot: Option<Slot>,
    /// How far changes are stored already.
    stored: Option<Progress>,
}

impl<'a> Plan<'a> {
    pub(super) async fn make(
        source: &Connection,
        destination: &Connection,
        settings: &'a Settings,
        server: Server,
        tables: &Tables,
        on_gap: OnGap,
    ) -> Result<Self, Error> {
        let publication = Publication::read(source, &settings.publication).await?;
        let publishing =
            Publishing::make(source, &settings.publication, &server, tables, publication).await?;
        let mut plan = Self {
            settings,
            on_gap,
            stored: None,
            publishing,
            slot: Slot::read(source, &settings.slot).await?,
            server,
        };
        let (source, database) = (plan.server.system_identifier, &plan.server.database);
        plan.stored = store::progress(destination, source, database).await?;
        if let Some(slot) = &plan.slot {
            slot.check_database(database)?;
        }
        let readable = plan.slot.as_ref().is_some_and(|slot| !slot.is_lost());
        if on_gap == OnGap::Refuse {
            match (&plan.slot, &plan.stored) {
                (_, Some(stored)) if stored.slot != settings.slot => {
                    let stored = stored.slot.clone();
                    return Err(Error::new(ErrorKind::OtherSlot { stored }));
                }
                (_, Some(stored)) if !readable => {
                    return Err(Error::new(ErrorKind::SlotLost {
                        slot: stored.slot.clone(),
                        stored: stored.flush_lsn,
                    }));
                }
                (_, Some(stored)) if !plan.publishes_since(stored) => {
                    let publication = settings.publication.clone();
                    return Err(Error::new(ErrorKind::PublicationLost { publication }));
                }
                (Some(slot), None) => slot.check(database)?,
                _ => {}
            }
        }
        if plan.slot.is_none() {
            plan.server.check_free_slot()?;
        }
        plan.publishing.check_ownership(&plan.server.role)?;
        Ok(plan)
    }

    /// Whether there has been one publication since the changes of `stored` were read.
    fn publishes_since(&self, stored: &Progress) -> bool {
        self.publishing
            .publication()
            .is_some_and(|publication| publication.oid == stored.publication)
    }

    /// Makes what is missing; after an error, what was made is taken back.
    pub(super) async fn carry_out(
        &self,
        source: &Connection,
        destination: &Connection,
        report: &mut Report,
        notify: fn(&str),
    ) -> Result<(), Error> {
        let made_tables = store::create(destination).await?;
        report.step(made_tables, format!("table {}", store::CHANGES));
        let outcome = async {
            self.publishing.carry_out(source, report).await?;
            self.start_slot(source, report, notify).await?;
            let Some(slot) = Slot::read(source, &self.settings.slot).await? else {
                let missing = format!("the replication slot {:?}", self.settings.slot);
                return Err(Error::new(ErrorKind::NotSetUp { missing }));
            };
            let publication = &self.settings.publication;
            let Some(publication) = Publication::read(source, publication).await? else {
                let missing = format!("the publication {publication:?}");
                return Err(Error::new(ErrorKind::NotSetUp { missing }));
            };
            let behind = match self.on_gap {
                OnGap::Refuse => store::Behind::Stay,
                #[cfg(feature = "cli")]
                OnGap::Accept => store::Behind::CatchUp,
            };
            store::start(destination, &self.server, &slot, &publication, behind).await?;
            self.cover(source, destination).await
        }
        .await;
        if outcome.is_err() {
            self.undo(source, destination, made_tables).await;
        }
        outcome
    }

    /// Notes of each table that is tracked from now on where its changes begin, and if it has no row yet,
    /// that they tell all of them. Nobody was writing to it: a new slot waits for the transactions that are running, a new
    /// replica identity for those that use the table.
    async fn cover(&self, source: &Connection, destination: &Connection) -> Result<(), Error> {
        let doing = "looking for rows";
        let now = "SELECT pg_current_wal_insert_lsn(), clock_timestamp()";
        let row = source
            .answer(doing, source.client.query_one(now, &[]))
            .await?;
        let (lsn, at) = (Lsn::new(row.get::<_, PgLsn>(0).into()), row.get(1));
        for table in self.publishing.altered() {
            let waited = self.slot.is_none() || !table.is_identified();
            let mut empty = waited && table.condition.is_none();
            if empty {
                let only = if table.is_partitioned { "" } else { "ONLY " };
                let sql = format!("SELECT NOT EXISTS (SELECT FROM {only}{})", table.quoted());
                let row = source
                    .answer(doing, source.client.query_one(&sql, &[]))
                    .await?;
                empty = row.get(0);
            }
            let (schema, name) = table.name();
            let beginning = Beginning {
                table: (schema, name, table.oid),
                lsn,
                since: empty.then_some((lsn, at)),
            };
            store::cover(destination, &self.server, beginning).await?;
        }
        let sql = follow::partitions("true");
        let reading = source.client.query(&sql, &[]).await;
        let tables = reading.map_err(|error| source.error("looking for partitions", &error))?;
        for table in tables {
            let holding = Holding {
                oid: table.get(0),
                parts: table.get(1),
                since_lsn: lsn,
                ordinal: 0,
                since: at,
                exact: false,
            };
            let (source, database) = (self.server.system_identifier, &self.server.database);
            let noting = store::note_partitions(destination, source, database, holding).await;
            store::unless_untranslatable(noting)?;
        }
        Ok(())
    }

    /// Makes the slot unless there is one that can be read.
    async fn start_slot(
        &self,
        source: &Connection,
        report: &mut Report,
        notify: fn(&str),
    ) -> Result<(), Error> {
        let name = &self.settings.slot;
        if let Some(slot) = &self.slot
            && !slot.is_lost()
        {
            let skipped = slot.active_pid.is_none() && self.skip_unpublished(source).await?;
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
        let create = "SELECT pg_create_logical_replication_slot($1, 'pgoutput')";
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
    async fn skip_unpublished(&self, source: &Connection) -> Result<bool, Error> {
        let Settings {
            slot, publication, ..
        } = self.settings;
        match &self.stored {
            Some(stored) if self.publishes_since(stored) => return Ok(false),
            // The gap is accepted.
            Some(_) => {}
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

    /// Half a setup is worse than none: an idle slot fills the disk, an unread publication confuses.
    /// The replica identities stay: they harm nobody.
    async fn undo(&self, source: &Connection, destination: &Connection, made_tables: bool) {
        // The error that led here is the one to report, so those of the undoing are not.
        if self.slot.is_none() {
            let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1";
            let _best_effort = source.client.execute(drop, &[&self.settings.slot]).await;
        }
        if self.publishing.is_new() {
            let name = quote_identifier(&self.settings.publication);
            let drop = format!("DROP PUBLICATION IF EXISTS {name}");
            let _best_effort = source.batch("dropping the publication", &drop).await;
            let drop = follow::drop_statements(&self.settings.publication).join("; ");
            let _best_effort = source.batch("dropping the event trigger", &drop).await;
        }
        if made_tables {
            let _best_effort = store::drop(destination).await;
        }
    }

    /// What the user should know.
    pub(super) fn notes(&self) -> impl Iterator<Item = String> {
        let former = self.stored.iter().map(|stored| &stored.slot);
        let former = former.filter(|slot| **slot != self.settings.slot);
        let former = former.map(|slot| {
            format!("stays, and keeps the log from now on: replication slot {slot:?}, unless you drop it")
        });
        self.publishing.notes().into_iter().chain(former)
    }
}
