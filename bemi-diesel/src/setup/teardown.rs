//! Takes back everything that setup made.

use super::source::{Publication, Server, Slot};
use super::{Report, follow};
use crate::error::{Error, ErrorKind, quote_identifier};
use crate::postgres::Connection;
use crate::settings::Settings;
use crate::sink::store;

/// Drops the slot, the publication and the tables, as far as they exist; with `keep_changes` the
/// tables stay.
pub(crate) async fn teardown(settings: &Settings, keep_changes: bool) -> Result<Report, Error> {
    let source = Connection::open(&settings.source).await?;
    let destination = Connection::open(&settings.destination).await?;
    let server = Server::read(&source).await?;
    let mut report = Report::default();

    let slot = Slot::read(&source, &settings.slot).await?;
    if let Some(slot) = &slot {
        slot.check_database(&server.database)?;
        if slot.active_pid.is_some() {
            let kind = ErrorKind::SlotInUse {
                slot: settings.slot.clone(),
                pid: slot.active_pid,
            };
            return Err(Error::new(kind));
        }
    }
    if follow::has_trigger(&source, &settings.publication).await? {
        let drop = follow::drop_statements(&settings.publication).join("; ");
        source.batch("dropping the event trigger", &drop).await?;
        let name = follow::trigger(&settings.publication);
        report.step(true, format!("event trigger {name:?}"));
    }

    if slot.is_some() {
        source
            .client
            .execute("SELECT pg_drop_replication_slot($1)", &[&settings.slot])
            .await
            .map_err(|error| source.error("dropping the replication slot", &error))?;
    }
    report.step(
        slot.is_some(),
        format!("replication slot {:?}", settings.slot),
    );

    let left_full = source
        .client
        .query(
            "SELECT DISTINCT n.nspname::text, c.relname::text FROM pg_publication_tables t \
             JOIN pg_namespace pn ON pn.nspname = t.schemaname \
             JOIN pg_class p ON p.relname = t.tablename AND p.relnamespace = pn.oid, \
             LATERAL (SELECT p.oid UNION SELECT relid FROM pg_partition_tree(p.oid)) part (oid) \
             JOIN pg_class c ON c.oid = part.oid JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE t.pubname = $1 AND c.relreplident = 'f' ORDER BY 1, 2",
            &[&settings.publication],
        )
        .await
        .map_err(|error| source.error("listing the published tables", &error))?;
    let had_publication = Publication::read(&source, &settings.publication)
        .await?
        .is_some();
    let drop_publication = format!(
        "DROP PUBLICATION IF EXISTS {}",
        quote_identifier(&settings.publication)
    );
    source
        .batch("dropping the publication", &drop_publication)
        .await?;
    report.step(
        had_publication,
        format!("publication {:?}", settings.publication),
    );

    let had_progress =
        store::forget(&destination, server.system_identifier, &server.database).await?;
    let others = store::other_sources(&destination).await?;
    if keep_changes || others > 0 {
        report.step(had_progress, "progress of this database");
        report.notes.push(if keep_changes {
            format!(
                "stays: table {} with every change stored so far",
                store::CHANGES
            )
        } else {
            format!(
                "stays: table {}, as {others} more database(s) store their changes in it",
                store::CHANGES
            )
        });
    } else {
        let dropped = store::drop(&destination).await?;
        report.step(dropped, format!("table {}", store::CHANGES));
    }
    report.notes.extend(left_full.iter().map(|row| {
        let (schema, table): (String, String) = (row.get(0), row.get(1));
        format!(
            "stays: replica identity FULL on {schema}.{table} (`ALTER TABLE {}.{} REPLICA IDENTITY DEFAULT` puts it back)",
            quote_identifier(&schema),
            quote_identifier(&table)
        )
    }));
    Ok(report)
}
