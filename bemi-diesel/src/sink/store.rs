//! bemi's own tables in the destination: making and dropping them, and the progress of each source.

use chrono::{DateTime, Utc};
use tokio_postgres::types::{PgLsn, ToSql};

use super::encoding::is_untranslatable;
use super::postgres::Jsonb;
use crate::Lsn;
use crate::error::{Error, ErrorKind, quote_literal};
use crate::postgres::Connection;
use crate::setup::{Publication, Server, Slot};

/// The trail, as SQL and people write it.
pub(crate) const CHANGES: &str = "public.changes";

/// How far the trail reaches for each source.
const PROGRESS: &str = "public._bemi_progress";

/// Since when the changes of a table tell all of its rows.
pub(super) const COVERAGE: &str = "public._bemi_coverage";

/// Which tables have held the rows of a partitioned table.
const PARTITIONS: &str = "public._bemi_partitions";

/// The changes that could not be stored.
pub(super) const POISON: &str = "public._bemi_poison";

const TABLES: [&str; 5] = [CHANGES, PROGRESS, COVERAGE, PARTITIONS, POISON];

const SCHEMA: &str = include_str!("../../migrations/0001_changes.sql");

/// For tables of an earlier version. Who has dropped an index has dropped it for good, so the mark of that version is
/// one that it made otherwise.
const UPGRADE: &str = include_str!("../../migrations/0002_indexes.sql");

const IS_EARLIER: &str = "SELECT EXISTS (SELECT FROM pg_index JOIN pg_class ON pg_class.oid = indrelid \
                          WHERE indexrelid = to_regclass('public.changes_record') \
                          AND indrelid = to_regclass('public.changes') AND indnatts = indnkeyatts \
                          AND pg_has_role(current_user, relowner, 'USAGE'))";

/// SQL that tells whether the table with the identifier `oid` is bemi's, or a partition of one that is.
///
/// Every table of ours carries a comment that begins with the mark. Comments get lost or rewritten
/// (`pg_restore --no-comments`), and a table of ours that passes for the user's would be captured into
/// itself for ever: so a table is also ours by its name and columns.
pub(crate) fn is_ours(oid: &str) -> String {
    format!(
        "EXISTS (SELECT FROM (SELECT ({oid})::oid UNION SELECT relid FROM pg_partition_ancestors({oid})) whole (oid) \
         JOIN pg_class ON pg_class.oid = whole.oid \
         WHERE obj_description(whole.oid, 'pg_class') LIKE 'bemi:%' \
            OR relnamespace = to_regnamespace('public') \
               AND relname IN ('changes', '_bemi_progress', '_bemi_coverage', '_bemi_partitions', '_bemi_poison') \
               AND 2 = (SELECT count(*) FROM pg_attribute WHERE attrelid = whole.oid AND NOT attisdropped \
                        AND attname IN ('source', CASE relname WHEN 'changes' THEN 'commit_lsn' \
                                        WHEN '_bemi_progress' THEN 'flush_lsn' WHEN '_bemi_poison' THEN 'late_context' \
                                        ELSE 'since_lsn' END)))"
    )
}

/// The names of our tables, as a list of SQL strings.
pub(crate) fn names() -> String {
    TABLES
        .map(|table| quote_literal(table.trim_start_matches("public.")))
        .join(", ")
}

/// Makes the tables that are not there; whether there was one to make. All or nothing.
pub(crate) async fn create(destination: &Connection) -> Result<bool, Error> {
    let mut missing = false;
    for table in TABLES {
        if !exists(destination, table).await? {
            missing = true;
        } else if !is_one_of_ours(destination, table).await? {
            return Err(Error::new(ErrorKind::NameTaken {
                table: table.to_owned(),
            }));
        }
    }
    if missing {
        destination.batch("creating bemi's tables", SCHEMA).await?;
    }
    let asking = destination.client.query_one(IS_EARLIER, &[]);
    let row = destination
        .answer("looking at bemi's indexes", asking)
        .await?;
    if row.get(0) {
        destination
            .batch("making bemi's indexes anew", UPGRADE)
            .await?;
    }
    Ok(missing)
}

