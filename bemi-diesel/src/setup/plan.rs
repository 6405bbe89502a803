//! What is missing, and the making of it.

use tokio_postgres::types::PgLsn;

use super::publish::Publishing;
use super::reading::Reading;
use super::selection::Tables;
use super::source::{Publication, Server};
use super::{OnGap, Report, follow};
use crate::Lsn;
use crate::error::{Error, ErrorKind, quote_identifier};
use crate::postgres::Connection;
use crate::settings::Settings;
use crate::sink::store::{self, Beginning, Holding};

/// A setup whose checks have passed.
pub(super) struct Plan<'a> {
    settings: &'a Settings,
    server: Server,
    on_gap: OnGap,
    publishing: Publishing,
    reading: Reading<'a>,
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
        let known = publishing.publication();
        let reading = Reading::read(source, destination, settings, &server, known).await?;
        reading.check(on_gap)?;
        if reading.slot.is_none() {
            server.check_free_slot()?;
        }
        let plan = Self {
            settings,
            server,
            on_gap,
            publishing,
            reading,
        };
        plan.publishing.check_ownership(&plan.server.role)?;
        Ok(plan)
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
            self.reading.make(source, report, notify).await?;
            let publication = &self.settings.publication;
            let Some(publication) = Publication::read(source, publication).await? else {
                let missing = format!("the publication {publication:?}");
                return Err(Error::new(ErrorKind::NotSetUp { missing }));
            };
            let starting =
                self.reading
                    .start(source, destination, &self.server, &publication, self.on_gap);
            report.gap = starting.await?;
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
            let waited = self.reading.slot.is_none() || !table.is_identified();
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

    /// Half a setup is worse than none: an idle slot fills the disk, an unread publication confuses.
    /// The replica identities stay: they harm nobody.
    async fn undo(&self, source: &Connection, destination: &Connection, made_tables: bool) {
        // The error that led here is the one to report, so those of the undoing are not.
        if self.reading.slot.is_none() {
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
        let former = self.reading.stored.iter().map(|stored| &stored.slot);
        let former = former.filter(|slot| **slot != self.settings.slot);
        let former = former.map(|slot| {
            format!("stays, and keeps the log from now on: replication slot {slot:?}, unless you drop it")
        });
        self.publishing.notes().into_iter().chain(former)
    }
}
