//! Changes into the table `changes`, together with the progress, in one transaction.

use std::borrow::Cow;
use std::collections::HashSet;
use std::pin::pin;

use tokio_postgres::Statement;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{IsNull, PgLsn, ToSql, Type, to_sql_checked};
use uuid::Uuid;

#[cfg(feature = "cli")]
use super::baseline::Baseline;
use super::encoding::{Encoding, is_untranslatable};
use super::poison;
use super::store::{self, Holding};
use crate::error::{Error, ErrorKind, ServerError};
use crate::postgres::{Connection, Endpoint};
#[cfg(feature = "cli")]
use crate::setup::Server;
use crate::stitch::{LateContext, Partitions, Tracked, Transaction};
use crate::{Change, JsonObject, Lsn};

const STORING: &str = "storing changes";

/// `COPY … BINARY` stores a third more rows a second than the fastest INSERT (38,000 against 28,000 on
/// one connection).
const COPY: &str = "COPY public.changes (id, source, database, schema, \"table\", primary_key, previous_key, operation, before, after, \
                    context, committed_at, queued_at, transaction_id, position, commit_lsn, ordinal) \
                    FROM STDIN (FORMAT binary)";

const COLUMNS: [Type; 17] = [
    Type::UUID,
    Type::INT8,
    Type::TEXT,
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

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

/// Moves the progress only from where this capture left it: whoever else has moved it in the meantime
/// has stored these changes already.
///
/// Where the log is this server's own it also takes a sample of where the log ends, and when. Once the
/// progress is past it, everything that was committed before that time is stored, also where nothing
/// was. The second is for transactions that had noted their time and not yet written their commit.
const ADVANCE: &str = "UPDATE public._bemi_progress SET flush_lsn = $5, changes = changes + $6, \
                       transactions = transactions + $7, last_committed_at = coalesce($8, last_committed_at), \
                       updated_at = now(), covered_at = CASE WHEN sampled_lsn <= $5 THEN sampled_at ELSE covered_at END, \
                       sampled_lsn = CASE WHEN sampled_lsn > $5 THEN sampled_lsn ELSE here.lsn END, \
                       sampled_at = CASE WHEN sampled_lsn > $5 THEN sampled_at ELSE here.at END \
                       FROM (SELECT CASE WHEN system_identifier = $1 THEN pg_current_wal_insert_lsn() END AS lsn, \
                             clock_timestamp() - interval '1 second' AS at FROM pg_control_system()) here WHERE source = $1 AND database = $2 AND slot = $3 AND flush_lsn = $4";

/// Keeps whoever else stores changes of this source away, unless somebody has moved the progress.
const CLAIM: &str = "SELECT FROM public._bemi_progress \
                     WHERE source = $1 AND database = $2 AND slot = $3 AND flush_lsn = $4 FOR UPDATE";

/// Goes by the unique key `changes_identity`.
const COVER: &str = "UPDATE public.changes SET context = $5 \
                     WHERE source = $1 AND commit_lsn = $2 AND ordinal >= $3 AND ordinal < $4";

/// How many changes are given their context in one statement: few enough that a server that does not
/// answer for so long will not.
const COVERED: usize = 2_000;

/// Which of some changes are stored.
const STORED: &str = "SELECT id FROM public.changes WHERE id = ANY ($1)";

/// A connection to the destination that stores the changes of one source.
pub(crate) struct PostgresSink {
    connection: Connection,
    advance: Statement,
    copy: Statement,
    encoding: Encoding,
    /// How many changes are stored of a transaction whose rest has not come yet. It holds our own
    /// transaction open.
    partial: Option<u64>,
    /// How many changes were put aside lately.
    put_aside: u64,
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
            encoding: Encoding::new(endpoint.clone()),
            partial: None,
            put_aside: 0,
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

    /// How many changes were put aside since this was last asked.
    pub(crate) fn take_put_aside(&mut self) -> u64 {
        std::mem::take(&mut self.put_aside)
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
    /// already, because somebody has set the progress back, is left as it is; what the destination refuses
    /// is put aside.
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
        while self.partial.is_none() {
            let storing = self.store_together(&changes, transactions, flush_lsn);
            let Err(error) = storing.await else {
                self.flush_lsn = flush_lsn;
                return Ok(());
            };
            self.run("ROLLBACK").await?;
            match self.mend(error, &mut changes).await {
                // One of them is refused: they are stored in parts, until it stands alone.
                Err(error) if poison::refusal(&error).is_some() => self.begin().await?,
                mended => mended?,
            }
        }
        if let Some(stored) = self.partial.take() {
            let stored = stored + self.copy_part(changes).await?;
            for transaction in transactions {
                self.cover(transaction).await?;
            }
            self.note_tables(transactions).await?;
            failpoint!("parts-covered");
            self.advance(stored, transactions, flush_lsn).await?;
            failpoint!("parts-advanced");
            self.run("COMMIT").await?;
            failpoint!("parts-committed");
        }
        self.flush_lsn = flush_lsn;
        Ok(())
    }

    /// Stores the first changes of a transaction, or the next ones. They become durable with the rest of
    /// it, when that is [stored](Self::store).
    pub(crate) async fn store_part(&mut self, changes: &[Change]) -> Result<(), Error> {
        if self.partial.is_none() {
            self.begin().await?;
            failpoint!("part-claimed");
        }
        let stored = self.copy_part(changes.iter().collect()).await?;
        failpoint!("part-stored");
        self.partial = Some(self.partial.unwrap_or(0) + stored);
        Ok(())
    }

    /// Stores rows that were there before they were tracked, and how far their table is read: both or
    /// nothing.
    #[cfg(feature = "cli")]
    pub(crate) async fn store_baseline(
        &mut self,
        server: &Server,
        changes: &[Change],
        baseline: &Baseline<'_>,
    ) -> Result<(), Error> {
        self.run(BEGIN).await?;
        self.copy_part(changes.iter().collect()).await?;
        baseline.save(&self.connection, server).await?;
        self.run("COMMIT").await
    }

    /// Begins a transaction that stores changes in parts.
    async fn begin(&mut self) -> Result<(), Error> {
        self.run(BEGIN).await?;
        self.claim().await?;
        self.partial = Some(0);
        Ok(())
    }

    async fn claim(&self) -> Result<(), Error> {
        let expected = self.flush_lsn;
        let binds: [&(dyn ToSql + Sync); 4] = [
            &self.source,
            &self.database,
            &self.slot,
            &PgLsn::from(expected.as_u64()),
        ];
        let claiming = self.connection.client.execute(CLAIM, &binds);
        match self.connection.answer(STORING, claiming).await? {
            1 => Ok(()),
            _ => Err(Error::new(ErrorKind::Fenced { expected })),
        }
    }

    /// Copies `changes`, and puts those aside that are refused, which it finds by halves. How many changes
    /// that were.
    async fn copy_part(&mut self, changes: Vec<&Change>) -> Result<u64, Error> {
        let (mut count, mut refused) = (0, Vec::new());
        let mut parts = vec![changes];
        while let Some(mut part) = parts.pop() {
            self.run("SAVEPOINT part").await?;
            let copied = self.copy(&part).await;
            if copied.is_err() {
                self.run("ROLLBACK TO SAVEPOINT part").await?;
            }
            self.run("RELEASE SAVEPOINT part").await?;
            let Err(error) = copied else {
                count += part.len() as u64;
                continue;
            };
            match self.mend(error, &mut part).await {
                Ok(()) => parts.push(part),
                Err(error) => match (poison::refusal(&error), &*part) {
                    (Some(reason), [change]) => refused.push((*change, reason.clone())),
                    (Some(_), [_, _, ..]) => {
                        let rest = part.split_off(part.len() / 2);
                        parts.extend([rest, part]);
                    }
                    _ => return Err(error),
                },
            }
        }
        self.put_all_aside(&refused).await?;
        Ok(count + refused.len() as u64)
    }

    async fn put_all_aside(&mut self, refused: &[(&Change, ServerError)]) -> Result<(), Error> {
        for (change, reason) in refused {
            poison::put_aside(&self.connection, &self.encoding, change, reason).await?;
        }
        failpoint!("put-aside");
        if let Some((change, reason)) = refused.first() {
            tracing::warn!(
                changes = refused.len(), %reason, lsn = %change.commit_lsn, ordinal = change.ordinal, table = &*change.table,
                "changes cannot be stored and are put aside: `bemi replay-poison` tries them again"
            );
        }
        self.put_aside += refused.len() as u64;
        Ok(())
    }

    /// Stores a change that was put aside, by its commit and ordinal, unless it is still refused; whether
    /// it is not put aside any more.
    #[cfg(feature = "cli")]
    pub(crate) async fn replay(&mut self, place: (i64, i64)) -> Result<bool, Error> {
        self.run(BEGIN).await?;
        let change = poison::take_back(&self.connection, self.source, place).await?;
        self.copy_part(change.iter().collect()).await?;
        failpoint!("replayed");
        self.run("COMMIT").await?;
        Ok(self.take_put_aside() == 0)
    }

    /// Gives the transaction's parts the context that came after them.
    async fn cover(&mut self, transaction: &Transaction) -> Result<(), Error> {
        let Some(LateContext { before, context }) = &transaction.late_context else {
            return Ok(());
        };
        self.run("SAVEPOINT part").await?;
        while let Err(error) = self
            .cover_rows(transaction.commit_lsn, *before, context)
            .await
        {
            self.run("ROLLBACK TO SAVEPOINT part").await?;
            if !is_untranslatable(&error) || !self.encoding.learn_context(context).await? {
                return Err(error);
            }
        }
        let place = (self.source, transaction.commit_lsn, *before);
        poison::cover(&self.connection, place, context).await
    }

    async fn cover_rows(
        &self,
        commit_lsn: Lsn,
        before: u64,
        context: &JsonObject,
    ) -> Result<(), Error> {
        let json = Jsonb(self.encoding.json(context));
        let commit_lsn = commit_lsn.as_i64();
        let preparing = self.connection.client.prepare(COVER);
        let cover = self.connection.answer(STORING, preparing).await?;
        for from in (0..before).step_by(COVERED) {
            let to = before.min(from + COVERED as u64).cast_signed();
            let from = from.cast_signed();
            let binds: [&(dyn ToSql + Sync); 5] = [&self.source, &commit_lsn, &from, &to, &json];
            let covering = self.connection.client.execute(&cover, &binds);
            self.connection.answer(STORING, covering).await?;
        }
        Ok(())
    }

    /// Notes the tables whose changes begin, and how partitioned ones are made up. One whose name the destination
    /// cannot hold is not covered there, as setup has it.
    async fn note_tables(&self, transactions: &[Transaction]) -> Result<(), Error> {
        for transaction in transactions {
            for tracked in &transaction.tracked {
                self.note_tracked(transaction, tracked).await?;
            }
            for partitions in &transaction.partitions {
                self.note_partitions(transaction, partitions).await?;
            }
        }
        Ok(())
    }

    async fn note_partitions(
        &self,
        transaction: &Transaction,
        partitions: &Partitions,
    ) -> Result<(), Error> {
        let holding = Holding {
            oid: partitions.oid,
            parts: &partitions.parts,
            since_lsn: Lsn::new(transaction.commit_lsn.as_u64() + 1),
            ordinal: partitions.ordinal,
            since: transaction.committed_at,
            exact: partitions.exact,
        };
        self.run("SAVEPOINT partitions").await?;
        let (source, database) = (self.source, &self.database);
        match store::note_partitions(&self.connection, source, database, holding).await {
            Err(error) if is_untranslatable(&error) => {
                self.run("ROLLBACK TO SAVEPOINT partitions").await
            }
            noted => noted,
        }
    }

    async fn note_tracked(
        &self,
        transaction: &Transaction,
        tracked: &Tracked,
    ) -> Result<(), Error> {
        let commit_lsn = transaction.commit_lsn.as_i64();
        let binds: [&(dyn ToSql + Sync); 9] = [
            &self.source,
            &self.database,
            &&*tracked.schema,
            &&*tracked.table,
            &i64::from(tracked.oid),
            &commit_lsn,
            &tracked.ordinal.cast_signed(),
            &tracked.empty.then_some(transaction.committed_at),
            // Before this commit there was no such table.
            &(commit_lsn + 1),
        ];
        self.run("SAVEPOINT tracked").await?;
        let noting = self.connection.client.execute(store::COVER, &binds);
        match self.connection.answer(STORING, noting).await {
            Err(error) if is_untranslatable(&error) => {
                self.run("ROLLBACK TO SAVEPOINT tracked").await
            }
            noted => noted.map(|_rows| ()),
        }
    }

    /// Makes `changes` storable after `error`, which it gives back if that was not the reason.
    async fn mend(&mut self, error: Error, changes: &mut Vec<&Change>) -> Result<(), Error> {
        let mended = if is_duplicate(&error) {
            self.leave_out_stored(changes).await?
        } else if is_untranslatable(&error) {
            self.encoding.learn(changes).await?
        } else {
            false
        };
        if mended { Ok(()) } else { Err(error) }
    }

    async fn store_together(
        &self,
        changes: &[&Change],
        transactions: &[Transaction],
        flush_lsn: Lsn,
    ) -> Result<(), Error> {
        self.run(BEGIN).await?;
        failpoint!("begun");
        self.advance(changes.len() as u64, transactions, flush_lsn)
            .await?;
        failpoint!("advanced");
        if !changes.is_empty() {
            self.copy(changes).await?;
        }
        self.note_tables(transactions).await?;
        failpoint!("copied");
        self.run("COMMIT").await?;
        failpoint!("committed");
        Ok(())
    }

    async fn advance(
        &self,
        changes: u64,
        transactions: &[Transaction],
        flush_lsn: Lsn,
    ) -> Result<(), Error> {
        let expected = self.flush_lsn;
        let last = transactions.last();
        let with_changes = transactions
            .iter()
            .filter(|transaction| transaction.count() > 0);
        let binds = [
            &self.source as &(dyn ToSql + Sync),
            &self.database,
            &self.slot,
            &PgLsn::from(expected.as_u64()),
            &PgLsn::from(flush_lsn.as_u64()),
            &changes.cast_signed(),
            &i64::try_from(with_changes.count()).unwrap_or(i64::MAX),
            &last.map(|transaction| transaction.committed_at),
        ];
        let advancing = self.connection.client.execute(&self.advance, &binds);
        match self.connection.answer(STORING, advancing).await? {
            1 => Ok(()),
            _ => Err(Error::new(ErrorKind::Fenced { expected })),
        }
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
            let previous_key = change.previous_key.as_deref();
            let row: [&(dyn ToSql + Sync); 17] = [
                &change.id,
                &change.source,
                &encoding.text(&change.database),
                &encoding.text(&change.schema),
                &encoding.text(&change.table),
                &primary_key.map(|key| encoding.text(key)),
                &previous_key.map(|key| encoding.text(key)),
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
        failpoint!("copying");
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
pub(super) struct Jsonb<'a>(pub(super) Cow<'a, str>);

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
