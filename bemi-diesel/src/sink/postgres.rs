//! Changes into the table `changes`, together with the progress, in one transaction.

use std::borrow::Cow;
use std::collections::HashSet;
use std::pin::pin;

use tokio_postgres::Statement;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{IsNull, PgLsn, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use super::encoding::{Encoding, is_untranslatable};
use super::store;
use crate::error::{Error, ErrorKind};
use crate::postgres::{Connection, Endpoint};
use crate::stitch::Transaction;
use crate::{Change, Lsn};

const STORING: &str = "storing changes";

/// `COPY … BINARY` stores a third more rows a second than the fastest INSERT (38,000 against 28,000 on
/// one connection).
const COPY: &str = "COPY public.changes (id, source, database, schema, \"table\", primary_key, operation, before, after, \
                    context, committed_at, queued_at, transaction_id, position, commit_lsn, ordinal) \
                    FROM STDIN (FORMAT binary)";

const COLUMNS: [Type; 16] = [
    Type::UUID,
    Type::INT8,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::JSONB,
    Type::JSONB,
    Type::JSONB,
    Type::TIMESTAMPTZ,
    Type::TIMESTAMPTZ,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT8,
];

/// The session that stores waits this long for a lock, then the stream is dropped and tried again: a
/// source that shuts down must not wait for whoever holds the lock.
const LOCK_TIMEOUT: &str = "SET lock_timeout = '5s'";

/// Moves the progress only from where this capture left it: whoever else has moved it in the meantime
/// has stored these changes already.
const ADVANCE: &str = "UPDATE public._bemi_progress SET flush_lsn = $5, changes = changes + $6, \
                       transactions = transactions + $7, last_committed_at = coalesce($8, last_committed_at), \
                       updated_at = now() WHERE source = $1 AND database = $2 AND slot = $3 AND flush_lsn = $4";

/// Which of some changes are stored.
const STORED: &str = "SELECT id FROM public.changes WHERE id = ANY ($1)";

/// A connection to the destination that stores the changes of one source.
pub(crate) struct PostgresSink {
    connection: Connection,
    advance: Statement,
    copy: Statement,
    encoding: Encoding,
    source: i64,
    database: String,
    slot: String,
    publication: u32,
    /// Everything before this is stored.
    flush_lsn: Lsn,
}

impl PostgresSink {
    /// Connects, and waits until a predecessor whose connection was cut has ended: what it was storing
    /// is stored by then, or never will be.
    pub(crate) async fn open(
        endpoint: &Endpoint,
        source: i64,
        database: &str,
        slot: &str,
    ) -> Result<Self, Error> {
        let connection = Connection::open(endpoint).await?;
        let locking = connection.client.batch_execute(LOCK_TIMEOUT);
        connection
            .answer("preparing to store changes", locking)
            .await?;
        let progress = store::locked_progress(&connection, source, database).await?;
        if progress.slot != slot {
            let stored = progress.slot;
            return Err(Error::new(ErrorKind::OtherSlot { stored }));
        }
        let prepare = async |sql| {
            let preparing = connection.client.prepare(sql);
            connection
                .answer("preparing to store changes", preparing)
                .await
        };
        let (advance, copy) = (prepare(ADVANCE).await?, prepare(COPY).await?);
        Ok(Self {
            connection,
            advance,
            copy,
            encoding: Encoding::default(),
            source,
            database: database.to_owned(),
            slot: slot.to_owned(),
            publication: progress.publication,
            flush_lsn: progress.flush_lsn,
        })
    }

    /// Everything that was committed in the source before this is durable here.
    pub(crate) fn flush_lsn(&self) -> Lsn {
        self.flush_lsn
    }

    /// The identifier of the publication that the stored changes were read through.
    pub(crate) fn publication(&self) -> u32 {
        self.publication
    }

    /// Waits until the connection has ended.
    pub(crate) async fn closed(&self) {
        self.connection.closed().await;
    }

    /// The error for a connection that [ended](Self::closed).
    pub(crate) fn disconnected(&self) -> Error {
        self.connection.disconnected()
    }

    /// Stores `transactions` and moves the progress to `flush_lsn`: both or nothing. What is stored
    /// already, because somebody has set the progress back, is left as it is.
    ///
    /// After an error, or when the returned future is dropped, it is unknown which: a new sink reads it
    /// from the progress.
    pub(crate) async fn store(
        &mut self,
        transactions: &[Transaction],
        flush_lsn: Lsn,
    ) -> Result<(), Error> {
        let changes = transactions
            .iter()
            .flat_map(|transaction| &transaction.changes);
        let mut changes: Vec<&Change> = changes.collect();
        while let Err(error) = self.store_together(&changes, transactions, flush_lsn).await {
            self.mend(error, &mut changes).await?;
        }
        self.flush_lsn = flush_lsn;
        Ok(())
    }

    /// Makes `changes` storable after `error`, which it gives back if that was not the reason.
    async fn mend(&mut self, error: Error, changes: &mut Vec<&Change>) -> Result<(), Error> {
        let (duplicate, untranslatable) = (is_duplicate(&error), is_untranslatable(&error));
        if !duplicate && !untranslatable {
            return Err(error);
        }
        self.run("ROLLBACK").await?;
        let mended = if duplicate {
            self.leave_out_stored(changes).await?
        } else {
            self.encoding.learn(&self.connection, changes).await?
        };
        if mended { Ok(()) } else { Err(error) }
    }

    async fn store_together(
        &self,
        changes: &[&Change],
        transactions: &[Transaction],
        flush_lsn: Lsn,
    ) -> Result<(), Error> {
        let expected = self.flush_lsn;
        self.run("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
            .await?;
        let last = transactions.last();
        let advancing = [
            &self.source as &(dyn ToSql + Sync),
            &self.database,
            &self.slot,
            &PgLsn::from(expected.as_u64()),
            &PgLsn::from(flush_lsn.as_u64()),
            &i64::try_from(changes.len()).unwrap_or(i64::MAX),
            &i64::try_from(transactions.len()).unwrap_or(i64::MAX),
            &last.map(|transaction| transaction.committed_at),
        ];
        let advancing = self.connection.client.execute(&self.advance, &advancing);
        if self.connection.answer(STORING, advancing).await? != 1 {
            return Err(Error::new(ErrorKind::Fenced { expected }));
        }
        if !changes.is_empty() {
            self.copy(changes).await?;
        }
        self.run("COMMIT").await
    }

    async fn run(&self, statement: &str) -> Result<(), Error> {
        let running = self.connection.client.batch_execute(statement);
        self.connection.answer(STORING, running).await
    }

    async fn copy(&self, changes: &[&Change]) -> Result<(), Error> {
        let beginning = self.connection.client.copy_in(&self.copy);
        let sink = self.connection.answer(STORING, beginning).await?;
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &COLUMNS));
        for change in changes {
            let ordinal = change.ordinal.cast_signed();
            let encoding = &self.encoding;
            let primary_key = change.primary_key.as_deref();
            let row: [&(dyn ToSql + Sync); 16] = [
                &change.id,
                &change.source,
                &encoding.text(&change.database),
                &encoding.text(&change.schema),
                &encoding.text(&change.table),
                &primary_key.map(|key| encoding.text(key)),
                &change.operation.as_str(),
                &Jsonb(encoding.json(&change.before)),
                &Jsonb(encoding.json(&change.after)),
                &Jsonb(encoding.json(&change.context)),
                &change.committed_at,
                &change.queued_at,
                &i64::from(change.transaction_id.as_u32()),
                &change.position.as_i64(),
                &change.commit_lsn.as_i64(),
                &ordinal,
            ];
            let writing = writer.as_mut().write(&row);
            self.connection.answer(STORING, writing).await?;
        }
        let finishing = writer.finish();
        self.connection
            .answer(STORING, finishing)
            .await
            .map(|_rows| ())
    }

    /// Leaves those of `changes` that are not stored yet; whether some were.
    async fn leave_out_stored(&self, changes: &mut Vec<&Change>) -> Result<bool, Error> {
        let ids: Vec<Uuid> = changes.iter().map(|change| change.id).collect();
        let binds: [&(dyn ToSql + Sync); 1] = [&ids];
        let reading = self.connection.client.query(STORED, &binds);
        let rows = self.connection.answer(STORING, reading).await?;
        let stored: HashSet<Uuid> = rows.iter().map(|row| row.get(0)).collect();
        tracing::warn!(
            changes = stored.len(),
            "changes are stored already: the progress was set back"
        );
        changes.retain(|change| !stored.contains(&change.id));
        Ok(!stored.is_empty())
    }
}

fn is_duplicate(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Server { error, .. } if error.sqlstate == "23505")
}

/// JSON text as `jsonb` travels: a version byte, then the text.
#[derive(Debug)]
struct Jsonb<'a>(Cow<'a, str>);

impl ToSql for Jsonb<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&[1]);
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::JSONB
    }

    to_sql_checked!();
}