async fn is_one_of_ours(destination: &Connection, table: &str) -> Result<bool, Error> {
    let sql = format!("SELECT {}", is_ours("to_regclass($1)"));
    let row = destination
        .client
        .query_one(&sql, &[&table])
        .await
        .map_err(|error| destination.error("looking for bemi's tables", &error))?;
    Ok(row.get(0))
}

/// Drops the tables; whether there was one. A table of the same name that is somebody else's stays.
pub(crate) async fn drop(destination: &Connection) -> Result<bool, Error> {
    let mut ours = Vec::new();
    for table in TABLES {
        if is_one_of_ours(destination, table).await? {
            ours.push(table);
        }
    }
    if !ours.is_empty() {
        let drop = format!("DROP TABLE {}", ours.join(", "));
        destination.batch("dropping bemi's tables", &drop).await?;
    }
    Ok(!ours.is_empty())
}

/// How far the trail of a source reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The slot that it was read through.
    pub(crate) slot: String,
    /// The identifier of the publication that it was read through.
    pub(crate) publication: u32,
    /// Everything committed in the source before this is stored.
    pub(crate) flush_lsn: Lsn,
    /// Changes and transactions stored since the first setup.
    pub(crate) changes: i64,
    pub(crate) transactions: i64,
    /// When the last stored transaction was committed.
    pub(crate) last_committed_at: Option<DateTime<Utc>>,
    /// When the position was last moved.
    pub(crate) updated_at: DateTime<Utc>,
}

/// The progress of a source; `None` before its first setup.
pub(crate) async fn progress(
    destination: &Connection,
    source: i64,
    database: &str,
) -> Result<Option<Progress>, Error> {
    read_progress(destination, source, database, "").await
}

async fn read_progress(
    destination: &Connection,
    source: i64,
    database: &str,
    lock: &str,
) -> Result<Option<Progress>, Error> {
    if !exists(destination, PROGRESS).await? {
        return Ok(None);
    }
    let sql = format!(
        "SELECT flush_lsn, changes, transactions, last_committed_at, updated_at, slot, publication \
         FROM {PROGRESS} WHERE source = $1 AND database = $2 {lock}"
    );
    let binds: [&(dyn ToSql + Sync); 2] = [&source, &database];
    let query = destination.client.query_opt(&sql, &binds);
    let row = destination.answer("reading the progress", query).await?;
    Ok(row.map(|row| Progress {
        flush_lsn: Lsn::new(row.get::<_, PgLsn>(0).into()),
        changes: row.get(1),
        transactions: row.get(2),
        last_committed_at: row.get(3),
        updated_at: row.get(4),
        slot: row.get(5),
        publication: row.get(6),
    }))
}

/// The progress of a source that has been set up.
#[cfg(feature = "cli")]
pub(crate) async fn existing_progress(
    destination: &Connection,
    source: i64,
    database: &str,
) -> Result<Progress, Error> {
    progress(destination, source, database)
        .await?
        .ok_or_else(|| no_progress(database))
}

/// The [progress](existing_progress), once nobody is about to move it.
pub(crate) async fn locked_progress(
    destination: &Connection,
    source: i64,
    database: &str,
) -> Result<Progress, Error> {
    read_progress(destination, source, database, "FOR UPDATE")
        .await?
        .ok_or_else(|| no_progress(database))
}

fn no_progress(database: &str) -> Error {
    let missing = format!("the progress of the database {database:?}");
    Error::new(ErrorKind::NotSetUp { missing })
}

