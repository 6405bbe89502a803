//! bemi's own tables in the destination: making and dropping them, and the progress of each source.

use chrono::{DateTime, Utc};
use tokio_postgres::types::PgLsn;

use crate::Lsn;
use crate::error::{Error, ErrorKind};
use crate::postgres::Connection;
use crate::setup::Server;

/// The trail, as SQL and people write it.
pub(crate) const CHANGES: &str = "public.changes";

/// How far the trail reaches for each source.
const PROGRESS: &str = "public._bemi_progress";

const SCHEMA: &str = include_str!("../../migrations/0001_changes.sql");

/// Every table of ours carries a comment that begins like this.
const MARK: &str = "bemi:%";

/// Makes the tables unless they are there; whether it did. All or nothing.
pub(crate) async fn create(destination: &Connection) -> Result<bool, Error> {
    if exists(destination, PROGRESS).await? && exists(destination, CHANGES).await? {
        return Ok(false);
    }
    for table in [CHANGES, PROGRESS] {
        let foreign = destination
            .client
            .query_opt(
                "SELECT FROM pg_class WHERE oid = to_regclass($1) \
                 AND coalesce(obj_description(oid, 'pg_class'), '') NOT LIKE $2",
                &[&table, &MARK],
            )
            .await
            .map_err(|error| destination.error("looking for bemi's tables", &error))?;
        if foreign.is_some() {
            return Err(Error::new(ErrorKind::NameTaken {
                table: table.to_owned(),
            }));
        }
    }
    destination.batch("creating bemi's tables", SCHEMA).await?;
    Ok(true)
}

/// Drops the tables; whether there was one.
pub(crate) async fn drop(destination: &Connection) -> Result<bool, Error> {
    let existed = exists(destination, CHANGES).await? || exists(destination, PROGRESS).await?;
    destination
        .batch(
            "dropping bemi's tables",
            &format!("DROP TABLE IF EXISTS {CHANGES}, {PROGRESS}"),
        )
        .await?;
    Ok(existed)
}

/// How far the trail of a source reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
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
    if !exists(destination, PROGRESS).await? {
        return Ok(None);
    }
    let row = destination
        .client
        .query_opt(
            &format!(
                "SELECT flush_lsn, changes, transactions, last_committed_at, updated_at \
                 FROM {PROGRESS} WHERE source = $1 AND database = $2"
            ),
            &[&source, &database],
        )
        .await
        .map_err(|error| destination.error("reading the progress", &error))?;
    Ok(row.map(|row| Progress {
        flush_lsn: Lsn::new(row.get::<_, PgLsn>(0).into()),
        changes: row.get(1),
        transactions: row.get(2),
        last_committed_at: row.get(3),
        updated_at: row.get(4),
    }))
}

/// The progress of a source that has been set up.
pub(crate) async fn existing_progress(
    destination: &Connection,
    source: i64,
    database: &str,
) -> Result<Progress, Error> {
    progress(destination, source, database)
        .await?
        .ok_or_else(|| {
            let missing = format!("the progress of the database {database:?}");
            Error::new(ErrorKind::NotSetUp { missing })
        })
}

/// What becomes of a stored progress that is behind the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// It stays, and shows that there is a gap.
    Stay,
    /// It moves to where the slot is.
    #[cfg(feature = "cli")]
    CatchUp,
}

/// Begins the progress of a source at `lsn`, unless there is one.
pub(crate) async fn start(
    destination: &Connection,
    server: &Server,
    slot: &str,
    lsn: Lsn,
    behind: Behind,
) -> Result<(), Error> {
    let catch_up = behind != Behind::Stay;
    destination
        .client
        .execute(
            &format!(
                "INSERT INTO {PROGRESS} AS p (source, database, slot, flush_lsn) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (source, database) DO UPDATE SET slot = excluded.slot, flush_lsn = CASE \
                 WHEN $5 THEN greatest(p.flush_lsn, excluded.flush_lsn) ELSE p.flush_lsn END \
                 WHERE p.slot <> excluded.slot OR $5"
            ),
            &[
                &server.system_identifier,
                &server.database,
                &slot,
                &PgLsn::from(lsn.as_u64()),
                &catch_up,
            ],
        )
        .await
        .map_err(|error| destination.error("starting the progress", &error))?;
    Ok(())
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
            &format!("DELETE FROM {PROGRESS} WHERE source = $1 AND database = $2"),
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
    let row = destination
        .client
        .query_one("SELECT to_regclass($1) IS NOT NULL", &[&table])
        .await
        .map_err(|error| destination.error("looking for bemi's tables", &error))?;
    Ok(row.get(0))
}
