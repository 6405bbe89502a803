//! Changes that could not be read, and changes that the destination refuses for what they hold. They are put
//! aside whole, so that the stream goes on, and [taken back](take_back) when the cause is gone.
//!
//! A refusal is about one row: data that a column cannot take (SQLSTATE class 22), a limit of the
//! server (class 54), or a CHECK that somebody has added. Everything else is about the database.

use std::borrow::Cow;
#[cfg(feature = "cli")]
use std::sync::Arc;

#[cfg(feature = "cli")]
use bytes::Bytes;
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

use super::encoding::Encoding;
use super::store::POISON;
use crate::error::{Error, ErrorKind, ServerError};
use crate::postgres::Connection;
#[cfg(feature = "cli")]
use crate::stitch::Legend;
use crate::stitch::{Raw, Unreadable};
use crate::{Change, JsonObject, Lsn};

const PUTTING: &str = "putting changes aside";

/// How many changes are put aside in one statement, and of how many bytes of rows.
const STATEMENT_CHANGES: usize = 1_000;
const STATEMENT_BYTES: usize = 8 << 20;

/// Puts changes aside, given as columns.
pub(super) const INSERT: &str = "INSERT INTO public._bemi_poison (source, database, commit_lsn, ordinal, schema, \"table\", \
                          operation, reason, change, message, relation, description) \
                      SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], \
                          $7::text[], $8::text[], $9::bytea[], $10::bytea[], $11::bytea[], $12::bytea[]) \
                      ON CONFLICT DO NOTHING";

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

/// A change that is put aside.
pub(super) struct Aside<'a> {
    pub(super) change: &'a Change,
    /// Why, without values.
    pub(super) reason: String,
    /// What came of it, if it could not be read.
    raw: Option<&'a Raw>,
}

impl<'a> Aside<'a> {
    /// One that the destination refuses.
    pub(super) fn refused(change: &'a Change, reason: &ServerError) -> Self {
        Self {
            change,
            reason: reason.to_string(),
            raw: None,
        }
    }

    /// One that could not be read.
    pub(super) fn unreadable(unreadable: &'a Unreadable) -> Self {
        let Unreadable { change, raw } = unreadable;
        Self {
            change,
            reason: raw.reason.clone(),
            raw: Some(raw),
        }
    }

    fn size(&self) -> usize {
        self.change.size() + self.raw.map_or(0, |raw| raw.message.len())
    }
}

/// Puts changes aside that are not yet.
pub(super) async fn put_aside(
    (destination, insert): (&Connection, &Statement),
    encoding: &Encoding,
    mut aside: &[Aside<'_>],
) -> Result<(), Error> {
    while !aside.is_empty() {
        let mut size = 0;
        let fits = aside.iter().take_while(|aside| {
            size += aside.size();
            size <= STATEMENT_BYTES
        });
        let (some, rest) =
            aside.split_at(fits.count().clamp(1, STATEMENT_CHANGES.min(aside.len())));
        insert_some((destination, insert), encoding, some).await?;
        aside = rest;
    }
    Ok(())
}

async fn insert_some(
    (destination, insert): (&Connection, &Statement),
    encoding: &Encoding,
    aside: &[Aside<'_>],
) -> Result<(), Error> {
    let json = |error| Error::with_source(ErrorKind::Io { doing: PUTTING }, error);
    let column = |text: fn(&Change) -> &str| -> Vec<Cow<'_, str>> {
        let texts = aside.iter().map(|aside| encoding.text(text(aside.change)));
        texts.collect()
    };
    let [mut sources, mut commits, mut ordinals] = [(); 3].map(|()| Vec::new());
    let [mut operations, mut reasons] = [(); 2].map(|()| Vec::new());
    let (mut changes, mut messages) = (Vec::new(), Vec::new());
    let (mut relations, mut descriptions) = (Vec::new(), Vec::new());
    for Aside {
        change,
        reason,
        raw,
    } in aside
    {
        sources.push(change.source);
        commits.push(change.commit_lsn.as_i64());
        ordinals.push(change.ordinal.cast_signed());
        operations.push(change.operation.as_str());
        reasons.push(reason);
        changes.push(serde_json::to_vec(change).map_err(json)?);
        messages.push(raw.map(|raw| &*raw.message));
        relations.push(raw.and_then(|raw| raw.legend.relation.as_deref()));
        let description = raw.and_then(|raw| raw.legend.description.as_ref());
        let description = description.map(serde_json::to_vec).transpose();
        descriptions.push(description.map_err(json)?);
    }
    let binds: [&(dyn ToSql + Sync); 12] = [
        &sources,
        &column(|change| &change.database),
        &commits,
        &ordinals,
        &column(|change| &change.schema),
        &column(|change| &change.table),
        &operations,
        &reasons,
        &changes,
        &messages,
        &relations,
        &descriptions,
    ];
    let inserting = destination.client.execute(insert, &binds);
    destination.answer(PUTTING, inserting).await.map(|_rows| ())
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
    destination.answer(PUTTING, covering).await.map(|_rows| ())
}

/// What was put aside of a change.
#[cfg(feature = "cli")]
pub(crate) struct Taken {
    pub(crate) change: Change,
    /// What came of it, if it could not be read.
    pub(crate) raw: Option<Raw>,
}

/// Takes the change at this place back, to store it; `None` if it is not there any more.
#[cfg(feature = "cli")]
pub(super) async fn take_back(
    destination: &Connection,
    source: i64,
    (commit_lsn, ordinal): (i64, i64),
) -> Result<Option<Taken>, Error> {
    let doing = "taking a change back that was put aside";
    let sql = format!(
        "DELETE FROM {POISON} WHERE source = $1 AND commit_lsn = $2 AND ordinal = $3 \
         RETURNING change, late_context, message, relation, description, reason"
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
    let bytes = |column: usize| row.get::<_, Option<Vec<u8>>>(column).map(Bytes::from);
    // One that another version has written is asked for anew.
    let description = bytes(4).and_then(|json| serde_json::from_slice(&json).ok());
    let raw = bytes(2).map(|message| Raw {
        message,
        legend: Arc::new(Legend {
            relation: bytes(3),
            description,
        }),
        reason: row.get(5),
    });
    Ok(Some(Taken { change, raw }))
}

/// One of what is put aside.
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

    /// How many changes are put aside, of whichever database.
    pub(crate) async fn count_all(destination: &Connection) -> Result<i64, Error> {
        let sql = format!("SELECT count(*) FROM {POISON}");
        let counting = destination.client.query_one(&sql, &[]).await;
        let row =
            counting.map_err(|error| destination.error("counting what was put aside", &error))?;
        Ok(row.get(0))
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
