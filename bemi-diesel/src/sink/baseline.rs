//! How far the rows of a table are stored that were there before it was tracked.

use chrono::{DateTime, Utc};
use tokio_postgres::types::ToSql;

use super::store::{self, Beginning, CHANGES, COVERAGE, POISON};
use crate::error::{Error, ErrorKind};
use crate::postgres::Connection;
use crate::setup::Server;
use crate::{Lsn, Operation};

/// The columns of a primary key, each with its text.
pub(crate) type Key = Vec<(String, String)>;

/// What is stored of a table's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Earlier {
    /// Nothing.
    None,
    /// Its changes tell all of them, or all that are published.
    All,
    /// Those up to a key, if there was one, from a place in the trail on.
    Some(Lsn, Option<Key>),
}

impl Earlier {
    /// What is stored of the `table`, by schema, name and identifier.
    ///
    /// A baseline does not count any more when the changes of the table have begun anew since.
    pub(crate) async fn read(
        destination: &Connection,
        server: &Server,
        (schema, name, oid): (&str, &str, u32),
    ) -> Result<Self, Error> {
        let sql = format!(
            "SELECT since_lsn IS NOT NULL OR coalesce(baseline_done AND baseline_lsn >= from_lsn, false), \
                    CASE WHEN baseline_lsn >= from_lsn THEN baseline_lsn END, baseline_key::text FROM {COVERAGE} \
             WHERE source = $1 AND database = $2 AND schema = $3 AND \"table\" = $4 AND oid = $5"
        );
        let oid = i64::from(oid);
        let binds: [&(dyn ToSql + Sync); 5] = [
            &server.system_identifier,
            &server.database,
            &schema,
            &name,
            &oid,
        ];
        let reading = destination.client.query_opt(&sql, &binds);
        let row = destination.answer("reading the baseline", reading).await?;
        let Some(row) = row else {
            return Ok(Self::None);
        };
        let key = row.get::<_, Option<&str>>(2);
        let key = key.and_then(|key| serde_json::from_str(key).ok());
        Ok(match (row.get(0), row.get::<_, Option<i64>>(1)) {
            (true, _) => Self::All,
            (_, Some(lsn)) => Self::Some(Lsn::from_i64(lsn), key),
            (_, None) => Self::None,
        })
    }
}

/// The baseline of one table, as far as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Baseline<'a> {
    /// The table by schema, name and identifier.
    pub(crate) table: (&'a str, &'a str, u32),
    /// The place in the trail where it began.
    pub(crate) begun: Lsn,
    /// Where and when the last rows were seen.
    pub(crate) seen: (Lsn, DateTime<Utc>),
    /// The primary key of the last one; `None` before it, and of a table without one.
    pub(crate) last_key: Option<Key>,
    /// No row is left.
    pub(crate) done: bool,
    /// Every row of the table is meant.
    pub(crate) whole: bool,
}

impl Baseline<'_> {
    /// Notes how far it is.
    pub(super) async fn save(
        &self,
        destination: &Connection,
        server: &Server,
    ) -> Result<(), Error> {
        if self.done && self.whole {
            let beginning = Beginning {
                table: self.table,
                lsn: self.begun,
                since: Some(self.seen),
            };
            store::cover(destination, server, beginning).await?;
        }
        let sql = format!(
            "INSERT INTO {COVERAGE} AS c (source, database, schema, \"table\", oid, from_lsn, baseline_lsn, baseline_key, baseline_done) \
             VALUES ($1, $2, $3, $4, $5, $6, $6, $7::text::jsonb, $8) \
             ON CONFLICT (source, database, schema, \"table\") DO UPDATE SET oid = excluded.oid, \
             from_lsn = CASE WHEN c.oid = excluded.oid THEN c.from_lsn ELSE excluded.from_lsn END, \
             from_ordinal = CASE WHEN c.oid = excluded.oid THEN c.from_ordinal ELSE 0 END, \
             since_lsn = CASE WHEN c.oid = excluded.oid THEN c.since_lsn END, \
             since = CASE WHEN c.oid = excluded.oid THEN c.since END, \
             baseline_lsn = excluded.baseline_lsn, baseline_key = excluded.baseline_key, baseline_done = excluded.baseline_done"
        );
        let key = self.last_key.as_ref().map(serde_json::to_string);
        let key = key.transpose().map_err(|error| {
            let doing = "noting the baseline";
            Error::with_source(ErrorKind::Io { doing }, error)
        })?;
        let (schema, name, oid) = self.table;
        let (oid, begun) = (i64::from(oid), self.begun.as_i64());
        let binds: [&(dyn ToSql + Sync); 8] = [
            &server.system_identifier,
            &server.database,
            &schema,
            &name,
            &oid,
            &begun,
            &key,
            &self.done,
        ];
        let saving = destination.client.execute(&sql, &binds);
        destination.answer("noting the baseline", saving).await?;
        Ok(())
    }
}

/// Takes back what is stored of a table that cannot be gone on with. The place is the table's own.
pub(crate) async fn discard(
    destination: &Connection,
    server: &Server,
    begun: Lsn,
) -> Result<(), Error> {
    let sql = format!(
        "WITH poison AS (DELETE FROM {POISON} WHERE source = $1 AND commit_lsn = $2 AND operation = $3) \
         DELETE FROM {CHANGES} WHERE source = $1 AND commit_lsn = $2 AND operation = $3"
    );
    let (source, operation) = (server.system_identifier, Operation::Snapshot.as_str());
    let position = begun.as_i64();
    let binds: [&(dyn ToSql + Sync); 3] = [&source, &position, &operation];
    let deleting = destination.client.execute(&sql, &binds).await;
    deleting.map_err(|error| destination.error("taking back a baseline", &error))?;
    Ok(())
}

/// The place in the order of the trail of rows that were read at `lsn`, where a record begins: behind every
/// transaction that was committed before, and before every later one. No record begins there.
pub(crate) fn commit_lsn(lsn: Lsn) -> Lsn {
    Lsn::new(lsn.as_u64().saturating_sub(1))
}