/// Begins the progress of a source where `slot` is, read through `publication`, unless there is one.
pub(crate) async fn start(
    destination: &Connection,
    server: &Server,
    slot: &Slot,
    publication: &Publication,
) -> Result<(), Error> {
    let sql = format!(
        "INSERT INTO {PROGRESS} (source, database, slot, flush_lsn, publication) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (source, database) DO NOTHING"
    );
    let binds: [&(dyn ToSql + Sync); 5] = [
        &server.system_identifier,
        &server.database,
        &slot.name,
        &PgLsn::from(slot.confirmed_flush_lsn.as_u64()),
        &publication.oid,
    ];
    let starting = destination.client.execute(&sql, &binds);
    let doing = "starting the progress";
    destination.answer(doing, starting).await.map(|_rows| ())
}

/// Notes where the changes of a table begin, and from where on they tell all of its rows: what
/// [`Beginning`] binds. What was noted of another table of that name does not count any more.
pub(super) const COVER: &str = "INSERT INTO public._bemi_coverage AS c \
     (source, database, schema, \"table\", oid, from_lsn, from_ordinal, since_lsn, since) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, CASE WHEN $8::timestamptz IS NOT NULL THEN $9::bigint END, $8) \
     ON CONFLICT (source, database, schema, \"table\") DO UPDATE \
     SET oid = excluded.oid, from_lsn = excluded.from_lsn, from_ordinal = excluded.from_ordinal, \
         since_lsn = excluded.since_lsn, since = excluded.since \
     WHERE (c.from_lsn, c.from_ordinal) <= (excluded.from_lsn, excluded.from_ordinal)";

/// Notes which tables hold the rows of a partitioned table, if they are others than were noted last. No row came or went with them if none is gone, and each new one has been empty since it
/// was made: it was when it began to be tracked, and has no changes of its own.
const PARTITION: &str = "INSERT INTO public._bemi_partitions \
     SELECT $1::bigint, $2::text, $3::bigint, $4::bigint, $5::bigint, $6::timestamptz, $7::boolean, \
            former.parts IS NULL OR NOT EXISTS (\
                SELECT FROM jsonb_array_elements(former.parts) part WHERE NOT EXISTS (\
                    SELECT FROM jsonb_array_elements($8) other WHERE other -> 2 = part -> 2)) \
            AND NOT EXISTS (\
                SELECT FROM jsonb_array_elements($8) part WHERE NOT EXISTS (\
                    SELECT FROM jsonb_array_elements(former.parts) other WHERE other -> 2 = part -> 2) \
                AND NOT EXISTS (\
                    SELECT FROM public._bemi_coverage c WHERE c.source = $1 AND c.database = $2 \
                    AND c.schema = part ->> 0 AND c.\"table\" = part ->> 1 AND c.oid = (part ->> 2)::bigint \
                    AND c.since IS NOT NULL AND NOT EXISTS (\
                        SELECT FROM public.changes ch WHERE ch.source = $1 AND ch.database = $2 AND ch.schema = c.schema \
                        AND ch.\"table\" = c.\"table\" AND ch.commit_lsn >= c.from_lsn))), \
            $8::jsonb \
     FROM (VALUES (1)) one LEFT JOIN LATERAL (\
         SELECT parts FROM public._bemi_partitions WHERE source = $1 AND database = $2 AND oid = $3 \
         ORDER BY since_lsn DESC, ordinal DESC LIMIT 1) former ON true \
     WHERE former.parts IS DISTINCT FROM $8 \
     ON CONFLICT ON CONSTRAINT _bemi_partitions_pkey DO UPDATE SET parts = excluded.parts, \
         kept = _bemi_partitions.kept AND excluded.kept, exact = _bemi_partitions.exact AND excluded.exact";

/// Which tables hold the rows of a partitioned table, and since when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holding<'a> {
    /// The partitioned table, by its identifier.
    pub(crate) oid: u32,
    /// As a JSON array of arrays of schema, name and identifier.
    pub(crate) parts: &'a str,
    pub(crate) since_lsn: Lsn,
    pub(crate) ordinal: u64,
    pub(crate) since: DateTime<Utc>,
    /// Whether they do since then, and not since some time before.
    pub(crate) exact: bool,
}

