//! Changes that the destination refuses for what they hold. They are put aside whole, so that the stream
//! goes on, and [stored](super::postgres::PostgresSink::replay) when the cause is gone.
//!
//! Such a refusal is about one row: data that a column cannot take (SQLSTATE class 22), a limit of the
//! server (class 54), or a CHECK that somebody has added. Everything else is about the database.

use tokio_postgres::types::ToSql;

use super::encoding::Encoding;
use super::store::POISON;
use crate::error::{Error, ErrorKind, ServerError};
use crate::postgres::Connection;
use crate::{Change, JsonObject, Lsn};

/// What the server said of a change, if that is why the change cannot be stored.
pub(super) fn refusal(error: &Error) -> Option<&ServerError> {
    let ErrorKind::Server { error, .. } = error.kind() else {
        return None;
    };
    let refused = match error.sqlstate.get(..2) {
        Some("22" | "54") => true,
        // Without the name of a constraint it is a partition that is missing.
        Some("23") => error.sqlstate == "23514" && !error.message.is_empty(),
        _ => false,
    };
    refused.then_some(error)
}

/// Puts `change` aside.
pub(super) async fn put_aside(
    destination: &Connection,
    encoding: &Encoding,
    change: &Change,
    reason: &ServerError,
) -> Result<(), Error> {
    let doing = "putting a change aside";
    let sql = format!(
        "INSERT INTO {POISON} (source, database, commit_lsn, ordinal, schema, \"table\", operation, reason, change) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING"
    );
    let whole = serde_json::to_vec(change)
        .map_err(|error| Error::with_source(ErrorKind::Io { doing }, error))?;
    let binds: [&(dyn ToSql + Sync); 9] = [
        &change.source,
        &encoding.text(&change.database),
        &change.commit_lsn.as_i64(),
        &change.ordinal.cast_signed(),
        &encoding.text(&change.schema),
        &encoding.text(&change.table),
        &change.operation.as_str(),
        &reason.to_string(),
        &whole,
    ];
    let inserting = destination.client.execute(&sql, &binds);
    destination.answer(doing, inserting).await.map(|_rows| ())
}

/// Gives those changes of a transaction that are put aside, and come before the ordinal `before`, the
/// context that came after them.
pub(super) async fn cover(
    destination: &Connection,
    (source, commit_lsn, before): (i64, Lsn, u64),
    context: &JsonObject,
) -> Result<(), Error> {
    let sql = format!(
        "UPDATE {POISON} SET late_context = $4 WHERE source = $1 AND commit_lsn = $2 AND ordinal < $3"
    );
    let binds: [&(dyn ToSql + Sync); 4] = [
        &source,
        &commit_lsn.as_i64(),
        &before.cast_signed(),
        &context.as_str().as_bytes(),
    ];
    let covering = destination.client.execute(&sql, &binds);
    let doing = "putting a change aside";
    destination.answer(doing, covering).await.map(|_rows| ())
}

/// Takes the change at this place back, to store it; `None` if it is not there any more.
#[cfg(feature = "cli")]
pub(super) async fn take_back(
    destination: &Connection,
    source: i64,
    (commit_lsn, ordinal): (i64, i64),
) -> Result<Option<Change>, Error> {
    let doing = "taking a change back that was put aside";
    let sql = format!(
        "DELETE FROM {POISON} WHERE source = $1 AND commit_lsn = $2 AND ordinal = $3 RETURNING change, late_context"
    );
    let binds: [&(dyn ToSql + Sync); 3] = [&source, &commit_lsn, &ordinal];
    let taking = destination.client.query_opt(&sql, &binds);
    let Some(row) = destination.answer(doing, taking).await? else {
        return Ok(None);
    };
    let unreadable = |_: serde_json::Error| Error::new(ErrorKind::Io { doing });
    let mut change: Change = serde_json::from_slice(row.get(0)).map_err(unreadable)?;
    if let Some(context) = row.get::<_, Option<&[u8]>>(1) {
        change.context = serde_json::from_slice(context).map_err(unreadable)?;
    }
    Ok(Some(change))
}

/// A change that is put aside.
#[cfg(feature = "cli")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Poison {
    /// The commit and the ordinal of the change.
    pub(crate) place: (i64, i64),
    /// The table, as `schema.table`.
    pub(crate) table: String,
    /// What happened to its row.
    pub(crate) operation: String,
    /// Why it could not be stored, without values.
    pub(crate) reason: String,
}

#[cfg(feature = "cli")]
impl Poison {
    /// Everything of a database that is put aside, in the order of the trail.
    pub(crate) async fn list(
        destination: &Connection,
        source: i64,
        database: &str,
    ) -> Result<Vec<Self>, Error> {
        let sql = format!(
            "SELECT commit_lsn, ordinal, schema || '.' || \"table\", operation, reason FROM {POISON} \
             WHERE source = $1 AND database = $2 ORDER BY commit_lsn, ordinal"
        );
        let binds: [&(dyn ToSql + Sync); 2] = [&source, &database];
        let reading = destination.client.query(&sql, &binds).await;
        let rows =
            reading.map_err(|error| destination.error("listing what was put aside", &error))?;
        Ok(rows
            .iter()
            .map(|row| Self {
                place: (row.get(0), row.get(1)),
                table: row.get(2),
                operation: row.get(3),
                reason: row.get(4),
            })
            .collect())
    }

    /// How many changes of a database are put aside.
    pub(crate) async fn count(
        destination: &Connection,
        source: i64,
        database: &str,
    ) -> Result<i64, Error> {
        let sql = format!("SELECT count(*) FROM {POISON} WHERE source = $1 AND database = $2");
        let binds: [&(dyn ToSql + Sync); 2] = [&source, &database];
        let counting = destination.client.query_one(&sql, &binds).await;
        let row =
            counting.map_err(|error| destination.error("counting what was put aside", &error))?;
        Ok(row.get(0))
    }
}