/// Notes which tables hold the rows of a partitioned table.
pub(crate) async fn note_partitions(
    destination: &Connection,
    source: i64,
    database: &str,
    holding: Holding<'_>,
) -> Result<(), Error> {
    let doing = "noting the partitions";
    let Holding {
        oid,
        parts,
        since_lsn,
        ordinal,
        since,
        exact,
    } = holding;
    let binds: [&(dyn ToSql + Sync); 8] = [
        &source,
        &database,
        &i64::from(oid),
        &since_lsn.as_i64(),
        &ordinal.cast_signed(),
        &since,
        &exact,
        &Jsonb(parts.into()),
    ];
    let noting = destination.client.execute(PARTITION, &binds);
    destination.answer(doing, noting).await.map(|_rows| ())
}

/// Where the changes of the `table`, by schema, name and identifier, begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beginning<'a> {
    pub(crate) table: (&'a str, &'a str, u32),
    /// Changes before do not count.
    pub(crate) lsn: Lsn,
    /// Where and when its changes began to tell all of its rows; `None` if it had some before.
    pub(crate) since: Option<(Lsn, DateTime<Utc>)>,
}

/// Notes where the changes of a table begin. One whose name the destination cannot hold is not covered
/// there.
pub(crate) async fn cover(
    destination: &Connection,
    server: &Server,
    Beginning {
        table: (schema, name, oid),
        lsn,
        since,
    }: Beginning<'_>,
) -> Result<(), Error> {
    let binds: [&(dyn ToSql + Sync); 9] = [
        &server.system_identifier,
        &server.database,
        &schema,
        &name,
        &i64::from(oid),
        &lsn.as_i64(),
        &0_i64,
        &since.map(|(_, at)| at),
        &since.map_or(0, |(lsn, _)| lsn.as_i64()),
    ];
    let noting = destination.client.execute(COVER, &binds).await;
    let noted = noting.map_err(|error| destination.error("noting what the trail covers", &error));
    unless_untranslatable(noted.map(|_rows| ()))
}

/// What the destination cannot hold is not noted there.
pub(crate) fn unless_untranslatable(noted: Result<(), Error>) -> Result<(), Error> {
    match noted {
        Err(error) if !is_untranslatable(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Forgets the progress of a source; whether there was one.
#[cfg(feature = "cli")]
pub(crate) async fn forget(
    destination: &Connection,
    source: i64,
    database: &str,
) -> Result<bool, Error> {
    if !exists(destination, PROGRESS).await? {
        return Ok(false);
    }
    let forgotten = destination
        .client
        .execute(
            &format!(
                "WITH coverage AS (DELETE FROM {COVERAGE} WHERE source = $1 AND database = $2), \
                 partitions AS (DELETE FROM {PARTITIONS} WHERE source = $1 AND database = $2) \
                 DELETE FROM {PROGRESS} WHERE source = $1 AND database = $2"
            ),
            &[&source, &database],
        )
        .await
        .map_err(|error| destination.error("forgetting the progress", &error))?;
    Ok(forgotten > 0)
}

/// How many sources store their changes here.
#[cfg(feature = "cli")]
pub(crate) async fn other_sources(destination: &Connection) -> Result<i64, Error> {
    if !exists(destination, PROGRESS).await? {
        return Ok(0);
    }
    let row = destination
        .client
        .query_one(&format!("SELECT count(*) FROM {PROGRESS}"), &[])
        .await
        .map_err(|error| destination.error("counting the sources", &error))?;
    Ok(row.get(0))
}

pub(crate) async fn exists(destination: &Connection, table: &str) -> Result<bool, Error> {
    let binds: [&(dyn ToSql + Sync); 1] = [&table];
    let query = destination
        .client
        .query_one("SELECT to_regclass($1) IS NOT NULL", &binds);
    let row = destination
        .answer("looking for bemi's tables", query)
        .await?;
    Ok(row.get(0))
}
